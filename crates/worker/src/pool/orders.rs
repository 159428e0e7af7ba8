//! Orders to running tasks from outside: end this one, drop them all. An attempt that ends by itself at once never looks
//! here; the others wait on one common bell, so that an ordinary task costs no entry in any table. It rings rarely.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lovage_broker::Target;
use lovage_protocol::{Headers, TaskId};
use tokio::sync::{Notify, oneshot};

use super::kill_signal::KillSignal;
use crate::{revoked::carries, shutdown::Shutdown};

/// How long an attempt may take to hear of an order; one that blocks its thread hears nothing.
const HEARING: Duration = Duration::from_secs(2);
/// How long a wish stands that nobody waits for: for an attempt that had passed its last check when the wish came, and begins
/// to listen only now.
const STANDS: Duration = Duration::from_secs(60);

/// What came of an order to end a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Terminated {
    /// It was ended, or its process was sent the signal.
    Yes,
    /// It runs on a thread of this process, and a thread cannot be stopped; the prefork pool can.
    OnThread,
    /// No task of this id runs here.
    NotRunning,
}

/// What an attempt is told.
pub(crate) enum Order {
    /// Drop it, its message goes back.
    Cold,
    /// The same while the worker goes on: it was away from the broker for so long that others may have its message.
    Away,
    /// End it for good.
    Terminate(KillSignal, Answer),
}

/// Tells whoever ordered what came of it, if he waits to hear it.
pub(crate) struct Answer(Option<oneshot::Sender<Terminated>>);

impl Answer {
    pub(crate) fn give(self, what: Terminated) {
        if let Some(asker) = self.0 {
            // Whoever asked may be gone.
            let _ = asker.send(what);
        }
    }
}

/// The orders that wait to be heard.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    bell: Notify,
    /// Whether anything was ever said, so that the lock is taken only then.
    spoken: AtomicBool,
    /// How often the worker went away from the broker and came back; odd while it is away.
    absences: AtomicU64,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// The number of the last wish.
    last: u64,
    wishes: Vec<Wish>,
}

#[derive(Debug)]
struct Wish {
    number: u64,
    target: Target,
    signal: KillSignal,
    at: Instant,
    /// For one task and only once; a wish without it stands for all that it means, for a while.
    asker: Option<oneshot::Sender<Terminated>>,
}

impl Wish {
    fn stands(&self) -> bool {
        match &self.asker {
            Some(asker) => !asker.is_closed(),
            None => self.at.elapsed() < STANDS,
        }
    }
}

/// What an attempt has heard so far: it takes each wish once, as a signal need not end it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    number: u64,
    /// It goes on while the worker is away from the broker.
    pub(crate) stays: bool,
    /// The absence that it began in: the broker that gave it out answered again.
    pub(crate) began_in: u64,
}

impl Orders {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, what: impl FnOnce(&mut Said)) {
        what(&mut self.said());
        self.spoken.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    /// Says whether the worker is away from the broker; then attempts are dropped.
    pub(crate) fn set_away(&self, away: bool) {
        let is_away = !self.absences().is_multiple_of(2);
        if is_away != away {
            self.absences.fetch_add(1, Ordering::Release);
        }
        self.bell.notify_waiters();
    }

    /// The absence from the broker that it is; to be kept by an attempt that begins.
    pub(crate) fn absences(&self) -> u64 {
        self.absences.load(Ordering::Acquire)
    }

    /// Rings for every attempt, whenever a cold shutdown is asked for.
    pub(crate) async fn announce_cold(&self, shutdown: &Shutdown) {
        shutdown.asked_cold().await;
        self.bell.notify_waiters();
    }

    /// Orders the end of a task, and waits until its attempt has heard it.
    pub(crate) async fn terminate(&self, id: &TaskId, signal: KillSignal) -> Terminated {
        let (asker, answer) = oneshot::channel();
        self.say(|said| said.wish(Target::Task(id.clone()), signal, Some(asker)));
        let heard = tokio::time::timeout(HEARING, answer).await;
        if let Ok(Ok(what)) = heard {
            return what;
        }
        // Nobody took it: it must not meet a task of this id that begins later.
        self.said().wishes.retain(Wish::stands);
        Terminated::NotRunning
    }

    /// Orders the end of all that is meant, also of what begins to run within the next moments.
    pub(crate) fn terminate_all(&self, targets: Vec<(Target, KillSignal)>) {
        self.say(|said| {
            for (target, signal) in targets {
                said.wish(target, signal, None);
            }
        });
    }

