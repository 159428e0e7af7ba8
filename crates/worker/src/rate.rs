//! Celery's rate limits: how often this worker starts each of its tasks (`celery/worker/consumer/consumer.py`, `bucket_for_task`
//! and `limit_task`; `kombu/utils/limits.py`, a token bucket of one).
//!
//! Who has to wait holds neither a slot nor a place in the prefetch. The next few of a task wait here in their order, so that no token
//! is left unused; those behind them go back to the broker until their turn is near.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lovage_registry::RateLimit;
use tokio::sync::Notify;

use crate::attempt::Job;

/// Who runs within this time waits in the worker.
const NEAR: Duration = Duration::from_secs(1);
/// Nobody is away for longer, so that a changed rate is felt by all within this time.
const LONGEST_AWAY: Duration = Duration::from_secs(30);

/// The rate limits of one worker's tasks, which may be changed while it runs. Cloning shares them.
#[derive(Clone, Default)]
pub struct RateLimits {
    buckets: Arc<HashMap<Box<str>, Arc<Bucket>>>,
    disabled: bool,
}

/// Why a rate limit was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateRefused {
    /// The worker has no such task.
    #[error("unknown task")]
    UnknownTask,
    /// `CELERY_WORKER_DISABLE_RATE_LIMITS` is set.
    #[error("rate limits disabled")]
    Disabled,
}

impl RateLimits {
    pub(crate) fn new(
        tasks: impl Iterator<Item = (Box<str>, Arc<Bucket>)>,
        disabled: bool,
    ) -> Self {
        Self {
            buckets: Arc::new(tasks.collect()),
            disabled,
        }
    }

    /// Sets or removes the limit of a task. It holds at once for who waits in this worker, and within half a minute for who
    /// waits at the broker.
    ///
    /// # Errors
    /// When the worker has no such task, or its rate limits are disabled.
    pub fn set(&self, task: &str, rate: Option<RateLimit>) -> Result<(), RateRefused> {
        if self.disabled {
            return Err(RateRefused::Disabled);
        }
        let bucket = self.buckets.get(task).ok_or(RateRefused::UnknownTask)?;
        bucket.set(rate, Instant::now());
        Ok(())
    }

    /// The limit of a task, if it has one.
    pub fn get(&self, task: &str) -> Option<RateLimit> {
        self.buckets.get(task)?.state().rate.clone()
    }
}

impl fmt::Debug for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limited = self
            .buckets
            .iter()
            .filter_map(|(task, bucket)| Some((task, bucket.state().rate.clone()?)));
        f.debug_map().entries(limited).finish()
    }
}

/// One task's tokens.
#[derive(Debug)]
pub(crate) struct Bucket {
    state: Mutex<State>,
    /// Whether there is a rate.
    limited: AtomicBool,
    changed: Notify,
    /// Who waits here, in order: a fair lock.
    line: tokio::sync::Mutex<()>,
}

/// What a message is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has a token.
    Now,
    /// It waits in this worker, see [`Bucket::wait`].
    Here,
    /// It waits at the broker for so long.
    Away(Duration),
}

impl Bucket {
    pub(crate) fn new(rate: Option<RateLimit>) -> Self {
        Self {
            limited: AtomicBool::new(rate.is_some()),
            state: Mutex::new(State::new(rate, Instant::now())),
            changed: Notify::new(),
            line: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Decides about a message of the task; also tells when there is the next token.
    fn turn(&self, id: &str) -> (Turn, Instant) {
        let mut state = self.state();
        let turn = state.turn(id, Instant::now());
        (turn, state.next)
    }

    /// Waits for a token, behind those who came before. Only after [`Turn::Here`].
    pub(crate) async fn wait(self: &Arc<Self>) -> Token {
        let _first = self.line.lock().await;
        loop {
            let changed = self.changed.notified();
            let taken = {
                let mut state = self.state();
                state.take(Instant::now()).map(|()| state.next)
            };
            let next = match taken {
                Ok(next) => return Token::new(self, next),
                Err(next) => next,
            };
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = changed => {}
            }
        }
    }

    /// The token of a task that took one and does not run, when nobody has taken one since.
    fn give_back(&self, taken: Instant) {
        self.state().give_back(taken);
        self.changed.notify_one();
    }

    fn set(&self, rate: Option<RateLimit>, now: Instant) {
        let mut state = self.state();
        self.limited.store(rate.is_some(), Ordering::Relaxed);
        *state = State {
            waiting: state.waiting,
            ..State::new(rate, now)
        };
        drop(state);
        // The first in line is the only one that listens; for one that is about to, this is kept.
        self.changed.notify_one();
    }
}

/// A task may begin. Dropped unspent it is given back.
#[derive(Debug)]
pub(crate) struct Token {
    bucket: Arc<Bucket>,
    /// When there was to be the next one after it.
    next: Instant,
    spent: bool,
}

impl Token {
    fn new(bucket: &Arc<Bucket>, next: Instant) -> Self {
        Self {
            bucket: Arc::clone(bucket),
            next,
            spent: false,
        }
    }

