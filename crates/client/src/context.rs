//! Which task is sending, when a task sends.

use std::sync::{Arc, Mutex, PoisonError};

use lovage_protocol::{TaskId, Value};

use crate::Outgoing;

tokio::task_local! {
    /// Set by the worker around the code of a task: what is sent inside becomes a child of that task.
    ///
    /// It does not follow into a task that the code spawns; scope it again there.
    pub static SENDING: Sending;
}

/// The task whose code is running.
#[derive(Debug, Clone)]
pub struct Sending {
    /// Its id: the parent of what it sends.
    pub parent_id: Option<TaskId>,
    /// The first task of its workflow.
    pub root_id: Option<TaskId>,
    /// The priority to hand on, when `task_inherit_parent_priority` says so.
    pub priority: Option<i64>,
    /// References to what was sent, in order: the `children` of its result.
    pub children: Arc<Mutex<Vec<Value>>>,
}

impl Sending {
    /// The task that runs here, if one does.
    pub fn current() -> Option<Self> {
        SENDING.try_with(Clone::clone).ok()
    }

    /// Fills in what the sender left open.
    pub fn apply(&self, outgoing: &mut Outgoing) {
        if outgoing.root_id.is_none() {
            outgoing.root_id.clone_from(&self.root_id);
        }
        if outgoing.parent_id.is_none() {
            outgoing.parent_id.clone_from(&self.parent_id);
        }
        outgoing.priority = outgoing.priority.or(self.priority);
    }

    /// Notes a task that was sent.
    pub fn record(&self, child: &TaskId) {
        let own = Value::List(vec![child.as_str().into(), Value::Null]);
        self.record_reference(Value::List(vec![own, Value::Null]));
    }

    /// Notes a canvas that was sent, by its reference.
    pub fn record_reference(&self, child: Value) {
        self.children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(child);
    }
}
