//! What a Lovage worker does better than Celery's: each of these was asked of Celery in vain.

use std::time::Duration;

use lovage_integration_tests::{Cast, Fleet, eventually};
use serde_json::{Value, json};

use super::{LOVAGE, assert_ok, assert_works, end_of, send_sleeps};

/// With both of our pools.
macro_rules! in_each_pool {
    ($($behaviour:ident),+ $(,)?) => {
        crate::in_fleet!(prefork, Lovage, $($behaviour),+);
        crate::in_fleet!(with_async, LovageAsync, $($behaviour),+);
    };
}

in_each_pool!(
    limits_take_effect_on_the_next_task,
    growing_moves_the_number_that_is_shown,
    growing_works_beside_autoscale,
    a_rate_limit_is_taken_away,
    a_busy_worker_answers_at_once,
);

fn limit(cast: &mut Cast, soft: &Value, hard: &Value) {
    let arguments = json!({"task_name": "demo.sleep", "soft": soft, "hard": hard});
    assert_ok(
        &cast.ask(LOVAGE, "time_limit", &arguments),
        "time limits set successfully",
    );
}

fn limits_take_effect_on_the_next_task(fleet: Fleet) {
    let mut cast = Cast::with(fleet, |peer| peer.events());
    cast.python
        .run("from listening import Listener\nlistener = Listener(app)");
    let mut end = |soft: Value, hard: Value| {
        limit(&mut cast, &soft, &hard);
        let id = send_sleeps(&mut cast, "lovage", 30.0, 1).remove(0);
        let end = end_of(&mut cast.python, &id);
        eventually("its event", || {
            cast.python.eval(&format!(
                "[e['exception'] for e in listener.of_task({id:?}) if e['type'] == 'task-failed']"
            )) != json!([])
        });
        let told = cast.python.eval(&format!(
            "[e['exception'] for e in listener.of_task({id:?}) if e['type'] == 'task-failed']"
        ));
        (end, told)
    };
    let (stored, told) = end(json!(null), json!(1));
    assert_eq!(
        stored,
        json!(["FAILURE", "TimeLimitExceeded", "TimeLimitExceeded(1,)"])
    );
    assert_eq!(told, json!(["TimeLimitExceeded(1,)"]));
    let (stored, told) = end(json!(0.5), json!(20));
    assert_eq!(
        (&stored[0], &stored[1]),
        (&json!("FAILURE"), &json!("SoftTimeLimitExceeded"))
    );
    assert_eq!(told, json!(["SoftTimeLimitExceeded()"]));
    // Neither is no limit.
    cast.ask(LOVAGE, "time_limit", &json!({"task_name": "demo.sleep"}));
    let id = send_sleeps(&mut cast, "lovage", 1.2, 1).remove(0);
    cast.redis.wait_for_state(&id, "SUCCESS");
}

fn growing_moves_the_number_that_is_shown(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    let shown = |cast: &mut Cast, wanted: u64| {
        cast.ask_until(LOVAGE, "stats", |stats| {
            stats["pool"]["max-concurrency"] == wanted
        });
    };
    shown(&mut cast, 2);
    cast.ask(LOVAGE, "pool_grow", &json!({"n": 3}));
    shown(&mut cast, 5);
    cast.ask(LOVAGE, "pool_shrink", &json!({"n": 4}));
    shown(&mut cast, 1);
}

/// What is grown beyond the upper bound moves that, as Celery did when it still grew beside autoscale.
fn growing_works_beside_autoscale(fleet: Fleet) {
    let mut cast = Cast::with(fleet, |peer| peer.flag("--autoscale=2,2"));
    assert_ok(
        &cast.ask(LOVAGE, "pool_grow", &json!({"n": 1})),
        "pool will grow",
    );
    send_sleeps(&mut cast, "lovage", 30.0, 4);
    cast.wait_for_active(LOVAGE, 3);
}

fn a_rate_limit_is_taken_away(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    let entry = |cast: &mut Cast| {
        let all = cast.ask(LOVAGE, "registered", &json!({}));
        all.as_array()
            .is_some_and(|all| all.contains(&json!("demo.add")))
    };
    for nothing in [json!("0"), json!(0), json!(""), json!(null)] {
        let set = |rate: &Value| json!({"task_name": "demo.add", "rate_limit": rate});
        cast.ask(LOVAGE, "rate_limit", &set(&json!("1/h")));
        assert!(!entry(&mut cast));
        let answer = cast.ask(LOVAGE, "rate_limit", &set(&nothing));
        assert!(answer["ok"].is_string(), "{nothing}: {answer}");
        assert!(entry(&mut cast), "{nothing} leaves a limit");
    }
}

fn a_busy_worker_answers_at_once(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    // The blocking ones hold a thread each, in the pool's own manner.
    for _ in 0..2 {
        cast.send("lovage", "test.block", &json!([30.0]), &json!({}));
    }
    send_sleeps(&mut cast, "lovage", 30.0, 20);
    cast.wait_for_active(LOVAGE, 2);
    let mut slowest = Duration::ZERO;
    for method in [
        "ping",
        "stats",
        "active",
        "reserved",
        "scheduled",
        "registered",
        "conf",
        "active_queues",
        "report",
        "query_task",
    ] {
        let mut times = Vec::new();
        for _ in 0..3 {
            let answer = cast
                .python
                .eval(&format!("timed({method:?}, {{'ids': []}}, [{LOVAGE:?}])"));
            let answer = match method {
                // These two take no argument that they do not know.
                "active_queues" | "report" => cast
                    .python
                    .eval(&format!("timed({method:?}, {{}}, [{LOVAGE:?}])")),
                _ => answer,
            };
            assert!(answer[0].get(LOVAGE).is_some(), "{method}: {answer}");
            times.push(Duration::from_secs_f64(
                answer[1].as_f64().expect("seconds"),
            ));
        }
        // The best of three: the machine has others to serve, too.
        slowest = slowest.max(times.into_iter().min().unwrap_or_default());
    }
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
}

#[test]
fn a_pool_restarts_without_losing_what_runs() {
    let mut cast = Cast::with(Fleet::Lovage, |peer| {
        peer.setting("worker_pool_restarts", json!(true))
    });
    let ids = send_sleeps(&mut cast, "lovage", 1.0, 4);
    cast.wait_for_active(LOVAGE, 2);
    cast.ask(LOVAGE, "pool_restart", &json!({}));
    for id in &ids {
        cast.redis.wait_for_state(id, "SUCCESS");
    }
    assert_works(&mut cast, "lovage");
}
