//! Task events are switched on and off while the worker runs.

use lovage_integration_tests::{Cast, Fleet, eventually};
use serde_json::{Value, json};

use super::{assert_no_trouble, heard, of_task, types};

in_each_fleet!(events_are_switched_by_command);

fn add(cast: &mut Cast, queue: &str) -> String {
    let id = cast.send(queue, "demo.add", &json!([2, 3]), &json!({}));
    cast.redis.wait_for_state(&id, "SUCCESS");
    id
}

fn events_are_switched_by_command(fleet: Fleet) {
    let mut cast = heard(fleet, |peer| peer);
    for (node, queue) in crate::control::each(&cast) {
        let ask = |cast: &mut Cast, method: &str| cast.ask(&node, method, &json!({}))["ok"].clone();
        let silent = add(&mut cast, &queue);
        assert_eq!(ask(&mut cast, "enable_events"), "task events enabled");
        assert_eq!(
            ask(&mut cast, "enable_events"),
            "task events already enabled"
        );
        let told = add(&mut cast, &queue);
        eventually("its events", || {
            types(&of_task(&mut cast, &told)).len() == 3
        });
        assert_eq!(of_task(&mut cast, &silent), Vec::<Value>::new());
        assert_eq!(ask(&mut cast, "disable_events"), "task events disabled");
        assert_eq!(
            ask(&mut cast, "disable_events"),
            "task events already disabled"
        );
        let silent = add(&mut cast, &queue);
        assert_eq!(ask(&mut cast, "enable_events"), "task events enabled");
        let told = add(&mut cast, &queue);
        eventually("its events", || {
            types(&of_task(&mut cast, &told)).len() == 3
        });
        assert_eq!(of_task(&mut cast, &silent), Vec::<Value>::new());
    }
    assert_no_trouble(&mut cast);
}
