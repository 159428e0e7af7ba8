//! Lovage and real Celery, side by side on one Redis: each test is one behaviour that a Python producer, a Python client
//! of results or a Python worker relies on.

/// Runs a behaviour, a function of a [`Fleet`](lovage_integration_tests::Fleet), with each of them as a test of its own.
macro_rules! in_each_fleet {
    ($($behaviour:ident),+ $(,)?) => {
        $crate::in_fleet!(lovage_prefork, Lovage, $($behaviour),+);
        $crate::in_fleet!(lovage_async, LovageAsync, $($behaviour),+);
        $crate::in_fleet!(python, Python, $($behaviour),+);
        $crate::in_fleet!(both, Both, $($behaviour),+);
    };
}

/// Runs behaviours with one fleet, in a module named after it.
macro_rules! in_fleet {
    ($module:ident, $fleet:ident, $($behaviour:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $behaviour() {
                    super::$behaviour(lovage_integration_tests::Fleet::$fleet);
                }
            )+
        }
    };
}

use in_fleet;

mod api_contract;
mod api_mail;
mod beat;
mod calls;
mod canvas;
mod chords;
mod client;
mod commands_remote;
mod control;
mod crontabs;
mod database_results;
mod doctor;
mod encodings;
mod encryption;
mod events;
mod exchanges;
mod failures;
mod flower;
mod history;
mod hostile_control;
mod mail_task;
mod mailer;
mod outbox;
mod own_tasks;
mod retries;
mod revokes;
mod rust_to_python;
mod scheduling;
mod serializers;
mod states;
mod stored_results;
mod stubs;
mod tracing;
mod unknown_names;
mod values;
