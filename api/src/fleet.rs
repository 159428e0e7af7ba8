//! Which workers there are, what they consume and what they can run, as they say themselves.
//!
//! Asking costs up to a second while a worker is slow to answer, so what they said is kept for some seconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use lovage_broker::{Broker, Error};
use lovage_flower_compat::Control;
use lovage_protocol::Value;
use tokio::{sync::Mutex, time::Instant};

/// How long an answer is taken for true.
const FRESH: Duration = Duration::from_secs(5);
/// How long workers have to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the workers.
pub(crate) struct Fleet {
    control: Control,
    broker: Arc<dyn Broker>,
    known: Mutex<Option<(Instant, Arc<Census>)>>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

/// What the workers said, by queue and by task.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Census {
    /// Every worker that answered.
    pub(crate) workers: BTreeSet<String>,
    /// The workers that consume a queue.
    pub(crate) consumers: BTreeMap<String, BTreeSet<String>>,
    /// The workers that have registered a task.
    pub(crate) tasks: BTreeMap<String, BTreeSet<String>>,
}

impl Fleet {
    pub(crate) fn new(control: Control, broker: Arc<dyn Broker>) -> Self {
        Self {
            control,
            broker,
            known: Mutex::default(),
        }
    }

    /// The way to ask workers anything.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// What the workers said a few seconds ago at most. Of several who want to know one asks.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub(crate) async fn census(&self) -> Result<Arc<Census>, Error> {
        let mut known = self.known.lock().await;
        if let Some((when, census)) = &*known
            && when.elapsed() < FRESH
        {
            return Ok(Arc::clone(census));
        }
        let census = Arc::new(self.take().await?);
        *known = Some((Instant::now(), Arc::clone(&census)));
        Ok(census)
    }

    /// Asks anew the next time: something was changed.
    pub(crate) async fn forget(&self) {
        *self.known.lock().await = None;
    }

    async fn take(&self) -> Result<Census, Error> {
        let ask = |method: &str| self.control.ask(method).wait(PATIENCE).send();
        let (peers, tasks, queues) =
            tokio::try_join!(self.broker.peers(), ask("registered"), ask("active_queues"))?;
        let mut census = Census::default();
        let note = |map: &mut BTreeMap<String, BTreeSet<String>>, key: &str, node: &str| {
            map.entry(key.to_owned())
                .or_default()
                .insert(node.to_owned());
        };
        let answered: BTreeSet<&str> = queues.iter().map(|reply| reply.node.as_str()).collect();
        // Workers of ours that do not obey remote control are known by their leases.
        for peer in peers {
            census.workers.insert(peer.node.clone());
            if answered.contains(peer.node.as_str()) {
                continue;
            }
            for queue in &peer.queues {
                note(&mut census.consumers, queue, &peer.node);
            }
            for task in &peer.tasks {
                note(&mut census.tasks, task, &peer.node);
            }
        }
        for reply in tasks {
            census.workers.insert(reply.node.clone());
            for task in reply.value.as_list().unwrap_or_default() {
                // `name [rate_limit=10/s]`, as Celery writes it.
                let name = task.as_str().and_then(|task| task.split(' ').next());
                if let Some(name) = name {
                    note(&mut census.tasks, name, &reply.node);
                }
            }
        }
        for reply in queues {
            census.workers.insert(reply.node.clone());
            for queue in reply.value.as_list().unwrap_or_default() {
                if let Some(name) = queue.get("name").and_then(Value::as_str) {
                    note(&mut census.consumers, name, &reply.node);
                }
            }
        }
        Ok(census)
    }
}