    /// Waits for an order to the task with these headers. Dropping it costs nothing.
    pub(crate) async fn next(
        &self,
        headers: &Headers,
        heard: &mut Heard,
        shutdown: &Shutdown,
    ) -> Order {
        loop {
            // Made before the look, so that what rings after the look is heard.
            let bell = self.bell.notified();
            if shutdown.is_cold() {
                return Order::Cold;
            }
            let absence = self.absences();
            if !heard.stays && !absence.is_multiple_of(2) && absence != heard.began_in {
                return Order::Away;
            }
            if self.spoken.load(Ordering::Acquire)
                && let Some(order) = self.said().order(headers, heard)
            {
                return order;
            }
            bell.await;
        }
    }
}

impl Said {
    fn wish(
        &mut self,
        target: Target,
        signal: KillSignal,
        asker: Option<oneshot::Sender<Terminated>>,
    ) {
        self.wishes.retain(Wish::stands);
        self.last += 1;
        self.wishes.push(Wish {
            number: self.last,
            target,
            signal,
            at: Instant::now(),
            asker,
        });
    }

    fn order(&mut self, headers: &Headers, heard: &mut Heard) -> Option<Order> {
        let at = self.wishes.iter().position(|wish| {
            wish.number > heard.number && wish.stands() && carries(headers, &wish.target)
        })?;
        let wish = &mut self.wishes[at];
        heard.number = wish.number;
        let (signal, asker) = (wish.signal, wish.asker.take());
        if asker.is_some() {
            self.wishes.remove(at);
        }
        Some(Order::Terminate(signal, Answer(asker)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(id: &str) -> Headers {
        Headers::new("t".into(), TaskId::from(id))
    }

    #[tokio::test]
    async fn an_order_reaches_the_task_it_names() {
        let (orders, shutdown) = (Orders::default(), Shutdown::new());
        let id = TaskId::from("a");
        let ordered = orders.terminate(&id, KillSignal::KILL);
        let task = async {
            let (this, other) = (headers("a"), headers("b"));
            let (mut heard, mut others) = (Heard::default(), Heard::default());
            tokio::select! {
                biased;
                _ = orders.next(&other, &mut others, &shutdown) => panic!("it is for another"),
                order = orders.next(&this, &mut heard, &shutdown) => match order {
                    Order::Terminate(signal, answer) => {
                        answer.give(Terminated::Yes);
                        signal
                    }
                    Order::Cold | Order::Away => panic!("nobody asked for it"),
                },
            }
        };
        let (answer, signal) = tokio::join!(ordered, task);
        assert_eq!((answer, signal), (Terminated::Yes, KillSignal::KILL));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_nobody_hears_is_forgotten() {
        let (orders, shutdown) = (Orders::default(), Shutdown::new());
        let answer = orders.terminate(&"a".into(), KillSignal::TERM).await;
        assert_eq!(answer, Terminated::NotRunning);
        shutdown.cold();
        let order = orders
            .next(&headers("a"), &mut Heard::default(), &shutdown)
            .await;
        assert!(matches!(order, Order::Cold));
    }

    #[tokio::test]
    async fn a_standing_wish_is_heard_once_by_each_whom_it_means_also_later() {
        let (orders, shutdown) = (Orders::default(), Shutdown::new());
        orders.terminate_all(vec![(Target::Task("a".into()), KillSignal::TERM)]);
        for attempt in 1..=2 {
            let (this, mut heard) = (headers("a"), Heard::default());
            let order = orders.next(&this, &mut heard, &shutdown).await;
            assert!(matches!(order, Order::Terminate(KillSignal::TERM, _)));
            let again = orders.next(&this, &mut heard, &shutdown);
            let heard_twice = futures::FutureExt::now_or_never(again).is_some();
            assert!(!heard_twice, "attempt {attempt}");
        }
    }

    #[tokio::test]
    async fn who_is_away_from_the_broker_drops_what_does_not_stay() {
        let (orders, shutdown) = (Orders::default(), Shutdown::new());
        let this = headers("a");
        let (mut goes, mut stays) = (Heard::default(), Heard::default());
        stays.stays = true;
        let waits = orders.next(&this, &mut goes, &shutdown);
        let (order, ()) = tokio::join!(waits, async { orders.set_away(true) });
        assert!(matches!(order, Order::Away));
        let next = orders.next(&this, &mut stays, &shutdown);
        assert!(futures::FutureExt::now_or_never(next).is_none());
        // The broker gave it out, so it is back, though nobody has told the pool yet.
        let mut begins = Heard {
            began_in: orders.absences(),
            ..Heard::default()
        };
        let next = orders.next(&this, &mut begins, &shutdown);
        assert!(futures::FutureExt::now_or_never(next).is_none());
        orders.set_away(false);
        let later = orders.next(&this, &mut goes, &shutdown);
        assert!(futures::FutureExt::now_or_never(later).is_none());
    }
}
