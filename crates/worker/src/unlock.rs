//! `celery.chord_unlock`: asks whether the header of a chord has ended, again and again, and then has its body sent or failed
//! (`celery/app/builtins.py`). Where no broker counts parts: with results in a database.

use std::{collections::HashMap, time::Duration};

use lovage_protocol::{ExceptionInfo, Signature, State, TaskId, TaskMeta, Value};
use lovage_results::ResultStore;

use crate::{
    builtin::Arguments,
    chord,
    error::with_causes,
    handler::Call,
    outcome::{Outcome, Retry, RetryChanges, When},
    policy, records, workflow,
};

/// How many members are looked at before one that has not ended is reason enough to look no further.
const AT_ONCE: usize = 200;

/// How a chord ended that `celery.chord_unlock` waited for: what becomes of its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Unlocked {
    /// Sent, or failed.
    pub(crate) body: Signature,
    pub(crate) header: Header,
}

/// The end of a chord's header.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Header {
    /// The values that its tasks returned, nested as they are.
    Succeeded(Value),
    /// A task of it failed with this, or was revoked.
    Failed { member: TaskId, recorded: Value },
    /// Nobody will ask again: the body fails with this, and the task itself.
    GivenUp(ExceptionInfo),
}

/// What is known of a header.
enum Known {
    Waits,
    Ended(Header),
}

/// Asks once; `pause` is for a message that does not say how long to wait until the next time.
pub(crate) async fn unlock(mut call: Call, pause: Duration) -> Outcome {
    let context = call.context.clone();
    let mut arguments = Arguments::of(&mut call);
    let read = arguments
        .signature(1, "callback")
        .and_then(|body| Ok((body, arguments.list(4, "result")?)));
    let (body, members) = match read {
        Ok(read) => read,
        Err(error) => return Outcome::raised(context.name(), *error),
    };
    let said = arguments.optional(2, "interval").as_f64();
    let said = said.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let most = arguments.optional(3, "max_retries").as_i64();
    let most = most.map(|most| u32::try_from(most).unwrap_or(0));
    let (cause, header) = match look(context.results(), members).await {
        Ok(Known::Ended(header)) => (None, Some(header)),
        Ok(Known::Waits) => (None, None),
        Err(away) => (Some(away), None),
    };
    if let Some(header) = header {
        return Outcome::Unlock(Box::new(Unlocked { body, header }));
    }
    if most.is_some_and(|most| context.retries() >= most) {
        let exception = cause.unwrap_or_else(|| policy::retries_used_up(context.message()));
        let header = Header::GivenUp(exception);
        return Outcome::Unlock(Box::new(Unlocked { body, header }));
    }
    Outcome::Retry(Retry {
        cause,
        traceback: None,
        when: Some(When::Countdown(said.unwrap_or(pause))),
        changes: most.map(|most| {
            Box::new(RetryChanges {
                max_retries: Some(most),
                ..RetryChanges::default()
            })
        }),
    })
}

/// Looks at the results of a header's tasks, whose references are given. An error is one that passes.
async fn look(results: &dyn ResultStore, members: Vec<Value>) -> Result<Known, ExceptionInfo> {
    // A group of them, whose own id means nothing here.
    let own = Value::List(vec!["".into(), Value::Null]);
    let group = Value::List(vec![own, Value::List(members)]);
    let mut ids = Vec::new();
    let read = chord::leaves(&group, &mut |id| ids.push(id));
    if let Err(damaged) = read {
        return Ok(ended_by(&damaged));
    }
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(AT_ONCE) {
        let metas = match results.load_many(some).await {
            Ok(metas) => metas,
            Err(error) if error.is_transient() => {
                let text = vec![with_causes(&error).into()];
                return Err(ExceptionInfo::new(
                    "celery.exceptions",
                    "BackendGetMetaError",
                    text,
                ));
            }
            Err(error) => return Ok(ended_by(&error)),
        };
        let ready = |meta: &TaskMeta| meta.status.is_ready();
        if !metas.iter().all(|meta| meta.as_ref().is_some_and(ready)) {
            return Ok(Known::Waits);
        }
        let metas = metas.into_iter().flatten();
        found.extend(metas.map(|meta| (meta.task_id.clone(), meta)));
    }
    let failed = ids.iter().find(|id| {
        let meta = found.get(*id);
        meta.is_some_and(|meta| meta.status != State::Success)
    });
    if let Some(member) = failed {
        let recorded = found.remove(member).map_or(Value::Null, |meta| meta.result);
        let member = member.clone();
        return Ok(Known::Ended(Header::Failed { member, recorded }));
    }
    let values = found.into_iter().map(|(id, meta)| (id, meta.result));
    match chord::shaped(&group, &values.collect()) {
        Ok(values) => Ok(Known::Ended(Header::Succeeded(values))),
        Err(damaged) => Ok(ended_by(&damaged)),
    }
}

fn ended_by(error: &(dyn std::error::Error + 'static)) -> Known {
    let text = format!("its header cannot be read: {}", with_causes(error));
    Known::Ended(Header::GivenUp(workflow::chord_failed(&text)))
}

impl Header {
    /// What the body fails with when nobody asks any more.
    pub(crate) fn given_up(exception: &ExceptionInfo) -> ExceptionInfo {
        if exception.exc_type == "ChordError" {
            return exception.clone();
        }
        let text = format!("chord_unlock could not be retried: {}", exception.repr());
        records::celery_exception("ChordError", &text)
    }
}
