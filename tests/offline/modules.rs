//! What a worker is built from: plain rusty-celery tasks, state, and what it refuses to start with.

use std::sync::Arc;

use lovage::State;
use lovage_broker::{Broker, MemoryBroker};
use lovage_client::{Client, ClientOptions};
use lovage_protocol::{NodeName, QueueName};
use lovage_settings::{BrokerUrl, Pool, Settings};
use lovage_worker::{BuildError, Module, TaskOptions, Worker, WorkerParts};

use crate::stage::{PATIENCE, Stage};

mod plain {
    //! A task as rusty-celery has it, without anything of ours.
    #![allow(
        non_local_definitions,
        unused_braces,
        reason = "what celery's macro writes"
    )]

    use celery::task::TaskResult;

    #[celery::task(name = "plain.add")]
    pub(crate) fn add(x: i32, y: i32) -> TaskResult<i32> {
        Ok(x + y)
    }
}

struct Clock;

#[lovage::task(name = "tell.time")]
async fn tell_time(clock: State<Clock>) -> celery::task::TaskResult<bool> {
    Ok(std::mem::size_of_val(&*clock) == 0)
}

async fn build(modules: Vec<Module>) -> Result<Worker, BuildError> {
    let variables = [("CELERY_BROKER_URL".to_owned(), "memory://".to_owned())];
    let (settings, _) = Settings::from_lookup(variables).expect("the settings are right");
    let broker = Arc::new(MemoryBroker::new());
    let results =
        lovage_results::connect(&settings.results, &BrokerUrl::Memory, Some(&broker)).await;
    let results = results.expect("the memory can be reached");
    let broker: Arc<dyn Broker> = broker;
    let options = ClientOptions::from(&settings);
    Worker::start(WorkerParts {
        client: Client::new(Arc::clone(&broker), Arc::clone(&results), options),
        broker,
        results,
        modules,
        settings: Arc::new(settings),
        node: NodeName::parse("offline@here").expect("the name is right"),
        queues: vec![QueueName::parse("celery").expect("the name is right")],
        concurrency: 1,
        pool: Pool::Async,
    })
    .await
}

#[tokio::test]
async fn a_plain_celery_task_runs() {
    let module = Module::new("plain").plain::<plain::add>(TaskOptions::new());
    let stage = Stage::start(module).await;
    let sent = stage.client.send(plain::add::new(2, 3)).await;
    let sum = sent.expect("it is sent").get(PATIENCE).await;
    assert_eq!(sum.expect("it succeeds"), 5);
    stage.stop().await;
}

#[tokio::test]
async fn state_reaches_the_task_that_asks_for_it() {
    let module = Module::new("clock").state(Clock).task::<tell_time>();
    let stage = Stage::start(module).await;
    let sent = stage.client.send(tell_time::new()).await;
    let told = sent.expect("it is sent").get(PATIENCE).await;
    assert!(told.expect("it succeeds"));
    stage.stop().await;
}

#[tokio::test]
async fn promise_02_a_worker_that_lacks_a_tasks_state_refuses_to_start() {
    let refused = build(vec![Module::new("clock").task::<tell_time>()]).await;
    let text = refused.expect_err("it lacks the clock").to_string();
    assert!(
        text.contains("tell.time") && text.contains("Clock"),
        "{text}"
    );
}

#[tokio::test]
async fn state_that_cannot_be_made_refuses_the_start_with_its_reason() {
    let module = Module::new("clock")
        .state_with(|_| async { Err::<Clock, _>(std::io::Error::other("it stopped").into()) })
        .task::<tell_time>();
    let refused = build(vec![module]).await.expect_err("there is no clock");
    let cause = std::error::Error::source(&refused).map(ToString::to_string);
    assert!(refused.to_string().contains("Clock"), "{refused}");
    assert_eq!(cause.as_deref(), Some("it stopped"));
}

#[tokio::test]
async fn a_name_can_be_registered_once_only() {
    let module = |name: &str| Module::new(name).plain::<plain::add>(TaskOptions::new());
    let refused = build(vec![module("first"), module("second")]).await;
    let text = refused.expect_err("the name is taken").to_string();
    assert!(
        ["plain.add", "first", "second"]
            .iter()
            .all(|word| text.contains(word)),
        "{text}"
    );
}
