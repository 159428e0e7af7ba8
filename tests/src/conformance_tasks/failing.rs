//! Tasks that fail or refuse, and what is called when they have.

use lovage::Failed;
use lovage::protocol::{ExceptionInfo, Value};
use lovage::{RawTask, TaskOptions, signal};

use super::named;
use super::parameters::{blocking, task};
use super::side_effects::{count, echo};

const MODULE: &str = "t.integration.tasks";

/// An exception class of the suite.
pub(super) fn exception(class: &str, arguments: Vec<Value>) -> ExceptionInfo {
    ExceptionInfo::new(MODULE, class, arguments)
}

fn label(failed: &Failed) -> String {
    let label = failed.args.first().or_else(|| failed.kwargs.get("label"));
    label.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What runs on a thread, as Redis is asked there.
async fn aside<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, celery::error::TaskError> + Send + 'static,
) -> Result<T, celery::error::TaskError> {
    let ended = tokio::task::spawn_blocking(run).await;
    ended.unwrap_or_else(|error| Err(signal::raise("RuntimeError", error.to_string())))
}

pub(super) fn tasks() -> Vec<RawTask> {
    let late = || TaskOptions::new().acks_late(true);
    vec![
        task(&named("return_exception"), "e", |mut bound| async move {
            Ok(Value::List(vec![bound.take(0), Value::Bool(true)]))
        }),
        task(&named("raise_error"), "*args", |_| async {
            Err(signal::raise("ValueError", "deliberate error"))
        }),
        task(&named("fail"), "*args", |bound| async move {
            let mut arguments = vec![Value::from("Task expected to fail")];
            arguments.extend(bound.items(0));
            Err(signal::raise_exception(exception(
                "ExpectedException",
                arguments,
            )))
        }),
        task(
            &named("fail_unpickleable"),
            "foo, bar",
            |mut bound| async move {
                let arguments = vec![bound.take(0)];
                Err(signal::raise_exception(exception(
                    "UnpickleableException",
                    arguments,
                )))
            },
        ),
        task(&named("reject_without_requeue"), "", |_| async {
            Err(signal::reject("rejected", false))
        }),
        task(&named("reject_then_succeed"), "", |bound| async move {
            if bound.context.message().redelivered() {
                Ok(Value::from("second-pass"))
            } else {
                Err(signal::reject("", true))
            }
        })
        .options(late()),
        task(
            &named("store_success_then_reject"),
            "",
            |bound| async move {
                if bound.context.message().redelivered() {
                    return Ok(Value::from("dedup-pass"));
                }
                let stored = bound.context.update_state("SUCCESS", "first-pass").await;
                stored.map_err(|error| signal::raise("OSError", error.to_string()))?;
                Err(signal::reject("", true))
            },
        )
        .options(late()),
        blocking(&named("errback_old_style"), "request_id", |mut bound| {
            count(bound.text(0))?;
            Ok(bound.take(0))
        }),
        blocking(
            &named("errback_old_style_with_args"),
            "request_id, label",
            |bound| echo(bound.text(1), bound.text(0)),
        ),
        RawTask::error_callback(named("errback_new_style"), |failed| {
            aside(move || count(failed.task.id.to_string()).map(|()| Value::Null))
        }),
        RawTask::error_callback(named("errback_new_style_with_args"), |failed| {
            aside(move || echo(label(&failed), failed.task.id.to_string()))
        }),
    ]
}
