//! What is asked wrongly is refused in Celery's words, and changes nothing.

use lovage_integration_tests::{Cast, Fleet};
use serde_json::{Value, json};

use super::{LOVAGE, PYTHON, assert_works, each};

/// Requests that both kinds must answer word for word alike.
fn word_for_word() -> Vec<(&'static str, Value)> {
    let rate = |limit: Value| {
        (
            "rate_limit",
            json!({"task_name": "demo.add", "rate_limit": limit}),
        )
    };
    vec![
        ("no_such_command", json!({})),
        ("set_log_level", json!({"level": "debug"})),
        ("rate_limit", json!({})),
        ("rate_limit", json!({"task_name": "demo.add"})),
        (
            "rate_limit",
            json!({"task_name": "no.such", "rate_limit": "1/s"}),
        ),
        rate(json!("abc")),
        rate(json!("10/x")),
        rate(json!("5/m")),
        rate(json!("")),
        rate(json!(null)),
        rate(json!(7)),
        rate(json!(0)),
        ("time_limit", json!({})),
        (
            "time_limit",
            json!({"task_name": "no.such", "soft": 1, "hard": 2}),
        ),
        ("time_limit", json!({"task_name": "demo.add"})),
        ("pool_restart", json!({})),
        ("autoscale", json!({"max": 5, "min": 1})),
        ("autoscale", json!({"nope": 1})),
        ("enable_events", json!({"nope": 1})),
        ("disable_events", json!({"nope": 1})),
        ("heartbeat", json!({"nope": 1})),
        ("heartbeat", json!({})),
        ("active_queues", json!({"nope": 1})),
        ("report", json!({"nope": 1})),
        ("objgraph", json!({"nope": 1})),
        ("objgraph", json!({})),
        ("add_consumer", json!({})),
        ("cancel_consumer", json!({})),
        ("cancel_consumer", json!({"queue": "never-consumed"})),
        ("revoke", json!({})),
        ("revoke", json!({"task_id": null})),
        ("revoke", json!({"task_id": []})),
        ("revoke", json!({"task_id": "one-id"})),
        ("revoke", json!({"task_id": ["one-id"], "terminate": true})),
        (
            "revoke",
            json!({"task_id": ["one-id"], "terminate": true, "signal": "NOPE"}),
        ),
        (
            "revoke",
            json!({"task_id": ["one-id"], "terminate": true, "signal": "SIGNOPE"}),
        ),
        ("terminate", json!({"signal": "TERM"})),
        ("terminate", json!({"task_id": "one-id"})),
        ("terminate", json!({"task_id": "one-id", "signal": "TERM"})),
        ("revoke_by_stamped_headers", json!({})),
        (
            "revoke_by_stamped_headers",
            json!({"headers": ["customer=acme"]}),
        ),
        (
            "revoke_by_stamped_headers",
            json!({"headers": {"customer": "acme"}}),
        ),
        (
            "revoke_by_stamped_headers",
            json!({"headers": {"customer": ["acme", "other"]}}),
        ),
        (
            "revoke_by_stamped_headers",
            json!({"headers": {"customer": "acme"}, "terminate": true}),
        ),
        ("query_task", json!({})),
        ("query_task", json!({"ids": "no-such-id"})),
        ("query_task", json!({"ids": []})),
        ("hello", json!({})),
        ("election", json!({})),
        ("election", json!({"id": "one-id"})),
        ("ping", json!({"nope": 1})),
    ]
}

/// Requests that Celery answers with an error of Python's own; ours may say it otherwise, and is no less an error.
fn refused_either_way() -> Vec<(&'static str, Value)> {
    vec![
        (
            "rate_limit",
            json!({"task_name": "demo.add", "rate_limit": ["1/s"]}),
        ),
        (
            "rate_limit",
            json!({"task_name": "demo.add", "rate_limit": {"a": 1}}),
        ),
        ("pool_grow", json!({"n": "many"})),
        ("pool_shrink", json!({"n": "many"})),
        (
            "revoke_by_stamped_headers",
            json!({"headers": ["no-value"]}),
        ),
        (
            "revoke_by_stamped_headers",
            json!({"headers": {"a": "b"}, "terminate": true, "signal": "NOPE"}),
        ),
        ("revoke_by_stamped_headers", json!({"headers": "text"})),
    ]
}

#[test]
fn refusals_are_worded_as_celerys() {
    let mut cast = Cast::of(Fleet::Both);
    let mut found = Vec::new();
    for (method, arguments) in word_for_word() {
        let answers = cast.ask_all(method, &arguments);
        if answers[LOVAGE] != answers[PYTHON] {
            found.push(format!(
                "{method} {arguments}:\n  Python {}\n  here   {}",
                answers[PYTHON], answers[LOVAGE]
            ));
        }
    }
    for (method, arguments) in refused_either_way() {
        for (node, answer) in cast.ask_all(method, &arguments) {
            if !answer["error"].is_string() {
                found.push(format!(
                    "{method} {arguments}: no error of {node}: {answer}"
                ));
            }
        }
    }
    for (_, queue) in each(&cast) {
        assert_works(&mut cast, &queue);
    }
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn switching_events_is_answered_as_celery_does() {
    // One that was started with -E cannot be switched off from afar.
    for events in [false, true] {
        let mut cast = Cast::with(
            Fleet::Both,
            |peer| if events { peer.events() } else { peer },
        );
        for method in [
            "enable_events",
            "enable_events",
            "disable_events",
            "disable_events",
            "enable_events",
        ] {
            let answers = cast.ask_all(method, &json!({}));
            assert_eq!(answers[LOVAGE], answers[PYTHON], "{method}, -E: {events}");
        }
    }
}
