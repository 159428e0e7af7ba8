//! What can be asked and told of a worker while it runs.

use std::sync::Arc;
use std::time::Duration;

use lovage_client::Error;
use lovage_protocol::{TaskId, Value};
use lovage_worker::{ControlError, KillSignal, Module, RawTask, TaskOptions, Terminated};
use tokio::sync::Semaphore;

use crate::stage::{PATIENCE, Stage};

/// A task that says that it has begun, and never ends.
fn endless(name: &str, begun: &Arc<Semaphore>) -> RawTask {
    let begun = Arc::clone(begun);
    RawTask::new(name, move |_| {
        begun.add_permits(1);
        std::future::pending()
    })
}

/// Tells when it is dropped.
struct Dropped(Arc<Semaphore>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[tokio::test]
async fn a_running_async_task_can_be_terminated_and_is_revoked() {
    let (begun, dropped) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let watched = {
        let (begun, dropped) = (Arc::clone(&begun), Arc::clone(&dropped));
        RawTask::new("watched", move |_| {
            let guard = Dropped(Arc::clone(&dropped));
            begun.add_permits(1);
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        })
    };
    let stage = Stage::start(Module::new("controls").raw(watched)).await;
    let sent = stage.client.send_task("watched").await.unwrap();
    let other = stage.client.send_task("watched").await.unwrap();
    begun.acquire_many(2).await.unwrap().forget();
    let ended = stage.handle.terminate(sent.id(), KillSignal::TERM).await;
    assert_eq!(ended, Terminated::Yes);
    let outcome = sent.get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Revoked { reason, .. }) if reason == "terminated"),
        "{outcome:?}"
    );
    dropped.acquire().await.unwrap().forget();
    assert_eq!(dropped.available_permits(), 0, "the other runs on");
    let ended = stage.handle.terminate(other.id(), KillSignal::KILL).await;
    assert_eq!(ended, Terminated::Yes);
    stage.stop().await;
}

