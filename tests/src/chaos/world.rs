//! One scenario under way: a Redis, its workers, a producer, the ledger; and how it is brought to its end.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;

use super::account::{self, Tally};
use super::caller::{self, Caller};
use super::crew::{Crew, Recipe};
use super::ear::Ear;
use super::ledger::{Ledger, Run};
use super::load::{Job, Mix, Producer, QUEUE};
use super::remains;
use super::stalls::{self, Watch};
use crate::redis_server::RedisServer;
use crate::wait::within;

/// When nothing has ended for so long, what is left is lost.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// How long the tidying after the last task may take.
const TIDY: Duration = Duration::from_secs(20);

/// How long a scenario plays, and which of its random courses.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// The seed of everything random.
    pub seed: u64,
    /// How often the scenario does what it does.
    pub rounds: usize,
}

/// The stage of one scenario. The parts end in the order of the fields.
#[derive(Debug)]
pub struct World {
    /// The workers.
    pub crew: Crew,
    /// What the tasks wrote down.
    pub ledger: Ledger,
    /// Where every random decision comes from.
    pub rng: Rng,
    /// The broker and result store.
    pub redis: RedisServer,
    producer: Option<Producer>,
    caller: Option<Caller>,
    refused: Vec<(String, u64)>,
    duplicates: usize,
    watch: Option<Watch>,
    jobs: Vec<Job>,
    ear: Option<Ear>,
    folder: TempDir,
}

