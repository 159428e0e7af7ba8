//! eta, countdown and expires as Python sends them.

use chrono::{DateTime, TimeDelta, Utc};
use lovage_integration_tests::{
    LovageWorker, Python, PythonWorker, RedisServer, ResultFeed, Stage, eventually,
};
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

#[test]
fn python_workers_that_sweep_leave_delayed_tasks_of_ours_alone() {
    let redis = RedisServer::start();
    let options = json!({"broker_transport_options": {
        "visibility_timeout": 1, "unacked_restore_interval": 0.2, "unacked_restore_throttle": 1,
    }});
    // It listens elsewhere, but looks through what everybody holds.
    let _python = PythonWorker::start(&redis, &["-P", "solo", "-Q", "elsewhere"], &options);
    let mut worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let mut python = Python::on(&redis);
    let mut feed = ResultFeed::of(&redis);
    let before = Utc::now();
    let id = python.run(r#"answer(app.send_task("demo.add", [2, 3], countdown=4).id)"#);
    let id = id.as_str().expect("an id");
    let record = redis.wait_for_state(id, "SUCCESS");
    let done = record["date_done"].as_str().expect("it has ended");
    let done = DateTime::parse_from_rfc3339(done).expect("it is a time");
    let waited = done.with_timezone(&Utc) - before;
    assert!(waited >= TimeDelta::milliseconds(3900), "{waited}");
    assert_eq!(feed.next_record()["status"], "STARTED");
    assert_eq!(feed.next_record()["status"], "SUCCESS");
    let other = python.run(r#"answer(app.send_task("demo.add", [40, 2]).id)"#);
    let other = other.as_str().expect("an id");
    let next = feed.next_record();
    assert_eq!(
        next["task_id"], other,
        "it ran once: the next news is of another"
    );
    redis.wait_for_state(other, "SUCCESS");
    assert_eq!(worker.stop().code(), Some(0));
    assert_eq!(redis.depth("celery") + redis.unacked(), 0);
}

#[test]
fn a_python_worker_runs_at_its_eta_what_the_last_worker_of_ours_gave_back() {
    let redis = RedisServer::start();
    let mut python = Python::on(&redis);
    let mut worker = LovageWorker::builder(&redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .start();
    let before = Utc::now();
    let id = python.run(r#"answer(app.send_task("test.pid", countdown=6).id)"#);
    let id = id.as_str().expect("an id").to_owned();
    drop(python);
    eventually("the message to be taken or kept", || {
        redis.depth("celery") == 0
    });
    assert_eq!(worker.stop().code(), Some(0));
    let _python = PythonWorker::on(&redis);
    let record = redis.wait_for_state(&id, "SUCCESS");
    let done = record["date_done"].as_str().expect("it has ended");
    let done = DateTime::parse_from_rfc3339(done).expect("it is a time");
    let waited = done.with_timezone(&Utc) - before;
    assert!(waited >= TimeDelta::milliseconds(5900), "{waited}");
    assert_eq!(record["result"], "python");
}
