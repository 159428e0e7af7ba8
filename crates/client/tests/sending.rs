//! Calls through a memory broker: what arrives, and what a handle makes of the result.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lovage_broker::{
    Broker, Claim, Consumer, ConsumerOptions, Delivery, Demand, Finish, Hold, MemoryBroker, Settle,
    Want, redis_server::RedisServer,
};
use lovage_client::{
    AsyncResult, Client, ClientOptions, DemandOf, Error, OwnOptions,
    context::{SENDING, Sending},
    rusty,
};
use lovage_protocol::{
    DecodeOptions, ExceptionInfo, Message, NodeName, QueueName, Signature, State, TaskId, TaskMeta,
    Value,
};
use lovage_results::{DisabledStore, MemoryStore, ResultStore};
use lovage_settings::{ResultSettings, Route, RoutePattern};

#[expect(non_local_definitions, reason = "what rusty-celery's macro writes")]
mod tasks {
    #[celery::task(name = "t.add")]
    pub(crate) fn add(x: i64, y: i64) -> celery::task::TaskResult<i64> {
        Ok(x + y)
    }
}

const SOON: Duration = Duration::from_secs(5);

struct Bench {
    client: Client,
    results: Arc<dyn ResultStore>,
    consumer: Arc<dyn Consumer>,
}

impl Bench {
    async fn new(routes: Vec<Route>) -> Self {
        let broker = MemoryBroker::new();
        let results: Arc<dyn ResultStore> =
            Arc::new(MemoryStore::new(&ResultSettings::default(), &broker).unwrap());
        let queues = ["celery", "math"]
            .map(|name| QueueName::parse(name).unwrap())
            .to_vec();
        let node = NodeName::parse("w1@host").unwrap();
        let consumer = broker
            .consumer(ConsumerOptions::new(node, queues))
            .await
            .unwrap();
        let mut options = ClientOptions::default();
        options.tasks.routes = routes;
        let client = Client::new(Arc::new(broker), Arc::clone(&results), options);
        Self {
            client,
            results,
            consumer,
        }
    }

    async fn take(&self, count: usize) -> Vec<(Delivery, Message)> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let want = Want {
                max: count - taken.len(),
                start: count,
            };
            let batch = tokio::time::timeout(SOON, self.consumer.fetch(want))
                .await
                .unwrap();
            taken.extend(batch.unwrap());
        }
        taken
            .into_iter()
            .map(|delivery| {
                let message = Message::parse(&delivery.raw).unwrap();
                (delivery, message)
            })
            .collect()
    }

    /// Plays the worker for one task.
    async fn answer(&self, status: State, result: Value) {
        let (delivery, message) = self.take(1).await.pop().unwrap();
        let mut meta = TaskMeta::new(message.headers.id, status, result);
        meta.traceback = Some("Traceback".to_owned());
        let finish = Finish {
            delivery,
            settle: Some(Settle::Ack),
            publishes: Vec::new(),
            results: self.results.encode(&meta).into_iter().collect(),
            chord: None,
            leave: None,
            record: None,
        };
        self.consumer.finish(vec![finish]).await.unwrap();
    }
}

fn exception(kind: &str, args: Vec<Value>) -> Value {
    ExceptionInfo::new("builtins", kind, args).to_value()
}

fn args(message: &Message) -> Value {
    message.decode_body(&DecodeOptions::default()).unwrap().args
}

#[tokio::test]
async fn a_typed_call_goes_out_and_its_value_comes_back() {
    let bench = Bench::new(Vec::new()).await;
    let handle = bench.client.send(tasks::add::new(2, 3)).await.unwrap();
    assert_eq!(handle.state().await.unwrap(), State::Pending);
    let (value, ()) = tokio::join!(
        handle.get(SOON),
        bench.answer(State::Success, Value::Int(5))
    );
    assert_eq!(value.unwrap(), 5);
    assert_eq!(handle.state().await.unwrap(), State::Success);
    handle.forget().await.unwrap();
    assert_eq!(handle.meta().await.unwrap(), None);
}