impl World {
    /// A Redis and nobody there yet.
    ///
    /// # Panics
    /// When the temporary folder cannot be made.
    pub fn new(extent: Extent, redis: RedisServer, recipe: Recipe) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lovage-chaos-")
            .tempdir()
            .expect("the temporary folder is writable");
        let ledger = Ledger::new(folder.path());
        Self {
            crew: Crew::new(redis.url(), ledger.path().to_owned(), recipe),
            ledger,
            rng: Rng::with_seed(extent.seed),
            redis,
            producer: None,
            caller: None,
            refused: Vec::new(),
            duplicates: 0,
            watch: None,
            jobs: Vec::new(),
            ear: None,
            folder,
        }
    }

    /// The folder of this scenario.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Counts announced ends from now on, where the Redis is not to be hurt.
    pub fn listen(&mut self) {
        self.ear = Some(Ear::open(&self.redis.client()));
    }

    /// From now on no worker may stand still while messages wait.
    pub fn watch(&mut self) {
        self.watch = Some(Watch::begin(self.redis.client()));
    }

    /// Begins to publish.
    pub fn produce(&mut self, mix: Mix) {
        self.watch();
        self.producer = Some(Producer::start(self.redis.client(), mix, self.rng.u64(..)));
    }

    /// Begins to send as a Lovage client does.
    pub fn call(&mut self, mix: Mix) {
        let seed = self.rng.u64(..);
        self.caller = Some(Caller::start(self.redis.url(), mix, seed));
    }

    /// Everything that was published, once publishing has ended.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// How many calls were refused as they were sent.
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// How many tasks ended as duplicates.
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// Ends publishing.
    pub fn stop_producing(&mut self) {
        if let Some(mut caller) = self.caller.take() {
            let sent = caller.stop();
            self.jobs.extend(sent.jobs);
            self.refused.extend(sent.refused);
        }
        if let Some(mut producer) = self.producer.take() {
            self.jobs.extend(producer.stop());
        }
    }

    /// Takes a task that was published otherwise into the account.
    pub fn expect(&mut self, job: Job) {
        self.jobs.push(job);
    }

    /// A random number of seconds.
    pub fn seconds(&mut self, range: &Range<f64>) -> Duration {
        Duration::from_secs_f64(range.start + self.rng.f64() * (range.end - range.start))
    }

    /// Lets the others work for a random time.
    pub fn pause(&mut self, range: &Range<f64>) {
        let time = self.seconds(range);
        std::thread::sleep(time);
        self.crew.look();
    }

    /// A random worker.
    pub fn anyone(&mut self) -> usize {
        let count = self.crew.members().len();
        self.rng.usize(..count)
    }

    /// Ends the scenario: everything published is to end, the broker to be clean, the workers to stop well, and each task
    /// to be accounted for.
    ///
    /// # Panics
    /// When one of these does not hold; the message says what, and who did what when.
    pub fn conclude(&mut self) -> Tally {
        self.stop_producing();
        self.wait_for_all();
        within(TIDY, "a broker that holds nothing", || {
            remains::held(&self.redis).is_empty().then_some(())
        });
        let living = self
            .crew
            .members()
            .iter()
            .filter(|member| !member.is_python())
            .count();
        within(TIDY, "the dead workers to be buried", || {
            (remains::workers(&self.redis).len() == living).then_some(())
        });
        let with_python = living < self.crew.members().len();
        self.crew.dismiss_all();
        let left = remains::left_over(&self.redis, with_python);
        assert!(left.is_empty(), "these keys are left over: {left:?}");
        let results = self.results();
        let runs = self.ledger.runs();
        let lease = self.crew.recipe.lease;
        let tally = account::settle(&self.jobs, &results, &runs, &self.crew, lease)
            .unwrap_or_else(|faults| panic!("{faults}"));
        self.assert_announced_once();
        caller::check_refused(&self.refused, &self.jobs).unwrap_or_else(|fault| panic!("{fault}"));
        self.assert_no_stall(&runs);
        self.duplicates = tally.duplicates;
        tally
    }

    /// By how much the latest first run was later than its eta.
    pub fn lateness(&self) -> Duration {
        let mut first: HashMap<String, u64> = HashMap::new();
        for run in self.ledger.runs() {
            // The earliest comes first.
            first.entry(run.id).or_insert(run.began);
        }
        let late = self.jobs.iter().filter_map(|job| {
            let began = first.get(&job.id)?;
            Some(Duration::from_micros(began.saturating_sub(job.eta?)))
        });
        late.max().unwrap_or_default()
    }

    fn assert_no_stall(&self, runs: &[Run]) {
        let Some(watch) = &self.watch else { return };
        let stalled = stalls::stalled(&watch.spans(), self.crew.lives(), runs, self.crew.deeds());
        let tails: Vec<String> = stalled
            .iter()
            .map(|(worker, _)| format!("{worker}:\n{}", self.crew.tail(worker)))
            .collect();
        assert!(
            stalled.is_empty(),
            "these stood still while messages waited: {stalled:?}; their last lines:\n{}",
            tails.join("\n")
        );
    }

    fn assert_announced_once(&self) {
        let Some(ear) = &self.ear else { return };
        within(TIDY, "every end to be announced", || {
            self.jobs
                .iter()
                .all(|job| ear.ends(&job.id) > 0)
                .then_some(())
        });
        let twice = self.jobs.iter().find(|job| ear.ends(&job.id) > 1);
        assert!(twice.is_none(), "{twice:?} ended more than once");
    }

    /// The stored records of all tasks, by id.
    fn results(&self) -> HashMap<String, String> {
        let mut connection = self.redis.connection();
        let mut found = HashMap::new();
        for jobs in self.jobs.chunks(1000) {
            let keys: Vec<String> = jobs
                .iter()
                .map(|job| format!("celery-task-meta-{}", job.id))
                .collect();
            let records: Vec<Option<String>> =
                redis::Commands::mget(&mut connection, &keys).expect("MGET works");
            let known = jobs.iter().zip(records);
            found.extend(known.filter_map(|(job, record)| Some((job.id.clone(), record?))));
        }
        found
    }

    fn wait_for_all(&mut self) {
        let mut open: Vec<String> = self.jobs.iter().map(|job| job.id.clone()).collect();
        let mut progress = Instant::now();
        let mut connection = self.redis.connection();
        while !open.is_empty() {
            let before = open.len();
            let mut still = Vec::new();
            for ids in open.chunks(1000) {
                let keys: Vec<String> = ids
                    .iter()
                    .map(|id| format!("celery-task-meta-{id}"))
                    .collect();
                let records: Vec<Option<String>> =
                    redis::Commands::mget(&mut connection, &keys).expect("MGET works");
                let unended = ids.iter().zip(records).filter(|(_, record)| {
                    let ended = |record: &str| {
                        ["SUCCESS", "REVOKED"]
                            .iter()
                            .any(|state| record.starts_with(&format!("{{\"status\": \"{state}\"")))
                    };
                    !record.as_deref().is_some_and(ended)
                });
                still.extend(unended.map(|(id, _)| id.clone()));
            }
            open = still;
            if open.len() < before {
                progress = Instant::now();
            }
            if progress.elapsed() > LOST_AFTER {
                panic!("{}", self.missing(&open));
            }
            self.crew.look();
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is known of tasks that do not end.
    fn missing(&self, open: &[String]) -> String {
        let mut text = format!(
            "{} of {} tasks have not ended, and none has for {LOST_AFTER:?}:\n",
            open.len(),
            self.jobs.len()
        );
        let (held, runs) = (remains::held(&self.redis), self.ledger.runs());
        let wanted: HashSet<&str> = open.iter().map(String::as_str).take(5).collect();
        for job in self
            .jobs
            .iter()
            .filter(|job| wanted.contains(job.id.as_str()))
        {
            let _ = writeln!(text, "* {job:?}: {}", self.redis.state(&job.id));
            for run in runs.iter().filter(|run| run.id == job.id) {
                let _ = writeln!(text, "    {run:?}\n{}", self.crew.tail(&run.worker));
            }
            let places = held.iter().filter(|(_, message)| message.contains(&job.id));
            for (place, _) in places {
                let _ = writeln!(text, "    it is in {place}");
            }
        }
        let _ = writeln!(
            text,
            "queue: {}, held: {}, deeds: {:?}",
            self.redis.depth(QUEUE),
            held.len(),
            self.crew.deeds()
        );
        text
    }
}
