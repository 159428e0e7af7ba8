//! From `celery::task::Task` to a type-erased handler: rusty-celery defines the task, this worker runs it.

use std::{
    any::Any,
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use celery::{
    error::TaskError,
    task::{Request, Task},
};
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use futures::{FutureExt, future::BoxFuture};
use lovage_protocol::{ExceptionInfo, Map, Value};
use lovage_registry::{Admission, Binder, TaskSpec};
use serde::Serialize;

use crate::{
    context::Context,
    handler::{Call, Handler},
    module::TaskOptions,
    outcome::{Failure, Outcome, Retry, When, traceback},
    panics,
    signal::Signal,
};

/// A handler for `T`; `spec` gives the parameters' names and defaults.
pub(crate) fn handler<T>(spec: &TaskSpec) -> Arc<dyn Handler>
where
    T: Task + 'static,
    T::Returns: Serialize,
{
    Arc::new(Typed::<T> {
        binder: Binder::new(spec),
        task: PhantomData,
    })
}

/// What the worker must know of `T`: what was said at its registration, else in its own attribute.
pub(crate) fn options<T: Task>(said: TaskOptions, spec: &TaskSpec) -> TaskOptions {
    let own = T::DEFAULTS;
    let seconds = |value: u32| Duration::from_secs(u64::from(value));
    TaskOptions {
        blocking: said.blocking.or(Some(!spec.is_async)),
        acks_late: said.acks_late.or(own.acks_late),
        track_started: said.track_started.or(spec.options.track_started),
        ignore_result: said.ignore_result.or(spec.options.ignore_result),
        max_retries: said.max_retries.or(own.max_retries.map(Some)),
        min_retry_delay: said.min_retry_delay.or(own.min_retry_delay.map(seconds)),
        max_retry_delay: said
            .max_retry_delay
            .or(spec.options.max_retry_delay)
            .or(own.max_retry_delay.map(seconds)),
        retry: said.retry.or(spec.options.retry),
        time_limit: said.time_limit.or(own.hard_time_limit.map(seconds)),
        soft_time_limit: said.soft_time_limit.or(own.time_limit.map(seconds)),
        retry_on_worker_lost: said.retry_on_worker_lost,
        rate_limit: said.rate_limit.or_else(|| spec.options.rate_limit.clone()),
        admission: admission(said.admission, &spec.options.admission),
    }
}

fn admission(said: Admission, own: &Admission) -> Admission {
    Admission {
        unique: said.unique.or_else(|| own.unique.clone()),
        debounce: said.debounce.or_else(|| own.debounce.clone()),
        limits: if said.limits.is_empty() {
            own.limits.clone()
        } else {
            said.limits
        },
    }
}

struct Typed<T> {
    binder: Binder,
    task: PhantomData<fn() -> T>,
}

impl<T> Handler for Typed<T>
where
    T: Task + 'static,
    T::Returns: Serialize,
{
    fn run(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let Call {
            message,
            args,
            kwargs,
            context,
            app,
        } = call;
        // Reading the arguments is code of the task's types, which may panic as the task itself may.
        let params = panic::catch_unwind(AssertUnwindSafe(|| self.params(args, kwargs)));
        let params = match params {
            Ok(Ok(params)) => params,
            Ok(Err(error)) => return bad_arguments(T::NAME, error),
            Err(panic) => return ready(panicked(T::NAME, panic.as_ref())),
        };
        let headers = &message.headers;
        let request = Request::<T> {
            app,
            id: headers.id.as_str().to_owned(),
            group: headers.group.clone(),
            chord: None,
            correlation_id: message
                .properties
                .correlation_id
                .clone()
                .unwrap_or_default(),
            params: params.clone(),
            origin: headers.origin.clone(),
            retries: headers.retries,
            eta: None,
            expires: None,
            hostname: Some(context.hostname().to_owned()),
            reply_to: message.properties.reply_to.clone(),
            time_limit: None,
        };
        let for_unexpected = T::DEFAULTS.retry_for_unexpected.unwrap_or(false);
        // Here and not in the future, which would have room for the request twice.
        let made = AssertUnwindSafe(|| T::from_request(request, T::DEFAULTS));
        let task = match panic::catch_unwind(made) {
            Ok(task) => task,
            Err(panic) => return ready(panicked(T::NAME, panic.as_ref())),
        };
        drop(message);
        let attempt = async move {
            let result = task.run(params).await;
            match &result {
                Ok(value) => task.on_success(value).await,
                Err(error) => task.on_failure(error).await,
            }
            match result {
                Ok(value) => encode(T::NAME, &value),
                Err(error) => classify(T::NAME, error, &context, for_unexpected),
            }
        };
        AssertUnwindSafe(attempt)
            .catch_unwind()
            .map(|ended| ended.unwrap_or_else(|panic| panicked(T::NAME, panic.as_ref())))
            .boxed()
    }
}

impl<T: Task> Typed<T> {
    fn params(&self, args: Value, kwargs: Map) -> Result<T::Params, String> {
        let bound = self
            .binder
            .bind(args, kwargs)
            .map_err(|error| error.to_string())?;
        Value::Map(bound)
            .deserialize()
            .map_err(|error| format!("{}() {error}", self.binder.function()))
    }
}

fn ready(outcome: Outcome) -> BoxFuture<'static, Outcome> {
    futures::future::ready(outcome).boxed()
}

