//! Typed canvases on their way out, and what comes back.

use lovage_protocol::{
    TaskId, Value,
    canvas::{Any, AnyEach, AnyOne, Each, IntoCanvas, One, Starts},
};

use crate::{AsyncResult, Client, Error, GroupResult, ResultNode};

/// What a canvas that gives this is waited for with: an [`AsyncResult`] or a [`GroupResult`].
pub trait Awaited {
    /// The result.
    type Result;

    /// The result of a canvas that was sent, by what its reference names; nothing: it had no tasks.
    fn awaited(client: &Client, sent: Option<ResultNode>) -> Self::Result;
}

/// A chain that ends in a group of one is on the wire one that ends in its member.
fn task<T>(client: &Client, sent: Option<ResultNode>) -> AsyncResult<T> {
    match sent {
        Some(ResultNode::Task(task)) => task.returning(),
        Some(group) => client.handle(group.id().clone()),
        None => client.handle(TaskId::new()),
    }
}

fn group<T>(client: &Client, sent: Option<ResultNode>) -> GroupResult<T> {
    match sent {
        Some(ResultNode::Group(group)) => group.returning(),
        one => GroupResult::new(client.clone(), TaskId::new(), Vec::from_iter(one), None),
    }
}

impl<T> Awaited for One<T> {
    type Result = AsyncResult<T>;

    fn awaited(client: &Client, sent: Option<ResultNode>) -> AsyncResult<T> {
        task(client, sent)
    }
}

impl Awaited for AnyOne {
    type Result = AsyncResult<Value>;

    fn awaited(client: &Client, sent: Option<ResultNode>) -> AsyncResult<Value> {
        task(client, sent)
    }
}

impl<T> Awaited for Each<T> {
    type Result = GroupResult<T>;

    fn awaited(client: &Client, sent: Option<ResultNode>) -> GroupResult<T> {
        group(client, sent)
    }
}

impl Awaited for AnyEach {
    type Result = GroupResult<Value>;

    fn awaited(client: &Client, sent: Option<ResultNode>) -> GroupResult<Value> {
        group(client, sent)
    }
}

impl Awaited for Any {
    type Result = ResultNode;

    fn awaited(client: &Client, sent: Option<ResultNode>) -> ResultNode {
        sent.unwrap_or_else(|| ResultNode::Group(group(client, None)))
    }
}

impl Client {
    /// Sends a canvas and gives its result to wait for: Celery's `canvas.apply_async()`. Inside of a task it becomes the
    /// task's child.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use lovage_broker::MemoryBroker;
    /// # use lovage_client::{Client, ClientOptions};
    /// # use lovage_results::MemoryStore;
    /// # use lovage_settings::ResultSettings;
    /// use lovage_protocol::{canvas::signature, chain, group};
    ///
    /// # let broker = MemoryBroker::new();
    /// # let results = MemoryStore::new(&ResultSettings::default(), &broker)?;
    /// # let client = Client::new(Arc::new(broker), Arc::new(results), ClientOptions::default());
    /// let add = |x: i64, y: i64| signature("proj.add").args((x, y)).returning::<i64>();
    /// let total = client
    ///     .apply_async(chain![group![add(1, 1), add(2, 2)], signature("proj.sum").returning::<i64>()])
    ///     .await?;
    /// assert!(total.parent().is_some(), "the group");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When an argument has no JSON form, and as [`Client::apply`].
    pub async fn apply_async<C>(&self, canvas: C) -> Result<<C::Gives as Awaited>::Result, Error>
    where
        C: IntoCanvas,
        C::Takes: Starts,
        C::Gives: Awaited,
    {
        let signature = canvas.into_canvas().into_signature()?;
        let plan = self.apply(&signature).await?;
        let sent = ResultNode::from_tuple(self, &plan.reference).map(|node| match node {
            ResultNode::Task(task) => {
                let ignored = |sent: &crate::Prepared| sent.id == *task.id() && sent.ignores_result;
                let ignored = plan.messages.iter().any(ignored);
                ResultNode::Task(task.with_ignored(ignored))
            }
            group => group,
        });
        Ok(C::Gives::awaited(self, sent))
    }
}