#[tokio::test]
async fn a_task_on_a_thread_cannot_be_terminated_and_says_so() {
    let (begun, end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let blocks = {
        let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
        RawTask::new("blocks", move |_| {
            let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
            async move {
                begun.add_permits(1);
                end.acquire().await.expect("nobody closes it").forget();
                Ok(Value::Null)
            }
        })
        .options(TaskOptions::new().blocking(true))
    };
    let stage = Stage::start(Module::new("controls").raw(blocks)).await;
    let sent = stage.client.send_task("blocks").await.unwrap();
    begun.acquire().await.unwrap().forget();
    let ended = stage.handle.terminate(sent.id(), KillSignal::KILL).await;
    assert_eq!(ended, Terminated::OnThread);
    end.add_permits(1);
    sent.get(PATIENCE).await.expect("it ends by itself");
    stage.stop().await;
}

#[tokio::test]
async fn a_task_that_does_not_run_cannot_be_terminated() {
    let stage = Stage::start(Module::new("controls")).await;
    let nobody = TaskId::from("nobody");
    let ended = stage.handle.terminate(&nobody, KillSignal::TERM).await;
    assert_eq!(ended, Terminated::NotRunning);
    stage.stop().await;
}

#[tokio::test]
async fn the_pool_grows_and_shrinks_while_it_runs() {
    let begun = Arc::new(Semaphore::new(0));
    let stage = Stage::start(Module::new("controls").raw(endless("endless", &begun))).await;
    let mut sent = Vec::new();
    for _ in 0..6 {
        sent.push(stage.client.send_task("endless").await.unwrap());
    }
    // The worker of this stage begins with four slots.
    begun.acquire_many(4).await.unwrap().forget();
    assert_eq!(stage.handle.state().slots, 4);
    assert_eq!(begun.available_permits(), 0);
    assert_eq!(stage.handle.pool_grow(2), Ok(6));
    begun.acquire_many(2).await.unwrap().forget();
    let state = stage.handle.state();
    assert_eq!((state.slots, state.abandoned), (6, 0));
    assert_eq!(state.processes, [std::process::id()]);
    assert_eq!(stage.handle.pool_shrink(5), Ok(1));
    assert_eq!(
        stage.handle.pool_shrink(1),
        Err(ControlError::TooFew { slots: 1 })
    );
    for one in &sent {
        let ended = stage.handle.terminate(one.id(), KillSignal::TERM).await;
        assert_eq!(ended, Terminated::Yes);
    }
    for _ in 0..2 {
        sent.push(stage.client.send_task("endless").await.unwrap());
    }
    begun.acquire().await.unwrap().forget();
    let last = &sent[6..];
    let ended = stage.handle.terminate(last[0].id(), KillSignal::TERM).await;
    assert_eq!(ended, Terminated::Yes);
    begun.acquire().await.unwrap().forget();
    let ended = stage.handle.terminate(last[1].id(), KillSignal::TERM).await;
    assert_eq!(ended, Terminated::Yes);
    stage.stop().await;
}

#[tokio::test]
async fn time_limits_are_changed_for_what_begins_from_then_on() {
    let begun = Arc::new(Semaphore::new(0));
    let stage = Stage::start(Module::new("controls").raw(endless("endless", &begun))).await;
    let second = Some(Duration::from_secs(1));
    let unknown = stage.handle.set_time_limits("nobody", second, None);
    assert!(matches!(unknown, Err(ControlError::UnknownTask { .. })));
    let crossed = stage
        .handle
        .set_time_limits("endless", second, Some(Duration::from_secs(2)));
    assert_eq!(crossed, Err(ControlError::SoftAboveHard));
    let limit = Some(Duration::from_millis(50));
    stage
        .handle
        .set_time_limits("endless", limit, None)
        .expect("the task is known");
    let sent = stage.client.send_task("endless").await.unwrap();
    let outcome = sent.get(PATIENCE).await;
    assert!(
        format!("{outcome:?}").contains("TimeLimitExceeded"),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_rate_limit_is_taken_off_while_tasks_wait_for_it() {
    let hourly = lovage::RateLimit::parse("1/h").unwrap().unwrap();
    let quick = RawTask::new("quick", |_| async { Ok(Value::Null) })
        .options(TaskOptions::new().rate_limit(hourly.clone()));
    let stage = Stage::start(Module::new("controls").raw(quick)).await;
    let first = stage.client.send_task("quick").await.unwrap();
    first.get(PATIENCE).await.unwrap();
    let second = stage.client.send_task("quick").await.unwrap();
    let waits = second.get(Duration::from_millis(300)).await;
    assert!(matches!(waits, Err(Error::TimedOut { .. })), "{waits:?}");
    let limits = stage.handle.rate_limits();
    assert_eq!(limits.get("quick"), Some(hourly));
    limits.set("quick", None).unwrap();
    second.get(PATIENCE).await.unwrap();
    stage.stop().await;
}

#[tokio::test]
async fn a_hard_limit_drops_an_async_task() {
    let (begun, dropped) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let endless = {
        let (begun, dropped) = (Arc::clone(&begun), Arc::clone(&dropped));
        RawTask::new("endless", move |_| {
            let guard = Dropped(Arc::clone(&dropped));
            begun.add_permits(1);
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        })
        .options(TaskOptions::new().time_limit(Duration::from_millis(200)))
    };
    let stage = Stage::start(Module::new("controls").raw(endless)).await;
    let sent = stage.client.send_task("endless").await.unwrap();
    let outcome = sent.get(PATIENCE).await;
    assert!(
        format!("{outcome:?}").contains("TimeLimitExceeded"),
        "{outcome:?}"
    );
    assert_eq!(dropped.available_permits(), 1, "nothing of it runs on");
    stage.stop().await;
}

#[tokio::test]
async fn a_thread_that_is_left_behind_is_counted_until_it_ends() {
    let door = Arc::new(std::sync::Barrier::new(2));
    let blocks = {
        let door = Arc::clone(&door);
        RawTask::new("blocks", move |_| {
            let door = Arc::clone(&door);
            async move {
                door.wait();
                Ok(Value::Null)
            }
        })
        .options(
            TaskOptions::new()
                .blocking(true)
                .time_limit(Duration::from_millis(200)),
        )
    };
    let stage = Stage::start(Module::new("controls").raw(blocks)).await;
    let sent = stage.client.send_task("blocks").await.unwrap();
    let outcome = sent.get(PATIENCE).await;
    assert!(
        format!("{outcome:?}").contains("TimeLimitExceeded"),
        "{outcome:?}"
    );
    assert_eq!(stage.handle.state().abandoned, 1);
    door.wait();
    while stage.handle.state().abandoned > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_soft_limit_can_be_given_while_the_worker_runs() {
    let begun = Arc::new(Semaphore::new(0));
    let stage = Stage::start(Module::new("controls").raw(endless("endless", &begun))).await;
    let soft = Some(Duration::from_millis(100));
    stage.handle.set_time_limits("endless", None, soft).unwrap();
    let sent = stage.client.send_task("endless").await.unwrap();
    let outcome = sent.get(PATIENCE).await;
    assert!(
        format!("{outcome:?}").contains("SoftTimeLimitExceeded"),
        "{outcome:?}"
    );
    stage.stop().await;
}
