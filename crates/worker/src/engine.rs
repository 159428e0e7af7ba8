//! The heart of a worker: decides when to fetch and what runs next. It holds counts and a waiting line, nothing else;
//! each message lives in a task of its own (see [`crate::attempt`]).

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use lovage_broker::{Consumer, Delivery, Want};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::{
    aside::{self, Later},
    attempt::{self, Shared},
    commit::Ticket,
    drain,
    error::Error,
    policy::{self, Load},
    pool::Size,
    revoking::{Ear, Watch},
    shutdown::Shutdown,
};

/// While tasks usually hold their slot for less, the next ones are fetched as those before them run.
const QUICK: Duration = Duration::from_millis(2);
/// When for so long no task began or ended, those that run are not of the quick kind.
const STILL: Duration = Duration::from_millis(10);

/// What the engine hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// The fetch that was asked for came back.
    Fetched(Result<Vec<Delivery>, lovage_broker::Error>),
    /// An attempt left its slot.
    SlotFree(Used),
    /// The number of slots has changed.
    Resized,
    /// A message is out of our hands.
    Settled,
    /// A message that waited for its task's rate limit, outside of slots and prefetch, may run now.
    Turned(Delivery),
    /// Somebody wants to know which messages wait here.
    Asked(oneshot::Sender<Vec<Delivery>>),
    /// More is known to be revoked.
    Revoked,
}

/// The way to the engine for whoever is no part of it. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EngineLine(Arc<OnceLock<mpsc::WeakUnboundedSender<Event>>>);

impl EngineLine {
    /// False once the engine has ended: nothing waits there any more.
    pub(crate) fn tell(&self, event: Event) -> bool {
        let engine = self.0.get().and_then(mpsc::WeakUnboundedSender::upgrade);
        engine.is_some_and(|engine| engine.send(event).is_ok())
    }

    /// The messages that wait for a slot, in their order; none once the engine has ended.
    pub(crate) async fn waiting(&self) -> Vec<Delivery> {
        let (asker, answer) = oneshot::channel();
        if self.tell(Event::Asked(asker)) {
            answer.await.unwrap_or_default()
        } else {
            Vec::new()
        }
    }
}

/// A message that waits for a slot.
#[derive(Debug)]
struct Queued {
    delivery: Delivery,
    /// It was looked at: its reception is told, and it has no time of its own to wait for.
    told: bool,
}

/// An occupied slot; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    engine: mpsc::UnboundedSender<Event>,
    suspect: bool,
    since: Option<Instant>,
}

impl Slot {
    /// Its message's life begins now: before, it stood behind others for the executor.
    pub(crate) fn begin(&mut self) {
        self.since = Some(Instant::now());
    }
}

/// How a slot was used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    suspect: bool,
    time: Duration,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = self.engine.send(Event::SlotFree(Used {
            suspect: self.suspect,
            time: self.since.map_or(Duration::ZERO, |since| since.elapsed()),
        }));
    }
}

/// What a worker did, for the line it leaves at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages taken.
    pub received: u64,
    /// Messages given back unstarted at the end.
    pub returned: u64,
}

/// Runs until a shutdown was asked for and everything that began has ended.
pub(crate) async fn run(
    shared: Arc<Shared>,
    consumer: Arc<dyn Consumer>,
    shutdown: Shutdown,
    ear: Ear,
) -> Result<Summary, Error> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let fetcher = spawn_fetcher(Arc::clone(&consumer), sender.clone());
    let size = Arc::clone(&shared.pool.size);
    size.attach(sender.downgrade());
    // There is one engine.
    let _ = shared.line.0.set(sender.downgrade());
    let _watch = Watch::spawn(Arc::clone(&shared), ear);
    let lenient =
        shared.settings.tasks.reject_on_worker_lost && shared.settings.worker.max_deaths > 0;
    let mut engine = Engine {
        lenient,
        shared,
        size,
        sender,
        fetcher,
        waiting: VecDeque::new(),
        suspects: VecDeque::new(),
        beginning: Vec::new(),
        suspect_runs: false,
        usual: 2 * QUICK,
        stirred: None,
        unseen: None,
        running: 0,
        held: 0,
        fetching: false,
        reserved: 0,
    };
    let mut summary = Summary::default();
    let mut heard = Vec::with_capacity(256);
    loop {
        engine.hand_out();
        // Asked for before the next tasks begin, as they stand before the request in the executor's line otherwise.
        engine.ask();
        engine.launch();
        engine.size.note(engine.running, engine.held);
        tokio::select! {
            biased;
            () = shutdown.asked() => break,
            _ = events.recv_many(&mut heard, 256) => {
                for event in heard.drain(..) {
                    summary.received += engine.hear(event)?;
                }
            }
            () = a_moment_after(engine.unseen), if engine.unseen.is_some() => engine.look_at_unseen(),
        }
    }
    info!(
        running = engine.running,
        waiting = engine.waiting.len(),
        "warm shutdown: running tasks finish"
    );
    // What was marked as started by its fetch and got no slot goes back by itself; the rest of the line with `give_back`.
    // Dropping the line ends the fetcher; a batch that it holds at that moment is still recorded as ours, unstarted.
    let waiting = std::mem::take(&mut engine.waiting);
    let waiting = waiting.into_iter().map(|queued| queued.delivery);
    let marked: Vec<Delivery> = waiting.filter(|one| one.started).collect();
    let Engine {
        fetcher,
        sender,
        running,
        ..
    } = engine;
    drop(fetcher);
    drop(sender);
    summary.returned = drain::drain(&*consumer, &shutdown, marked, running, events).await?;
    Ok(summary)
}