    /// The task begins.
    pub(crate) fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.spent {
            self.bucket.give_back(self.next);
        }
    }
}

/// The broker's clock decides when an eta is over, and may be ahead by so much.
const SKEW: f64 = 2.0;

/// What a message is to do; it gets the token that it takes. Costs a task without a rate limit one look at a flag. `now` is unix
/// time.
pub(crate) fn turn(job: &mut Job, granted: Option<Token>, now: f64) -> Turn {
    if granted.is_some() {
        job.token = granted;
        return Turn::Now;
    }
    let bucket = &job.task.bucket;
    // One that only asks for its lock, and is delayed then, takes no token yet; nor does Celery before an eta.
    if !bucket.is_limited() || job.not_before.is_some_and(|at| at > now + SKEW) {
        return Turn::Now;
    }
    let (turn, next) = bucket.turn(job.message.headers.id.as_str());
    if turn == Turn::Now {
        job.token = Some(Token::new(bucket, next));
    }
    turn
}

/// The state of a bucket, as a function of time.
#[derive(Debug)]
struct State {
    rate: Option<RateLimit>,
    /// When there is a token again.
    next: Instant,
    /// How many wait in this worker.
    waiting: u32,
    /// Until when the turns of those away are given out.
    promised: Instant,
    /// The turns of those away, by id.
    away: HashMap<String, Instant>,
    /// From so many of them on it is looked whose turn has passed: those may have gone to other workers.
    looks_at: usize,
}

/// With fewer nobody is looked for.
const FEW_AWAY: usize = 10_000;
/// More are not remembered: they get a new turn, behind the others, when they come again.
const MOST_AWAY: usize = 1_000_000;

impl State {
    fn new(rate: Option<RateLimit>, now: Instant) -> Self {
        Self {
            rate,
            next: now,
            waiting: 0,
            promised: now,
            away: HashMap::new(),
            looks_at: FEW_AWAY,
        }
    }

