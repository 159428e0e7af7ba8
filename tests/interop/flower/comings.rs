//! Workers that come and go under Flower's eyes.

use lovage_integration_tests::{Cast, Fleet, Flower, Kind, Peer};
use serde_json::json;

use super::Watched;

in_each_fleet!(
    a_killed_worker_goes_offline_and_comes_back,
    events_are_asked_for_by_flower
);

fn a_killed_worker_goes_offline_and_comes_back(fleet: Fleet) {
    let mut watched = Watched::with(fleet, |peer| peer.events().flag("--heartbeat-interval=1"));
    for index in 0..watched.cast.peers.len() {
        let (kind, node, queue) = {
            let peer = &mut watched.cast.peers[index];
            peer.process().kill();
            (peer.kind, peer.node.clone(), peer.queue.clone())
        };
        // It could not say good-bye: its beats are missed.
        watched.wait_for_row(&node, |row| row["status"] == false);
        assert_eq!(
            watched.flower.get("/api/workers?status=1").json()[&node],
            false
        );
        let again = Peer::builder(kind, &watched.cast.redis.port_url())
            .events()
            .flag("--heartbeat-interval=1");
        watched.cast.peers[index] = again.launch();
        watched.cast.peers[index].wait_until_ready();
        let pid = watched.cast.peers[index].pid();
        watched.wait_for_row(&node, |row| row["status"] == true && row["pid"] == pid);
        let id = watched
            .cast
            .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        assert_eq!(watched.task(&id, "SUCCESS")["worker"], node.as_str());
    }
}

/// It enables the events of workers that were started without them.
fn events_are_asked_for_by_flower(fleet: Fleet) {
    let mut watched = Watched::with(fleet, |peer| peer);
    for (node, queue) in watched.each() {
        // It does so every five seconds.
        watched.cast.ask_until(&node, "enable_events", |answer| {
            answer["ok"] == "task events already enabled"
        });
        let id = watched
            .cast
            .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        watched.task(&id, "SUCCESS");
    }
}

#[test]
fn a_fleet_of_twenty_is_listed_whole() {
    let cast = Cast::of(Fleet::Lovage);
    let url = cast.redis.port_url();
    let mut flower = Flower::launch(&url);
    let mut peers: Vec<Peer> = (0..19)
        .map(|number| {
            Peer::builder(Kind::LovageAsync, &url)
                .name(&format!("worker{number}"))
                .events()
                .launch()
        })
        .collect();
    peers.iter_mut().for_each(Peer::wait_until_ready);
    flower.wait_until_ready();
    let page = flower.get_until("/workers?json=1", |page| {
        page["data"]
            .as_array()
            .is_some_and(|rows| rows.len() == 20 && rows.iter().all(|row| row["status"] == true))
    });
    assert_eq!(page["data"].as_array().map(Vec::len), Some(20));
    // All answer within the second that it gives them.
    let all = flower.get("/api/workers?refresh=1").json();
    let all = all.as_object().expect("an object");
    assert_eq!(all.len(), 20, "{:?}", all.keys());
    for (node, worker) in all {
        for part in ["stats", "active_queues", "registered", "conf"] {
            assert!(!worker[part].is_null(), "{node} has no {part}");
        }
    }
    let log = flower.process().log().text();
    assert!(!log.contains("Traceback"), "{log}");
}
