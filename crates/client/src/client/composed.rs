//! Sending one call in two steps: it is written, and somebody may say no to where it goes; then what was written is sent.

use lovage_broker::{Destination, Entry};
use lovage_protocol::{TaskId, TaskName};

use super::Client;
use crate::{AsyncResult, Error, Outgoing, Prepared, context::Sending};

/// A call that is written and not sent yet.
#[derive(Debug)]
pub struct Composed {
    prepared: Prepared,
    /// What is decided as it is sent, and its task's name.
    asks: Option<(TaskName, Entry)>,
}

impl Composed {
    /// The task's id.
    pub fn id(&self) -> &TaskId {
        &self.prepared.id
    }

    /// The message alone, for [`Client::publish`]: what its task declares is decided when a worker gets it.
    pub fn into_prepared(self) -> Prepared {
        self.prepared
    }
}

impl Client {
    /// Sends one call. What its task declares (unique, debounce, limits) is decided in the same step; about calls sent by other
    /// ways it is decided when a worker gets them. A duplicate of a task whose duplicates join is not sent: the handle is that of the first.
    ///
    /// # Errors
    /// [`Error::Duplicate`] when it is the duplicate of another, and as the call's own [`SendBuilder`](crate::SendBuilder).
    pub async fn send_outgoing<R>(&self, call: Outgoing) -> Result<AsyncResult<R>, Error> {
        let composed = self.compose_call(call, |_| Ok::<_, Error>(()))?;
        self.send_composed(composed).await
    }

    /// Writes a call, for [`send_composed`](Self::send_composed), once `may` has seen where it goes. What `may` refuses is not written, and has no span.
    ///
    /// # Errors
    /// What `may` refuses, and when what is asked for cannot be sent.
    pub fn compose_call<E: From<Error>>(
        &self,
        mut call: Outgoing,
        may: impl FnOnce(&Destination) -> Result<(), E>,
    ) -> Result<Composed, E> {
        if let Some(sending) = Sending::current() {
            sending.apply(&mut call);
        }
        self.inner.layers.before(&mut call)?;
        let demand = self.inner.composer.demand_of(&call.task);
        let demand = demand.map(|demand| (demand, call.clone()));
        let routed = self.inner.composer.route(call)?;
        may(routed.destination())?;
        let prepared = self.seal(routed)?;
        let asks = demand.and_then(|(demand, call)| {
            let entry = demand.entry(&call, &prepared)?;
            Some((call.task, entry))
        });
        Ok(Composed { prepared, asks })
    }

    /// Sends what was written, as [`send_outgoing`](Self::send_outgoing) does.
    ///
    /// # Errors
    /// [`Error::Duplicate`] when it is the duplicate of another, and when the broker fails for longer than the publish policy bears.
    pub async fn send_composed<R>(&self, composed: Composed) -> Result<AsyncResult<R>, Error> {
        let Composed { prepared, asks } = composed;
        let handle = self.handle_of(&prepared);
        let publisher = &self.inner.publisher;
        let outcome = match asks {
            None => {
                let batch = std::slice::from_ref(&prepared.publish);
                publisher.publish(batch).await
            }
            Some((task, entry)) => {
                let join = entry.demand.claim.as_ref().is_some_and(|claim| claim.join);
                match publisher.publish_gated(&prepared.publish, &entry).await {
                    Ok(None) => Ok(()),
                    Ok(Some(of)) if join => return Ok(self.handle(of)),
                    Ok(Some(of)) => Err(Error::Duplicate {
                        task: task.as_str().to_owned(),
                        of: of.into(),
                    }),
                    Err(error) => Err(error),
                }
            }
        };
        let told = outcome.as_ref().copied();
        self.inner
            .layers
            .after(std::slice::from_ref(&prepared), told);
        outcome?;
        self.tell_sent(std::slice::from_ref(&prepared.publish))
            .await;
        if let Some(sending) = Sending::current() {
            sending.record(&prepared.id);
        }
        Ok(handle)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use lovage_broker::{Broker, MemoryBroker};
    use lovage_protocol::{Message, QueueName, Value};
    use lovage_results::MemoryStore;
    use lovage_settings::ResultSettings;

    use super::*;
    use crate::{ClientOptions, PublishLayer};

    /// Counts how often a call is written.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl PublishLayer for Count {
        fn before_publish(&self, _call: &mut Outgoing) -> Result<(), String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_was_looked_at_is_what_is_sent() {
        let broker = MemoryBroker::new();
        let results = MemoryStore::new(&ResultSettings::default(), &broker).unwrap();
        let broker: Arc<dyn Broker> = Arc::new(broker);
        let count = Arc::new(Count::default());
        let client = Client::new(
            Arc::clone(&broker),
            Arc::new(results),
            ClientOptions::default(),
        );
        let client = client.layer(Arc::clone(&count) as Arc<dyn PublishLayer>);
        let queue = QueueName::parse("celery").unwrap();

        let no = |_: &Destination| Err(Error::invalid(TaskName::from("t"), "not there"));
        assert!(client.compose_call(Outgoing::new("t"), no).is_err());
        let mut seen = None;
        let composed = client.compose_call(Outgoing::new("t"), |to| {
            seen = Some(to.clone());
            Ok::<_, Error>(())
        });
        let composed = composed.unwrap();
        assert_eq!(seen, Some(Destination::Queue(queue.clone())));
        assert_eq!(
            broker.depth(std::slice::from_ref(&queue)).await.unwrap(),
            [0]
        );

        let id = composed.id().clone();
        let handle = client.send_composed::<Value>(composed).await.unwrap();
        assert_eq!(handle.id(), &id);
        let sent = broker.peek(&queue, 10).await.unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(Message::parse(&sent[0]).unwrap().headers.id, id);
        assert_eq!(count.0.load(Ordering::Relaxed), 2, "once for each call");
    }
}
