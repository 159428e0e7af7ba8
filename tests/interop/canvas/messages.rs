//! Message for message: what a typed canvas puts into a queue is what Python's producer puts there for the same canvas.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lovage::canvas::{IntoCanvas, Starts, chord, group_of, signature};
use lovage::{Client, chain, group};
use lovage_client::canvas::Awaited;
use lovage_integration_tests::canvas_tasks::{add, echo, fail, mul, sum};
use lovage_integration_tests::{Python, RedisServer, client_at};
use serde_json::{Value, json};

/// What Python calls the tasks: it knows none of them, as a program that sends to workers of others.
const PYTHON: &str = r#"
from datetime import datetime, timezone
from celery import chain, chord, group, signature
from celery.canvas import chunks, xmap, xstarmap

def task(name):
    def s(*args, **options):
        return signature("canvas." + name, args=args, app=app, **options)
    return s
add, mul, total, echo, fail = task("add"), task("mul"), task("sum"), task("echo"), task("fail")
"#;

struct Scene {
    python: Python,
    redis: RedisServer,
    client: Client,
}

impl Scene {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let mut python = Python::on(&redis);
        python.run(PYTHON);
        let client = client_at(&redis.url(), &redis.url()).await;
        Self {
            client: client.expect("Redis can be reached"),
            python,
            redis,
        }
    }

    /// Takes what was sent, the first first, and the sizes of chords.
    fn sent(&self) -> Value {
        let mut messages = Vec::new();
        // A list for each step of priorities that the tests use.
        for queue in ["celery", "hot", "hot\u{6}\u{16}3", "hot\u{6}\u{16}6"] {
            let mut waiting = self.redis.waiting_json(queue);
            // They are pushed at the head.
            waiting.reverse();
            messages.extend(waiting);
        }
        let keys: Vec<String> = self.redis.command(&["KEYS", "celery-taskset-meta-*.s"]);
        let size = |key: &String| self.redis.command::<String>(&["GET", key]);
        let mut sizes: Vec<String> = keys.iter().map(size).collect();
        sizes.sort();
        self.redis.command::<()>(&["FLUSHALL"]);
        let mut names = Names::default();
        let messages: Vec<Value> = messages.into_iter().map(|one| names.message(one)).collect();
        json!({"messages": messages, "sizes": sizes})
    }

    async fn check<C>(&mut self, python: &str, ours: C)
    where
        C: IntoCanvas,
        C::Takes: Starts,
        C::Gives: Awaited,
    {
        self.python.run(&format!("({python}).apply_async()"));
        let theirs = self.sent();
        let sent = self.client.apply_async(ours).await;
        drop(sent.expect("it is sent"));
        let ours = self.sent();
        let text = |value: &Value| serde_json::to_string_pretty(value).expect("it is JSON");
        assert_ne!(theirs["messages"], json!([]), "{python} sends nothing");
        assert!(
            ours == theirs,
            "{python}\nPython sends {}\nRust sends {}",
            text(&theirs),
            text(&ours)
        );
    }
}

