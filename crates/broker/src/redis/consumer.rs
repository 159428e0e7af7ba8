//! A worker's hold on its queues: the parts that fetch, finish, renew, mend, and how they end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_protocol::QueueName;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Core, apply,
    batch::Settling,
    exclusive::{self, Estate},
    fetch::Fetcher,
    finisher::Finishers,
    gate,
    held::Held,
    lease::{self, Holder, Keeper, Pulse},
    link::{Link, Patience},
    mover, reaper,
    restore::{self, Restore},
};
use crate::{
    Admit, Admitted, Consumer, ConsumerOptions, Delivery, DeliveryTag, Error, Finish, Finished,
    Start, Want, rotation::Rotation,
};

/// How long a close tries when the broker has not been heard of for a lease.
const LAST_ATTEMPT: Duration = Duration::from_secs(1);
/// No lease is shorter.
const SHORTEST_LEASE: Duration = Duration::from_millis(30);

/// What the parts of one consumer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) options: ConsumerOptions,
    pub(crate) holder: Arc<Holder>,
    pub(crate) held: Arc<Held>,
    /// For settling.
    pub(crate) link: Link,
    /// For looking after dead workers and delayed messages.
    pub(crate) upkeep: Link,
    pub(crate) pulse: Arc<Pulse>,
    /// Told when a message was delayed, for the mover may have to wake earlier.
    pub(crate) delayed: Notify,
    /// A journal is kept, as was last heard.
    pub(crate) journals: Arc<AtomicBool>,
    /// Messages that cost too many deaths are given up here: their results can be stored.
    pub(crate) buries: bool,
    hurry: Mutex<Option<Keeper>>,
    closed: CancellationToken,
}

impl Shared {
    /// Of somebody who takes nothing and has no lease: enough to give back what others held.
    pub(crate) fn of_a_bystander(core: &Arc<Core>, options: ConsumerOptions) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let lease = options.lease.max(SHORTEST_LEASE);
        let (queues, estate) = (names(&[]), Estate::default());
        let node = options.node.as_str();
        let holder = Holder::new(core, &id, node, &[], queues, lease, estate);
        Self {
            core: Arc::clone(core),
            options,
            holder: Arc::new(holder),
            held: Arc::new(Held::default()),
            link: Link::new(&core.servers, "settle"),
            upkeep: Link::new(&core.servers, "upkeep"),
            pulse: Arc::new(Pulse::new(lease)),
            delayed: Notify::new(),
            journals: Arc::new(AtomicBool::new(false)),
            buries: false,
            hurry: Mutex::new(None),
            closed: CancellationToken::new(),
        }
    }

    /// The delivery tag of a sequence number.
    pub(crate) fn tag(&self, number: u64) -> String {
        format!("{}:{number}", self.holder.id)
    }

    /// Asks the thread to renew at once, and waits a moment for it.
    pub(crate) async fn wait_for_lease(&self) {
        let renewed = self.pulse.renewed.notified();
        if let Some(keeper) = &*self.hurry.lock().unwrap_or_else(PoisonError::into_inner) {
            keeper.hurry();
        }
        // The thread may have been away for longer than it takes; the fetch script is the judge.
        let _ = tokio::time::timeout(Duration::from_millis(100), renewed).await;
    }
}

/// See [`Consumer`]. Dropping it without [`Consumer::close`] is like the death of its worker: the lease runs out.
#[derive(Debug)]
pub(crate) struct RedisConsumer {
    shared: Arc<Shared>,
    fetcher: Fetcher,
    finishers: Finishers,
    starting: tokio::sync::Mutex<apply::Numbered>,
    upkeep: Vec<JoinHandle<()>>,
}

impl RedisConsumer {
    pub(crate) async fn open(core: Arc<Core>, options: ConsumerOptions) -> Result<Self, Error> {
        let mut consumed = options.queues.clone();
        consumed.extend(options.exclusive.iter().map(|own| own.queue.clone()));
        let rotation = Rotation::new(consumed, core.options.queue_order_strategy);
        let id = Uuid::new_v4().simple().to_string();
        let lease = options.lease.max(SHORTEST_LEASE);
        let queues = names(rotation.queues());
        let holder = Arc::new(Holder::new(
            &core,
            &id,
            options.node.as_str(),
            &options.tasks,
            queues,
            lease,
            Estate::of(&core, &options.exclusive),
        ));
        let journals = Arc::new(AtomicBool::new(lease::take(&core, &holder).await?));
        let mut heard = Vec::with_capacity(options.exclusive.len());
        for own in &options.exclusive {
            heard.push((own.clone(), exclusive::listen(&core, own).await?));
        }
        let held = Arc::new(Held::default());
        let keeper = Keeper::start(&core, &holder, &held, &journals)
            .map_err(|source| Error::NoThread { source })?;
        let fetcher = Fetcher::new(&core, rotation);
        let shared = Arc::new(Shared {
            link: Link::new(&core.servers, "settle"),
            upkeep: Link::new(&core.servers, "upkeep"),
            pulse: Arc::clone(&keeper.pulse),
            delayed: Notify::new(),
            journals,
            buries: true,
            hurry: Mutex::new(Some(keeper)),
            closed: CancellationToken::new(),
            core,
            options,
            holder,
            held,
        });
        let mut upkeep = vec![
            tokio::spawn(mover::run(Arc::clone(&shared))),
            tokio::spawn(reaper::run(Arc::clone(&shared))),
        ];
        upkeep.extend(heard.into_iter().map(|(own, heard)| {
            tokio::spawn(exclusive::fill(Arc::clone(&shared.core), own, heard))
        }));
        Ok(Self {
            finishers: Finishers::start(&shared),
            starting: tokio::sync::Mutex::new(apply::Numbered::new("start".to_owned())),
            fetcher,
            shared,
            upkeep,
        })
    }

