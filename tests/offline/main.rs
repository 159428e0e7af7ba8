//! The worker and the client in one process on the memory broker: what needs neither Redis nor Python.

mod admission;
mod chords;
mod controls;
mod endings;
mod events;
mod kit;
mod layers;
mod modules;
mod outcomes;
mod seen;
mod stage;
mod workflow;