async fn a_moment_after(since: Option<Instant>) {
    match since {
        Some(since) => tokio::time::sleep_until((since + STILL).into()).await,
        None => std::future::pending().await,
    }
}

struct Engine {
    shared: Arc<Shared>,
    size: Arc<Size>,
    sender: mpsc::UnboundedSender<Event>,
    fetcher: mpsc::UnboundedSender<Want>,
    waiting: VecDeque<Queued>,
    /// Messages that have cost nearly as many workers as they may; one of them runs at a time.
    suspects: VecDeque<Queued>,
    /// Those that have a slot and are about to be spawned.
    beginning: Vec<Queued>,
    suspect_runs: bool,
    /// How long a slot is usually held; a moving average.
    usual: Duration,
    /// When a slot was last taken or left.
    stirred: Option<Instant>,
    /// Since when a message waits for a slot that nobody has looked at.
    unseen: Option<Instant>,
    running: usize,
    held: usize,
    /// See [`Load::lenient`].
    lenient: bool,
    /// A fetch is under way.
    fetching: bool,
    /// Slots promised to it.
    reserved: usize,
}

impl Engine {
    /// Slots that nobody has and nobody was promised.
    fn free(&self) -> usize {
        self.size
            .slots()
            .saturating_sub(self.running + self.reserved)
    }

    /// Tasks leave their slots within moments, and nothing says that those that run now do not.
    fn quick(&self) -> bool {
        let lately = || self.stirred.is_some_and(|at| at.elapsed() < STILL);
        self.usual < QUICK && (self.running == 0 || lately())
    }

    /// Puts waiting messages into free slots.
    fn hand_out(&mut self) {
        while self.free() > 0
            && let Some(queued) = self.next_in_line()
        {
            self.begin(queued);
        }
    }

    /// Gives a message that is to run later back to the broker, without a slot.
    fn set_aside(&self, delivery: Delivery, later: Later) {
        let ticket = Ticket {
            engine: self.sender.clone(),
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { later.wait(&shared, delivery, ticket).await });
    }

    /// Looks at those that did not have a slot in a moment after all.
    fn look_at_unseen(&mut self) {
        self.unseen = None;
        for line in [
            std::mem::take(&mut self.waiting),
            std::mem::take(&mut self.suspects),
        ] {
            for queued in line {
                if queued.told {
                    let suspect = queued.delivery.suspect;
                    let line = if suspect {
                        &mut self.suspects
                    } else {
                        &mut self.waiting
                    };
                    line.push_back(queued);
                } else {
                    self.line_up(queued.delivery, false);
                }
            }
        }
    }

    fn next_in_line(&mut self) -> Option<Queued> {
        let suspect = if self.suspect_runs {
            None
        } else {
            self.suspects.pop_front()
        };
        suspect.or_else(|| self.waiting.pop_front())
    }

    /// Gives a message a slot.
    fn begin(&mut self, queued: Queued) {
        self.running += 1;
        self.suspect_runs |= queued.delivery.suspect;
        self.beginning.push(queued);
    }

