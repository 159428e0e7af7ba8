//! What a worker holds is shown as it is: what runs, what waits, what is due later, what was revoked.

use lovage_integration_tests::{Cast, Fleet};
use serde_json::{Value, json};

use super::{each, send_sleeps};

in_each_fleet!(
    held_tasks_are_shown_where_they_are,
    numbers_tell_what_was_done
);

fn in_each_is(list: &Value, name: &str) -> Vec<String> {
    let text = |task: &Value| task[name].as_str().expect("text").to_owned();
    list.as_array().expect("a list").iter().map(text).collect()
}

fn held_tasks_are_shown_where_they_are(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        let running = send_sleeps(&mut cast, &queue, 60.0, 2);
        let active = cast.wait_for_active(&node, 2);
        let waiting = cast.send(
            &queue,
            "demo.add",
            &json!([1, "é"]),
            &json!({"kwargs": {"x": [true, null]}}),
        );
        let late = cast.send(
            &queue,
            "demo.add",
            &json!([3, 4]),
            &json!({"countdown": 3600, "shadow": "shown"}),
        );
        cast.ask(&node, "revoke", &json!({"task_id": ["gone"]}));

        let mut ids = in_each_is(&active, "id");
        ids.sort();
        let mut wanted = running.clone();
        wanted.sort();
        assert_eq!(ids, wanted);
        for task in active.as_array().expect("a list") {
            assert_eq!(
                (&task["name"], &task["type"]),
                (&json!("demo.sleep"), &json!("demo.sleep"))
            );
            assert_eq!(
                (&task["args"], &task["kwargs"]),
                (&json!([60.0]), &json!({}))
            );
            assert_eq!(task["hostname"], node.as_str());
            assert!(
                task["worker_pid"].as_i64().is_some_and(|pid| pid > 1),
                "{task}"
            );
            assert!(
                task["time_start"].as_f64().is_some_and(|time| time > 1.0e9),
                "{task}"
            );
            let sent =
                json!({"exchange": "", "routing_key": queue, "priority": 0, "redelivered": false});
            assert_eq!(plain(&task["delivery_info"]), sent, "{task}");
        }
        let safe = cast.ask(&node, "active", &json!({"safe": true}));
        assert_eq!(
            (&safe[0]["args"], &safe[0]["kwargs"]),
            (&json!("(60.0,)"), &json!("{}")),
            "{safe}"
        );

        let one = |held: &Value| held.as_array().is_some_and(|held| held.len() == 1);
        let reserved = cast.ask_until(&node, "reserved", one);
        assert_eq!(reserved[0]["id"], waiting.as_str());
        assert_eq!(
            (&reserved[0]["args"], &reserved[0]["kwargs"]),
            (&json!([1, "é"]), &json!({"x": [true, null]}))
        );
        assert_eq!(
            (
                &reserved[0]["acknowledged"],
                &reserved[0]["worker_pid"],
                &reserved[0]["time_start"]
            ),
            (&json!(false), &json!(null), &json!(null)),
            "{reserved}"
        );

        let scheduled = cast.ask_until(&node, "scheduled", one);
        let request = &scheduled[0]["request"];
        assert_eq!(request["id"], late.as_str());
        assert_eq!(
            (&request["name"], &request["type"]),
            (&json!("shown"), &json!("demo.add")),
            "{request}"
        );
        assert_eq!(request["args"], json!([3, 4]));
        assert!(
            scheduled[0]["eta"]
                .as_str()
                .is_some_and(|eta| eta.contains('T')),
            "{scheduled}"
        );

        assert_eq!(cast.ask(&node, "revoked", &json!({})), json!(["gone"]));

        let ids = json!({"ids": [running[0], waiting, late, "unknown"]});
        let states = cast.ask(&node, "query_task", &ids);
        assert_eq!(states[&running[0]][0], "active", "{states}");
        assert_eq!(states[&waiting][0], "reserved", "{states}");
        assert_eq!(states[&late][0], "scheduled", "{states}");
        assert_eq!(
            states.as_object().map(serde_json::Map::len),
            Some(3),
            "{states}"
        );
        cast.ask(
            &node,
            "terminate",
            &json!({"signal": "KILL", "task_id": running}),
        );
    }
}

/// Null and false are one where a message says neither.
fn plain(info: &Value) -> Value {
    let mut info = info.clone();
    if info["redelivered"].is_null() {
        info["redelivered"] = json!(false);
    }
    info
}

fn numbers_tell_what_was_done(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        for _ in 0..3 {
            super::assert_works(&mut cast, &queue);
        }
        let failed = cast.send(&queue, "demo.fail", &json!([]), &json!({}));
        cast.redis.wait_for_state(&failed, "FAILURE");
        let stats = cast.ask(&node, "stats", &json!({}));
        assert_eq!(
            stats["total"],
            json!({"demo.add": 3, "demo.fail": 1}),
            "{stats}"
        );
        assert!(
            stats["prefetch_count"]
                .as_u64()
                .is_some_and(|count| count > 0),
            "{stats}"
        );
        assert!(
            stats["clock"]
                .as_str()
                .is_some_and(|clock| clock.parse::<u64>().is_ok()),
            "{stats}"
        );
        let peer = cast
            .peers
            .iter_mut()
            .find(|peer| peer.node == node)
            .expect("it is one of the cast");
        assert_eq!(stats["pid"], peer.pid());
        assert_eq!(stats["broker"]["port"], cast.redis.port());
        assert_eq!(stats["broker"]["transport"], "redis");
        assert_eq!(stats["pool"]["max-concurrency"], 2, "{stats}");
        let sample = cast.ask(&node, "memsample", &json!({}));
        assert!(
            sample.is_null() || sample.as_str().is_some_and(|text| text.ends_with('B')),
            "{sample}"
        );
    }
}
