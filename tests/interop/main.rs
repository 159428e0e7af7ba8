//! Lovage and real Celery, side by side on one Redis: each test is one behaviour that a Python producer, a Python client
//! of results or a Python worker relies on.

mod calls;
mod chords;
mod client;
mod commands_remote;
mod encodings;
mod encryption;
mod exchanges;
mod failures;
mod own_tasks;
mod retries;
mod revokes;
mod rust_to_python;
mod scheduling;
mod serializers;
mod states;
mod stored_results;
mod stubs;
mod unknown_names;
mod values;