    /// Runs something until the consumer is closed.
    async fn while_open<T>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.shared.closed.cancelled() => Err(Error::Closed),
            done = work => done,
        }
    }
}

fn names(queues: &[QueueName]) -> String {
    queues
        .iter()
        .map(QueueName::as_str)
        .collect::<serde_json::Value>()
        .to_string()
}

#[async_trait]
impl Consumer for RedisConsumer {
    async fn fetch(&self, want: Want) -> Result<Vec<Delivery>, Error> {
        self.while_open(self.fetcher.fetch(&self.shared, want))
            .await
    }

    fn set_queues(&self, mut queues: Vec<QueueName>) {
        let own = self.shared.options.exclusive.iter();
        queues.extend(own.map(|own| own.queue.clone()));
        let mut rotation = self
            .fetcher
            .rotation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *rotation = Rotation::new(queues, rotation.order());
        *self
            .shared
            .holder
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = names(rotation.queues());
        drop(rotation);
        self.fetcher.queues_changed.notify_one();
    }

    async fn start(&self, batch: Vec<Start>) -> Result<Vec<bool>, Error> {
        self.while_open(async {
            let mut numbered = self.starting.lock().await;
            apply::start(&self.shared, &mut numbered, &batch).await
        })
        .await
    }

    async fn unstart(&self, batch: Vec<DeliveryTag>) -> Result<(), Error> {
        self.while_open(async {
            let mut numbered = self.starting.lock().await;
            apply::unstart(&self.shared, &mut numbered, &batch).await
        })
        .await
    }

    async fn admit(&self, batch: Vec<Admit>) -> Result<Vec<Admitted>, Error> {
        self.while_open(gate::admit(&self.shared, &batch)).await
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>, Error> {
        // Not cut off by close, which waits for what is under way: its answers are true.
        self.finishers.finish(batch).await
    }

    async fn died(&self, tags: Vec<DeliveryTag>) -> Result<(), Error> {
        let mut numbers: Vec<u64> = tags.into_iter().map(|tag| tag.0).collect();
        numbers.sort_unstable();
        self.while_open(restore::died(&self.shared, &numbers)).await
    }

    async fn release_unstarted(&self) -> Result<u64, Error> {
        self.while_open(async {
            // What nobody was given does not run, even if it is marked as started. It was taken last: it goes first.
            let unseen = self.fetcher.take_back(&self.shared).await?;
            let unseen =
                restore::own(&self.shared, &unseen, Settling::All, Patience::Endless).await?;
            let numbers = self.shared.held.numbers(true);
            let waiting =
                restore::own(&self.shared, &numbers, Settling::Waiting, Patience::Endless).await?;
            Ok(unseen + waiting)
        })
        .await
    }

    async fn close(&self) -> Result<(), Error> {
        if self.shared.closed.is_cancelled() {
            return Ok(());
        }
        self.shared.closed.cancel();
        for task in &self.upkeep {
            task.abort();
        }
        self.finishers.drain().await;
        let servers = &self.shared.core.servers;
        let limit = if self.is_connected() {
            servers.connect_timeout + servers.response_timeout
        } else {
            // Others have taken over already, or there is nothing to put anything back into.
            servers.connect_timeout.min(LAST_ATTEMPT)
        };
        let put_back = async {
            self.fetcher.take_back(&self.shared).await?;
            restore::own(
                &self.shared,
                &self.shared.held.numbers(false),
                Settling::All,
                Patience::Bounded,
            )
            .await
        };
        // An answer that never comes must not keep the process; the lease then runs out and others put back what is left.
        let put_back = tokio::time::timeout(limit, put_back).await;
        let keeper = self
            .shared
            .hurry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper {
            keeper.stop().await;
        }
        match put_back {
            Ok(Ok(_)) => {
                // What was put back there was meant for this consumer alone.
                self.shared.holder.estate.clear(&self.shared.core).await?;
                // In this order: of two that stop at once, at least one finds itself the last.
                lease::give_up(&self.shared.core, &self.shared.holder).await?;
                mover::hand_back_if_last(&self.shared.core).await
            }
            Ok(Err(error)) => Err(error),
            Err(elapsed) => Err(Error::Unreachable {
                address: self.shared.core.servers.address(),
                source: elapsed.into(),
            }),
        }
    }

    fn journals(&self) -> bool {
        self.shared.journals.load(Ordering::Relaxed)
    }

    async fn record(&self, records: Vec<Bytes>) -> Result<(), Error> {
        self.while_open(apply::record(&self.shared, &records)).await
    }

    fn is_connected(&self) -> bool {
        self.shared.pulse.is_connected()
    }

    fn lease_age(&self) -> Duration {
        self.shared.pulse.age()
    }
}

impl Drop for RedisConsumer {
    fn drop(&mut self) {
        self.shared.closed.cancel();
        for task in &self.upkeep {
            task.abort();
        }
        // Ends the thread: the tasks that still hold the shared part must not keep the lease alive.
        drop(
            self.shared
                .hurry
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// What the reaper and close put back, see [`restore`].
pub(crate) fn unstarted(numbers: &[u64], shared: &Shared) -> Vec<Restore> {
    numbers
        .iter()
        .map(|number| Restore {
            number: *number,
            tag: shared.tag(*number),
            started: false,
        })
        .collect()
}
