//! Broken, absurd and far too many control and event messages: a worker outlives them, and no task suffers.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lovage_integration_tests::{Cast, Fleet, eventually, wait};
use redis::Commands;
use serde_json::{Value, json};

const NODE: &str = "lovage@peer";
const CONTROL: &str = "/0.celery.pidbox";

crate::in_fleet!(with_prefork, Lovage, broken_messages_are_shrugged_off);
crate::in_fleet!(
    with_async,
    LovageAsync,
    broken_messages_are_shrugged_off,
    a_flood_of_requests_costs_no_task
);

/// A channel and what is published on it.
type Message = (String, Vec<u8>);

/// A request as kombu wraps it.
fn envelope(body: &[u8]) -> Value {
    json!({
        "body": STANDARD.encode(body), "content-encoding": "utf-8", "content-type": "application/json",
        "headers": {"clock": 1, "expires": 0},
        "properties": {
            "delivery_mode": 2, "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""}, "priority": 0,
            "body_encoding": "base64", "delivery_tag": "11111111-2222-3333-4444-555555555555"}})
}

fn request(method: &str, arguments: &Value) -> Value {
    json!({
        "method": method, "arguments": arguments, "destination": null, "pattern": null, "matcher": null,
        "ticket": "a-ticket", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "nobody"}})
}

fn wrapped(body: &Value) -> Vec<u8> {
    envelope(body.to_string().as_bytes())
        .to_string()
        .into_bytes()
}

/// Envelopes of which nothing can be made, or not what they seem.
fn envelopes() -> Vec<Vec<u8>> {
    let ping = request("ping", &json!({})).to_string();
    let with = |path: &str, value: Value| {
        let mut envelope = envelope(ping.as_bytes());
        *envelope.pointer_mut(path).expect("the envelope has it") = value;
        envelope.to_string().into_bytes()
    };
    let without = |key: &str| {
        let mut envelope = envelope(ping.as_bytes());
        envelope.as_object_mut().expect("an object").remove(key);
        envelope.to_string().into_bytes()
    };
    let mut all: Vec<Vec<u8>> = [
        "",
        " ",
        "no json",
        "null",
        "17",
        "\"text\"",
        "[]",
        "[[1, 2], {}, {}]",
        "{}",
        "{\"body\": ",
        "\0\0\0",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    all.push(vec![0xff, 0xfe, 0x80]);
    all.push(format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)).into_bytes());
    all.push(
        envelope(format!("{}{}", "{\"a\":".repeat(20_000), "}".repeat(20_000)).as_bytes())
            .to_string()
            .into_bytes(),
    );
    all.extend(
        [
            "body",
            "headers",
            "properties",
            "content-type",
            "content-encoding",
        ]
        .map(without),
    );
    for value in [
        json!(null),
        json!(7),
        json!([]),
        json!({}),
        json!("%%% no base64 %%%"),
        json!("AAAA"),
        json!("/////w=="),
    ] {
        all.push(with("/body", value));
    }
    for value in [json!(null), json!([]), json!("text"), json!(3)] {
        all.push(with("/headers", value.clone()));
        all.push(with("/properties", value));
    }
    for value in [
        json!("x"),
        json!(-5),
        json!(1.5),
        json!(null),
        json!([1]),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
    ] {
        all.push(with("/headers/clock", value));
    }
    for value in [
        json!("application/x-python-serialize"),
        json!("application/x-msgpack"),
        json!("text/plain"),
        json!(null),
        json!(5),
        json!(""),
    ] {
        all.push(with("/content-type", value));
    }
    for value in [
        json!("binary"),
        json!("utf-16"),
        json!("no-such"),
        json!(null),
        json!(5),
    ] {
        all.push(with("/content-encoding", value));
    }
    for value in [json!("zlib"), json!(null), json!(5), json!("")] {
        all.push(with("/properties/body_encoding", value));
    }
    all
}

/// Well wrapped bodies that no client sends.
fn bodies() -> Vec<Value> {
    let with = |key: &str, value: Value| {
        let mut request = request("ping", &json!({}));
        request[key] = value;
        request
    };
    let mut all = vec![
        json!(null),
        json!(3),
        json!("ping"),
        json!([]),
        json!(["ping", {}]),
        json!({}),
        json!({"arguments": {}}),
    ];
    let odd = || {
        [
            json!(null),
            json!(0),
            json!(-1.5),
            json!(true),
            json!(""),
            json!("text"),
            json!([]),
            json!([null, 1, {}]),
            json!({}),
            json!({"a": {"b": []}}),
        ]
    };
    for key in [
        "method",
        "arguments",
        "destination",
        "pattern",
        "matcher",
        "ticket",
        "reply_to",
    ] {
        all.extend(odd().map(|value| with(key, value)));
        let mut request = request("ping", &json!({}));
        request.as_object_mut().expect("an object").remove(key);
        all.push(request);
    }
    for part in ["exchange", "routing_key"] {
        all.extend(odd().map(|value| {
            let mut reply_to = json!({"exchange": "reply.celery.pidbox", "routing_key": "nobody"});
            reply_to[part] = value;
            with("reply_to", reply_to)
        }));
    }
    for (matcher, pattern) in [
        ("pcre", "("),
        ("pcre", "(a+)+$"),
        ("pcre", "(lovage)\\1"),
        ("glob", "["),
        ("glob", "[!"),
        ("no-such", "*"),
        ("pcre", "\\"),
    ] {
        let mut request = request("ping", &json!({}));
        request["matcher"] = json!(matcher);
        request["pattern"] = json!(pattern);
        all.push(request);
    }
    all.push(request(&"x".repeat(100_000), &json!({})));
    all.push(request("__class__", &json!({})));
    all.push(request(
        "ping",
        &json!({"state": 1, "self": 2, "": 3, "é": "x".repeat(1_000_000)}),
    ));
    all
}

