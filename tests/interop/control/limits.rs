//! Limits that are set while the worker runs.

use std::time::{Duration, Instant};

use lovage_integration_tests::{Cast, Fleet, eventually};
use serde_json::{Value, json};

use super::{LOVAGE, assert_ok, each, end_of};

in_each_fleet!(a_rate_limit_slows_and_is_shown, time_limits_are_accepted);

/// How long so many tasks take from the first to the last end.
fn time_of(cast: &mut Cast, queue: &str, tasks: usize) -> Duration {
    let started = Instant::now();
    let ids: Vec<String> = (0..tasks)
        .map(|_| cast.send(queue, "demo.add", &json!([2, 3]), &json!({})))
        .collect();
    eventually("the end of the tasks", || {
        ids.iter().all(|id| cast.redis.state(id) == "SUCCESS")
    });
    started.elapsed()
}

fn set_rate(cast: &mut Cast, node: &str, rate: &Value) -> Value {
    cast.ask(
        node,
        "rate_limit",
        &json!({"task_name": "demo.add", "rate_limit": rate}),
    )
}

fn registered(cast: &mut Cast, node: &str) -> String {
    let all = cast.ask(node, "registered", &json!({}));
    let all = all.as_array().expect("a list");
    let entry = all
        .iter()
        .filter_map(Value::as_str)
        .find(|entry| entry.starts_with("demo.add"));
    entry.expect("demo.add is registered").to_owned()
}

fn a_rate_limit_slows_and_is_shown(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        assert_eq!(registered(&mut cast, &node), "demo.add");
        let answer = set_rate(&mut cast, &node, &json!("4/s"));
        assert_ok(&answer, "new rate limit set successfully");
        assert_eq!(registered(&mut cast, &node), "demo.add [rate_limit=4/s]");
        // One at once, the others a quarter of a second apart.
        let slow = time_of(&mut cast, &queue, 6);
        assert!(slow >= Duration::from_millis(1150), "{node}: {slow:?}");
        assert_ok(
            &set_rate(&mut cast, &node, &json!("1000/s")),
            "new rate limit set successfully",
        );
        let quick = time_of(&mut cast, &queue, 6);
        assert!(quick < Duration::from_millis(1100), "{node}: {quick:?}");
        // What was refused leaves the limit as it is.
        assert!(set_rate(&mut cast, &node, &json!("fast"))["error"].is_string());
        assert_eq!(registered(&mut cast, &node), "demo.add [rate_limit=1000/s]");
        assert_ok(
            &set_rate(&mut cast, &node, &json!(null)),
            "rate limit disabled successfully",
        );
        assert_eq!(registered(&mut cast, &node), "demo.add");
        assert!(
            time_of(&mut cast, &queue, 6) < Duration::from_millis(1100),
            "{node}"
        );
    }
}

/// Celery says so and does nothing of it; see `better` for what a Lovage worker does.
fn time_limits_are_accepted(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        for arguments in [
            json!({"task_name": "demo.sleep", "soft": 50, "hard": 60.5}),
            json!({"task_name": "demo.sleep", "hard": 60}),
            json!({"task_name": "demo.sleep", "soft": 50.0}),
            json!({"task_name": "demo.sleep", "soft": null, "hard": null}),
            json!({"task_name": "demo.sleep"}),
        ] {
            assert_ok(
                &cast.ask(&node, "time_limit", &arguments),
                "time limits set successfully",
            );
        }
        // The limits that a message brings hold as ever.
        let soft = cast.send(
            &queue,
            "demo.sleep",
            &json!([30]),
            &json!({"soft_time_limit": 0.4}),
        );
        assert_eq!(end_of(&mut cast.python, &soft)[1], "SoftTimeLimitExceeded");
        let hard = cast.send(
            &queue,
            "demo.sleep",
            &json!([30]),
            &json!({"time_limit": 0.8}),
        );
        assert_eq!(
            end_of(&mut cast.python, &hard),
            json!(["FAILURE", "TimeLimitExceeded", "TimeLimitExceeded(0.8,)"])
        );
    }
}

#[test]
fn a_limit_of_one_worker_is_not_the_others() {
    let mut cast = Cast::of(Fleet::Both);
    set_rate(&mut cast, LOVAGE, &json!("1/m"));
    assert_eq!(registered(&mut cast, super::PYTHON), "demo.add");
    assert_eq!(registered(&mut cast, LOVAGE), "demo.add [rate_limit=1/m]");
}