#[tokio::test]
async fn a_call_by_name_takes_anything_that_serialises() {
    let bench = Bench::new(Vec::new()).await;
    let handle = bench
        .client
        .send_task("py.task")
        .args((1, "a", [0.5]))
        .kwarg("k", None::<i32>)
        .header("x-mine", 1)
        .priority(3)
        .link(Signature::new(
            "py.next",
            Vec::new(),
            lovage_protocol::Map::new(),
        ))
        .await
        .unwrap();
    let (_, message) = bench.take(1).await.pop().unwrap();
    assert_eq!(&message.headers.id, handle.id());
    assert_eq!(message.headers.argsrepr.as_deref(), Some("(1, 'a', [0.5])"));
    assert_eq!(message.headers.kwargsrepr.as_deref(), Some("{'k': None}"));
    let body = message.decode_body(&DecodeOptions::default()).unwrap();
    assert_eq!(body.embed.callbacks().unwrap()[0].task, "py.next");
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_when_it_is_awaited() {
    let bench = Bench::new(Vec::new()).await;
    let call = || bench.client.send_task("t");
    for refused in [
        call().args(5),
        call().kwargs([1]),
        call().queue("a\nb"),
        call().header("id", 1),
    ] {
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn failures_are_errors_that_tell_why() {
    let bench = Bench::new(Vec::new()).await;
    let get = |handle: AsyncResult<i64>| async move { handle.get(SOON).await.unwrap_err() };

    let handle = bench.client.send(tasks::add::new(1, 1)).await.unwrap();
    bench
        .answer(State::Failure, exception("ValueError", vec!["boom".into()]))
        .await;
    match get(handle).await {
        Error::Failed {
            exc_type,
            message,
            traceback,
            ..
        } => {
            assert_eq!(
                (exc_type.as_str(), message.as_str()),
                ("ValueError", "boom")
            );
            assert_eq!(traceback.as_deref(), Some("Traceback"));
        }
        other => panic!("{other:?}"),
    }

    let handle = bench.client.send(tasks::add::new(1, 1)).await.unwrap();
    bench
        .answer(
            State::Failure,
            exception("KeyError", vec!["a".into(), 1.into()]),
        )
        .await;
    let text = get(handle).await.to_string();
    assert!(text.ends_with("failed with KeyError: ('a', 1)"), "{text}");

    let handle = bench.client.send(tasks::add::new(1, 1)).await.unwrap();
    bench
        .answer(
            State::Revoked,
            exception("TaskRevokedError", vec!["expired".into()]),
        )
        .await;
    let error = get(handle).await;
    assert!(
        matches!(&error, Error::Revoked { reason, .. } if reason == "expired"),
        "{error:?}"
    );

    let handle = bench.client.send(tasks::add::new(1, 1)).await.unwrap();
    bench.answer(State::Success, "text".into()).await;
    let error = get(handle).await;
    assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn waiting_ends() {
    let bench = Bench::new(Vec::new()).await;
    let handle = bench.client.send(tasks::add::new(1, 1)).await.unwrap();
    let error = handle.get(Duration::from_millis(20)).await.unwrap_err();
    assert!(
        matches!(error, Error::TimedOut { waited, .. } if waited.as_millis() == 20),
        "{error:?}"
    );
    let ignored = bench
        .client
        .send(tasks::add::new(1, 1))
        .ignore_result(true)
        .await
        .unwrap();
    let error = ignored.get(SOON).await.unwrap_err();
    assert!(matches!(error, Error::Ignored { .. }), "{error:?}");
}

#[tokio::test]
async fn many_calls_keep_their_order() {
    let bench = Bench::new(Vec::new()).await;
    let calls = (0..1_234).map(|number| bench.client.send(tasks::add::new(number, 0)));
    let handles = bench.client.send_many(calls).await.unwrap();
    let taken = bench.take(1_234).await;
    for (number, (handle, (_, message))) in (0..).zip(handles.iter().zip(&taken)) {
        assert_eq!(handle.id(), &message.headers.id);
        assert_eq!(
            args(message),
            Value::List(vec![Value::Int(number), Value::Int(0)])
        );
    }
}

#[tokio::test]
async fn one_bad_call_of_many_sends_none() {
    let bench = Bench::new(Vec::new()).await;
    let calls = [
        bench.client.send_task("t"),
        bench.client.send_task("t").args(5),
    ];
    assert!(bench.client.send_many(calls).await.is_err());
    let queue = QueueName::parse("celery").unwrap();
    assert_eq!(bench.client.broker().depth(&[queue]).await.unwrap(), [0]);
}

#[tokio::test]
async fn routes_lead_where_no_queue_is_named() {
    let route = Route {
        pattern: RoutePattern::Glob("t.*".to_owned()),
        queue: Some("math".to_owned()),
        exchange: None,
        routing_key: None,
        priority: Some(6),
    };
    let bench = Bench::new(vec![route]).await;
    bench.client.send(tasks::add::new(1, 1)).await.unwrap();
    bench
        .client
        .send(tasks::add::new(1, 1))
        .queue("celery")
        .priority(1)
        .await
        .unwrap();
    bench.client.send_task("other").await.unwrap();
    let mut went: Vec<_> = bench
        .take(3)
        .await
        .into_iter()
        .map(|(_, message)| {
            let key = message.properties.delivery_info.routing_key;
            (
                message.headers.task.as_str().to_owned(),
                key,
                message.properties.priority,
            )
        })
        .collect();
    went.sort();
    let expected = [
        ("other", "celery", 0),
        ("t.add", "celery", 1),
        ("t.add", "math", 6),
    ];
    assert_eq!(
        went,
        expected.map(|(task, queue, priority)| (task.to_owned(), queue.to_owned(), priority))
    );
}

#[tokio::test]
async fn what_a_task_sends_is_its_child() {
    let bench = Bench::new(Vec::new()).await;
    let children: Arc<Mutex<Vec<Value>>> = Arc::default();
    let sending = Sending {
        parent_id: Some(TaskId::from("parent")),
        root_id: Some(TaskId::from("root")),
        priority: Some(4),
        children: Arc::clone(&children),
    };
    let client = bench.client.clone();
    let app = rusty::brokerless_app(bench.client.clone()).await.unwrap();
    SENDING
        .scope(sending, async {
            client.send(tasks::add::new(1, 1)).await.unwrap();
            client.send_many([client.send_task("many")]).await.unwrap();
            app.send_task(tasks::add::new(2, 2).with_queue("math"))
                .await
                .unwrap();
        })
        .await;
    let taken = bench.take(3).await;
    let mut sent: Vec<TaskId> = Vec::new();
    for (_, message) in &taken {
        assert_eq!(message.headers.parent_id.as_ref().unwrap(), "parent");
        assert_eq!(message.headers.root_id.as_ref().unwrap(), "root");
        assert_eq!(message.properties.priority, 4);
        sent.push(message.headers.id.clone());
    }
    let references = children.lock().unwrap().clone();
    let id = |reference: &Value| match reference.as_list() {
        Some([Value::List(own), Value::Null]) => TaskId::from(own[0].as_str().unwrap()),
        other => panic!("{other:?} is no reference to a task"),
    };
    let mut children: Vec<TaskId> = references.iter().map(id).collect();
    children.sort();
    sent.sort();
    assert_eq!(children, sent);
}

#[tokio::test]
async fn an_app_of_rusty_celery_sends_through_the_client() {
    let bench = Bench::new(Vec::new()).await;
    let app = rusty::brokerless_app(bench.client.clone()).await.unwrap();
    let sent = app
        .send_task(tasks::add::new(2, 3).with_queue("math").with_time_limit(9))
        .await
        .unwrap();
    let (_, message) = bench.take(1).await.pop().unwrap();
    assert_eq!(message.headers.id.as_str(), sent.task_id);
    assert_eq!(message.properties.delivery_info.routing_key, "math");
    assert_eq!(message.headers.timelimit.soft, Some(9.0));
    assert_eq!(
        message.headers.kwargsrepr.as_deref(),
        Some("{'x': 2, 'y': 3}")
    );
    assert_eq!(message.headers.root_id, Some(message.headers.id.clone()));
}

#[tokio::test]
async fn a_broker_that_is_gone_is_an_error_within_seconds() {
    let mut server = RedisServer::start().unwrap();
    let broker = lovage_broker::connect(&server.settings()).await.unwrap();
    let client = Client::new(broker, Arc::new(DisabledStore), ClientOptions::default());
    client.send(tasks::add::new(1, 1)).await.unwrap();
    server.kill().unwrap();
    let begun = Instant::now();
    let error = client.send(tasks::add::new(1, 1)).await.unwrap_err();
    assert!(
        matches!(error, Error::Broker(_) | Error::Unanswered { .. }),
        "{error:?}"
    );
    assert!(error.is_transient());
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    server.restart().unwrap();
    client.send(tasks::add::new(1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_duplicate_of_a_unique_task_is_told_at_once_or_shares_the_handle() {
    let claim = |join: bool| {
        let claim = Claim {
            key: format!("unique:{join}"),
            hold: Hold::End,
            waiting: Duration::from_secs(60),
            join,
        };
        let demand = Demand {
            claim: Some(claim),
            ..Demand::default()
        };
        OwnOptions {
            demand: Some(DemandOf::new(move |_, _| demand.clone())),
            ..OwnOptions::default()
        }
    };
    let own = HashMap::from([
        ("once".into(), claim(false)),
        ("joined".into(), claim(true)),
    ]);
    let broker = MemoryBroker::new();
    let results = MemoryStore::new(&ResultSettings::default(), &broker).unwrap();
    let options = ClientOptions {
        own,
        ..ClientOptions::default()
    };
    let client = Client::new(Arc::new(broker.clone()), Arc::new(results), options);
    let first = client.send_task("once").await.unwrap();
    let refused = client.send_task("once").await.unwrap_err();
    assert!(!refused.is_transient());
    assert_eq!(
        refused.to_string(),
        format!("once was not sent: it is a duplicate of {}", first.id())
    );
    let first = client.send_task("joined").await.unwrap();
    let second = client.send_task("joined").await.unwrap();
    assert_eq!(first.id(), second.id());
    let queue = QueueName::parse("celery").unwrap();
    assert_eq!(broker.depth(&[queue]).await.unwrap(), [2]);
}
