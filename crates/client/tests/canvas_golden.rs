//! Canvases against the messages that Celery 5.7's producer sent for them: who is who is compared, not the ids themselves.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{collections::HashMap, sync::Arc};

use lovage_broker::MemoryBroker;
use lovage_client::{Client, ClientOptions, canvas::Start};
use lovage_protocol::{
    DecodeOptions, Message, Value,
    canvas::{AnyOne, Canvas, IntoCanvas, Untyped, chord, signature},
    chain, group,
};
use lovage_results::MemoryStore;
use lovage_settings::{ResultSettings, Route, RoutePattern};
use uuid::Uuid;

fn client() -> Client {
    client_with(ClientOptions::default())
}

fn client_with(options: ClientOptions) -> Client {
    let broker = MemoryBroker::new();
    let results = MemoryStore::new(&ResultSettings::default(), &broker).unwrap();
    Client::new(Arc::new(broker), Arc::new(results), options)
}

fn task(name: &str, args: &[i64]) -> Canvas<Untyped, AnyOne> {
    signature(name).args(args)
}

fn add(args: &[i64]) -> Canvas<Untyped, AnyOne> {
    task("t.add", args)
}

/// Headers and body of a message, ids replaced by their order of appearance.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn told(&mut self, raw: &[u8]) -> String {
        let message = Message::parse(raw).unwrap();
        let body = message.decode_body(&DecodeOptions::default()).unwrap();
        let envelope = Value::from_json_plain(raw).unwrap();
        let mut headers = envelope.get("headers").unwrap().as_map().unwrap().clone();
        // The sender's own; and Python shows its tuples in these.
        for varying in ["lang", "origin", "kwargsrepr"] {
            headers.shift_remove(varying).unwrap();
        }
        // Celery says `false` of tasks that it has registered and null of others, and reads both alike.
        let ignores = headers.get_mut("ignore_result").unwrap();
        if *ignores == Value::Null {
            *ignores = false.into();
        }
        let embed = Value::List(vec![
            signatures(body.embed.callbacks().unwrap()),
            signatures(body.embed.errbacks().unwrap()),
            signatures(body.embed.chain().unwrap()),
            signatures(body.embed.chord().unwrap()),
        ]);
        let kwargs = Value::Map(body.kwargs);
        let mut told = Value::List(vec![Value::Map(headers), body.args, kwargs, embed]);
        self.rename(&mut told);
        told.to_json()
    }

    fn rename(&mut self, value: &mut Value) {
        match value {
            Value::Str(text) if Uuid::try_parse(text).is_ok() => {
                let next = self.0.len();
                let number = *self.0.entry(text.clone()).or_insert(next);
                *text = format!("id {number}");
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.rename(item)),
            Value::Map(map) => {
                if let Some(Value::Map(options)) = map.get_mut("options") {
                    // Null is "not given"; where results go is the sender's own.
                    options.retain(|name, value| !value.is_null() && name != "reply_to");
                }
                if let Some(Value::List(stamps)) = map.get_mut("stamped_headers") {
                    // A set, in Python.
                    stamps.sort_by_key(Value::to_json);
                }
                map.sort_keys();
                map.values_mut().for_each(|value| self.rename(value));
            }
            _ => {}
        }
    }
}

fn signatures(of: impl IntoIterator<Item = lovage_protocol::Signature>) -> Value {
    Value::List(of.into_iter().map(|one| one.to_value()).collect())
}

#[track_caller]
fn check<C: IntoCanvas>(captures: &[&str], canvas: C) {
    let canvas = canvas.into_canvas().into_signature().unwrap();
    let plan = client().plan(&canvas, &Start::default()).unwrap();
    assert_eq!(plan.messages.len(), captures.len());
    let (mut theirs, mut ours) = (Names::default(), Names::default());
    for (name, message) in captures.iter().zip(&plan.messages) {
        let path = format!("{}/tests/captures/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let capture: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let raw = capture["raw"].as_str().unwrap();
        let theirs = theirs.told(raw.as_bytes());
        assert_eq!(ours.told(&message.publish.payload), theirs, "{name}");
    }
}

#[test]
fn chains() {
    let whole = || chain![add(&[1, 2]), add(&[3]), task("t.mul", &[4])];
    check(&["06-chain"], whole());
    let linked = chain![add(&[1, 2]), add(&[3])]
        .link(task("t.mul", &[2]))
        .link_error(signature("t.err_new"));
    check(&["06-chain-link-error"], linked);
    let upgraded =
        add(&[1, 1]) | group![add(&[1]), add(&[2])] | signature("t.tsum") | task("t.mul", &[2]);
    check(&["06-chain-group-upgrade"], upgraded);
}

#[test]
fn groups_and_chords() {
    check(
        &["06-group-1", "06-group-2"],
        group![add(&[1, 1]), add(&[2, 2])],
    );
    let body = signature("t.tsum").link_error(signature("t.err_old"));
    check(
        &["06-chord-header-1", "06-chord-header-2"],
        chord([add(&[1, 1]), add(&[2, 2])], body),
    );
    let header = group![chain![add(&[1, 1]), add(&[1])], add(&[2, 2])];
    check(
        &["06-chord-of-chains-1", "06-chord-of-chains-2"],
        chord(header, signature("t.tsum")),
    );
}

#[test]
fn lists_of_arguments() {
    let pairs = [(1, 2), (3, 4), (5, 6)];
    check(&["06-starmap"], signature("t.add").starmap(&pairs[..2]));
    check(&["06-map"], signature("t.tsum").map([vec![1], vec![2, 3]]));
    check(
        &["06-chunks-1", "06-chunks-2"],
        signature("t.add").chunks(pairs, 2),
    );
}

#[test]
fn stamps() {
    check(&["06-stamped-single"], add(&[1, 2]).stamp("customer", "c1"));
    let whole = chain![add(&[1, 2]), add(&[3])]
        .stamp("mtask_id", "stamp-1")
        .stamp("tags", ["a", "b"]);
    check(&["06-stamped-chain"], whole);
}

#[test]
fn a_task_that_runs_another_goes_where_that_one_would() {
    let mut options = ClientOptions::default();
    options.tasks.routes.push(Route {
        pattern: RoutePattern::Exact("t.add".to_owned()),
        queue: Some("hot".to_owned()),
        exchange: None,
        routing_key: None,
        priority: None,
    });
    let client = client_with(options);
    let pairs = [(1, 2), (3, 4)];
    for canvas in [
        signature("t.add").starmap(pairs).into_signature(),
        signature("t.add").chunks(pairs, 1).into_signature(),
    ] {
        let plan = client.plan(&canvas.unwrap(), &Start::default()).unwrap();
        for message in &plan.messages {
            let message = Message::parse(&message.publish.payload).unwrap();
            assert_eq!(message.properties.delivery_info.routing_key, "hot");
        }
    }
}
