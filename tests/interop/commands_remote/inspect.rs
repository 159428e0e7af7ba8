//! `lovage inspect`.

use lovage_integration_tests::{Python, RedisServer, TaskMessage, eventually};
use serde_json::{Value, json};

use super::{Cast, Whose, json_of, tell, well, worker};

/// A worker in all its states: one task runs, one is reserved, one is scheduled, one is revoked.
struct Busy {
    cast: Cast,
    redis: RedisServer,
    runs: TaskMessage,
    waits: TaskMessage,
    later: TaskMessage,
    revoked: TaskMessage,
}

impl Busy {
    fn new(whose: Whose) -> Self {
        let redis = RedisServer::start();
        let cast = whose.start(&redis, &[("-c", "1")], false);
        let busy = Self {
            runs: TaskMessage::new(cast.sleep, &json!([600]), &json!({})),
            waits: TaskMessage::new(cast.add, &json!([1, "two"]), &json!({"k": [3]})),
            later: TaskMessage::new(cast.add, &json!([2, 3]), &json!({}))
                .set("headers.eta", json!("2100-01-01T00:00:00+00:00")),
            revoked: TaskMessage::new(cast.add, &json!([2, 3]), &json!({})),
            cast,
            redis,
        };
        // Ours looks at a task's time when it has room for it, so that one comes first.
        busy.redis.publish("celery", &busy.later);
        eventually("one is scheduled", || !busy.list("scheduled").is_empty());
        busy.redis.publish("celery", &busy.runs);
        eventually("one runs", || !busy.list("active").is_empty());
        busy.redis.publish("celery", &busy.waits);
        eventually("one is reserved", || !busy.list("reserved").is_empty());
        well(&busy.redis, &format!("control revoke {}", busy.revoked.id));
        eventually("one is revoked", || !busy.list("revoked").is_empty());
        busy
    }

    fn list(&self, command: &str) -> Vec<Value> {
        let told = json_of(&self.redis, &format!("inspect {command} --json"));
        told["w1@box"].as_array().cloned().unwrap_or_default()
    }