/// Ids by the order in which they are met, so that only who is who is compared.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn message(&mut self, mut message: Value) -> Value {
        let body = STANDARD.decode(message["body"].as_str().expect("a body"));
        let body: Value = serde_json::from_slice(&body.expect("base64")).expect("JSON");
        let mut headers = message["headers"].take();
        let mut properties = message["properties"].take();
        let of = |object: &mut Value, name: &str| {
            object
                .as_object_mut()
                .and_then(|object| object.remove(name))
        };
        for name in ["lang", "origin", "kwargsrepr"] {
            of(&mut headers, name).expect("the header is there");
        }
        for name in ["delivery_tag", "reply_to"] {
            of(&mut properties, name).expect("the property is there");
        }
        let hide = |object: &mut Value, name: &str| {
            if let Some(time) = object.get_mut(name).filter(|time| !time.is_null()) {
                *time = "a time".into();
            }
        };
        // Celery says `false` of tasks that it has registered and null of others, and reads both alike.
        if headers["ignore_result"].is_null() {
            headers["ignore_result"] = false.into();
        }
        hide(&mut headers, "eta");
        hide(&mut headers, "expires");
        hide(&mut properties, "expiration");
        let mut message = json!({"headers": headers, "body": body, "properties": properties});
        self.rename(&mut message);
        message
    }

    fn rename(&mut self, value: &mut Value) {
        match value {
            Value::String(text) if uuid::Uuid::try_parse(text).is_ok() => {
                let next = self.0.len();
                let number = self.0.entry(text.clone()).or_insert(next);
                *text = format!("id {number}");
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename(item)),
            Value::Object(members) => {
                if let Some(Value::Object(options)) = members.get_mut("options") {
                    // Null is "not given"; where results go is the sender's own.
                    options.retain(|name, value| !value.is_null() && name != "reply_to");
                }
                if let Some(Value::Array(stamps)) = members.get_mut("stamped_headers") {
                    // A set, in Python.
                    stamps.sort_by_key(ToString::to_string);
                }
                // The maps of this JSON library are ordered by their keys.
                members.values_mut().for_each(|value| self.rename(value));
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_and_their_options() {
    let mut scene = Scene::new().await;
    scene.check("add(2, 3)", add::s(2, 3)).await;
    scene
        .check("add(2, 3)", signature("canvas.add").args((2, 3)))
        .await;
    scene
        .check("add(2, 3, immutable=True)", add::si(2, 3))
        .await;
    scene
        .check(
            "add(2, 3).set(queue='hot', priority=4, countdown=30, expires=60, shadow='nice')",
            add::s(2, 3)
                .queue("hot")
                .priority(4)
                .countdown(Duration::from_secs(30))
                .expires(Duration::from_secs(60))
                .set("shadow", "nice"),
        )
        .await;
    let eta = "2099-01-02T03:04:05Z".parse().expect("a time");
    scene
        .check(
            "add(2, 3).set(eta=datetime(2099, 1, 2, 3, 4, 5, tzinfo=timezone.utc), time_limit=9, soft_time_limit=5)",
            add::s(2, 3)
                .eta(eta)
                .time_limits(Some(Duration::from_secs(9)), Some(Duration::from_secs(5))),
        )
        .await;
    scene
        .check(
            "(lambda s: (s.link(mul(2)), s.link(mul(3)), s.link_error(echo()), s)[-1])(add(2, 3))",
            add::s(2, 3)
                .link(mul::partial(2))
                .link(mul::partial(3))
                .link_error(echo::partial()),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chains() {
    let mut scene = Scene::new().await;
    scene
        .check(
            "chain(add(2, 3), mul(4), add(1))",
            chain![add::s(2, 3), mul::partial(4), add::partial(1)],
        )
        .await;
    scene
        .check(
            "add(2, 3) | mul(4, 4, immutable=True)",
            add::s(2, 3) | mul::si(4, 4),
        )
        .await;
    scene
        .check(
            "chain(add(2, 3), chain(mul(4), chain(add(1), mul(2))))",
            chain![
                add::s(2, 3),
                mul::partial(4) | (add::partial(1) | mul::partial(2))
            ],
        )
        .await;
    scene
        .check(
            "(lambda c: (c.link(echo()), c.link_error(echo()), c)[-1])(chain(add(2, 3), mul(4)))",
            chain![add::s(2, 3), mul::partial(4)]
                .link(echo::partial())
                .link_error(echo::partial()),
        )
        .await;
    scene
        .check(
            "chain(add(2, 3), mul(4)).set(queue='hot', priority=7)",
            chain![add::s(2, 3), mul::partial(4)]
                .queue("hot")
                .priority(7),
        )
        .await;
    scene
        .check(
            "chain(add(2, 3), mul(4).set(queue='hot', countdown=5))",
            chain![
                add::s(2, 3),
                mul::partial(4)
                    .queue("hot")
                    .countdown(Duration::from_secs(5))
            ],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups() {
    let mut scene = Scene::new().await;
    scene
        .check(
            "group(add(1, 1), add(2, 2))",
            group![add::s(1, 1), add::s(2, 2)],
        )
        .await;
    scene
        .check(
            "group(add(i, i) for i in range(4))",
            group_of((0..4).map(|i| add::s(i, i))),
        )
        .await;
    scene.check("group(add(1, 1))", group![add::s(1, 1)]).await;
    scene
        .check(
            "group(chain(add(1, 1), mul(2)), add(2, 2))",
            group![chain![add::s(1, 1), mul::partial(2)], add::s(2, 2)],
        )
        .await;
    scene
        .check(
            "group(add(1, 1), add(2, 2)).set(queue='hot', countdown=5)",
            group![add::s(1, 1), add::s(2, 2)]
                .queue("hot")
                .countdown(Duration::from_secs(5)),
        )
        .await;
    scene
        .check(
            "(lambda g: (g.link_error(echo()), g)[-1])(group(add(1, 1), fail('no')))",
            group![add::s(1, 1), fail::s("no".to_owned())].link_error(echo::partial()),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chords() {
    let mut scene = Scene::new().await;
    scene
        .check(
            "chord([add(1, 1), add(2, 2)], total())",
            chord(group![add::s(1, 1), add::s(2, 2)], sum::partial()),
        )
        .await;
    scene
        .check(
            "group(add(1, 1), add(2, 2)) | total() | mul(2)",
            chain![
                group![add::s(1, 1), add::s(2, 2)],
                sum::partial(),
                mul::partial(2)
            ],
        )
        .await;
    scene
        .check(
            "chain(add(1, 1), group(add(1), add(2)), total(), mul(2))",
            chain![
                add::s(1, 1),
                group![add::partial(1), add::partial(2)],
                sum::partial(),
                mul::partial(2)
            ],
        )
        .await;
    scene
        .check(
            "chord([chain(add(1, 1), mul(2)), add(2, 2)], total())",
            chord(
                group![chain![add::s(1, 1), mul::partial(2)], add::s(2, 2)],
                sum::partial(),
            ),
        )
        .await;
    scene
        .check(
            "chord([chord([add(1, 1), add(2, 2)], total()), add(3, 3)], total())",
            chord(
                group![
                    chord([add::s(1, 1), add::s(2, 2)], sum::partial()),
                    add::s(3, 3)
                ],
                sum::partial(),
            ),
        )
        .await;
    scene
        .check(
            "chord([add(1, 1), add(2, 2)], total().set(link_error=[echo()]))",
            chord(
                [add::s(1, 1), add::s(2, 2)],
                sum::partial().link_error(echo::partial()),
            ),
        )
        .await;
    scene
        .check(
            "chord([add(1, 1), add(2, 2)], group(echo(), echo()))",
            chord(
                [add::s(1, 1), add::s(2, 2)],
                group![echo::partial(), echo::partial()],
            ),
        )
        .await;
    scene
        .check(
            "chain(add(1, 1), group(add(1), add(2)))",
            chain![add::s(1, 1), group![add::partial(1), add::partial(2)]],
        )
        .await;
    scene
        .check(
            "chord([], total())",
            chord(group_of([add::s(1, 1)].into_iter().skip(1)), sum::partial()),
        )
        .await;
    scene
        .check(
            "chain(add(0, 1), group(add(1), add(2)), total(), group(add(3), add(4)), total())",
            chain![
                add::s(0, 1),
                group![add::partial(1), add::partial(2)],
                sum::partial(),
                group![add::partial(3), add::partial(4)],
                sum::partial()
            ],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_arguments() {
    let mut scene = Scene::new().await;
    scene
        .check(
            "xstarmap(add(), [(1, 2), (3, 4)], app=app)",
            add::starmap([(1, 2), (3, 4)]),
        )
        .await;
    scene
        .check(
            "xmap(total(), [[1, 2], [3]], app=app)",
            sum::map([vec![1, 2], vec![3]]),
        )
        .await;
    scene
        .check(
            "chunks(add(), [(1, 2), (3, 4), (5, 6)], 2, app=app)",
            add::chunks([(1, 2), (3, 4), (5, 6)], 2),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stamps() {
    let mut scene = Scene::new().await;
    let stamped =
        |made: &str, stamp: &str| format!("(lambda s: (s.stamp({stamp}), s)[-1])({made})");
    scene
        .check(
            &stamped("add(1, 2)", "customer='c1'"),
            add::s(1, 2).stamp("customer", "c1"),
        )
        .await;
    scene
        .check(
            &stamped("chain(add(1, 2), mul(3))", "customer='c1'"),
            chain![add::s(1, 2), mul::partial(3)].stamp("customer", "c1"),
        )
        .await;
    scene
        .check(
            &stamped("group(add(1, 2), mul(3, 4))", "customer='c1'"),
            group![add::s(1, 2), mul::s(3, 4)].stamp("customer", "c1"),
        )
        .await;
    scene
        .check(
            &stamped("chord([add(1, 2), mul(3, 4)], total())", "customer='c1'"),
            chord([add::s(1, 2), mul::s(3, 4)], sum::partial()).stamp("customer", "c1"),
        )
        .await;
    scene
        .check(
            &stamped(
                "(lambda s: (s.link(mul(2)), s)[-1])(add(1, 2))",
                "customer='c1'",
            ),
            add::s(1, 2).link(mul::partial(2)).stamp("customer", "c1"),
        )
        .await;
}