    /// Takes the token, or says when there is one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(rate) = &self.rate {
            if self.next > now {
                return Err(self.next);
            }
            self.next = now + rate.interval();
        }
        self.waiting = self.waiting.saturating_sub(1);
        Ok(())
    }

    fn give_back(&mut self, taken: Instant) {
        if let Some(rate) = &self.rate
            && self.next == taken
        {
            let next = self.next.checked_sub(rate.interval());
            self.next = next.unwrap_or(self.next);
        }
    }

    fn turn(&mut self, id: &str, now: Instant) -> Turn {
        let Some(rate) = &self.rate else {
            return Turn::Now;
        };
        let interval = rate.interval();
        let known = self.away.remove(id);
        if self.waiting == 0 && self.next <= now {
            self.next = now + interval;
            return Turn::Now;
        }
        // When it would run if it waited here.
        let here = self.next.max(now) + interval.saturating_mul(self.waiting);
        let due = known.unwrap_or_else(|| here.max(self.promised));
        if self.waiting == 0 || due <= now + NEAR {
            self.waiting += 1;
            if known.is_none() {
                self.promised = self.promised.max(here + interval);
            }
            return Turn::Here;
        }
        if known.is_none() {
            self.promised = due + interval;
        }
        if self.away.len() >= self.looks_at {
            self.away.retain(|_, due| *due + LONGEST_AWAY > now);
            // Each look pays for itself, however many stay.
            self.looks_at = (2 * self.away.len()).max(FEW_AWAY);
        }
        if self.away.len() < MOST_AWAY {
            self.away.insert(id.to_owned(), due);
        }
        Turn::Away((due - now - NEAR / 2).min(LONGEST_AWAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Option<RateLimit> {
        RateLimit::parse(text).unwrap()
    }

    fn limits(disabled: bool) -> RateLimits {
        let task = ("t".into(), Arc::new(Bucket::new(rate("10/s"))));
        RateLimits::new([task].into_iter(), disabled)
    }

    #[test]
    fn the_next_second_waits_here_and_the_rest_away_each_with_its_own_turn() {
        let now = Instant::now();
        let mut state = State::new(rate("10/s"), now);
        let turns: Vec<Turn> = (0..30).map(|id| state.turn(&id.to_string(), now)).collect();
        assert_eq!(turns[0], Turn::Now);
        assert!(
            turns[1..11].iter().all(|turn| *turn == Turn::Here),
            "{turns:?}"
        );
        let away: Vec<u128> = turns[11..]
            .iter()
            .map(|turn| match turn {
                Turn::Away(time) => time.as_millis(),
                other => panic!("{other:?} of {turns:?}"),
            })
            .collect();
        assert_eq!(away[..3], [600, 700, 800]);
        // One that comes back keeps its turn, and a new one does not overtake it.
        let later = now + Duration::from_millis(610);
        for _ in 0..6 {
            state.take(later + Duration::from_secs(1)).unwrap();
            state.next = later;
        }
        assert_eq!(state.turn("11", later), Turn::Here);
        assert!(matches!(state.turn("new", later), Turn::Away(_)));
    }

    #[test]
    fn a_slow_rate_lets_one_wait_here_so_that_no_token_is_lost() {
        let now = Instant::now();
        let mut state = State::new(rate("1/h"), now);
        assert_eq!(state.turn("1", now), Turn::Now);
        assert_eq!(state.turn("2", now), Turn::Here);
        assert_eq!(state.turn("3", now), Turn::Away(LONGEST_AWAY));
        assert_eq!(
            state.turn("3", now + LONGEST_AWAY),
            Turn::Away(LONGEST_AWAY)
        );
        assert_eq!(state.take(now), Err(now + Duration::from_secs(3600)));
    }

    #[test]
    fn a_token_that_is_given_back_is_there_for_the_next() {
        let now = Instant::now();
        let mut state = State::new(rate("1/h"), now);
        assert_eq!(state.turn("1", now), Turn::Now);
        let first = state.next;
        state.give_back(first);
        assert_eq!(state.turn("2", now), Turn::Now);
        assert_eq!(state.turn("3", now), Turn::Here);
        // Somebody has taken the next one since, or the rate is another.
        let second = state.next;
        state.next += Duration::from_secs(3600);
        let after = state.next;
        state.give_back(second);
        assert_eq!(state.next, after, "no second token comes of it");
    }

    #[test]
    fn without_a_limit_everything_runs() {
        let mut state = State::new(None, Instant::now());
        for id in ["1", "2", "3"] {
            assert_eq!(state.turn(id, Instant::now()), Turn::Now);
        }
    }

    #[tokio::test]
    async fn a_changed_rate_is_felt_at_once_by_who_waits_here() {
        let limits = RateLimits::new(
            [("t".into(), Arc::new(Bucket::new(rate("1/h"))))].into_iter(),
            false,
        );
        let bucket = Arc::clone(&limits.buckets["t"]);
        assert_eq!(bucket.turn("1").0, Turn::Now);
        assert_eq!(bucket.turn("2").0, Turn::Here);
        let waits = tokio::spawn(async move { bucket.wait().await.spend() });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        limits.set("t", None).unwrap();
        tokio::time::timeout(Duration::from_secs(5), waits)
            .await
            .expect("it is called")
            .unwrap();
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        assert_eq!(
            limits(false).set("other", None),
            Err(RateRefused::UnknownTask)
        );
        assert_eq!(limits(true).set("t", None), Err(RateRefused::Disabled));
        let open = limits(false);
        assert_eq!(open.get("t"), rate("10/s"));
        open.set("t", rate("3/m")).unwrap();
        assert_eq!(open.get("t"), rate("3/m"));
    }
}