    /// The lines below the node's name.
    fn lines(&self, command: &str) -> Vec<String> {
        let told = well(&self.redis, &format!("inspect {command}"));
        let body = told.strip_prefix("->  w1@box: OK\n");
        let body = body.and_then(|body| body.strip_suffix("\n1 node online.\n"));
        let body = body.unwrap_or_else(|| panic!("{command}: {told}"));
        let mut lines: Vec<String> = Vec::new();
        for line in body.lines().filter(|line| !line.is_empty()) {
            let line = line.strip_prefix("    ");
            lines.push(
                line.unwrap_or_else(|| panic!("{command}: {told}"))
                    .to_owned(),
            );
        }
        lines
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn json_of_a_python_worker_is_what_celery_gives() {
    json_is_what_celery_gives(Whose::Celery);
}

#[test]
fn json_of_our_worker_is_what_celery_gives() {
    json_is_what_celery_gives(Whose::Ours);
}

fn json_is_what_celery_gives(whose: Whose) {
    let busy = Busy::new(whose);
    let mut python = Python::on(&busy.redis);
    let mut check = |words: &str, call: &str| {
        let ours = json_of(&busy.redis, &format!("inspect --json {words}"));
        let theirs = python.eval(&format!("app.control.inspect(timeout=5, limit=1).{call}"));
        assert_eq!(ours, theirs, "{words}");
    };
    let id = busy.runs.id.clone();
    check("ping", "ping()");
    check("active", "active()");
    check("active --safe", "active(safe=True)");
    check("reserved", "reserved()");
    check("scheduled", "scheduled()");
    check("revoked", "revoked()");
    check("registered", "registered()");
    check("registered max_retries", "registered('max_retries')");
    check("active_queues", "active_queues()");
    check("conf", "conf()");
    check(
        &format!("query_task {id} nobody"),
        &format!("query_task('{id}', 'nobody')"),
    );
    check("report", "report()");
    // Without a library Python says nothing of its memory; ours changes all the time.
    if whose == Whose::Celery {
        check("memdump", "memdump()");
    }
    // Python writes `Infinity` into JSON, which nobody else can read.
    let theirs = python.run(
        r#"
        import json
        told = app.control.inspect(timeout=5, limit=1).conf(with_defaults=True)
        answer(json.loads(json.dumps(told), parse_constant=lambda name: None))
        "#,
    );
    assert_eq!(
        json_of(&busy.redis, "inspect -j conf --with-defaults"),
        theirs
    );
    let stats = json_of(&busy.redis, "inspect -j stats");
    let theirs = python.eval("app.control.inspect(timeout=5, limit=1).stats()");
    let keys = |stats: &Value| -> Vec<String> {
        let stats = stats["w1@box"].as_object();
        stats.expect("an object").keys().cloned().collect()
    };
    assert_eq!(keys(&stats), keys(&theirs));
    assert_eq!(stats["w1@box"]["total"], json!({ busy.cast.sleep: 1 }));
    let clock = json_of(&busy.redis, "inspect -j clock");
    assert!(clock["w1@box"]["clock"].is_i64(), "{clock}");
}

#[test]
fn people_read_tables_of_a_python_worker() {
    people_read_tables(Whose::Celery);
}

#[test]
fn people_read_tables_of_our_worker() {
    people_read_tables(Whose::Ours);
}

fn people_read_tables(whose: Whose) {
    let busy = Busy::new(whose);
    let (add, sleep) = (busy.cast.add, busy.cast.sleep);
    let active = busy.lines("active");
    assert_eq!(
        words(&active[0]),
        ["ID", "NAME", "RUNNING FOR", "PID", "ARGS"]
    );
    let row = words(&active[1]);
    assert_eq!(
        (row[0], row[1], row[4]),
        (busy.runs.id.as_str(), sleep, "(600,)")
    );
    assert!(
        row[2].ends_with('s') && row[3].parse::<u32>().is_ok(),
        "{row:?}"
    );
    assert_eq!(
        words(&busy.lines("reserved")[1]),
        [
            busy.waits.id.as_str(),
            add,
            "celery",
            "(1, 'two') {'k': [3]}"
        ]
    );
    let scheduled = busy.lines("scheduled");
    let row = words(&scheduled[1]);
    assert_eq!(
        (row[0], row[2]),
        ("2100-01-01T00:00:00+00:00", busy.later.id.as_str())
    );
    assert_eq!(busy.lines("revoked"), [busy.revoked.id.as_str()]);
    assert!(
        busy.lines("registered")
            .iter()
            .any(|line| line.starts_with(add))
    );
    assert_eq!(
        words(&busy.lines("active_queues")[1]),
        ["celery", "celery", "direct", "celery", "yes"]
    );
    let found = busy.lines(&format!("query-task {} nobody", busy.runs.id));
    assert_eq!(
        words(&found[1])[..3],
        [busy.runs.id.as_str(), "active", sleep]
    );
    assert_eq!(found.len(), 2);
    let stats = busy.lines("stats");
    assert!(
        stats
            .iter()
            .any(|line| words(line) == ["pool.max-concurrency", "1"]),
        "{stats:?}"
    );
    let conf = busy.lines("conf");
    assert!(
        conf.iter().any(|line| words(line)[0] == "broker_url"),
        "{conf:?}"
    );
    assert!(conf.len() < busy.lines("conf --with-defaults").len());
    assert!(busy.lines("report")[0].starts_with("software -> "));
    assert_eq!(busy.lines("ping"), ["pong"]);
    assert_eq!(words(&busy.lines("clock")[0])[0], "clock");
    well(&busy.redis, "inspect memsample");
    well(&busy.redis, "inspect memdump 3");
}

#[test]
fn what_goes_wrong_at_a_node_is_shown_at_it() {
    let redis = RedisServer::start();
    let _one = worker(&redis, "w1@box", &["-P", "solo"]);
    let _other = worker(&redis, "w2@box", &["-P", "solo"]);
    let told = tell(&redis, "inspect objgraph");
    assert_eq!(told.code, Some(1), "{told:?}");
    let error = "ImportError('Requires the objgraph library')";
    assert_eq!(
        told.out,
        format!(
            "->  w1@box: ERROR\n    {error}\n->  w2@box: ERROR\n    {error}\n\n2 nodes online.\n"
        )
    );
    let told = tell(&redis, "inspect objgraph --json");
    assert_eq!(told.code, Some(1));
    let told: Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!(
        told,
        json!({"w1@box": {"error": error}, "w2@box": {"error": error}})
    );
}

#[test]
fn the_commands_are_listed_without_a_broker() {
    let mut redis = RedisServer::start();
    redis.stop();
    let listed = well(&redis, "inspect --list");
    for (name, about) in [
        ("active_queues", "consumes from"),
        ("query_task", "knows of tasks"),
    ] {
        let line = listed.lines().find(|line| line.trim().starts_with(name));
        assert!(line.is_some_and(|line| line.contains(about)), "{listed}");
    }
    assert!(!listed.contains("hello"));
    let told = tell(&redis, "inspect hello");
    assert_eq!(told.code, Some(2), "{told:?}");
}
