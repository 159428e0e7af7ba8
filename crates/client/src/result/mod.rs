//! Results of tasks and of canvases, by Celery's names (`celery/result.py`).
//!
//! An [`AsyncResult`] is that of one task, a [`GroupResult`] that of a group, and a [`ResultNode`] either of them: the parents
//! and children of a result form a tree, of which each knows its own neighbours. Nothing here is a snapshot: every question is
//! asked anew, and waiting is a subscription.
//!
//! | module | knows |
//! |---|---|
//! | `async_result` | one task: waiting, state, parents |
//! | `set` | several results: joining, counting |
//! | `group` | a group: what a set has, an id, and how it is saved |
//! | `tree` | references on the wire, what a result led to, the graph of it |
//! | `ending` | a stored record as a value or an error |

mod async_result;
mod ending;
mod group;
mod set;
mod tree;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use lovage_protocol::{TaskId, Value};

pub use async_result::AsyncResult;
pub use group::GroupResult;
pub use set::ResultSet;
pub use tree::DependencyGraph;

use crate::Error;

/// The result of a task or of a group, its values of any type.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ResultNode {
    /// Of one task.
    Task(AsyncResult<Value>),
    /// Of a group.
    Group(GroupResult<Value>),
}

impl ResultNode {
    /// The task's id, or the group's.
    pub fn id(&self) -> &TaskId {
        match self {
            Self::Task(task) => task.id(),
            Self::Group(group) => group.id(),
        }
    }

    /// What came before it in its chain, or the header of the chord whose body it is.
    pub fn parent(&self) -> Option<&Self> {
        self.shared_parent().map(|parent| &**parent)
    }

    fn shared_parent(&self) -> Option<&Arc<Self>> {
        match self {
            Self::Task(task) => task.shared_parent(),
            Self::Group(group) => group.shared_parent(),
        }
    }

    /// The task, if it is one.
    pub fn as_task(&self) -> Option<&AsyncResult<Value>> {
        match self {
            Self::Task(task) => Some(task),
            Self::Group(_) => None,
        }
    }

    /// The group, if it is one.
    pub fn as_group(&self) -> Option<&GroupResult<Value>> {
        match self {
            Self::Task(_) => None,
            Self::Group(group) => Some(group),
        }
    }

    /// Waits for the value: the task's, or the list of the group's.
    ///
    /// # Errors
    /// As [`AsyncResult::get`] and [`ResultSet::join`].
    pub fn get(&self, timeout: Duration) -> BoxFuture<'_, Result<Value, Error>> {
        match self {
            Self::Task(task) => task.get(timeout).boxed(),
            Self::Group(group) => {
                let values = group.join(timeout);
                async move { Ok(Value::List(values.await?)) }.boxed()
            }
        }
    }

    /// Whether it has ended, well or not.
    ///
    /// # Errors
    /// When the result store cannot be read.
    pub async fn ready(&self) -> Result<bool, Error> {
        match self {
            Self::Task(task) => task.ready().await,
            Self::Group(group) => group.ready().await,
        }
    }

    /// Deletes the results of the task or of the group's tasks, and those of their parents.
    ///
    /// # Errors
    /// When the result store cannot be reached.
    pub fn forget(&self) -> BoxFuture<'_, Result<(), Error>> {
        match self {
            Self::Task(task) => task.forget().boxed(),
            Self::Group(group) => group.forget().boxed(),
        }
    }
}
