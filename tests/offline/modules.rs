//! What a worker is built from: plain rusty-celery tasks, state, and what it refuses to start with.

use lovage::testing::{Error, Harness};
use lovage::{Limit, State, Unique};
use lovage_worker::{BuildError, Module, TaskOptions};

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

/// Why a worker with these modules refuses to start.
async fn refusal(modules: Vec<Module>) -> BuildError {
    let mut harness = Harness::builder();
    for module in modules {
        harness = harness.module(module);
    }
    match harness.start().await {
        Err(Error::Build(refusal)) => refusal,
        other => panic!("it should refuse to start: {other:?}"),
    }
}

#[tokio::test]
async fn a_plain_celery_task_runs() {
    let module = Module::new("plain").plain::<plain::add>(TaskOptions::new());
    let harness = Harness::start(module).await.unwrap();
    assert_eq!(harness.call(plain::add::new(2, 3)).await.unwrap(), 5);
}

#[tokio::test]
async fn state_reaches_the_task_that_asks_for_it() {
    let module = Module::new("clock").state(Clock).task::<tell_time>();
    let harness = Harness::start(module).await.unwrap();
    assert!(harness.call(tell_time::new()).await.unwrap());
}

#[tokio::test]
async fn promise_02_a_worker_that_lacks_a_tasks_state_refuses_to_start() {
    let refused = refusal(vec![Module::new("clock").task::<tell_time>()]).await;
    let text = refused.to_string();
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
    let refused = refusal(vec![module]).await;
    let cause = std::error::Error::source(&refused).map(ToString::to_string);
    assert!(refused.to_string().contains("Clock"), "{refused}");
    assert_eq!(cause.as_deref(), Some("it stopped"));
}

#[tokio::test]
async fn a_name_can_be_registered_once_only() {
    let module = |name: &str| Module::new(name).plain::<plain::add>(TaskOptions::new());
    let refused = refusal(vec![module("first"), module("second")]).await;
    let text = refused.to_string();
    assert!(
        ["plain.add", "first", "second"]
            .iter()
            .all(|word| text.contains(word)),
        "{text}"
    );
}

#[tokio::test]
async fn a_task_cannot_be_unique_or_limited_by_a_parameter_that_it_does_not_have() {
    for options in [
        TaskOptions::new().unique(Unique::by(["account"])),
        TaskOptions::new().limit(Limit::at_once(5).per(["account"])),
    ] {
        let refused = refusal(vec![Module::new("plain").plain::<plain::add>(options)]).await;
        assert_eq!(
            refused.to_string(),
            "task `plain.add` is to be unique or limited by `account`, but its parameters are: x, y"
        );
    }
}

#[tokio::test]
async fn a_plain_task_can_be_made_unique_where_it_is_registered() {
    let minute = std::time::Duration::from_secs(60);
    let options = TaskOptions::new().unique(Unique::by(["x"]).for_time(minute));
    let module = Module::new("plain").plain::<plain::add>(options);
    let harness = Harness::start(module).await.unwrap();
    assert_eq!(harness.call(plain::add::new(1, 2)).await.unwrap(), 3);
    let refused = harness.client().send(plain::add::new(1, 5)).await;
    let text = refused.unwrap_err().to_string();
    assert!(
        text.starts_with("plain.add was not sent: it is a duplicate of "),
        "{text}"
    );
    assert_eq!(harness.call(plain::add::new(2, 2)).await.unwrap(), 4);
    harness.advance(minute);
    assert_eq!(harness.call(plain::add::new(1, 6)).await.unwrap(), 7);
}
