//! Stopping by command.

use lovage_integration_tests::{Cast, Fleet};
use serde_json::json;

use super::{assert_works, each, send_sleeps};

in_each_fleet!(shutdown_is_warm_and_ends_well);

fn shutdown_is_warm_and_ends_well(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    let workers = each(&cast);
    for (index, (node, queue)) in workers.iter().enumerate() {
        // What runs is finished first.
        let running = send_sleeps(&mut cast, queue, 0.8, 1).remove(0);
        cast.wait_for_active(node, 1);
        cast.tell(node, "shutdown", &json!({}));
        let status = cast.peers[index]
            .process()
            .wait(std::time::Duration::from_secs(20));
        assert_eq!(status.code(), Some(0), "{node}");
        assert_eq!(cast.redis.state(&running), "SUCCESS");
        // The others go on.
        for (other, queue) in &workers[index + 1..] {
            cast.ask(other, "ping", &json!({}));
            assert_works(&mut cast, queue);
        }
    }
    assert_eq!(cast.python.eval("ask('ping', timeout=0.3)"), json!({}));
}
