//! The results of a group.

use std::{fmt, ops::Deref, sync::Arc};

use lovage_protocol::{TaskId, Value};

use super::{ResultNode, ResultSet, tree};
use crate::{Client, Error};

/// The results of a group of tasks that were sent together: a [`ResultSet`], through which it is waited for, with an id.
pub struct GroupResult<R> {
    id: TaskId,
    set: ResultSet<R>,
    parent: Option<Arc<ResultNode>>,
}

impl<R> Clone for GroupResult<R> {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            set: self.set.clone(),
            parent: self.parent.clone(),
        }
    }
}

impl<R> fmt::Debug for GroupResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupResult")
            .field("id", &self.id)
            .field("results", &self.set)
            .finish_non_exhaustive()
    }
}

/// A group's result is a set of results, in Celery by inheritance.
impl<R> Deref for GroupResult<R> {
    type Target = ResultSet<R>;

    fn deref(&self) -> &ResultSet<R> {
        &self.set
    }
}

impl<R> GroupResult<R> {
    pub(crate) fn new(
        client: Client,
        id: TaskId,
        results: Vec<ResultNode>,
        parent: Option<Arc<ResultNode>>,
    ) -> Self {
        Self {
            id,
            set: ResultSet::from_nodes(client, results),
            parent,
        }
    }

    pub(super) fn shared_parent(&self) -> Option<&Arc<ResultNode>> {
        self.parent.as_ref()
    }

    /// The group's id.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The same group, its values read as another type.
    pub fn returning<S>(self) -> GroupResult<S> {
        let client = self.set.client().clone();
        GroupResult::new(client, self.id, self.set.results().to_vec(), self.parent)
    }

    /// What came before it in its chain.
    pub fn parent(&self) -> Option<&ResultNode> {
        self.parent.as_deref()
    }

    /// Its results: what [`AsyncResult::children`](super::AsyncResult::children) is to a task.
    pub fn children(&self) -> &[ResultNode] {
        self.set.results()
    }

    /// Stores which tasks it consists of, so that [`GroupResult::restore`] finds them by the group's id, in Rust and in Python.
    ///
    /// # Errors
    /// When the result store cannot be reached, or stores nothing.
    pub async fn save(&self) -> Result<(), Error> {
        let results = self.set.client().results();
        Ok(results
            .save_group(self.id.as_str(), &self.as_tuple())
            .await?)
    }

    /// A group that was saved, by this client or a Python one; `None` for one that was not, or has been forgotten.
    ///
    /// # Errors
    /// When the result store cannot be read, or what stands there is no group.
    pub async fn restore(client: &Client, id: impl Into<TaskId>) -> Result<Option<Self>, Error> {
        let id = id.into();
        let results = client.results();
        let key = results.group_key(id.as_str());
        let Some(reference) = results.load_group(&key).await? else {
            return Ok(None);
        };
        match tree::node(client, &reference) {
            Some(ResultNode::Group(group)) => Ok(Some(group.returning())),
            _ => Err(Error::invalid(
                id,
                "what is stored under this group's id is no group, expected [[id, parent], [references]]",
            )),
        }
    }

    /// Deletes what [`GroupResult::save`] stored; the results of its tasks stay.
    ///
    /// # Errors
    /// When the result store cannot be reached.
    pub async fn delete(&self) -> Result<(), Error> {
        let results = self.set.client().results();
        Ok(results.forget_group(self.id.as_str()).await?)
    }

    /// The reference to it as the wire has it, `[[id, parent], [references]]`.
    pub fn as_tuple(&self) -> Value {
        let members = self.set.results().iter().map(ResultNode::as_tuple);
        tree::reference(
            &self.id,
            self.parent.as_ref(),
            Value::List(members.collect()),
        )
    }
}
