//! The seam: everything above this crate moves messages through these traits and knows no Redis, no AMQP.
//!
//! A message's way through the seam has two steps. [`Consumer::fetch`] takes a batch and records who holds it, in one
//! step; [`Consumer::finish`] stores results, sends what follows and settles the delivery, in one step that does nothing
//! when the delivery is no longer ours. Whatever dies between the two, the message is still recorded and goes back.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lovage_protocol::{NodeName, QueueName, TaskId};
use lovage_settings::ExchangeType;

use crate::{
    Admit, Admitted, Ask, Delayed, Entry, Error, Journal, Leave, Line, Pauses, Reaped, Reaping,
    Relay, Relayed, Revocations, Survey, Timetable,
};

/// One broker: where messages are published, and from where consumers take them.
#[async_trait]
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Publishes a batch in one round trip, in order. Either every message of the batch was accepted or the error says
    /// how far it came; a batch that ended in an error may have been published in part.
    async fn publish(&self, batch: &[Publish]) -> Result<(), Error>;

    /// Publishes a message, and decides in the same step as [`Consumer::admit`] would. Its task takes its lock; when another
    /// has it, nothing is sent and that task's id comes back. It takes the place of an earlier call that is debounced, which
    /// ends. When a limit has no room and nothing before it is in its queue, it waits in the line instead of the queue; a limit
    /// counts it only when it is admitted. Through an exchange, and while no worker of ours lives that would bring it back
    /// from a line, it is sent to its queue, and [`Consumer::admit`] is the judge.
    async fn publish_gated(
        &self,
        publish: &Publish,
        entry: &Entry,
    ) -> Result<Option<String>, Error>;

    /// Publishes messages of which each is to be published once, although who hands them over may die at any point and
    /// another may hand them over again: what was published leaves a mark in the same step. A broadcast leaves its mark too, but
    /// goes out before the step.
    async fn relay(&self, relay: &Relay) -> Result<Relayed, Error>;

    /// The keys for which tasks wait outside of their queues, see [`Admitted::Waits`].
    async fn lines(&self) -> Result<Vec<Line>, Error>;

    /// Makes queues known to peers, each bound to an exchange of its own name.
    async fn declare(&self, queues: &[QueueName]) -> Result<(), Error> {
        let bindings: Vec<Binding> = queues.iter().map(Binding::plain).collect();
        self.bind(&bindings).await
    }

    /// Binds queues to exchanges, and makes them known to peers.
    async fn bind(&self, bindings: &[Binding]) -> Result<(), Error>;

    /// Opens a consumer: takes a lease under `options.node` and starts renewing it.
    async fn consumer(&self, options: ConsumerOptions) -> Result<Arc<dyn Consumer>, Error>;

    /// How many messages wait in each queue, all priorities together.
    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<u64>, Error>;

    /// How many messages wait in the queue at each priority that the broker tells apart, the one served first at the head.
    async fn depth_by_priority(&self, queue: &QueueName) -> Result<Vec<(u8, u64)>, Error>;

    /// The messages that are served next, up to `most`. They stay where they are.
    async fn peek(&self, queue: &QueueName, most: usize) -> Result<Vec<Bytes>, Error>;

    /// Drops every waiting message of the queue and tells how many there were.
    async fn purge(&self, queue: &QueueName) -> Result<u64, Error>;

    /// Gives back what the dead held: one pass of what every consumer does all the time, for somebody who takes nothing. Takes
    /// as long as a lease when somebody seems dead, and no time else. Any number may do it beside each other and beside consumers.
    async fn reap(&self, reaping: &Reaping) -> Result<Reaped, Error>;

    /// Live workers of ours, from their leases, with the task names each registered.
    async fn peers(&self) -> Result<Vec<Peer>, Error>;

    /// Publishes to a fanout exchange: every subscriber of now hears it, nobody else ever.
    async fn broadcast(
        &self,
        exchange: &str,
        routing_key: &str,
        payload: Bytes,
    ) -> Result<(), Error>;

    /// Hears a fanout exchange from now on; `pattern` is a routing key in which `*` and `#` stand for any text.
    /// After a lost connection the stream goes on by itself; what was sent meanwhile is gone, as with Celery.
    async fn subscribe(
        &self,
        exchange: &str,
        pattern: &str,
    ) -> Result<BoxStream<'static, Broadcast>, Error>;

    /// Broadcasts a request and gathers the replies that come to a queue of the asker's own until its time is over, or
    /// enough have come.
    async fn ask(&self, request: Ask) -> Result<Vec<Bytes>, Error>;

    /// The messages that could not be run, each with its reason.
    fn dead_letters(&self) -> &dyn DeadLetters;

    /// What is not to be run.
    fn revocations(&self) -> &dyn Revocations;

    /// The queues that nobody takes from.
    fn pauses(&self) -> &dyn Pauses;

    /// What became of tasks, for whoever keeps a history.
    fn journal(&self) -> &dyn Journal;

    /// All that it keeps, for operators.
    fn survey(&self) -> &dyn Survey;

    /// The schedules that are kept here.
    fn timetable(&self) -> &dyn Timetable;

    /// Puts every delayed message at the head of its queue, due or not, and tells how many they were. A worker of ours
    /// that consumes the queue delays them again.
    async fn release_delayed(&self) -> Result<u64, Error>;

    /// Messages that wait for their time, up to `most` of them, the one due first at the head.
    async fn delayed(&self, most: usize) -> Result<Vec<Delayed>, Error>;

    /// Those messages of these tasks that wait for their time.
    async fn delayed_of(&self, ids: &[TaskId]) -> Result<Vec<Delayed>, Error>;

    /// Whether results written to this place can take part in [`Consumer::finish`]: same server, any logical database.
    fn shares_server_with(&self, place: &ResultPlace) -> bool;

    /// The members recorded for a chord so far, in the order of their index (see [`ChordPart::member`]).
    async fn chord_members(
        &self,
        place: &ResultPlace,
        group_key: &str,
    ) -> Result<Vec<Bytes>, Error>;

    /// Ends a chord that was claimed: publishes its body, stores results, removes its keys; all or nothing, and only
    /// while the claim is ours. False: somebody else has it.
    async fn chord_close(&self, close: ChordClose) -> Result<bool, Error>;

    /// Answers once the broker does, or says why it does not.
    async fn ping(&self) -> Result<(), Error>;
}

