//! The worker and the client in one process on the memory broker: what needs neither Redis nor Python.

mod admission;
mod builtins;
mod canvas;
mod canvas_results;
mod chords;
mod compose_files;
mod controls;
mod documentation;
mod endings;
mod errbacks;
mod events;
mod inheriting;
mod journal;
mod kit;
mod layers;
mod legacy;
mod modules;
mod outcomes;
mod replacing;
mod seen;
mod stage;
mod workflow;
