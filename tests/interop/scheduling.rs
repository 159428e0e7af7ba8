//! eta, countdown and expires as Python sends them.

use lovage_integration_tests::{Python, Stage};
use serde_json::json;

#[test]
fn a_countdown_is_waited_for() {
    let mut stage = Stage::new();
    let seen = stage.python.run(
        r#"
        import time
        sent = time.time()
        value = app.send_task("demo.add", (2, 3), countdown=1.5).get(timeout=15)
        answer([value, 1.4 <= time.time() - sent < 6])
        "#,
    );
    assert_eq!(seen, json!([5, true]));
}

#[test]
fn a_waiting_task_does_not_hold_up_the_others() {
    let mut stage = Stage::with(|worker| {
        worker
            .concurrency(1)
            .variable("CELERY_WORKER_PREFETCH_MULTIPLIER", "1")
    });
    let seen = stage.python.run(
        r#"
        later = [app.send_task("demo.add", (i, 0), countdown=3) for i in range(20)]
        now = [app.send_task("demo.add", (i, 1)).get(timeout=2.5) for i in range(5)]
        early = sum(r.ready() for r in later)
        answer([now, early, sorted(r.get(timeout=15) for r in later) == list(range(20))])
        "#,
    );
    assert_eq!(seen, json!([[1, 2, 3, 4, 5], 0, true]));
}

#[test]
fn an_eta_is_read_in_its_zone() {
    let mut stage = Stage::new();
    let seen = stage.python.run(
        r#"
        import time, datetime as dt
        def delay(eta):
            sent = time.time()
            app.send_task("demo.add", (2, 3), eta=eta).get(timeout=15)
            return time.time() - sent
        now = lambda **zone: dt.datetime.now(dt.timezone(dt.timedelta(**zone)))
        later = dt.timedelta(seconds=1.5)
        answer([1.3 <= delay(now(hours=0) + later) < 6,
                1.3 <= delay(now(hours=5, minutes=30) + later) < 6,
                1.3 <= delay(now(hours=-8) + later) < 6,
                delay(now(hours=9) - later) < 1])
        "#,
    );
    assert_eq!(seen, json!([true, true, true, true]));
}

#[test]
fn a_naive_eta_is_read_in_the_configured_zone() {
    let mut stage = Stage::with(|worker| worker.variable("CELERY_TIMEZONE", "Asia/Tokyo"));
    let seen = stage.python.run(
        r#"
        import time, datetime as dt, zoneinfo
        def delay(eta):
            sent = time.time()
            app.send_task("demo.add", (2, 3), eta=eta).get(timeout=15)
            return time.time() - sent
        naive = dt.datetime.now(zoneinfo.ZoneInfo("Asia/Tokyo")).replace(tzinfo=None)
        answer([1.3 <= delay(naive + dt.timedelta(seconds=1.5)) < 6, delay(naive - dt.timedelta(seconds=5)) < 1])
        "#,
    );
    assert_eq!(seen, json!([true, true]));
}

#[test]
fn an_expired_task_is_revoked_without_running() {
    let mut stage = Stage::new();
    let seen = stage.python.run(
        r#"
        import datetime as dt
        from celery.exceptions import TaskRevokedError
        def outcome(**options):
            result = app.send_task("demo.add", (2, 3), **options)
            try:
                return [result.get(timeout=15), result.state]
            except TaskRevokedError as error:
                return [str(error), result.state]
        past = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=5)
        answer([outcome(expires=past), outcome(countdown=2, expires=1), outcome(expires=60)])
        "#,
    );
    assert_eq!(
        seen,
        json!([
            ["expired", "REVOKED"],
            ["expired", "REVOKED"],
            [5, "SUCCESS"]
        ])
    );
}

#[test]
fn a_task_that_expires_while_it_waits_for_a_slot_is_not_run() {
    let mut stage = Stage::with(|worker| worker.concurrency(1));
    let seen = stage.python.run(
        r#"
        blocker = app.send_task("demo.sleep", (2,))
        waiting = app.send_task("demo.add", (2, 3), expires=0.5)
        waiting.get(timeout=15, propagate=False)
        answer([blocker.get(timeout=15) is not False, waiting.state])
        "#,
    );
    assert_eq!(seen, json!([true, "REVOKED"]));
}

#[test]
fn a_producer_in_another_zone_is_understood() {
    let stage = Stage::new();
    let mut far = Python::with_settings(
        &stage.redis,
        &json!({"timezone": "Pacific/Auckland", "enable_utc": false}),
    );
    let seen = far.run(
        r#"
        import time
        sent = time.time()
        app.send_task("demo.add", (2, 3), countdown=1.5, expires=30).get(timeout=15)
        answer(1.4 <= time.time() - sent < 6)
        "#,
    );
    assert_eq!(seen, true);
}