/// A worker's hold on its queues. Cheap to share; every method may be called from many tasks at once.
#[async_trait]
pub trait Consumer: fmt::Debug + Send + Sync {
    /// Waits until at least one message is there, then takes up to `want.max` of them, in Celery's priority order and
    /// fairly between the queues. The first `want.start` are recorded as started in the same step, so that they may run
    /// at once; the rest need [`Consumer::start`] first.
    ///
    /// A lost connection is mended inside, with back-off, for ever; an error is one that waiting cannot mend.
    ///
    /// # Cancel safety
    /// Safe: a batch that was taken while the future was dropped is handed out by the next call.
    async fn fetch(&self, want: Want) -> Result<Vec<Delivery>, Error>;

    /// Changes the consumed queues from the next fetch on; those that are its alone stay.
    fn set_queues(&self, queues: Vec<QueueName>);

    /// Records that these deliveries begin to run, and stores the STARTED results given. False: no longer ours, do not
    /// run it.
    async fn start(&self, batch: Vec<Start>) -> Result<Vec<bool>, Error>;

    /// Takes back that these deliveries were recorded as started: they wait, and a death counts nothing for them. They need
    /// [`Consumer::start`] before they run.
    async fn unstart(&self, batch: Vec<DeliveryTag>) -> Result<(), Error>;

    /// Decides which deliveries may run now. Each takes all that it asks for, or nothing; one that must wait leaves our
    /// hands in the same step. What was taken is given up by [`Finish::leave`], and by whatever puts the message back or
    /// buries it: the end of its worker's lease, [`Settle::Restore`], [`Settle::Requeue`], [`Settle::DeadLetter`].
    async fn admit(&self, batch: Vec<Admit>) -> Result<Vec<Admitted>, Error>;

