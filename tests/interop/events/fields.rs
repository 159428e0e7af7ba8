//! What every event says, and in which order they come.

use lovage_integration_tests::{Fleet, eventually};
use serde_json::{Value, json};

use super::{assert_no_trouble, heard, list, of_task, types};

in_each_fleet!(
    clocks_only_grow,
    a_state_built_from_events_knows_each_task,
    sent_tasks_are_told_by_their_sender
);

fn clocks_only_grow(fleet: Fleet) {
    let mut cast = heard(fleet, |peer| peer.events());
    let workers = crate::control::each(&cast);
    for (node, queue) in &workers {
        let ids: Vec<String> = (0..30)
            .map(|index| cast.send(queue, "demo.add", &json!([index, 1]), &json!({})))
            .collect();
        eventually("all events", || {
            ids.iter()
                .all(|id| types(&of_task(&mut cast, id)).len() == 3)
        });
        let events = list(cast.python.eval(&format!(
            "[e for e in listener.events if e['hostname'] == {node:?}]"
        )));
        let clocks: Vec<u64> = events
            .iter()
            .map(|event| event["clock"].as_u64().expect("a clock"))
            .collect();
        assert!(
            clocks.windows(2).all(|pair| pair[0] < pair[1]),
            "{node}: {clocks:?}"
        );
        let pid = cast
            .peers
            .iter_mut()
            .find(|peer| peer.node == *node)
            .expect("it")
            .pid();
        for event in &events {
            assert_eq!(event["pid"], pid, "{event}");
            assert_eq!(
                event["utcoffset"], 0.0,
                "the machine's zone is UTC, or TZ is set: {event}"
            );
            let (sent, read) = (
                event["timestamp"].as_f64(),
                event["local_received"].as_f64(),
            );
            assert!(
                sent.zip(read)
                    .is_some_and(|(sent, read)| sent <= read && read - sent < 5.0),
                "{event}"
            );
        }
        for id in &ids {
            let told = of_task(&mut cast, id);
            let times: Vec<f64> = told
                .iter()
                .map(|event| event["timestamp"].as_f64().expect("a time"))
                .collect();
            assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{told:?}");
            assert!(
                told[2]["runtime"]
                    .as_f64()
                    .is_some_and(|runtime| runtime >= 0.0),
                "{told:?}"
            );
        }
    }
    assert_no_trouble(&mut cast);
}

fn a_state_built_from_events_knows_each_task(fleet: Fleet) {
    let mut cast = heard(fleet, |peer| peer.events());
    for (node, queue) in crate::control::each(&cast) {
        let options = json!({"kwargs": {"x": 2, "y": 3}});
        let id = cast.send(&queue, "demo.add", &json!([]), &options);
        let failed = cast.send(&queue, "demo.fail", &json!(["it's é"]), &json!({}));
        let seen = |cast: &mut lovage_integration_tests::Cast, id: &str| {
            cast.python.eval(&format!(
                "(lambda t: t and {{'state': t.state, 'name': t.name, 'args': t.args, 'kwargs': t.kwargs, \
                 'result': t.result, 'exception': t.exception, 'worker': t.worker.hostname, 'retries': t.retries, \
                 'root': t.root_id, 'parent': t.parent_id, 'ready': t.ready}})(listener.state.tasks.get({id:?}))"
            ))
        };
        eventually("both to be known", || {
            seen(&mut cast, &id)["ready"] == true && seen(&mut cast, &failed)["ready"] == true
        });
        let task = seen(&mut cast, &id);
        assert_eq!(
            task,
            json!({"state": "SUCCESS", "name": "demo.add", "args": "()", "kwargs": "{'x': 2, 'y': 3}",
            "result": "5", "exception": null, "worker": node, "retries": 0, "root": id, "parent": null, "ready": true})
        );
        let task = seen(&mut cast, &failed);
        assert_eq!(
            (&task["state"], &task["exception"]),
            (&json!("FAILURE"), &json!("RuntimeError(\"it's é\")")),
            "{task}"
        );
        assert_eq!(task["args"], "('it\\'s é',)", "{task}");
        let worker = cast.python.eval(&format!(
            "(lambda w: [w.alive, w.status_string, w.sw_sys, type(w.active).__name__, type(w.processed).__name__, len(w.loadavg)])(listener.state.workers[{node:?}])"
        ));
        assert_eq!(worker, json!([true, "ONLINE", "Linux", "int", "int", 3]));
    }
    assert_no_trouble(&mut cast);
}

fn sent_tasks_are_told_by_their_sender(fleet: Fleet) {
    let mut cast = heard(fleet, |peer| peer.events());
    cast.python.run("app.conf.task_send_sent_event = True");
    for (_, queue) in crate::control::each(&cast) {
        let id = cast.send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        eventually("its events", || of_task(&mut cast, &id).len() == 4);
        let told = of_task(&mut cast, &id);
        let sent: Vec<&Value> = told
            .iter()
            .filter(|event| event["type"] == "task-sent")
            .collect();
        assert_eq!(sent.len(), 1, "{told:?}");
        let state = cast.python.eval(&format!("(lambda t: [t.state, t.queue, t.routing_key, t.sent > 0, t.received > 0])(listener.state.tasks[{id:?}])"));
        assert_eq!(state, json!(["SUCCESS", queue, queue, true, true]));
    }
    assert_no_trouble(&mut cast);
}
