//! What a worker's hold on its queues takes and gives: deliveries, their beginnings and their ends.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use lovage_protocol::{NodeName, QueueName};

use super::{ChordPart, Exclusive, Publish, Reason, ResultWrite};
use crate::Leave;

/// What a consumer needs to begin.
#[derive(Clone)]
pub struct ConsumerOptions {
    /// The node name, `worker@host`, written into the lease for people to read.
    pub node: NodeName,
    /// Queues in the order given.
    pub queues: Vec<QueueName>,
    /// Queues that are this consumer's alone. They are bound when it opens, consumed beside the others, and gone with it.
    pub exclusive: Vec<Exclusive>,
    /// Task names this worker can run, so that peers can forward to it.
    pub tasks: Vec<String>,
    /// How long a worker may be silent before its deliveries are given to others. Default 6 s.
    pub lease: Duration,
    /// How many deaths a message may cost; at one more it goes to the dead letters. Default 3.
    pub max_deaths: u32,
    /// Makes the results to store when a message is given up after `max_deaths` (its producer must get an answer).
    pub obituary: Option<Obituary>,
    /// Makes the record for the journal of a message whose worker died.
    pub recorder: Option<Recorder>,
}

/// Makes the result records of a message that is given up; arguments are the raw message and its number of deaths.
pub type Obituary = Arc<dyn Fn(&[u8], u32) -> Vec<ResultWrite> + Send + Sync>;

/// Makes the journal's record of a message that somebody died with; arguments are the raw message and what became of it.
pub type Recorder = Arc<dyn Fn(&[u8], Went) -> Option<Bytes> + Send + Sync>;

/// What became of a message whose process died while it ran, after so many deaths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// Back to its queue.
    Back(u32),
    /// To the dead letters.
    Under(u32),
}

impl fmt::Debug for ConsumerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerOptions")
            .field("node", &self.node)
            .field("queues", &self.queues)
            .field("lease", &self.lease)
            .field("max_deaths", &self.max_deaths)
            .finish_non_exhaustive()
    }
}

impl ConsumerOptions {
    /// Options with the defaults of the fields' documentation.
    pub fn new(node: NodeName, queues: Vec<QueueName>) -> Self {
        Self {
            node,
            queues,
            exclusive: Vec::new(),
            tasks: Vec::new(),
            lease: Duration::from_secs(6),
            max_deaths: 3,
            obituary: None,
            recorder: None,
        }
    }
}

/// How many messages a fetch may take.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// At most this many, at least 1.
    pub max: usize,
    /// So many of them, from the first on, are started at once.
    pub start: usize,
}

/// A message in our hands. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Names this holding of the message: `<worker>:<sequence>`. A redelivery has another tag.
    pub tag: DeliveryTag,
    /// The queue it was taken from.
    pub queue: QueueName,
    /// The envelope, byte for byte.
    pub raw: Bytes,
    /// Already recorded as started by the fetch; never so for a suspect.
    pub started: bool,
    /// It has cost nearly as many workers as it may: it is to run while no other suspect does, so that at the next death it
    /// is known which of them it was.
    pub suspect: bool,
}

/// See [`Delivery::tag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryTag(pub u64);

/// One delivery about to run.
#[derive(Debug, Clone)]
pub struct Start {
    /// Which.
    pub tag: DeliveryTag,
    /// Early ack: the delivery is settled now, a death from here on loses it (Celery's own default).
    pub ack: bool,
    /// The STARTED record, when `task_track_started` asks for it.
    pub result: Option<ResultWrite>,
    /// What the journal is told of it, a line without its end.
    pub record: Option<Bytes>,
}

/// Everything that ends one delivery.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Which.
    pub delivery: Delivery,
    /// What becomes of the message itself. `None`: it was acked at its start, only the rest is done, unfenced.
    pub settle: Option<Settle>,
    /// What follows from it: a retry, callbacks, the next step of a chain.
    pub publishes: Vec<Publish>,
    /// Result records; each is skipped when a SUCCESS stands there already.
    pub results: Vec<ResultWrite>,
    /// Its part of a chord.
    pub chord: Option<ChordPart>,
    /// What its task gives up of what it was admitted with. Needed with [`Settle::Ack`], [`Settle::Delay`] and without a
    /// settlement; else it follows from the settlement.
    pub leave: Option<Leave>,
    /// What the journal is told of it, a line without its end.
    pub record: Option<Bytes>,
}

/// What becomes of a message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Settle {
    /// It is gone.
    Ack,
    /// Back to the end of its queue, marked redelivered (Celery's `reject(requeue=True)`).
    Requeue,
    /// Back to the head of its queue, marked redelivered (Celery's restore).
    Restore,
    /// Out of every queue until this unix time in seconds; then any worker puts it at the head of its queue. `payload`
    /// replaces the message when given.
    Delay {
        /// Unix time in seconds.
        until: f64,
        /// What to deliver then, instead of the message as it came.
        payload: Option<Bytes>,
    },
    /// To the dead letters, byte for byte.
    DeadLetter(Reason),
}

/// What came of a [`Finish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// Done, all of it.
    Done {
        /// The token of the claim when this was the part that completes its chord: the caller dispatches the body with
        /// [`Broker::chord_close`](super::Broker::chord_close). Whoever must not lose a chord settles the delivery only after that: then a worker that
        /// dies in between leaves a message whose redelivery takes the claim over.
        chord: Option<String>,
    },
    /// The delivery was no longer ours: nothing was done.
    Lost,
}

/// A live worker of ours.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The id in its delivery tags.
    pub id: String,
    /// Its node name.
    pub node: String,
    /// The queues it consumes.
    pub queues: Vec<String>,
    /// The task names it registered.
    pub tasks: Vec<String>,
}
