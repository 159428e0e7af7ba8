//! What a worker tells of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use lovage_integration_tests::shape::differences;
use lovage_integration_tests::{Cast, Fleet, Kind, eventually};
use serde_json::{Value, json};

use super::{assert_no_trouble, heard, of_node, types};

in_each_fleet!(
    a_worker_tells_when_it_comes_beats_and_goes,
    a_quiet_worker_tells_nothing
);

fn a_worker_tells_when_it_comes_beats_and_goes(fleet: Fleet) {
    let mut cast = heard(fleet, |peer| peer.flag("--heartbeat-interval=1"));
    let mut models: BTreeMap<String, Value> = BTreeMap::new();
    let workers = crate::control::each(&cast);
    for (index, (node, queue)) in workers.iter().enumerate().rev() {
        let beats = |events: &[Value]| {
            types(events)
                .iter()
                .filter(|kind| *kind == "worker-heartbeat")
                .count()
        };
        eventually("three beats", || beats(&of_node(&mut cast, node)) >= 3);
        let before = of_node(&mut cast, node);
        assert_eq!(types(&before)[0], "worker-online", "{node}: {before:?}");
        // It tells what it is about.
        let busy = crate::control::send_sleeps(&mut cast, queue, 1.5, 2);
        eventually("a beat while it is busy", || {
            of_node(&mut cast, node)
                .iter()
                .any(|event| event["active"] == 2)
        });
        for id in &busy {
            cast.redis.wait_for_state(id, "SUCCESS");
        }
        eventually("a beat after", || {
            of_node(&mut cast, node)
                .last()
                .is_some_and(|event| event["active"] == 0 && event["processed"] == 2)
        });
        // It says that it goes before it is gone, while it still works.
        let last = crate::control::send_sleeps(&mut cast, queue, 1.2, 1).remove(0);
        cast.wait_for_active(node, 1);
        cast.peers[index]
            .process()
            .signal(rustix::process::Signal::TERM);
        eventually("its good-bye", || {
            types(&of_node(&mut cast, node)).contains(&"worker-offline".to_owned())
        });
        assert_ne!(
            cast.redis.state(&last),
            "SUCCESS",
            "{node} says good-bye at the end only"
        );
        cast.peers[index].process().wait(Duration::from_secs(20));
        assert_eq!(cast.redis.state(&last), "SUCCESS");
        let all = of_node(&mut cast, node);
        assert_eq!(
            types(&all).last().map(String::as_str),
            Some("worker-offline"),
            "{node}"
        );
        for event in &all {
            // The short one is the answer to a monitor that has just come.
            if event["freq"] == 5 {
                continue;
            }
            assert_eq!(event["freq"].as_f64(), Some(1.0), "{event}");
            assert_eq!(
                event["loadavg"].as_array().map(Vec::len),
                Some(3),
                "{event}"
            );
            let kind = event["type"].as_str().expect("text").to_owned();
            let model = models.entry(kind.clone()).or_insert_with(|| event.clone());
            assert_eq!(differences(&kind, model, event, &[]), Vec::<String>::new());
        }
        assert_eq!(
            cast.python
                .eval(&format!("listener.state.workers[{node:?}].alive")),
            false
        );
    }
    assert_no_trouble(&mut cast);
}

fn a_quiet_worker_tells_nothing(fleet: Fleet) {
    let mut cast = heard(fleet, |peer| {
        peer.flag("--without-heartbeat").flag("--without-gossip")
    });
    for (node, queue) in crate::control::each(&cast) {
        let id = cast.send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        cast.redis.wait_for_state(&id, "SUCCESS");
        let told = of_node(&mut cast, &node);
        // Asked for a beat it beats, though: the receiver asks when it comes.
        assert!(
            types(&told).iter().all(|kind| kind == "worker-heartbeat"),
            "{told:?}"
        );
        assert!(told.iter().all(|event| event["freq"] == 5), "{told:?}");
        assert_eq!(super::of_task(&mut cast, &id), Vec::<Value>::new());
    }
    assert_no_trouble(&mut cast);
}

#[test]
fn a_celery_worker_misses_the_beats_of_one_of_ours() {
    let mut cast = Cast::with(Fleet::Both, |peer| {
        let peer = peer.events().flag("--heartbeat-interval=1");
        match peer.kind() {
            // That it has heard of another is said nowhere else.
            Kind::Python => peer.flag("--loglevel=DEBUG"),
            _ => peer,
        }
    });
    cast.peers[1]
        .process()
        .wait_for("lovage@peer joined the party", Duration::from_secs(20));
    let lost = "missed heartbeat from lovage@peer";
    assert!(!cast.peers[1].process().log().has(lost));
    cast.peers[0].process().kill();
    cast.peers[1]
        .process()
        .wait_for(lost, Duration::from_secs(20));
    let log = cast.peers[1].process().log().text();
    assert!(
        !log.contains("Traceback") && !log.contains("WARNING/"),
        "{log}"
    );
}
