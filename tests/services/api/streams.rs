//! What happens to tasks, as it happens.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use lovage_integration_tests::{ApiServer, LovageWorker, RedisServer, wait::within};
use serde_json::{Value, json};

/// A stream that is open.
struct Stream {
    lines: std::io::Lines<BufReader<TcpStream>>,
    status: u16,
}

/// An event with its id.
#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

impl Stream {
    fn open(api: &ApiServer, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", api.port())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let head =
            format!("GET /api/v1/task-runs/stream{query} HTTP/1.1\r\nHost: api\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap().unwrap();
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        for line in lines.by_ref() {
            if line.unwrap().is_empty() {
                break;
            }
        }
        Self { lines, status }
    }

    /// The next event; `None` at the end of the stream. Sizes of chunks and comments are passed over.
    fn next(&mut self) -> Option<Event> {
        let (mut id, mut kind) = (String::new(), String::new());
        for line in self.lines.by_ref() {
            let line = line.ok()?;
            if let Some(text) = line.strip_prefix("id: ") {
                text.clone_into(&mut id);
            } else if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut kind);
            } else if let Some(text) = line.strip_prefix("data: ") {
                let data = serde_json::from_str(text).unwrap();
                return Some(Event { id, kind, data });
            }
        }
        None
    }
}

#[test]
fn a_stream_tells_what_happens_and_goes_on_where_it_broke_off() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis).bare_flag("-E").start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let bearer = format!("Authorization: Bearer {}\r\n", caller.token().unwrap());
    let mut stream = Stream::open(&api, "?task=demo.add", &bearer);
    assert_eq!(stream.status, 200);
    let send = |task: &str, body: Value| {
        let sent = caller.post(&format!("/api/v1/tasks/{task}/send"), &body);
        sent.value()["task_id"].as_str().unwrap().to_owned()
    };
    send("demo.noop", json!({}));
    let id = send("demo.add", json!({"x": 1, "y": 2}));
    let mut events = Vec::new();
    while events
        .last()
        .is_none_or(|event: &Event| event.kind != "succeeded")
    {
        events.push(stream.next().unwrap());
    }
    assert!(
        events.iter().all(|event| event.data["task_id"] == id),
        "{events:?}"
    );
    assert_eq!(events[0].kind, "received");
    drop(stream);
    let last = format!("{bearer}Last-Event-ID: {}\r\n", events[0].id);
    let mut back = Stream::open(&api, "?task=demo.add", &last);
    for event in &events[1..] {
        assert_eq!(back.next().unwrap().id, event.id);
    }
    let strange = format!("{bearer}Last-Event-ID: elsewhere-7\r\n");
    let mut gap = Stream::open(&api, "", &strange);
    assert_eq!(gap.next().unwrap().kind, "gap");
}

#[test]
fn a_stream_goes_on_over_a_restart_of_the_api() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis).bare_flag("-E").start();
    let mut api = ApiServer::on(&redis);
    let twin = api.twin();
    let _keeper = api.keeper();
    let caller = twin.admin();
    let bearer = format!("Authorization: Bearer {}\r\n", caller.token().unwrap());
    let send = |number: u64| {
        let body = json!({"x": number, "y": 0});
        let sent = caller.post("/api/v1/tasks/demo.add/send?wait=20", &body);
        assert_eq!(sent.status, 200, "{}", sent.text);
        sent.value()["task_id"].as_str().unwrap().to_owned()
    };
    let mut stream = Stream::open(&api, "?task=demo.add", &bearer);
    let first = send(1);
    let mut last = stream.next().unwrap();
    while last.kind != "succeeded" {
        last = stream.next().unwrap();
    }
    assert_eq!(last.data["task_id"], first);
    assert_eq!(api.stop().code(), Some(0));
    // What happens while nobody of this port listens …
    let missed = [send(2), send(3)];
    let again = twin.twin();
    let back = format!("{bearer}Last-Event-ID: {}\r\n", last.id);
    let mut stream = Stream::open(&again, "?task=demo.add", &back);
    let latest = send(4);
    let mut succeeded = Vec::new();
    while !succeeded.contains(&latest) {
        let event = stream.next().unwrap();
        assert_ne!(event.kind, "gap");
        if event.kind == "succeeded" {
            succeeded.push(event.data["task_id"].as_str().unwrap().to_owned());
        }
    }
    // … is told, and what happens then.
    for id in missed.iter().chain([&latest]) {
        assert!(succeeded.contains(id), "{succeeded:?} lacks {id}");
    }
}

#[test]
fn a_browser_comes_with_a_ticket_that_is_good_once() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.somebody("viewer");
    let made = caller.send("POST", "/api/v1/task-runs/stream-tickets", &[], "");
    assert_eq!(made.status, 201, "{}", made.text);
    let ticket = made.value()["ticket"].as_str().unwrap().to_owned();
    let query = format!("?seconds=0&ticket={ticket}");
    assert_eq!(Stream::open(&api, &query, "").status, 200);
    assert_eq!(
        Stream::open(&api, &query, "").status,
        401,
        "it is good once"
    );
    assert_eq!(Stream::open(&api, "", "").status, 401);
}

#[test]
fn a_stop_ends_streams() {
    let redis = RedisServer::start();
    let mut api = ApiServer::on(&redis);
    let bearer = format!("Authorization: Bearer {}\r\n", api.admin().token().unwrap());
    let mut stream = Stream::open(&api, "", &bearer);
    assert_eq!(stream.status, 200);
    assert_eq!(api.stop().code(), Some(0));
    assert!(stream.next().is_none());
}

#[test]
fn events_are_heard_only_while_somebody_listens() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let bearer = format!("Authorization: Bearer {}\r\n", caller.token().unwrap());
    let hearing = || redis.command::<usize>(&["PUBSUB", "NUMPAT"]);
    assert_eq!(hearing(), 0);
    let _stream = Stream::open(&api, "?seconds=1", &bearer);
    assert_eq!(hearing(), 1);
}

#[test]
fn a_stream_knows_what_was_received_before_it() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis).bare_flag("-E").start();
    let api = ApiServer::on(&redis);
    let _keeper = api.keeper();
    let caller = api.admin();
    let bearer = format!("Authorization: Bearer {}\r\n", caller.token().unwrap());
    let sent = caller.post("/api/v1/tasks/demo.sleep/send", &json!({"seconds": 8}));
    let id = sent.value()["task_id"].as_str().unwrap().to_owned();
    within(Duration::from_secs(20), "the run in the history", || {
        let run = caller.get(&format!("/api/v1/task-runs/{id}"));
        (run.status == 200 && run.value()["run"]["state"] == "STARTED").then_some(())
    });
    let mut stream = Stream::open(&api, "?task=demo.sleep", &bearer);
    let ended = stream.next().unwrap();
    assert_eq!(
        (ended.kind.as_str(), &ended.data["task_id"]),
        ("succeeded", &json!(id))
    );
    assert_eq!(ended.data["task"], "demo.sleep");
}
