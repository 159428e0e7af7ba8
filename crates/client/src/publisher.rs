//! Publishing that outlives a short outage: Celery's publish policy around the broker's own.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use lovage_broker::{Binding, Broker, Destination, Entry, Publish, Topology};
use lovage_protocol::QueueName;
use tokio::time::{Instant, timeout_at};

use crate::Error;

/// How often a failed publish is repeated (`task_publish_retry_policy`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishPolicy {
    /// Repetitions after the first attempt; Celery's default is 3, and 0 is its `task_publish_retry = False`.
    pub max_retries: u32,
    /// The pause before the first repetition; default none.
    pub interval_start: Duration,
    /// How much longer each further pause is; default 0.2 s.
    pub interval_step: Duration,
    /// The longest pause; default 0.2 s.
    pub interval_max: Duration,
    /// How long a publish may take with all its repetitions; default 20 s.
    pub patience: Duration,
}

impl Default for PublishPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            interval_start: Duration::ZERO,
            interval_step: Duration::from_millis(200),
            interval_max: Duration::from_millis(200),
            patience: Duration::from_secs(20),
        }
    }
}

impl PublishPolicy {
    fn begin(self) -> Trying {
        Trying {
            policy: self,
            deadline: Instant::now() + self.patience,
            failures: 0,
        }
    }

    /// The pause before repetition `number`, counted from 0.
    fn pause(&self, number: u32) -> Duration {
        self.interval_start
            .saturating_add(self.interval_step.saturating_mul(number))
            .min(self.interval_max.max(self.interval_start))
    }
}

/// One publish under way: how often it failed, and until when it may be tried.
struct Trying {
    policy: PublishPolicy,
    deadline: Instant,
    failures: u32,
}

impl Trying {
    /// Waits before the next attempt, or gives the failure back when there is to be none.
    async fn bear(&mut self, failure: Error) -> Result<(), Error> {
        if self.failures == self.policy.max_retries || !failure.is_transient() {
            return Err(failure);
        }
        tracing::debug!(
            error = &failure as &dyn std::error::Error,
            "publishing again"
        );
        let pause = self.policy.pause(self.failures);
        if Instant::now() + pause >= self.deadline {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        self.failures += 1;
        Ok(())
    }

    fn unanswered(&self) -> Error {
        let waited = self.policy.patience;
        Error::Unanswered { waited }
    }
}

/// Publishes, and makes each queue known to peers before its first message.
#[derive(Debug)]
pub(crate) struct Publisher {
    broker: Arc<dyn Broker>,
    policy: PublishPolicy,
    topology: Topology,
    declared: RwLock<Declared>,
}

/// What peers know already.
#[derive(Debug, Default)]
struct Declared {
    queues: HashSet<QueueName>,
    exchanges: HashSet<String>,
}

impl Publisher {
    pub(crate) fn new(broker: Arc<dyn Broker>, policy: PublishPolicy, topology: Topology) -> Self {
        Self {
            broker,
            policy,
            topology,
            declared: RwLock::default(),
        }
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Sends the batch in order. After an error that may pass the rest is sent again, so a message whose answer was lost
    /// can go out twice.
    pub(crate) async fn publish(&self, batch: &[Publish]) -> Result<(), Error> {
        let mut rest = batch;
        let mut trying = self.policy.begin();
        while !rest.is_empty() {
            let failure = match timeout_at(trying.deadline, self.attempt(rest)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => {
                    if let lovage_broker::Error::Incomplete { accepted, .. } = &error {
                        rest = rest.get(*accepted..).unwrap_or_default();
                    }
                    Error::Broker(error)
                }
                Err(_) => return Err(trying.unanswered()),
            };
            trying.bear(failure).await?;
        }
        Ok(())
    }

    /// Sends a message about which is decided as it is sent; the holder's id when another has its lock. Asked again, it is not
    /// sent twice.
    pub(crate) async fn publish_gated(
        &self,
        publish: &Publish,
        entry: &Entry,
    ) -> Result<Option<String>, Error> {
        let mut trying = self.policy.begin();
        loop {
            let attempt = async {
                self.declare(std::slice::from_ref(publish)).await?;
                self.broker.publish_gated(publish, entry).await
            };
            let failure = match timeout_at(trying.deadline, attempt).await {
                Ok(Ok(holder)) => return Ok(holder),
                Ok(Err(error)) => Error::Broker(error),
                Err(_) => return Err(trying.unanswered()),
            };
            trying.bear(failure).await?;
        }
    }

    async fn attempt(&self, batch: &[Publish]) -> Result<(), lovage_broker::Error> {
        self.declare(batch).await?;
        self.broker.publish(batch).await
    }

    /// Declares alone, within the patience of one publish.
    pub(crate) async fn declare_all(&self, batch: &[Publish]) -> Result<(), Error> {
        let mut trying = self.policy.begin();
        loop {
            let failure = match timeout_at(trying.deadline, self.declare(batch)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => Error::Broker(error),
                Err(_) => return Err(trying.unanswered()),
            };
            trying.bear(failure).await?;
        }
    }

    async fn declare(&self, batch: &[Publish]) -> Result<(), lovage_broker::Error> {
        let (unknown, exchanges) = self.undeclared(batch);
        if !unknown.is_empty() {
            self.broker.bind(&unknown).await?;
        }
        if !unknown.is_empty() || !exchanges.is_empty() {
            let mut declared = self
                .declared
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            declared
                .queues
                .extend(unknown.into_iter().map(|binding| binding.queue));
            declared.exchanges.extend(exchanges);
        }
        Ok(())
    }

    /// The bindings that peers may not know yet, and the exchanges that were looked through for them.
    fn undeclared(&self, batch: &[Publish]) -> (Vec<Binding>, Vec<String>) {
        let declared = self.declared.read().unwrap_or_else(PoisonError::into_inner);
        let mut unknown: Vec<Binding> = Vec::new();
        let mut exchanges: Vec<String> = Vec::new();
        let mut last = None;
        let is_new = |unknown: &[Binding], queue: &QueueName| {
            !declared.queues.contains(queue)
                && !unknown.iter().any(|binding| binding.queue == *queue)
        };
        for publish in batch {
            match &publish.destination {
                // Bulk mostly goes to one queue: one look instead of one hash per message.
                Destination::Queue(queue) if last != Some(queue) => {
                    last = Some(queue);
                    if is_new(&unknown, queue) {
                        unknown.push(self.topology.binding(queue));
                    }
                }
                Destination::Exchange { exchange, .. }
                    if !declared.exchanges.contains(exchange) && !exchanges.contains(exchange) =>
                {
                    exchanges.push(exchange.clone());
                    for binding in self.topology.on_exchange(exchange) {
                        if is_new(&unknown, &binding.queue) {
                            unknown.push(binding.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        (unknown, exchanges)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::PublishPolicy;

    #[test]
    fn pauses_as_celery_does() {
        let policy = PublishPolicy::default();
        let pauses: Vec<u128> = (0..4)
            .map(|number| policy.pause(number).as_millis())
            .collect();
        assert_eq!(pauses, [0, 200, 200, 200]);
        let slow = PublishPolicy {
            interval_start: Duration::from_secs(1),
            interval_step: Duration::from_secs(1),
            interval_max: Duration::from_secs(3),
            ..policy
        };
        let pauses: Vec<u64> = (0..4).map(|number| slow.pause(number).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 3, 3]);
    }
}