    /// Ends deliveries. For each of them the publishes, results and chord part happen, and it is settled, all or nothing
    /// and only if it is still ours. Retries over a lost connection until the broker answered: an item whose answer was
    /// lost on the way is recognised as done.
    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>, Error>;

    /// Puts these started deliveries back at the head of their queues because the process that ran them died, while this
    /// worker lives: each counts one death, and past `max_deaths` goes to the dead letters, as when a whole worker dies. One
    /// that is no longer ours is left alone.
    async fn died(&self, tags: Vec<DeliveryTag>) -> Result<(), Error>;

    /// Puts back at the head of their queues all deliveries of this consumer that were not started, and tells how many.
    async fn release_unstarted(&self) -> Result<u64, Error>;

    /// Ends the lease. What is still held is put back first; the last consumer of all also puts back what is delayed,
    /// since peers that are not ours do not look there.
    async fn close(&self) -> Result<(), Error>;

    /// Whether a journal is kept, as far as this consumer has heard: with the last messages that it fetched, or with the last
    /// renewal of its lease. Costs nothing.
    fn journals(&self) -> bool;

    /// Writes into the journal by itself what no other step tells. What does not arrive is not tried for long.
    async fn record(&self, records: Vec<Bytes>) -> Result<(), Error>;

    /// False while the broker has not been heard of for more than a lease.
    fn is_connected(&self) -> bool;

    /// How long ago the lease was renewed last.
    fn lease_age(&self) -> Duration;
}

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

/// Why a message is among the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A short word to filter by: `undecodable`, `unknown-task`, `invalid`, `died`, `rejected` …
    pub code: String,
    /// One line for people.
    pub detail: String,
    /// The task's name, when it could be read.
    pub task: Option<String>,
    /// The task's id, when it could be read.
    pub task_id: Option<String>,
}

/// A message to send.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where to.
    pub destination: Destination,
    /// As given by the producer; the broker clamps it.
    pub priority: i64,
    /// The envelope.
    pub payload: Bytes,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// To a queue by name, through the default exchange.
    Queue(QueueName),
    /// To the queues bound to an exchange; nobody bound means nobody gets it, as on any broker.
    Exchange {
        /// Its name.
        exchange: String,
        /// Matched against the bindings.
        routing_key: String,
    },
    /// To every consumer that has a queue of its own on this exchange, and to all that listen there now. No step of
    /// [`Consumer::finish`] holds it: it is sent before the step, once more when the step is repeated.
    Fanout {
        /// The exchange.
        exchange: String,
        /// Matched against the keys by which they listen.
        routing_key: String,
    },
}

/// A queue and the exchange it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The queue.
    pub queue: QueueName,
    /// The exchange.
    pub exchange: String,
    /// How that exchange matches routing keys; never fanout, where a queue is its consumer's alone.
    pub kind: ExchangeType,
    /// The key, or the pattern of a topic exchange.
    pub routing_key: String,
    /// The queue is forgotten when nobody has used it for so long.
    pub expires: Option<Duration>,
}

impl Binding {
    /// A queue bound to an exchange of its own name by its own name.
    pub fn plain(queue: &QueueName) -> Self {
        Self {
            queue: queue.clone(),
            exchange: queue.as_str().to_owned(),
            kind: ExchangeType::Direct,
            routing_key: queue.as_str().to_owned(),
            expires: None,
        }
    }
}

/// A queue that is one consumer's alone: what is sent to all on its exchange comes to it too.
///
/// What comes is a message as any other from the moment it is in the queue. Before, it is nowhere: a consumer that dies
/// loses it, and one that dies later takes the queue with it, for what was meant for it is meant for nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusive {
    /// The queue; nobody else may have one of this name.
    pub queue: QueueName,
    /// The exchange.
    pub exchange: String,
    /// The key by which it listens, in which `*` and `#` stand for any text.
    pub routing_key: String,
}

