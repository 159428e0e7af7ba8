//! A producer that keeps a backlog and knows of every task whether the broker has it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use fastrand::Rng;
use redis::{Connection, RedisError};
use serde_json::json;

use super::ledger;
use crate::message::TaskMessage;

/// The set of ids that the broker has accepted, written in the same step as the message.
pub const PUBLISHED: &str = "chaos:published";
/// The queue of all scenarios.
pub const QUEUE: &str = "celery";

/// One task that was published exactly once.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its argument, which is part of its result.
    pub number: u64,
    /// How often it retries.
    pub retries: u32,
    /// When it may run at the earliest, see [`ledger::now`].
    pub eta: Option<u64>,
    /// What it is unique or limited by.
    pub key: Option<u64>,
    /// It belongs to a chord: its result and its part are recorded before its message is settled.
    pub in_chord: bool,
}

/// What kinds of tasks there are.
#[derive(Debug, Clone)]
pub struct Mix {
    /// The task's name.
    pub task: &'static str,
    /// How long a run takes, in seconds.
    pub seconds: Range<f64>,
    /// The share of tasks that retry, from 0 to 1, and how often at most.
    pub retrying: (f64, u32),
    /// The countdown of a retry in seconds; every second one has none.
    pub countdown: Range<f64>,
    /// The share of tasks with an eta, and how many seconds it lies ahead.
    pub eta: (f64, Range<f64>),
    /// So many different keys there are, for tasks that have one as their last argument.
    pub keys: Option<u64>,
    /// So many are to wait in the queue at least.
    pub backlog: usize,
    /// So many a second at most.
    pub rate: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            task: "chaos.work",
            seconds: 0.005..0.06,
            retrying: (0.0, 0),
            countdown: 0.0..0.2,
            eta: (0.0, 0.0..0.0),
            keys: None,
            backlog: 150,
            rate: f64::INFINITY,
        }
    }
}

impl Mix {
    /// A task of this kind, and its message.
    pub fn next(&self, rng: &mut Rng, number: u64) -> (Job, TaskMessage) {
        let within =
            |rng: &mut Rng, range: &Range<f64>| range.start + rng.f64() * (range.end - range.start);
        let retries = if rng.f64() < self.retrying.0 {
            rng.u32(1..=self.retrying.1)
        } else {
            0
        };
        let countdown = if rng.bool() {
            0.0
        } else {
            within(rng, &self.countdown)
        };
        let seconds = within(rng, &self.seconds);
        let key = self.keys.map(|keys| rng.u64(..keys));
        let arguments = match key {
            None => json!([number, seconds, retries, countdown]),
            Some(key) => json!([number, seconds, retries, countdown, key]),
        };
        let mut message = TaskMessage::new(self.task, &arguments, &json!({}));
        let eta = (rng.f64() < self.eta.0).then(|| {
            let ahead = Duration::from_secs_f64(within(rng, &self.eta.1));
            ledger::now() + u64::try_from(ahead.as_micros()).unwrap_or(u64::MAX)
        });
        if let Some(eta) = eta {
            message = message.set("headers.eta", json!(written(eta)));
        }
        let job = Job {
            id: message.id.clone(),
            number,
            retries,
            eta,
            key,
            in_chord: false,
        };
        (job, message)
    }
}

/// A time as Python writes it.
fn written(micros: u64) -> String {
    let time = DateTime::from_timestamp_micros(i64::try_from(micros).unwrap_or(i64::MAX));
    time.unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Micros, false)
}

/// A thread that publishes until it is told to stop, through every outage.
#[derive(Debug)]
pub struct Producer {
    jobs: Arc<Mutex<Vec<Job>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    /// Begins to publish.
    pub fn start(client: redis::Client, mix: Mix, seed: u64) -> Self {
        let (jobs, stop) = (Arc::default(), Arc::default());
        let work = Work {
            client,
            connection: None,
            jobs: Arc::clone(&jobs),
            stop: Arc::clone(&stop),
            rng: Rng::with_seed(seed),
            mix,
        };
        Self {
            jobs,
            stop,
            thread: Some(thread::spawn(move || work.run())),
        }
    }

    /// What was accepted so far.
    pub fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, once the broker has told of its last batch, and gives all that was accepted.
    ///
    /// # Panics
    /// When it panicked.
    pub fn stop(&mut self) -> Vec<Job> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the producer does not panic");
        }
        self.jobs().clone()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Not joined: the broker may be gone for good, and the thread ends at its next look.
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Work {
    client: redis::Client,
    connection: Option<Connection>,
    jobs: Arc<Mutex<Vec<Job>>>,
    stop: Arc<AtomicBool>,
    rng: Rng,
    mix: Mix,
}

/// So many are published in one step.
const BATCH: usize = 25;
const PAUSE: Duration = Duration::from_millis(10);

impl Work {
    fn run(mut self) {
        let started = std::time::Instant::now();
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let due = started.elapsed().as_secs_f64() * self.mix.rate;
            #[expect(clippy::cast_precision_loss, reason = "a few million at most")]
            let early = number as f64 >= due;
            let depth: Result<usize, _> =
                self.with_connection(|connection| redis::cmd("LLEN").arg(QUEUE).query(connection));
            if early || !depth.is_ok_and(|depth| depth < self.mix.backlog) {
                thread::sleep(PAUSE);
                continue;
            }
            let batch: Vec<_> = (0..BATCH)
                .map(|_| {
                    number += 1;
                    self.mix.next(&mut self.rng, number)
                })
                .collect();
            if self.publish(&batch) {
                let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                jobs.extend(batch.into_iter().map(|(job, _)| job));
            }
        }
    }

    /// Publishes a batch in one step, once; false when it was not accepted and nobody wants it any more.
    fn publish(&mut self, batch: &[(Job, TaskMessage)]) -> bool {
        let first = &batch[0].0.id;
        let mut transaction = redis::pipe();
        transaction.atomic();
        for (job, message) in batch {
            transaction.sadd(PUBLISHED, &job.id).ignore();
            transaction.lpush(QUEUE, message.to_json()).ignore();
        }
        loop {
            if self
                .with_connection(|connection| transaction.exec(connection))
                .is_ok()
            {
                return true;
            }
            // It may have been accepted all the same: the broker knows.
            let accepted = loop {
                let asked: Result<bool, _> = self.with_connection(|connection| {
                    redis::cmd("SISMEMBER")
                        .arg(PUBLISHED)
                        .arg(first)
                        .query(connection)
                });
                match asked {
                    Ok(accepted) => break accepted,
                    Err(_) => thread::sleep(PAUSE),
                }
                if Arc::strong_count(&self.jobs) == 1 {
                    return false; // The test is over.
                }
            };
            if accepted {
                return true;
            }
        }
    }

    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.get_connection()?,
        };
        let done = work(&mut connection);
        // After an error nobody knows what the next answer would belong to.
        if done.is_ok() {
            self.connection = Some(connection);
        }
        done
    }
}
