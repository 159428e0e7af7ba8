//! A chord whose header failed: its body, what was to follow it, and who is told.

use std::collections::{HashMap, HashSet};

use lovage_client::canvas::{given, listed, subtasks};
use lovage_protocol::{ExceptionInfo, Message, Signature, State, TaskId, TaskMeta, Value, time};

use crate::{
    attempt::Shared,
    chain::{never_run, result_errbacks, result_id},
    chord::End,
    errback::FailedTask,
    part::{self, Part},
    workflow,
};

/// The mark in a recorded failure of which error callbacks have been told: that of a body, which is a part of a chord further
/// out. Celery leaves the outer chord waiting for ever; here it fails too, and tells nobody once more.
const TOLD: &str = "lovage_told";

/// Why a chord fails.
pub(crate) struct ChordFailure {
    /// The failure of its body.
    exception: ExceptionInfo,
    /// What the task of the header raised.
    cause: ExceptionInfo,
    /// A chord inside has told of it.
    told: bool,
}

impl ChordFailure {
    /// It fails by itself.
    pub(crate) fn own(exception: ExceptionInfo) -> Self {
        Self {
            cause: exception.clone(),
            exception,
            told: false,
        }
    }

    /// A task of its header has failed, with this recorded.
    pub(crate) fn of_member(id: &TaskId, recorded: &Value) -> Self {
        let cause = ExceptionInfo::from_value(recorded)
            .unwrap_or_else(|_| ExceptionInfo::new("builtins", "Exception", vec![]));
        Self {
            exception: workflow::chord_error(id, &cause),
            cause,
            told: recorded.get(TOLD).is_some(),
        }
    }

    /// Error callbacks with the body's id, and the failure stored for the body and what was to follow it. A group as the body
    /// fails member by member, with what the header's task raised (`celery/backends/base.py`, `_handle_group_chord_error`).
    pub(crate) fn end(self, shared: &Shared, message: &Message, body: &Signature) -> End {
        let mut end = End {
            publishes: Vec::new(),
            results: Vec::new(),
            failed: true,
            parts: unreturned(shared, body, &self.exception),
            calls: Vec::new(),
        };
        let members = match body.subtask_type.as_deref() {
            Some("group") => subtasks(body).unwrap_or_default(),
            _ => Vec::new(),
        };
        let mut children = match self.told {
            true => HashMap::new(),
            false => self.tell(shared, message, body, &members, &mut end),
        };
        let with_cause: HashSet<TaskId> = members.iter().filter_map(result_id).collect();
        let never = never_run(vec![body.clone()]);
        let ids = never
            .iter()
            .filter_map(|step| given(step, "task_id")?.as_str());
        for id in ids {
            let id = TaskId::from(id);
            let exception = match with_cause.contains(&id) {
                true => &self.cause,
                false => &self.exception,
            };
            end.results.extend(shared.results.encode(&TaskMeta {
                status: State::Failure,
                result: exception.to_value(),
                traceback: None,
                children: Some(children.remove(&id).unwrap_or_default()),
                date_done: Some(time::format_iso(shared.client.clock().now())),
                group_id: None,
                parent_id: None,
                traceparent: None,
                extended: None,
                task_id: id,
            }));
        }
        end
    }

    /// Tells the error callbacks; gives those that are sent, as the children of whose failure they are told of
    /// (`celery/backends/base.py`, `chord_error_from_stack`).
    fn tell(
        &self,
        shared: &Shared,
        message: &Message,
        body: &Signature,
        members: &[Signature],
        end: &mut End,
    ) -> HashMap<TaskId, Vec<Value>> {
        let mut children = HashMap::new();
        let mut tell = |of: &Signature, errbacks, exception: &ExceptionInfo| {
            let Some(id) = result_id(of) else { return };
            let failed = FailedTask {
                id: id.clone(),
                name: of.task.clone(),
                root_id: workflow::root(message),
                parent_id: Some(message.headers.id.clone()),
                exception: exception.clone(),
                traceback: None,
            };
            let told = workflow::tell_of_failure(shared, &failed, errbacks);
            end.publishes.extend(told.publishes);
            end.results.extend(told.results);
            end.calls.extend(told.calls);
            children.insert(id, told.children);
        };
        if members.is_empty() {
            tell(body, result_errbacks(body), &self.exception);
            return children;
        }
        let of_all = listed(body, "link_error");
        for member in members {
            let mut errbacks = result_errbacks(member);
            for more in &of_all {
                if !errbacks.contains(more) {
                    errbacks.push(more.clone());
                }
            }
            tell(member, errbacks, &self.cause);
        }
        children
    }
}

/// What the body would have returned to chords further out, and what follows it.
fn unreturned(shared: &Shared, body: &Signature, exception: &ExceptionInfo) -> Vec<Part> {
    let mut alone = body.clone();
    let after = listed(&alone, "chain");
    alone.options.shift_remove("chain");
    let mut marked = exception.to_value();
    if let Value::Map(fields) = &mut marked {
        fields.insert(TOLD.to_owned(), Value::Bool(true));
    }
    let mut parts = part::of_unrun(shared, vec![alone], &State::Failure, &marked);
    let failure = exception.to_value();
    parts.extend(part::of_unrun(shared, after, &State::Failure, &failure));
    parts
}
