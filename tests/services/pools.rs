//! Child processes: what dies costs one child, and nothing is lost.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lovage_broker::{Broker, RedisBroker};
use lovage_client::{Client, ClientOptions};
use lovage_integration_tests::{
    LovageWorker, LovageWorkerBuilder, RedisServer, TaskMessage, dead_letters, eventually, place,
    processes, wait,
};
use lovage_protocol::{NodeName, QueueName, TaskId};
use lovage_settings::{Pool, Settings};
use lovage_worker::{
    ChildCommand, KillSignal, Module, Presence, RawTask, Shutdown, Terminated, Worker, WorkerParts,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::sleep;

pub(crate) fn prefork(redis: &RedisServer, children: usize) -> LovageWorkerBuilder {
    LovageWorker::builder(redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .pool("prefork")
        .concurrency(children)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
}

pub(crate) fn send(redis: &RedisServer, task: &str, args: &Value) -> String {
    let message = TaskMessage::new(task, args, &json!({}));
    redis.publish("celery", &message);
    message.id
}

/// The process that ran a `test.pid`.
pub(crate) fn pid_of(redis: &RedisServer, id: &str) -> i32 {
    let record = redis.wait_for_state(id, "SUCCESS");
    record["result"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .expect("a process id")
}

/// The process that a task is recorded to run in.
pub(crate) fn started_pid(redis: &RedisServer, id: &str) -> i32 {
    let record = redis.wait_for_state(id, "STARTED");
    record["result"]["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .expect("a process id")
}

pub(crate) fn lost(redis: &RedisServer, id: &str) -> String {
    let record = redis.wait_for_state(id, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "WorkerLostError", "{record}");
    assert_eq!(record["result"]["exc_module"], "billiard.exceptions");
    record["result"]["exc_message"][0]
        .as_str()
        .expect("a text")
        .to_owned()
}

#[test]
fn tasks_run_in_child_processes_and_may_send_and_report_from_there() {
    let redis = RedisServer::start();
    let mut worker = prefork(&redis, 2).start();
    eventually("two children", || {
        processes::children_of(worker.pid()).len() == 2
    });
    let message = sleep(0.5);
    redis.publish("celery", &message);
    let child = started_pid(&redis, &message.id);
    assert!(processes::children_of(worker.pid()).contains(&child));
    let pid = send(&redis, "test.pid", &json!([]));
    assert!(processes::children_of(worker.pid()).contains(&pid_of(&redis, &pid)));
    let progress = send(&redis, "demo.progress", &json!([3, 0.2]));
    redis.wait_for_state(&progress, "PROGRESS");
    let parent = send(&redis, "test.parent", &json!(["others"]));
    let record = redis.wait_for_state(&parent, "SUCCESS");
    assert_eq!(record["children"][0][0][0], record["result"], "{record}");
    let sent = redis.waiting_json("others");
    assert_eq!(sent[0]["headers"]["parent_id"], parent.as_str());
    let panics = send(&redis, "test.panic_blocking", &json!(["oh no"]));
    let record = redis.wait_for_state(&panics, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "RuntimeError", "{record}");
    redis.wait_for_state(&progress, "SUCCESS");
    let children = processes::children_of(worker.pid());
    assert_eq!(worker.stop().code(), Some(0), "{}", worker.log().text());
    assert!(children.into_iter().all(|child| !processes::lives(child)));
    assert_eq!(redis.unacked(), 0);
}

#[test]
fn children_killed_under_load_lose_nothing() {
    let redis = RedisServer::start();
    let mut worker = prefork(&redis, 3).start();
    let ids: Vec<String> = (0..150)
        .map(|_| send(&redis, "demo.sleep", &json!([0.03])))
        .collect();
    let done = || ids.iter().filter(|id| redis.state(id) == "SUCCESS").count();
    for goal in [20, 50, 80, 110] {
        wait::within(wait::PATIENCE, "progress", || {
            (done() >= goal).then_some(())
        });
        let children = processes::children_of(worker.pid());
        processes::signal(children[goal % children.len()], Signal::KILL);
    }
    eventually("every task to succeed", || done() == ids.len());
    eventually("a clean broker", || redis.unacked() == 0);
    assert!(dead_letters(&redis).is_empty());
    eventually("three children again", || {
        processes::children_of(worker.pid()).len() == 3
    });
    assert!(worker.is_running());
}

#[test]
fn a_task_that_kills_its_children_is_given_up_and_the_worker_goes_on() {
    let redis = RedisServer::start();
    let mut worker = prefork(&redis, 2)
        .variable("LOVAGE_MAX_DEATHS", "2")
        .start();
    for (task, args) in [
        ("demo.crash", json!([])),
        ("test.exit", json!([3])),
        ("test.segfault", json!([])),
    ] {
        let id = send(&redis, task, &args);
        let text = lost(&redis, &id);
        assert!(text.contains("3 times"), "{text}");
        let letters = dead_letters(&redis);
        assert_eq!(letters[0].code, "died", "{letters:?}");
        assert_eq!(letters[0].task.as_deref(), Some(task));
        crate::assert_works(&redis);
    }
    assert!(worker.is_running());
    assert_eq!(redis.unacked(), 0);
}

#[test]
fn without_requeue_a_lost_child_is_the_failure_of_its_task() {
    for variable in ["CELERY_TASK_REJECT_ON_WORKER_LOST", "CELERY_TASK_ACKS_LATE"] {
        let redis = RedisServer::start();
        let mut worker = prefork(&redis, 1).variable(variable, "0").start();
        let exits = send(&redis, "test.exit", &json!([3]));
        assert_eq!(
            lost(&redis, &exits),
            "Worker exited prematurely: exitcode 3 Job: 0."
        );
        let message = sleep(60.0);
        redis.publish("celery", &message);
        processes::signal(started_pid(&redis, &message.id), Signal::KILL);
        assert_eq!(
            lost(&redis, &message.id),
            "Worker exited prematurely: signal 9 (SIGKILL) Job: 1."
        );
        crate::assert_works(&redis);
        assert!(worker.is_running());
        assert_eq!(redis.unacked(), 0);
        assert!(dead_letters(&redis).is_empty());
    }
}

#[test]
fn a_lost_child_is_no_error_that_a_task_is_retried_for() {
    let redis = RedisServer::start();
    let _worker = prefork(&redis, 1)
        .variable("CELERY_TASK_REJECT_ON_WORKER_LOST", "0")
        .start();
    let id = send(&redis, "test.exit_retried", &json!([3]));
    assert!(lost(&redis, &id).contains("exitcode 3"));
    assert_eq!(redis.depth("celery") + redis.unacked(), 0);
}

#[test]
fn a_lost_task_is_retried_to_its_limit_when_the_setting_says_so() {
    let redis = RedisServer::start();
    let worker = prefork(&redis, 1)
        .variable("CELERY_TASK_RETRY_ON_WORKER_LOST", "1")
        .start();
    let id = send(&redis, "test.exit", &json!([3]));
    let text = lost(&redis, &id);
    assert_eq!(text, "Worker exited prematurely: exitcode 3 Job: 2.");
    let log = worker.log().text();
    assert_eq!(log.matches("task will be retried").count(), 2, "{log}");
    assert_eq!(redis.unacked(), 0);
}

#[test]
fn children_are_replaced_after_so_many_tasks_or_so_much_memory() {
    let redis = RedisServer::start();
    let _worker = prefork(&redis, 1)
        .flag("--max-tasks-per-child", "2")
        .start();
    let ids: Vec<String> = (0..6)
        .map(|_| send(&redis, "test.pid", &json!([])))
        .collect();
    let pids: Vec<i32> = ids.iter().map(|id| pid_of(&redis, id)).collect();
    let distinct: BTreeSet<i32> = pids.iter().copied().collect();
    assert_eq!(distinct.len(), 3, "{pids:?}");
    assert!(pids.chunks(2).all(|pair| pair[0] == pair[1]), "{pids:?}");

    let redis = RedisServer::start();
    let _worker = prefork(&redis, 1)
        .variable("CELERY_WORKER_MAX_MEMORY_PER_CHILD", "150000")
        .start();
    let run = |task: &str, args: Value| pid_of(&redis, &send(&redis, task, &args));
    let first = run("test.pid", json!([]));
    assert_eq!(run("test.eat", json!([1])), first);
    assert_eq!(run("test.eat", json!([200])), first, "it ends its task");
    assert_ne!(run("test.pid", json!([])), first);
}

#[test]
fn children_end_with_a_worker_that_is_killed() {
    let redis = RedisServer::start();
    let mut worker = prefork(&redis, 2).start();
    let busy = send(&redis, "test.block", &json!([60]));
    let child = started_pid(&redis, &busy);
    eventually("two children", || {
        processes::children_of(worker.pid()).len() == 2
    });
    let children = processes::children_of(worker.pid());
    assert!(children.contains(&child));
    worker.kill();
    wait::within(Duration::from_secs(5), "the children to end", || {
        children
            .iter()
            .all(|child| !processes::lives(*child))
            .then_some(())
    });
}

#[test]
fn a_child_that_cannot_start_is_told_of_and_tried_again_without_haste() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("needed");
    let name = file.to_str().expect("it is text");
    let redis = RedisServer::start();
    let mut refused = prefork(&redis, 2)
        .variable("LOVAGE_TEST_NEEDED_FILE", name)
        .launch();
    assert_eq!(refused.wait().code(), Some(1));
    let log = refused.log().text();
    assert!(
        log.contains("the file that the tasks need is missing"),
        "{log}"
    );

    std::fs::write(&file, "").expect("it can be written");
    let mut worker = prefork(&redis, 1)
        .variable("LOVAGE_TEST_NEEDED_FILE", name)
        .start();
    std::fs::remove_file(&file).expect("it can be removed");
    let exits = send(&redis, "test.exit", &json!([0]));
    worker.wait_for("a child process is missing");
    worker.wait_for("the file that the tasks need is missing");
    worker.wait_for("Trying again in 1 s");
    let waits = send(&redis, "test.pid", &json!([]));
    std::fs::write(&file, "").expect("it can be written");
    pid_of(&redis, &waits);
    lost(&redis, &exits);
}

#[test]
fn the_pool_grows_with_its_load_and_shrinks_when_idle() {
    for pool in ["prefork", "async"] {
        let redis = RedisServer::start();
        let worker = LovageWorker::builder(&redis)
            .pool(pool)
            .flag("--autoscale", "3,1")
            .variable("AUTOSCALE_KEEPALIVE", "1")
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start();
        let ids: Vec<String> = (0..3)
            .map(|_| send(&redis, "demo.sleep", &json!([2])))
            .collect();
        eventually("three tasks at once", || {
            ids.iter().all(|id| redis.state(id) == "STARTED")
        });
        eventually("the pool to shrink", || {
            worker.log().text().contains("Scaling down 2 processes.")
        });
        if pool == "prefork" {
            eventually("one child", || {
                processes::children_of(worker.pid()).len() == 1
            });
        }
        crate::assert_works(&redis);
    }
}

#[test]
fn solo_runs_one_task_at_a_time_in_the_worker_itself() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .pool("solo")
        .concurrency(8)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let ids: Vec<String> = (0..2)
        .map(|_| send(&redis, "test.block", &json!([0.4])))
        .collect();
    assert_eq!(started_pid(&redis, &ids[0]), worker.pid());
    assert_eq!(redis.state(&ids[1]), "PENDING");
    redis.wait_for_state(&ids[1], "SUCCESS");
    assert_eq!(worker.stop().code(), Some(0));
}

#[test]
fn a_binary_of_ones_own_has_child_processes_with_its_own_tasks_and_state() {
    let redis = RedisServer::start();
    let program = place::lovage().with_file_name("own-tasks");
    assert!(
        program.exists(),
        "{} is missing: cargo build --workspace --bins",
        program.display()
    );
    let _worker = LovageWorker::builder(&redis)
        .program(program.to_str().expect("the path is text"))
        .pool("prefork")
        .concurrency(1)
        .start();
    for expected in ["Welcome, Ada!", "Welcome back, Ada! This is visit 2."] {
        let id = send(&redis, "hotel.greet", &json!(["Ada"]));
        assert_eq!(redis.wait_for_state(&id, "SUCCESS")["result"], expected);
    }
    let id = send(&redis, "hotel.bill", &json!([2]));
    assert_eq!(redis.wait_for_state(&id, "SUCCESS")["result"], 180.0);
}

/// A worker of this process whose children are those of the test binary.
async fn worker_here(redis: &RedisServer) -> Worker {
    let url = redis.url();
    let pairs = [("CELERY_BROKER_URL".to_owned(), url.clone())];
    let (settings, _) = Settings::from_lookup(pairs).expect("the settings are right");
    let broker = RedisBroker::connect(&settings.broker).await;
    let broker: Arc<dyn Broker> = Arc::new(broker.expect("Redis answers"));
    let place = settings.broker.url.clone().expect("it is set");
    let results = lovage_results::connect(&settings.results, &place, None).await;
    let results = results.expect("Redis answers");
    let options = ClientOptions::from(&settings);
    let words = ["pool-child", "--", "test-tasks", "worker", "-P", "prefork"];
    // Only the names count here: the children have the tasks.
    let names =
        ["test.block", "test.pid"]
            .into_iter()
            .fold(Module::new("names"), |module, name| {
                module.raw(RawTask::new(name, |_| async {
                    Ok(lovage_protocol::Value::Null)
                }))
            });
    let parts = WorkerParts {
        client: Client::new(Arc::clone(&broker), Arc::clone(&results), options),
        broker,
        results,
        modules: vec![names],
        settings: Arc::new(settings),
        node: NodeName::parse("here@here").expect("the name is right"),
        queues: vec![QueueName::parse("celery").expect("the name is right")],
        concurrency: 1,
        pool: Pool::Prefork,
        child: Some(ChildCommand {
            program: env!("CARGO_BIN_EXE_test-tasks").into(),
            arguments: words.map(Into::into).to_vec(),
            variables: vec![("CELERY_BROKER_URL".to_owned(), url)],
        }),
        autoscale: None,
        presence: Presence::silent(),
    };
    Worker::start(parts).await.expect("the worker can be built")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminate_signals_the_child_and_revokes_its_task() {
    let redis = RedisServer::start();
    let worker = worker_here(&redis).await;
    let (handle, shutdown) = (worker.handle(), Shutdown::new());
    let running = tokio::spawn(worker.run(shutdown.clone(), || ()));
    for signal in [KillSignal::TERM, KillSignal::KILL] {
        let id = send(&redis, "test.block", &json!([60]));
        let order = async {
            loop {
                let ended = handle.terminate(&TaskId::from(id.as_str()), signal).await;
                if ended != Terminated::NotRunning {
                    return ended;
                }
            }
        };
        let ended = tokio::time::timeout(wait::PATIENCE, order).await;
        assert_eq!(ended.expect("it runs soon"), Terminated::Yes);
        let record = redis.wait_for_state(&id, "REVOKED");
        assert_eq!(record["result"]["exc_type"], "TaskRevokedError", "{record}");
        assert_eq!(record["result"]["exc_message"], json!(["terminated"]));
    }
    assert_eq!(handle.pool_grow(2), Ok(3));
    eventually("three children", || handle.state().processes.len() == 3);
    assert_eq!(handle.pool_shrink(1), Ok(2));
    eventually("two children", || handle.state().processes.len() == 2);
    let pid = send(&redis, "test.pid", &json!([]));
    let pid = u32::try_from(pid_of(&redis, &pid)).expect("a process id");
    assert!(handle.state().processes.contains(&pid));
    shutdown.warm();
    let ended = running.await.expect("the worker does not panic");
    ended.expect("the worker ends in order");
    assert_eq!((redis.unacked(), handle.state().processes.len()), (0, 0));
}
