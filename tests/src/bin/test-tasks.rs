//! The `lovage` binary with tasks that misbehave in every way a task can, for the tests.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use celery::task::TaskResult;
use futures::future::BoxFuture;
use lovage::layer::{Ended, Layer, Next, TaskCall};
use lovage::protocol::{ExceptionInfo, Value};
use lovage::{Module, Outcome, RawTask, SoftLimit, context, signal};
use rustix::process::{Signal, getpid, kill_process};

/// Panics on the way.
#[lovage::task(name = "test.panic")]
async fn panics(message: String) -> TaskResult<()> {
    panic!("{message}")
}

/// Panics in code that blocks.
#[lovage::task(name = "test.panic_blocking")]
fn panics_blocking(message: String) -> TaskResult<()> {
    panic!("{message}")
}

/// Blocks its thread.
#[lovage::task(name = "test.block")]
fn block(seconds: f64) -> TaskResult<f64> {
    std::thread::sleep(Duration::from_secs_f64(seconds));
    Ok(seconds)
}

/// Raises an exception class that the Python application has.
#[lovage::task(name = "test.refuse")]
async fn refuse(code: i64, why: String) -> TaskResult<()> {
    let arguments = vec![Value::Int(code), Value::Str(why)];
    Err(signal::raise_exception(ExceptionInfo::new(
        "app", "Refused", arguments,
    )))
}

/// Ends without a result.
#[lovage::task(name = "test.ignore")]
async fn ignore() -> TaskResult<()> {
    Err(signal::ignore())
}

/// Refuses its message for good.
#[lovage::task(name = "test.reject")]
async fn reject() -> TaskResult<()> {
    Err(signal::reject("no thanks", false))
}

/// Sends another task and tells its id.
#[lovage::task(name = "test.parent")]
async fn parent(queue: String) -> TaskResult<String> {
    let running = context::current().expect("it runs in a worker");
    let child = running.client().send_task("py.request").queue(queue).await;
    let child = child.map_err(|error| signal::raise("OSError", error.to_string()))?;
    Ok(child.id().to_string())
}

/// Retries with a cause until it has none left.
#[lovage::task(name = "test.always_retries", max_retries = 2)]
async fn always_retries() -> TaskResult<()> {
    let cause = ExceptionInfo::new("builtins", "KeyError", vec![Value::from("lost")]);
    Err(signal::retry_because(
        cause,
        Some(Duration::from_millis(400)),
    ))
}

/// Tells which run of this task in this process it is, from 0 on.
#[lovage::task(name = "test.turn")]
async fn turn() -> TaskResult<u64> {
    static TURNS: AtomicU64 = AtomicU64::new(0);
    Ok(TURNS.fetch_add(1, Ordering::SeqCst))
}

/// Tells the process that runs it.
#[lovage::task(name = "test.pid")]
async fn pid() -> TaskResult<u32> {
    Ok(std::process::id())
}

/// Ends its process.
#[lovage::task(name = "test.exit", max_retries = 2)]
async fn exit(code: i32) -> TaskResult<()> {
    std::process::exit(code)
}

/// Ends its process; every error of its own is retried.
#[lovage::task(name = "test.exit_retried", max_retries = 2, retry_for = ["Exception"])]
async fn exit_retried(code: i32) -> TaskResult<()> {
    std::process::exit(code)
}

