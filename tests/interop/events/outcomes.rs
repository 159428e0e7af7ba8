//! The events of a task, for each way in which it can end: the same ones, in the same order, with the same fields as
//! a Celery worker's.

use std::collections::BTreeMap;

use lovage_integration_tests::shape::{Allowed, differences};
use lovage_integration_tests::{Cast, Fleet, eventually};
use serde_json::{Value, json};

use super::{assert_no_trouble, heard, of_task, types};

in_each_fleet!(each_outcome_is_told_in_order);

/// Where our events may be shaped otherwise than Celery's.
const ALLOWED: &[Allowed] = &[
    Allowed {
        path: "task-started.name",
        reason: "every event of ours names its task, so that a monitor which missed the first one knows it",
    },
    Allowed {
        path: "*.args",
        reason: "as the name",
    },
    Allowed {
        path: "*.kwargs",
        reason: "as the name",
    },
    Allowed {
        path: "*.name",
        reason: "as the name",
    },
];

/// A task, how it is sent, and the sequences of events that tell its end; the first is Celery's own.
struct Outcome {
    what: &'static str,
    task: &'static str,
    args: Value,
    options: Value,
    told: &'static [&'static [&'static str]],
}

const DONE: &[&[&str]] = &[&["received", "started", "succeeded"]];
const FAILED: &[&[&str]] = &[&["received", "started", "failed"]];

fn outcomes() -> Vec<Outcome> {
    let outcome = |what, task, args, options, told| Outcome {
        what,
        task,
        args,
        options,
        told,
    };
    vec![
        outcome("success", "demo.add", json!([2, 3]), json!({}), DONE),
        outcome(
            "success under another name",
            "demo.add",
            json!([2, 3]),
            json!({"shadow": "shown"}),
            DONE,
        ),
        outcome(
            "eta",
            "demo.add",
            json!([2, 3]),
            json!({"countdown": 0.3, "expires": 60}),
            DONE,
        ),
        outcome("failure", "demo.fail", json!([]), json!({}), FAILED),
        outcome(
            "an exception of the application",
            "test.refuse",
            json!([1, "é"]),
            json!({}),
            FAILED,
        ),
        outcome("wrong arguments", "demo.add", json!([2]), json!({}), FAILED),
        outcome(
            "retry",
            "demo.retry_then_succeed",
            json!([1, 0.0]),
            json!({}),
            &[
                // Celery's worker hears of the retry from its child, after it may have taken the message up again.
                &[
                    "received",
                    "started",
                    "received",
                    "retried",
                    "started",
                    "succeeded",
                ],
                &[
                    "received",
                    "started",
                    "retried",
                    "received",
                    "started",
                    "succeeded",
                ],
            ],
        ),
        outcome(
            "retries used up",
            "test.always_retries",
            json!([]),
            json!({}),
            &[
                &[
                    "received", "started", "received", "retried", "started", "received", "retried",
                    "started", "failed",
                ],
                &[
                    "received", "started", "retried", "received", "started", "received", "retried",
                    "started", "failed",
                ],
                &[
                    "received", "started", "received", "retried", "started", "retried", "received",
                    "started", "failed",
                ],
                &[
                    "received", "started", "retried", "received", "started", "retried", "received",
                    "started", "failed",
                ],
            ],
        ),
        outcome(
            "reject",
            "test.reject",
            json!([]),
            json!({}),
            &[
                &["received", "started", "failed", "rejected"],
                &["received", "started", "rejected", "failed"],
            ],
        ),
        outcome(
            "reject with requeue",
            "test.requeue_once",
            json!([]),
            json!({}),
            &[&[
                "received",
                "started",
                "rejected",
                "received",
                "started",
                "succeeded",
            ]],
        ),
        outcome(
            "ignore",
            "test.ignore",
            json!([]),
            json!({}),
            &[&["received", "started"]],
        ),
        outcome(
            "expired",
            "demo.add",
            json!([2, 3]),
            json!({"expires": "2020-01-01T00:00:00+00:00"}),
            &[&["revoked"]],
        ),
        outcome(
            "expired on the way",
            "demo.add",
            json!([2, 3]),
            json!({"countdown": 1.2, "expires": 0.6}),
            &[&["received", "revoked"]],
        ),
        outcome(
            "revoked",
            "demo.add",
            json!([2, 3]),
            json!({}),
            &[&["revoked"]],
        ),
        outcome(
            "unregistered",
            "no.such.task",
            json!([]),
            json!({}),
            &[&["failed"]],
        ),
        outcome(
            "soft limit",
            "demo.sleep",
            json!([30]),
            json!({"soft_time_limit": 0.4}),
            FAILED,
        ),
        outcome(
            "hard limit",
            "demo.sleep",
            json!([30]),
            json!({"time_limit": 0.7}),
            &[
                // An accident of Celery's: both its pool and its worker tell it.
                &["received", "started", "failed", "failed"],
                &["received", "started", "failed"],
            ],
        ),
        outcome(
            "an event of its own",
            "test.checkpoint",
            json!([3, "half way"]),
            json!({}),
            &[
                // Celery's comes from the child, past the worker's.
                &["received", "checkpoint", "started", "succeeded"],
                &["received", "started", "checkpoint", "succeeded"],
                &["received", "started", "succeeded", "checkpoint"],
                &["checkpoint", "received", "started", "succeeded"],
            ],
        ),
        outcome(
            "terminated",
            "demo.sleep",
            json!([60]),
            json!({}),
            &[&["received", "started", "revoked"]],
        ),
    ]
}

fn send(cast: &mut Cast, node: &str, queue: &str, outcome: &Outcome) -> String {
    let mut options = outcome.options.clone();
    if outcome.what == "revoked" {
        let id = format!("revoked-{queue}");
        cast.ask(node, "revoke", &json!({"task_id": id}));
        options["task_id"] = json!(id);
    }
    let id = cast.send(queue, outcome.task, &outcome.args, &options);
    if outcome.what == "terminated" {
        cast.ask_until(node, "active", |active| {
            active
                .as_array()
                .is_some_and(|all| all.iter().any(|task| task["id"] == id.as_str()))
        });
        cast.ask(node, "terminate", &json!({"task_id": id, "signal": "TERM"}));
    }
    id
}

fn expected(outcome: &Outcome) -> Vec<Vec<String>> {
    let full = |told: &&[&str]| told.iter().map(|word| format!("task-{word}")).collect();
    outcome.told.iter().map(full).collect()
}

fn each_outcome_is_told_in_order(fleet: Fleet) {
    let mut cast = heard(fleet, |peer| peer.events());
    let workers = crate::control::each(&cast);
    let mut shapes: BTreeMap<(&'static str, String, usize), Value> = BTreeMap::new();
    let mut found = Vec::new();
    // Celery first: it is the model.
    for (node, queue) in workers.iter().rev() {
        let outcomes = outcomes();
        let ids: Vec<String> = outcomes
            .iter()
            .map(|outcome| send(&mut cast, node, queue, outcome))
            .collect();
        for (outcome, id) in outcomes.iter().zip(&ids) {
            let expected = expected(outcome);
            // Celery tells a hard limit once, then again.
            let enough = expected.iter().map(Vec::len).min().unwrap_or_default();
            let started = std::time::Instant::now();
            while of_task(&mut cast, id).len() < enough
                && started.elapsed() < std::time::Duration::from_secs(10)
            {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        // Whatever would come too much has come when this one is told.
        let last = cast.send(queue, "demo.add", &json!([2, 3]), &json!({}));
        eventually("the last task to be told", || {
            types(&of_task(&mut cast, &last)).contains(&"task-succeeded".to_owned())
        });
        for (outcome, id) in outcomes.iter().zip(&ids) {
            let events = of_task(&mut cast, id);
            let told = types(&events);
            if !expected(outcome).contains(&told) {
                found.push(format!("{} of {node}: {told:?}", outcome.what));
            }
            found.extend(faults(outcome, node, &events));
            for (index, event) in events.iter().enumerate() {
                let kind = event["type"].as_str().expect("text").to_owned();
                let turn = told[..index]
                    .iter()
                    .filter(|earlier| **earlier == kind)
                    .count();
                match shapes.get(&(outcome.what, kind.clone(), turn)) {
                    Some(model) => {
                        let different = differences(&kind, model, event, ALLOWED);
                        found.extend(
                            different
                                .iter()
                                .map(|line| format!("{}: {line}", outcome.what)),
                        );
                    }
                    None => drop(shapes.insert((outcome.what, kind, turn), event.clone())),
                }
            }
        }
    }
    found.sort();
    found.dedup();
    assert!(
        found.is_empty(),
        "{} faults:\n{}",
        found.len(),
        found.join("\n")
    );
    assert_no_trouble(&mut cast);
}

/// What the values say, where both kinds must say the same.
fn faults(outcome: &Outcome, node: &str, events: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut fault = |event: &Value, what: &str| {
        found.push(format!("{} of {node}: {what}: {event}", outcome.what))
    };
    for event in events {
        if event["hostname"] != node {
            fault(event, "another's name");
        }
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "task-received" {
            let name = if outcome.options["shadow"].is_string() {
                &outcome.options["shadow"]
            } else {
                &json!(outcome.task)
            };
            if event["name"] != *name {
                fault(event, "another name");
            }
        }
        if kind == "task-succeeded" && outcome.task == "demo.add" && event["result"] != "5" {
            fault(event, "the result as Python writes it");
        }
        if kind == "task-revoked" {
            let expected = match outcome.what {
                "terminated" => json!([true, 15, false]),
                "revoked" => json!([false, null, false]),
                _ => json!([false, null, true]),
            };
            if json!([event["terminated"], event["signum"], event["expired"]]) != expected {
                fault(event, "how it was revoked");
            }
        }
        if kind == "task-checkpoint"
            && json!([event["step"], event["note"]]) != json!([3, "half way"])
        {
            fault(event, "its own fields");
        }
        if kind == "task-rejected" && event["requeue"] != (outcome.task == "test.requeue_once") {
            fault(event, "whether it was requeued");
        }
        if kind == "task-failed" {
            let wanted = match outcome.what {
                "failure" => "RuntimeError('demo.fail does what it says')",
                "an exception of the application" => "Refused(1, 'é')",
                "retries used up" => "KeyError('lost')",
                "reject" => "reject requeue=False: no thanks",
                "unregistered" => "NotRegistered('no.such.task')",
                "soft limit" => "SoftTimeLimitExceeded()",
                "hard limit" if node.starts_with("lovage") => "TimeLimitExceeded(0.7,)",
                _ => continue,
            };
            if event["exception"] != wanted {
                fault(event, wanted);
            }
        }
    }
    found
}
