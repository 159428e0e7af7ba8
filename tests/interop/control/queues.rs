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

fn named(queues: &Value, name: &str) -> Value {
    let all = queues.as_array().expect("a list");
    let found = all.iter().find(|queue| queue["name"] == name);
    found.expect("the queue is listed").clone()
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
        let added = named(&queues, &extra);
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
        let add = |cast: &mut Cast, exchange: &str, kind: &str, key: &str| {
            // The name of one that is known keeps its binding.
            let name = format!("{exchange}-{queue}");
            let arguments = json!({
                "queue": name, "exchange": exchange, "exchange_type": kind, "routing_key": key});
            let answer = cast.ask(&node, "add_consumer", &arguments);
            assert_ok(&answer, &format!("add consumer {name}"));
            let queues = cast.ask_until(&node, "active_queues", |queues| {
                names(queues).contains(&name)
            });
            let added = named(&queues, &name);
            assert_eq!(
                (&added["exchange"]["name"], &added["exchange"]["type"]),
                (&json!(exchange), &json!(kind))
            );
            assert_eq!(added["routing_key"], key, "{added}");
        };
        add(&mut cast, "news", "direct", &format!("{queue}-news"));
        let id = cast.python.eval(&format!(
            r#"app.send_task("demo.add", (2, 3), exchange="news", routing_key="{queue}-news").id"#
        ));
        cast.redis
            .wait_for_state(id.as_str().expect("an id"), "SUCCESS");
        add(&mut cast, "topics", "topic", &format!("{queue}.#"));
        let id = cast.python.run(&format!(
            r#"
            from kombu import Exchange
            answer(app.send_task("demo.add", (2, 3), exchange="topics", routing_key="{queue}.weather.today",
                                 declare=[Exchange("topics", type="topic")]).id)
            "#
        ));
        cast.redis
            .wait_for_state(id.as_str().expect("an id"), "SUCCESS");
    }
}