    /// Lets a message wait for a slot. While tasks are quick it will have one in a moment, and is read then; else it is looked
    /// at now: its reception is told, so that whoever watches sees what this worker holds, and one that is to run later does
    /// not wait here for a slot that it has no use for.
    fn line_up(&mut self, delivery: Delivery, quick: bool) {
        let mut told = false;
        if quick {
            self.unseen.get_or_insert_with(Instant::now);
        } else {
            told = true;
            if let Some(later) = aside::look(&self.shared, &delivery) {
                return self.set_aside(delivery, later);
            }
        }
        let suspect = delivery.suspect;
        let queued = Queued { delivery, told };
        if suspect {
            self.suspects.push_back(queued);
        } else {
            self.waiting.push_back(queued);
        }
    }

    /// Gives those that have a slot a life of their own.
    fn launch(&mut self) {
        for Queued { delivery, told } in self.beginning.drain(..) {
            let slot = Slot {
                engine: self.sender.clone(),
                suspect: delivery.suspect,
                since: None,
            };
            let ticket = Ticket {
                engine: self.sender.clone(),
            };
            tokio::spawn(attempt::live(
                Arc::clone(&self.shared),
                delivery,
                told,
                slot,
                ticket,
            ));
        }
    }

    /// Messages that wait and are revoked need no slot: they are begun to be ended.
    fn end_revoked(&mut self) {
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (revoked, kept): (VecDeque<_>, VecDeque<_>) = all.partition(|queued| {
            let decode = &self.shared.decode;
            self.shared.revoked.has_raw(&queued.delivery.raw, decode)
        });
        self.waiting = kept;
        for queued in revoked {
            self.begin(queued);
        }
    }

    /// Asks for more when there is room, one fetch at a time.
    fn ask(&mut self) {
        if self.fetching {
            return;
        }
        let load = Load {
            concurrency: self.size.slots(),
            prefetch: self.size.prefetch(),
            held: self.held,
            waiting: self.waiting.len(),
            running: self.running,
            quick: self.quick(),
            lenient: self.lenient,
        };
        if let Some(want) = policy::room(&load) {
            self.reserved = want.start.min(self.free());
            self.fetching = self.fetcher.send(want).is_ok();
        }
    }

    fn hear(&mut self, event: Event) -> Result<u64, Error> {
        match event {
            Event::SlotFree(used) => {
                self.running -= 1;
                self.suspect_runs &= !used.suspect;
                self.usual = (self.usual * 15 + used.time) / 16;
                self.stirred = Some(Instant::now());
            }
            Event::Settled => self.held -= 1,
            // The next look at the slots sees it.
            Event::Resized => {}
            Event::Turned(delivery) => {
                self.held += 1;
                // It came before those that wait for a slot, and its reception was told before it waited.
                let suspect = delivery.suspect;
                let queued = Queued {
                    delivery,
                    told: true,
                };
                if suspect {
                    self.suspects.push_front(queued);
                } else {
                    self.waiting.push_front(queued);
                }
            }
            Event::Asked(asker) => {
                let waiting = self.waiting.iter().chain(&self.suspects);
                let waiting = waiting.map(|queued| queued.delivery.clone());
                // Whoever asked may be gone.
                let _ = asker.send(waiting.collect());
            }
            Event::Revoked => self.end_revoked(),
            Event::Fetched(batch) => {
                self.fetching = false;
                self.reserved = 0;
                let batch = batch?;
                self.held += batch.len();
                self.stirred = Some(Instant::now());
                let taken = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let quick = self.quick();
                for delivery in batch {
                    if delivery.started && self.free() > 0 {
                        self.begin(Queued {
                            delivery,
                            told: false,
                        });
                    } else {
                        self.line_up(delivery, quick);
                    }
                }
                return Ok(taken);
            }
        }
        Ok(0)
    }
}

/// One fetch at a time, on a task of its own, so that the engine never waits for the broker.
fn spawn_fetcher(
    consumer: Arc<dyn Consumer>,
    engine: mpsc::UnboundedSender<Event>,
) -> mpsc::UnboundedSender<Want> {
    let (line, mut wants) = mpsc::unbounded_channel::<Want>();
    tokio::spawn(async move {
        while let Some(want) = wants.recv().await {
            let batch = tokio::select! {
                batch = consumer.fetch(want) => batch,
                // The engine closes its end of the line at shutdown.
                () = closed(&mut wants) => return,
            };
            if engine.send(Event::Fetched(batch)).is_err() {
                return;
            }
        }
    });
    line
}

/// Resolves when the line is closed. At most one want is ever under way, so nothing is received here.
async fn closed(wants: &mut mpsc::UnboundedReceiver<Want>) {
    while wants.recv().await.is_some() {}
}
