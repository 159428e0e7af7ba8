//! Queues are taken up and left by command.

use std::time::Duration;

use lovage_integration_tests::{Cast, Fleet, eventually, never_within};
use serde_json::{Value, json};

use super::{assert_ok, assert_works, each};

in_each_fleet!(
    a_queue_is_taken_up_and_left,
    a_queue_is_taken_up_with_its_binding
);

fn names(queues: &Value) -> Vec<String> {
    let queues = queues.as_array().expect("a list");
    let mut names: Vec<String> = queues
        .iter()
        .map(|queue| queue["name"].as_str().expect("text").to_owned())
        .collect();
    names.sort();
    names
}

fn a_queue_is_taken_up_and_left(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        let extra = format!("a-extra-{queue}");
        let early = cast.send(&extra, "demo.add", &json!([2, 3]), &json!({}));
        never_within(
            Duration::from_millis(300),
            "a task of a foreign queue runs",
            || cast.redis.state(&early) != "PENDING",
        );
        let answer = cast.ask(&node, "add_consumer", &json!({"queue": extra}));
        assert_ok(&answer, &format!("add consumer {extra}"));
        cast.redis.wait_for_state(&early, "SUCCESS");
        let queues = cast.ask(&node, "active_queues", &json!({}));
        assert_eq!(names(&queues), [extra.clone(), queue.clone()]);
        let added = queues
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == extra.as_str()))
            .expect("it");
        assert_eq!(
            (&added["routing_key"], &added["exchange"]["name"]),
            (&json!(extra), &json!(extra)),
            "{added}"
        );
        assert_eq!(added["exchange"]["type"], "direct", "{added}");
        // Once more is no more.
        cast.ask(&node, "add_consumer", &json!({"queue": extra}));
        assert_eq!(
            names(&cast.ask(&node, "active_queues", &json!({}))).len(),
            2
        );

        let answer = cast.ask(&node, "cancel_consumer", &json!({"queue": extra}));
        assert_ok(&answer, &format!("no longer consuming from {extra}"));
        cast.ask_until(&node, "active_queues", |queues| {
            names(queues) == [queue.clone()]
        });
        // A fetch that was under way when it was told may still bring one.
        assert_works(&mut cast, &queue);
        eventually("the last fetch to be over", || cast.redis.unacked() == 0);
        let late = cast.send(&extra, "demo.add", &json!([2, 3]), &json!({}));
        assert_works(&mut cast, &queue);
        never_within(
            Duration::from_millis(400),
            "a task of a queue that was left runs",
            || cast.redis.state(&late) != "PENDING",
        );
        assert_eq!(cast.redis.depth(&extra), 1);
        // Its own queue, too, is left and taken up again.
        cast.ask(&node, "cancel_consumer", &json!({"queue": queue}));
        cast.ask_until(&node, "active_queues", |queues| names(queues).is_empty());
        cast.ask(&node, "add_consumer", &json!({"queue": queue}));
        assert_works(&mut cast, &queue);
    }
}

fn a_queue_is_taken_up_with_its_binding(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        let bound = format!("bound-{queue}");
        let arguments = json!({"queue": bound, "exchange": "news", "exchange_type": "topic", "routing_key": format!("{queue}.#")});
        let answer = cast.ask(&node, "add_consumer", &arguments);
        assert_ok(&answer, &format!("add consumer {bound}"));
        let queues = cast.ask_until(&node, "active_queues", |queues| {
            names(queues).contains(&bound)
        });
        let added = queues
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == bound.as_str()))
            .expect("it");
        assert_eq!(
            (&added["exchange"]["name"], &added["exchange"]["type"]),
            (&json!("news"), &json!("topic")),
            "{added}"
        );
        let id = cast.python.eval(&format!(
            r#"app.send_task("demo.add", [2, 3], exchange="news", exchange_type="topic", routing_key="{queue}.weather").id"#
        ));
        cast.redis
            .wait_for_state(id.as_str().expect("an id"), "SUCCESS");
    }
}
