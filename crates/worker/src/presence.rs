//! A worker as others see it: its events and heartbeat, its mailbox, its talk with the other workers. It begins before the first
//! message is taken, and its sign of life ends when a shutdown begins; the mailbox is open and events go on until the last task
//! has ended.

use std::{sync::Arc, time::Duration};

use lovage_broker::{Revoke, Target};
use lovage_client::{Client, signature};
use lovage_flower_compat::{Control, Elected, Gossip, Heart, Mailbox, Pulse, mingle};
use lovage_protocol::{Map, Signature, Value};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    attempt::Shared,
    control::{Panel, Queues},
    handle::WorkerHandle,
    revoking,
};

/// What a worker shows of itself. The default is what a Celery worker does.
#[derive(Debug, Clone)]
pub struct Presence {
    /// How often it gives a sign of life; `None`: never (`--without-heartbeat`).
    pub heartbeat: Option<Duration>,
    /// It listens to what other workers say (`--without-gossip` for not).
    pub gossip: bool,
    /// It greets the others before it begins (`--without-mingle` for not).
    pub mingle: bool,
    /// It obeys remote control, unless the settings say that it does not.
    pub control: bool,
    /// The settings as `inspect conf` shows them, secrets masked.
    pub conf: Conf,
}

/// The settings by Celery's names, for people.
#[derive(Debug, Clone, Default)]
pub struct Conf {
    /// Those that were changed, or are not as Celery has them.
    pub changed: Map,
    /// All of them.
    pub all: Map,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            heartbeat: Some(Duration::from_secs(2)),
            gossip: true,
            mingle: true,
            control: true,
            conf: Conf::default(),
        }
    }
}

impl Presence {
    /// Nothing but the events of its tasks, if those are on.
    pub fn silent() -> Self {
        Self {
            heartbeat: None,
            gossip: false,
            mingle: false,
            control: false,
            conf: Conf::default(),
        }
    }
}

/// What runs beside the tasks.
#[derive(Debug)]
pub(crate) struct Showing {
    /// Ends what is there for the tasks' sake.
    end: CancellationToken,
    /// Ends the sending of events, after all else.
    hush: CancellationToken,
    beside: JoinSet<()>,
    sending: JoinSet<()>,
}

impl Showing {
    /// Begins all of it.
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        handle: WorkerHandle,
        queues: Queues,
        presence: Presence,
    ) -> Self {
        let (end, hush) = (CancellationToken::new(), CancellationToken::new());
        let (mut beside, mut sending) = (JoinSet::new(), JoinSet::new());
        let emitter = &shared.announcer.emitter;
        sending.spawn(emitter.clone().run(hush.clone()));
        let chronicle = shared.announcer.chronicle.clone();
        sending.spawn(chronicle.run(Arc::clone(shared), hush.clone()));
        let broker = Arc::clone(&shared.joiner.broker);
        if presence.mingle {
            greet(shared).await;
        }
        let gossip = presence.gossip.then(|| {
            let client = shared.client.clone();
            Gossip::new(Arc::clone(&broker), emitter.clone(), move |elected| {
                tokio::spawn(do_elected(client.clone(), elected));
            })
        });
        if let Some(gossip) = &gossip {
            beside.spawn(gossip.clone().run(end.clone()));
        }
        if presence.control && shared.settings.events.remote_control {
            let mailbox = Mailbox::new(broker, &shared.hostname, emitter.clock().clone());
            let panel = Panel::new(Arc::clone(shared), handle, queues, gossip, presence.conf);
            beside.spawn(mailbox.serve(Arc::new(panel), end.clone()));
        }
        if let Some(interval) = presence.heartbeat {
            // At the begin of a shutdown nobody is to count on this worker any more.
            let stopping = end.child_token();
            let (asked, stop) = (shared.shutdown.clone(), stopping.clone());
            beside.spawn(async move {
                tokio::select! {
                    () = asked.asked() => stop.cancel(),
                    () = stop.cancelled() => {}
                }
            });
            let counted = Arc::clone(shared);
            let pulse = move || Pulse {
                active: u64::try_from(counted.running.count()).unwrap_or(u64::MAX),
                processed: counted
                    .catalogue
                    .accepted()
                    .iter()
                    .map(|(_, count)| count)
                    .sum(),
            };
            let heart = Heart::new(emitter.clone(), interval, pulse);
            beside.spawn(heart.run(stopping));
        }
        Self {
            end,
            hush,
            beside,
            sending,
        }
    }

    /// Ends all of it; what was to be said is said.
    pub(crate) async fn end(mut self) {
        self.end.cancel();
        while self.beside.join_next().await.is_some() {}
        self.hush.cancel();
        while self.sending.join_next().await.is_some() {}
    }
}

/// Tells the other workers what is revoked, and learns it from those that keep it to themselves.
async fn greet(shared: &Shared) {
    let (broker, clock) = (&shared.joiner.broker, shared.announcer.emitter.clock());
    let control = Control::on_clock(Arc::clone(broker), clock.clone());
    debug!("mingle: searching for neighbors");
    let known = shared.revoked.ids();
    let neighbours = match mingle(&control, &shared.hostname, clock, &known).await {
        Ok(neighbours) => neighbours,
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "mingle: the other workers could not be asked"
            );
            return;
        }
    };
    if neighbours.is_empty() {
        info!("mingle: all alone");
        return;
    }
    info!("mingle: sync with {} nodes", neighbours.len());
    let revoked = neighbours.into_iter().flat_map(|one| one.revoked);
    revoke_new(shared, revoked.map(Target::Task)).await;
}

/// Records what others know to be revoked and this worker does not. They say no time: it counts from now.
pub(crate) async fn revoke_new(shared: &Shared, targets: impl Iterator<Item = Target>) {
    let new: Vec<Target> = targets
        .filter(|target| match target {
            Target::Task(id) => !shared.revoked.has_id(id),
            _ => true,
        })
        .collect();
    if new.is_empty() {
        return;
    }
    let keep = shared.settings.worker.revokes;
    let revoke = Revoke {
        targets: new,
        terminate: None,
        life: keep.expires,
        most: keep.max,
    };
    let revoked = shared.joiner.broker.revocations().revoke(&revoke).await;
    if let Err(error) = revoked {
        warn!(
            error = &error as &dyn std::error::Error,
            "what other workers know to be revoked was not recorded"
        );
    }
    revoking::catch_up(shared).await;
}

/// This worker won an election: it sends the task that it is about (`celery/worker/consumer/gossip.py`, `call_task`).
async fn do_elected(client: Client, elected: Elected) {
    let Elected { topic, action } = elected;
    if topic != "task" {
        warn!(topic, "an election is about something unknown");
        return;
    }
    let sent = async {
        let signature = Signature::from_value(action)?;
        let call = signature::outgoing(&signature, signature::Follow::default())?;
        client.send_outgoing::<Value>(call).await?;
        anyhow::Ok(())
    };
    if let Err(error) = sent.await {
        warn!(%error, "the task of a won election was not sent");
    }
}
