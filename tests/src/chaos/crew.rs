//! The workers of a scenario, and what was done to them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::ledger::{self, now};
use crate::child::Child;
use crate::log::Log;
use crate::lovage_worker::{LovageWorker, LovageWorkerBuilder};
use crate::place;

/// What a worker of either kind says when it consumes.
const READY_LINE: &str = "ready.";
/// How long it may take until then: two cores, and other tests beside it.
const READY: Duration = Duration::from_secs(40);
/// How long a warm shutdown may take.
const WARM: Duration = Duration::from_secs(20);

/// What workers are started with.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// How Lovage's workers run tasks.
    pub pool: &'static str,
    /// `LOVAGE_LEASE`.
    pub lease: Duration,
    /// Tasks at once.
    pub concurrency: usize,
    /// Messages taken ahead, times concurrency.
    pub multiplier: usize,
    /// The visibility time-out in seconds, for Rust and Python alike.
    pub visibility: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            pool: "async",
            lease: Duration::from_secs(2),
            concurrency: 8,
            multiplier: 4,
            visibility: 3600,
        }
    }
}

/// What was done to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// To whom.
    pub worker: String,
    /// What.
    pub what: What,
    /// From when on it could do nothing, see [`now`].
    pub from: u64,
    /// When that was certain: a killed one is gone, a stopped one goes on.
    pub to: u64,
}

/// Kinds of deeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// SIGKILL.
    Killed,
    /// SIGSTOP, and SIGCONT at the end.
    Stopped,
    /// Its Redis went away: a worker of Celery's loses what it holds, and that comes back when it is no longer visible.
    CutOff,
}

/// The time in which a worker of ours consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Who.
    pub worker: String,
    /// When it was seen to be ready, see [`now`].
    pub ready: u64,
    /// When it was killed, told to stop, or looked at.
    pub end: u64,
}

#[derive(Debug)]
enum Process {
    Rust(Box<LovageWorker>),
    Python(Box<Child>),
}

/// One living worker.
#[derive(Debug)]
pub struct Member {
    /// Its name, never used twice.
    pub name: String,
    process: Process,
    stopped_at: Option<u64>,
    ready_at: Option<u64>,
}

impl Member {
    fn child(&mut self) -> &mut Child {
        match &mut self.process {
            Process::Rust(worker) => worker.process(),
            Process::Python(child) => child,
        }
    }

    /// Whether it is one of Celery's.
    pub fn is_python(&self) -> bool {
        matches!(self.process, Process::Python(_))
    }

    /// Its process id.
    pub fn pid(&mut self) -> i32 {
        self.child().pid().as_raw_nonzero().get()
    }

    /// What it has written.
    pub fn log(&mut self) -> Log {
        self.child().log().clone()
    }
}

/// All workers, living and dead.
#[derive(Debug)]
pub struct Crew {
    url: String,
    ledger: PathBuf,
    /// What the next one is started with.
    pub recipe: Recipe,
    members: Vec<Member>,
    deeds: Vec<Deed>,
    logs: Vec<(String, Log)>,
    lives: Vec<Life>,
}

impl Crew {
    /// Nobody yet.
    pub fn new(url: String, ledger: PathBuf, recipe: Recipe) -> Self {
        Self {
            url,
            ledger,
            recipe,
            members: Vec::new(),
            deeds: Vec::new(),
            logs: Vec::new(),
            lives: Vec::new(),
        }
    }

    /// The times in which workers of ours consumed.
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// Notes who has become ready since the last look.
    pub fn look(&mut self) {
        for member in &mut self.members {
            if member.ready_at.is_none() && member.child().log().has(READY_LINE) {
                member.ready_at = Some(now());
            }
        }
    }

    /// Its time is over, from now on.
    fn ends(&mut self, index: usize) {
        let member = &self.members[index];
        if let (false, Some(ready)) = (member.is_python(), member.ready_at) {
            self.lives.push(Life {
                worker: member.name.clone(),
                ready,
                end: now(),
            });
        }
    }

    /// The living, in the order in which they were started.
    pub fn members(&mut self) -> &mut [Member] {
        &mut self.members
    }

    /// What was done so far.
    pub fn deeds(&self) -> &[Deed] {
        &self.deeds
    }