fn encode<R: Serialize>(task: &str, value: &R) -> Outcome {
    match Value::from_serialize(value) {
        Ok(value) => Outcome::Success(value),
        Err(error) => {
            let text = format!("the result of {task} cannot be encoded: {error}");
            Outcome::raised(
                task,
                ExceptionInfo::new("kombu.exceptions", "EncodeError", vec![Value::Str(text)]),
            )
        }
    }
}

/// Arguments that do not fit: TypeError, as Python raises it.
pub(crate) fn bad_arguments(task: &str, text: String) -> BoxFuture<'static, Outcome> {
    let exception = ExceptionInfo::new("builtins", "TypeError", vec![Value::Str(text)]);
    ready(Outcome::raised(task, exception))
}

/// What an error of a task means. rusty-celery's own rule retries nearly everything, for ever; here `ExpectedError`
/// (and `TimeoutError`) is transient and retried, `UnexpectedError` is permanent unless the task's attribute says
/// `retry_for_unexpected = true` (docs/adr/0001).
pub(crate) fn classify(
    task: &str,
    error: TaskError,
    context: &Context,
    retry_unexpected: bool,
) -> Outcome {
    let signal = context.take_signal().filter(|signal| signal.fits(&error));
    match (signal, error) {
        (Some(Signal::Raise(exception)), _) => Outcome::raised(task, exception),
        (Some(Signal::Ignore), _) => Outcome::Ignore,
        (Some(Signal::Replace(by)), _) => Outcome::Replace(by),
        (Some(Signal::Reject { reason, requeue }), _) => Outcome::Reject { requeue, reason },
        (
            Some(Signal::Retry {
                cause,
                countdown,
                changes,
            }),
            _,
        ) => {
            let traceback = cause.as_ref().map(|cause| traceback(task, cause));
            Outcome::Retry(Retry {
                cause,
                traceback,
                when: countdown.map(When::Countdown),
                changes,
            })
        }
        (None, TaskError::Retry(eta)) => Outcome::Retry(Retry {
            cause: None,
            traceback: None,
            when: eta.map(mend_eta).map(When::Eta),
            changes: None,
        }),
        (None, TaskError::ExpectedError(text)) => transient(task, "ExpectedError", text),
        (None, TaskError::TimeoutError) => {
            transient(task, "TimeoutError", "the task timed out".to_owned())
        }
        (None, TaskError::UnexpectedError(text)) if retry_unexpected => {
            transient(task, "UnexpectedError", text)
        }
        (None, TaskError::UnexpectedError(text)) => {
            Outcome::raised(task, own_exception("UnexpectedError", text))
        }
    }
}

fn own_exception(class: &str, text: String) -> ExceptionInfo {
    // `celery.exceptions` is where a Python client makes up a class that it does not know.
    let module = if class == "TimeoutError" {
        "builtins"
    } else {
        "celery.exceptions"
    };
    ExceptionInfo::new(module, class, vec![Value::Str(text)])
}

fn transient(task: &str, class: &str, text: String) -> Outcome {
    let exception = own_exception(class, text);
    let traceback = Some(traceback(task, &exception));
    Outcome::Failure(Failure {
        exception,
        traceback,
        timed_out: false,
        transient: true,
        from_outside: false,
    })
}

pub(crate) fn panicked(task: &str, panic: &(dyn Any + Send)) -> Outcome {
    let exception = ExceptionInfo::new(
        "builtins",
        "RuntimeError",
        vec![Value::Str(panics::describe(panic))],
    );
    Outcome::raised(task, exception)
}

/// celery 0.5.5 passes milliseconds × 1000 where nanoseconds are due, so a retry's eta loses its sub-second part; such
/// a value is recognised by its shape and put right.
fn mend_eta(eta: DateTime<Utc>) -> DateTime<Utc> {
    let nanos = eta.nanosecond();
    if nanos < 1_000_000 && nanos.is_multiple_of(1_000) {
        eta + TimeDelta::nanoseconds(i64::from(nanos) * 999)
    } else {
        eta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_eta_gets_its_milliseconds_back() {
        let whole = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let squeezed = whole + TimeDelta::nanoseconds(465 * 1_000);
        assert_eq!(mend_eta(squeezed), whole + TimeDelta::milliseconds(465));
        let given = whole + TimeDelta::microseconds(123_456);
        assert_eq!(mend_eta(given), given);
    }
}