/// Ends its process as a fault in native code would.
#[lovage::task(name = "test.segfault")]
fn segfault() -> TaskResult<()> {
    // The first only takes away the handler by which Rust tells a stack overflow.
    loop {
        let _ = kill_process(getpid(), Signal::SEGV);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Uses so much memory for a moment.
#[lovage::task(name = "test.eat")]
async fn eat(mebibytes: usize) -> TaskResult<u32> {
    let memory = vec![1_u8; mebibytes << 20];
    std::hint::black_box(&memory);
    Ok(std::process::id())
}

fn soft_limit() -> SoftLimit {
    context::current()
        .expect("it runs in a worker")
        .soft_limit()
}

/// Cleans up when its soft limit is over.
#[lovage::task(name = "test.heeds")]
async fn heeds() -> TaskResult<String> {
    soft_limit().await;
    Ok("cleaned up".to_owned())
}

/// The same in code that blocks.
#[lovage::task(name = "test.heeds_blocking")]
fn heeds_blocking() -> TaskResult<String> {
    let limit = soft_limit();
    while !limit.is_reached() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(signal::soft_limit_exceeded())
}

/// Hears of its soft limit and goes on.
#[lovage::task(name = "test.stubborn")]
async fn stubborn() -> TaskResult<()> {
    soft_limit().await;
    std::future::pending().await
}

/// Starts a process beside itself, tells its id in a file, and never ends.
#[lovage::task(name = "test.breeds")]
fn breeds(file: String) -> TaskResult<()> {
    let child = std::process::Command::new("sleep").arg("1000").spawn();
    let id = child.map(|child| child.id()).unwrap_or_default();
    let _ = std::fs::write(file, id.to_string());
    loop {
        std::thread::park();
    }
}

/// Tells what it was given.
#[lovage::task(name = "test.layered")]
async fn layered(word: String) -> TaskResult<String> {
    Ok(word)
}

/// Stands around `test.layered`, and tells of its end where that is decided.
struct Around;

impl Layer for Around {
    fn call(&self, call: TaskCall, next: Next) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            match next.run(call).await {
                Outcome::Success(Value::Str(said)) => {
                    Outcome::Success(Value::Str(format!("<{said}>")))
                }
                other => other,
            }
        })
    }

    fn ended(&self, ended: &Ended<'_>) {
        let (task, word, pid) = (
            &ended.message.headers.task,
            ended.end.word(),
            std::process::id(),
        );
        tracing::info!("the layer hears that {task} ended as {word}, in {pid}");
    }
}

/// Logs a line in a span of its own.
#[lovage::task(name = "test.logs")]
async fn logs(word: String) -> TaskResult<()> {
    tracing::info_span!("work", word).in_scope(|| tracing::info!("at work"));
    Ok(())
}

/// Logs an error and succeeds.
#[lovage::task(name = "test.logs_error")]
async fn logs_error() -> TaskResult<()> {
    tracing::error!(reason = "rain", api_key = "sesame", "something is odd");
    Ok(())
}

/// Something that the tasks need and that may be missing: a file, named by the environment.
struct Needed;

async fn needed() -> anyhow::Result<Needed> {
    match std::env::var_os("LOVAGE_TEST_NEEDED_FILE") {
        Some(file) if !std::path::Path::new(&file).exists() => {
            anyhow::bail!("the file that the tasks need is missing")
        }
        _ => Ok(Needed),
    }
}

fn main() -> ExitCode {
    let tests = Module::new("test")
        .state_with(|_| needed())
        .task::<pid>()
        .task::<exit>()
        .task::<exit_retried>()
        .task::<segfault>()
        .task::<eat>()
        .task::<heeds>()
        .task::<heeds_blocking>()
        .task::<stubborn>()
        .task::<breeds>()
        .task::<panics>()
        .task::<panics_blocking>()
        .task::<block>()
        .task::<refuse>()
        .task::<ignore>()
        .task::<reject>()
        .task::<parent>()
        .task::<always_retries>()
        .task::<turn>()
        .task::<logs>()
        .task::<logs_error>()
        .raw(RawTask::new("test.always_fails", |_| async {
            Err(signal::raise("ValueError", "it always does"))
        }));
    let layered = Module::new("layered").layer(Around).task::<layered>();
    let gated = lovage_integration_tests::gated_tasks::module();
    let peers = lovage_integration_tests::peer_tasks::module();
    let canvas = lovage_integration_tests::canvas_tasks::module();
    lovage::main(vec![tests, layered, gated, peers, canvas])
}
