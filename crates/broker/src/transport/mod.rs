//! The seam: everything above this crate moves messages through these traits and knows no Redis, no AMQP.
//!
//! A message's way through the seam has two steps. [`Consumer::fetch`] takes a batch and records who holds it, in one
//! step; [`Consumer::finish`] stores results, sends what follows and settles the delivery, in one step that does nothing
//! when the delivery is no longer ours. Whatever dies between the two, the message is still recorded and goes back.

mod consuming;
mod dead_letters;
mod publishing;
mod results;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lovage_protocol::{QueueName, TaskId};

pub use self::{
    consuming::{
        ConsumerOptions, Delivery, DeliveryTag, Finish, Finished, Obituary, Peer, Recorder, Settle,
        Start, Want, Went,
    },
    dead_letters::{DeadLetter, DeadLetters, Reason},
    publishing::{Binding, Broadcast, Destination, Exclusive, Publish},
    results::{ChordClose, ChordPart, ResultPlace, ResultWrite},
};
use crate::{
    Admit, Admitted, Ask, Delayed, Entry, Error, Journal, Line, Pauses, Reaped, Reaping, Relay,
    Relayed, Revocations, Survey, Timetable,
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
