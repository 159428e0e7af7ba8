//! Canvases: chains, groups and chords, sent as the messages that begin them.
//!
//! A canvas is frozen first, which gives every part its id and its place (`freeze`), and then launched: the messages that can
//! go out now are written, and what comes later travels inside of them (`launch`). Nothing is sent here but by [`Client::apply`];
//! a worker sends what follows a task in the same step that ends it.
//!
//! The rules are those of `celery/canvas.py`; the wire is the same.

mod freeze;
mod launch;
mod typed;
mod unlock;

use lovage_broker::{Publish, ResultWrite};
use lovage_protocol::{Signature, SignatureError, TaskId, Value};

pub use launch::Start;
pub use lovage_protocol::composed::{
    Header, chain, chord, chord_parts, given, group, leaves, link, listed, set_listed,
    set_subtasks, subtasks,
};
pub use typed::Awaited;

use crate::{Client, Error, Prepared, context::Sending};

/// What begins a canvas.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The messages, in the order in which they are to be sent.
    pub messages: Vec<Prepared>,
    /// The sizes of chords, and the shapes of their headers: to be stored before the messages are sent.
    pub results: Vec<ResultWrite>,
    /// The reference to the whole, `[[id, parent], children]`; null for a canvas without tasks.
    pub reference: Value,
    /// The reference to what begins it, which makes it a child of the task that sends it: the first task of a chain, the group
    /// that is a chord's header.
    pub child: Option<Value>,
}

impl Plan {
    /// The messages as the broker takes them.
    pub fn publishes(self) -> (Vec<Publish>, Vec<ResultWrite>) {
        let publishes = self.messages.into_iter().map(|one| one.publish);
        (publishes.collect(), self.results)
    }

    /// The id under which the result of the whole is found: its last task's, or a group's own.
    pub fn id(&self) -> Option<TaskId> {
        freeze::id_of(&self.reference).map(TaskId::from)
    }
}

/// The steps of a chain as they run, one after the other; see [`Client::plan`].
///
/// # Errors
/// When one of them is no signature.
pub fn steps(of: &Signature) -> Result<Vec<Signature>, SignatureError> {
    // Spliced into another, its own options come where they belong.
    freeze::steps(&mut chain([of.clone()]))
}

impl Client {
    /// Writes the messages that begin a canvas, without sending them.
    ///
    /// # Errors
    /// When a part of it is no signature or cannot be sent, or nobody would see the end of a chord of it: its results must be on
    /// the broker's server, or in a database.
    pub fn plan(&self, canvas: &Signature, start: &Start) -> Result<Plan, Error> {
        launch::plan(self, canvas, start)
    }

    /// Sends a canvas: a plain task, a chain, a group or a chord. Inside of a task it becomes the task's child.
    ///
    /// # Errors
    /// As [`Client::plan`], and when the result store or the broker cannot be reached; part may have been sent.
    pub async fn apply(&self, canvas: &Signature) -> Result<Plan, Error> {
        let sending = Sending::current();
        let start = Start {
            parent_id: sending
                .as_ref()
                .and_then(|sending| sending.parent_id.clone()),
            root_id: sending.as_ref().and_then(|sending| sending.root_id.clone()),
            default_priority: sending.as_ref().and_then(|sending| sending.priority),
            ..Start::default()
        };
        let plan = self.plan(canvas, &start)?;
        if !plan.results.is_empty() {
            self.results().write(&plan.results).await?;
        }
        self.publish_unrecorded(plan.messages.clone()).await?;
        if let Some(sending) = &sending
            && let Some(child) = &plan.child
        {
            sending.record_reference(child.clone());
        }
        Ok(plan)
    }
}