/// One result record to store and announce. The channel of the announcement has the key's name, as Celery does it.
#[derive(Debug, Clone)]
pub struct ResultWrite {
    /// The full key, prefix included.
    pub key: String,
    /// The record.
    pub value: Bytes,
    /// Its life; `None` for ever.
    pub expires: Option<Duration>,
    /// Where it is written.
    pub place: ResultPlace,
}

/// Where results live, as far as the broker must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultPlace {
    /// In the process's memory, beside the memory broker.
    Memory,
    /// In a database, where no broker writes: results are stored before the step that settles a message, and chords are
    /// polled for by `celery.chord_unlock`.
    Tables,
    /// In a Redis: its address (`host:port` or socket path) and logical database.
    Redis {
        /// `host:port` or the path of a socket.
        address: Arc<str>,
        /// Logical database.
        database: i64,
    },
}

/// The part of a chord that one header task returns; the meaning of each field is that of Celery's Redis backend
/// (`celery/backends/redis.py`, `on_chord_part_return`).
#[derive(Debug, Clone)]
pub struct ChordPart {
    /// The group key, `celery-taskset-meta-<group id>`, prefix included; the chord's keys append a suffix.
    pub group_key: String,
    /// The header task.
    pub task_id: TaskId,
    /// The member to record: `[1, id, state, result]` as JSON.
    pub member: Bytes,
    /// The signature of the body as JSON, kept until the chord is ended: when all of its messages are gone, nobody else knows it.
    pub body: Bytes,
    /// `group_index`; `None` sorts last.
    pub index: Option<f64>,
    /// So many parts more are waited for from now on; counted once, with the part.
    pub more: u64,
    /// The life of the chord's keys.
    pub expires: Option<Duration>,
    /// For how long a claim holds before somebody else may dispatch the body.
    pub claim: Duration,
    /// Where the keys live.
    pub place: ResultPlace,
}

/// The end of a claimed chord.
#[derive(Debug, Clone)]
pub struct ChordClose {
    /// As in the [`ChordPart`].
    pub group_key: String,
    /// As in the [`ChordPart`].
    pub place: ResultPlace,
    /// From [`Finished::Done`].
    pub token: String,
    /// The body, or the error callbacks.
    pub publishes: Vec<Publish>,
    /// The failure of the body, when the header failed.
    pub results: Vec<ResultWrite>,
    /// A header that failed keeps its members for a look (only the size is removed), as Celery leaves it.
    pub failed: bool,
}

/// What came of a [`Finish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// Done, all of it.
    Done {
        /// The token of the claim when this was the part that completes its chord: the caller dispatches the body with
        /// [`Broker::chord_close`]. Whoever must not lose a chord settles the delivery only after that: then a worker that
        /// dies in between leaves a message whose redelivery takes the claim over.
        chord: Option<String>,
    },
    /// The delivery was no longer ours: nothing was done.
    Lost,
}

/// A message heard on a fanout exchange.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// Its routing key.
    pub routing_key: String,
    /// The envelope.
    pub payload: Bytes,
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

/// The messages that could not be run.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// The newest first, from `offset` on.
    async fn list(&self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>, Error>;
    /// How many there are.
    async fn count(&self) -> Result<u64, Error>;
    /// One of them.
    async fn show(&self, id: &str) -> Result<Option<DeadLetter>, Error>;
    /// Puts it back at the end of its queue, byte for byte, and takes it off the list. False: there is no such letter.
    async fn replay(&self, id: &str) -> Result<bool, Error>;
    /// Deletes it. False: there is no such letter.
    async fn discard(&self, id: &str) -> Result<bool, Error>;
}

/// One message that could not be run.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its id in the list of dead letters.
    pub id: String,
    /// Why.
    pub reason: Reason,
    /// The queue it came from.
    pub queue: String,
    /// The worker that gave it up.
    pub node: String,
    /// When, unix time in seconds.
    pub at: f64,
    /// The message, byte for byte.
    pub raw: Bytes,
}
