//! The HTTP API, as programs and people meet it: a process, a database, a Redis, a worker.

mod access;
mod accounts;
mod bodies;
mod edge;
mod letters;
mod operations;
mod repeating;
mod schedules;
mod streams;
mod tasks;