    /// Where a living worker stands among the others.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == name)
    }

    /// The last lines that a worker wrote, also a dead one.
    pub fn tail(&self, name: &str) -> String {
        let log = self.logs.iter().find(|(other, _)| other == name);
        let text = log.map(|(_, log)| log.text()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// What all of them wrote.
    pub fn logs(&self) -> impl Iterator<Item = (&str, String)> {
        self.logs
            .iter()
            .map(|(name, log)| (name.as_str(), log.text()))
    }

    /// Starts a worker and waits until it consumes; gives its name.
    pub fn hire(&mut self) -> String {
        let name = self.launch();
        self.settle_in();
        name
    }

    /// Starts a worker and waits for nothing.
    pub fn launch(&mut self) -> String {
        let name = self.next_name('w');
        let worker = self.rust(&name).launch();
        self.join(name, Process::Rust(Box::new(worker)))
    }

    /// Waits until all that were launched consume.
    pub fn settle_in(&mut self) {
        for member in &mut self.members {
            member.child().wait_for(READY_LINE, READY);
        }
        self.look();
    }

    fn rust(&self, name: &str) -> LovageWorkerBuilder {
        let Recipe {
            pool,
            lease,
            concurrency,
            multiplier,
            visibility,
        } = &self.recipe;
        LovageWorker::at(&self.url, &self.url)
            .program(&place::built("chaos-tasks").display().to_string())
            .hostname(&format!("{name}@%h"))
            .pool(pool)
            .concurrency(*concurrency)
            .variable("LOVAGE_LEASE", &format!("{}ms", lease.as_millis()))
            // Killing is the scenario's; that a message is given up after some is proved elsewhere.
            .variable("LOVAGE_MAX_DEATHS", "1000000")
            .variable("CELERY_WORKER_PREFETCH_MULTIPLIER", &multiplier.to_string())
            .variable(
                "CELERY_BROKER_TRANSPORT_OPTIONS",
                &format!(r#"{{"visibility_timeout": {visibility}}}"#),
            )
            .variable(ledger::FILE, &self.ledger.display().to_string())
            .variable(ledger::WORKER, name)
    }

    /// Starts one of Celery's workers with late ack, one task at a time and one taken ahead; waits for nothing.
    pub fn launch_python(&mut self) -> String {
        let name = self.next_name('p');
        let settings = serde_json::json!({
            "task_acks_late": true,
            "worker_prefetch_multiplier": 1,
            "broker_transport_options": {
                "visibility_timeout": self.recipe.visibility,
                "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
            },
        });
        let mut command = Command::new(place::python());
        command
            .args(["-m", "celery", "-A", "app", "worker", "-l", "info"])
            .args(["-P", "solo", "--without-mingle", "--without-gossip"])
            .args(["-n", &format!("{name}@%h")])
            .current_dir(place::repository().join("tests/chaos"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("CELERY_BROKER_URL", &self.url)
            .env("CELERY_RESULT_BACKEND", &self.url)
            .env("TEST_CELERY_SETTINGS", Value::to_string(&settings))
            .env(ledger::FILE, &self.ledger)
            .env(ledger::WORKER, &name);
        let child = Child::start("celery worker", &mut command, "run scripts/setup");
        self.join(name, Process::Python(Box::new(child)))
    }

    fn next_name(&self, kind: char) -> String {
        format!("{kind}{}", self.logs.len() + 1)
    }

    fn join(&mut self, name: String, process: Process) -> String {
        let mut member = Member {
            name: name.clone(),
            process,
            stopped_at: None,
            ready_at: None,
        };
        self.logs.push((name.clone(), member.log()));
        self.members.push(member);
        name
    }

    /// Ends a worker with SIGKILL; gives its name and the moment before.
    pub fn kill(&mut self, index: usize) -> (String, u64) {
        self.ends(index);
        let mut member = self.members.remove(index);
        let from = now();
        member.child().kill();
        self.deeds.push(Deed {
            worker: member.name.clone(),
            what: What::Killed,
            from,
            to: now(),
        });
        (member.name, from)
    }

    /// Notes that Redis was away for all of Celery's.
    pub fn cut_off(&mut self, from: u64, to: u64) {
        let members = self.members.iter().filter(|member| member.is_python());
        let deeds = members.map(|member| Deed {
            worker: member.name.clone(),
            what: What::CutOff,
            from,
            to,
        });
        self.deeds.extend(deeds);
    }

    /// Stops a worker with SIGSTOP.
    pub fn stop(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.stopped_at = Some(now());
        member.child().signal(Signal::STOP);
    }

    /// Lets a stopped worker go on, and gives for how long it was away.
    pub fn go_on(&mut self, index: usize) -> Duration {
        let member = &mut self.members[index];
        let Some(from) = member.stopped_at.take() else {
            return Duration::ZERO;
        };
        member.child().signal(Signal::CONT);
        let deed = Deed {
            worker: member.name.clone(),
            what: What::Stopped,
            from,
            to: now(),
        };
        let away = Duration::from_micros(deed.to - deed.from);
        self.deeds.push(deed);
        away
    }

    /// Asks a worker for a warm shutdown and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time or not well.
    pub fn dismiss(&mut self, index: usize) {
        self.ends(index);
        let mut member = self.members.remove(index);
        let child = member.child();
        child.signal(Signal::TERM);
        let status = child.wait(WARM);
        // Celery ends with the signal that it was sent.
        let well = status.success() || member.is_python();
        assert!(
            well,
            "{} ended its warm shutdown with {status}:\n{}",
            member.name,
            self.tail(&member.name)
        );
    }

    /// Ends all in the same way, all at once.
    ///
    /// # Panics
    /// When one does not end in time or not well.
    pub fn dismiss_all(&mut self) {
        for member in &mut self.members {
            member.child().signal(Signal::TERM);
        }
        while !self.members.is_empty() {
            self.dismiss(0);
        }
    }
}