/// Each command with each of its arguments, and one that it has not, of every wrong type.
fn arguments() -> Vec<Value> {
    const COMMANDS: [(&str, &[&str]); 31] = [
        ("ping", &[]),
        ("clock", &[]),
        ("stats", &[]),
        ("active", &["safe"]),
        ("reserved", &[]),
        ("scheduled", &[]),
        ("revoked", &[]),
        ("registered", &["taskinfoitems", "builtins"]),
        ("active_queues", &[]),
        ("conf", &["with_defaults"]),
        ("query_task", &["ids"]),
        ("report", &[]),
        ("hello", &["from_node", "revoked"]),
        ("memsample", &[]),
        ("memdump", &["samples"]),
        ("objgraph", &["num", "max_depth", "type"]),
        ("revoke", &["task_id", "signal"]),
        ("terminate", &["task_id", "signal"]),
        ("revoke_by_stamped_headers", &["headers", "signal"]),
        ("rate_limit", &["task_name", "rate_limit"]),
        ("time_limit", &["task_name", "hard", "soft"]),
        ("pool_grow", &["n"]),
        ("pool_shrink", &["n"]),
        ("pool_restart", &["modules", "reload", "reloader"]),
        ("autoscale", &["max", "min"]),
        (
            "add_consumer",
            &["queue", "exchange", "exchange_type", "routing_key"],
        ),
        ("cancel_consumer", &["queue"]),
        ("enable_events", &[]),
        ("disable_events", &[]),
        ("heartbeat", &[]),
        ("election", &["id", "topic", "action"]),
    ];
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(2.5),
        json!(1e308),
        json!(""),
        json!("\u{0}\u{1f980}"),
        json!([]),
        json!([[1], {"a": null}, "x"]),
        json!({}),
        json!({"a": [1, {"b": "c"}]}),
    ];
    let mut all = Vec::new();
    for (method, names) in COMMANDS {
        all.push(request(method, &json!({})));
        for name in names.iter().chain(&["nonsense"]) {
            for value in &wrong {
                // The others are as they should be, so that this one is looked at.
                let mut given = json!({});
                for other in names {
                    given[*other] = sound(method, other);
                }
                given[*name] = value.clone();
                all.push(request(method, &given));
            }
        }
    }
    // Enough of it to be an attempt.
    for n in [i64::MAX, i64::MIN, 1_000_000_000, -1_000_000_000] {
        all.push(request("pool_shrink", &json!({"n": n})));
        all.push(request("autoscale", &json!({"max": n, "min": n})));
    }
    all
}

/// A value that is right and does nothing.
fn sound(method: &str, name: &str) -> Value {
    match (method, name) {
        (_, "task_name") => json!("no.such"),
        (_, "rate_limit") => json!("1/s"),
        (_, "task_id" | "ids") => json!(["no-such-task"]),
        (_, "signal") => json!("TERM"),
        (_, "queue") => json!("a-queue-of-nobody"),
        (_, "headers") => json!({"nothing": "such"}),
        (_, "n") => json!(0),
        (_, "from_node") => json!("other@peer"),
        (_, "revoked" | "taskinfoitems" | "modules") => json!([]),
        ("election", name) => json!(name),
        _ => json!(null),
    }
}

/// Events that no worker sends, for whoever listens to them.
fn events() -> Vec<Message> {
    let good = json!({"hostname": "other@peer", "utcoffset": 0.0, "pid": 7, "clock": 3, "freq": 2.0, "active": 0,
        "processed": 0, "loadavg": [0.1, 0.2, 0.3], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux",
        "timestamp": 1.0, "id": "an-election", "topic": "task", "action": {"task": "no.such"}, "cver": 1});
    let mut all = Vec::new();
    for kind in [
        "worker-online",
        "worker-heartbeat",
        "worker-offline",
        "worker-elect",
        "worker-elect-ack",
        "worker-nonsense",
    ] {
        let channel = format!("/0.celeryev/{}", kind.replace('-', "."));
        let mut bodies = vec![
            json!(null),
            json!(5),
            json!([]),
            json!("text"),
            json!({}),
            json!([[], null]),
        ];
        for key in [
            "hostname",
            "clock",
            "timestamp",
            "freq",
            "pid",
            "id",
            "topic",
            "action",
            "type",
            "utcoffset",
            "cver",
        ] {
            for value in [
                json!(null),
                json!("text"),
                json!(-1),
                json!(u64::MAX),
                json!([1]),
                json!({}),
            ] {
                let mut event = good.clone();
                event["type"] = json!(kind);
                event[key] = value;
                bodies.push(event);
            }
        }
        all.extend(bodies.iter().map(|body| (channel.clone(), event(body))));
        all.extend(envelopes().into_iter().map(|raw| (channel.clone(), raw)));
    }
    all
}

fn event(body: &Value) -> Vec<u8> {
    let mut event = envelope(body.to_string().as_bytes());
    event["headers"] = json!({"hostname": "other@peer"});
    event.to_string().into_bytes()
}

fn broken_messages_are_shrugged_off(fleet: Fleet) {
    let mut cast = Cast::with(fleet, |peer| peer.events());
    let mut connection = cast.redis.connection();
    let started = Instant::now();
    let groups: [(&str, Vec<Message>); 4] = [
        (
            "envelopes",
            envelopes()
                .into_iter()
                .map(|raw| (CONTROL.to_owned(), raw))
                .collect(),
        ),
        (
            "bodies",
            bodies()
                .iter()
                .map(|body| (CONTROL.to_owned(), wrapped(body)))
                .collect(),
        ),
        (
            "arguments",
            arguments()
                .iter()
                .map(|body| (CONTROL.to_owned(), wrapped(body)))
                .collect(),
        ),
        ("events", events()),
    ];
    for (what, messages) in groups {
        let mut tasks = Vec::new();
        for (index, (channel, raw)) in messages.iter().enumerate() {
            let heard: usize = connection
                .publish(channel, raw.as_slice())
                .expect("PUBLISH works");
            assert!(heard > 0, "nobody listens to {channel}");
            if index % 10 == 0 {
                tasks.push(cast.send("lovage", "demo.add", &json!([2, 3]), &json!({})));
            }
        }
        // A request that was obeyed may have shrunk the pool or left the queue; what was asked is undone.
        assert_eq!(
            cast.ask(NODE, "ping", &json!({})),
            json!({"ok": "pong"}),
            "after {what}"
        );
        cast.ask(NODE, "add_consumer", &json!({"queue": "lovage"}));
        eventually(&format!("the tasks between {what}"), || {
            tasks.iter().all(|id| cast.redis.state(id) == "SUCCESS")
        });
        assert!(cast.peers[0].process().is_running());
    }
    let log = cast.peers[0].process().log().text();
    assert!(!log.contains("panicked"), "{log}");
    // It still tells what it does, with a clock that grows.
    cast.python
        .run("from listening import Listener\nlistener = Listener(app)");
    let id = cast.send("lovage", "demo.add", &json!([2, 3]), &json!({}));
    let told = format!("[e['type'] for e in listener.of_task({id:?})]");
    let wanted = "['task-received', 'task-started', 'task-succeeded']";
    let heard = cast.python.run(&format!(
        "listener.wait(lambda _: {told} == {wanted})\nanswer([{told}, listener.trouble(), len(listener.events)])"
    ));
    assert_eq!(
        heard[0],
        json!(["task-received", "task-started", "task-succeeded"]),
        "{heard}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

fn a_flood_of_requests_costs_no_task(fleet: Fleet) {
    const REQUESTS: usize = 10_000;
    let mut cast = Cast::with(fleet, |peer| peer.events());
    let flood: Vec<Vec<u8>> = ["ping", "stats", "active", "no_such_command", "revoke"]
        .iter()
        .map(|method| {
            let arguments = if *method == "revoke" {
                json!({"task_id": "no-such-task"})
            } else {
                json!({})
            };
            wrapped(&request(method, &arguments))
        })
        .collect();
    let ids = cast
        .python
        .eval("[app.send_task('demo.add', (n, 1), queue='lovage').id for n in range(500)]");
    let mut pipe = redis::pipe();
    for index in 0..REQUESTS {
        pipe.publish(CONTROL, flood[index % flood.len()].as_slice())
            .ignore();
    }
    pipe.exec(&mut cast.redis.connection())
        .expect("PUBLISH works");
    // While it answers, tasks go their way.
    let more = cast
        .python
        .eval("[app.send_task('demo.add', (n, 1), queue='lovage').id for n in range(500)]");
    let ids: Vec<String> = [ids, more]
        .iter()
        .flat_map(|ids| ids.as_array().cloned().unwrap_or_default())
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), 1000);
    eventually("all tasks", || {
        ids.iter().all(|id| cast.redis.state(id) == "SUCCESS")
    });
    // Every request is served, in the end.
    let answer = wait::within(Duration::from_secs(30), "an answer after the flood", || {
        let answer = cast.python.eval(&format!("ask('ping', None, [{NODE:?}])"));
        answer.get(NODE).is_some().then_some(answer)
    });
    assert_eq!(answer, json!({NODE: {"ok": "pong"}}));
    assert_eq!(
        cast.ask(NODE, "stats", &json!({}))["total"],
        json!({"demo.add": 1000})
    );
    assert!(cast.peers[0].process().is_running());
}
