//! Redis goes away and comes back: nothing is lost, nobody is taken for dead, and work goes on at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::crew::Recipe;
use super::deaths::work_begins;
use super::ledger::{Follower, Run, now};
use super::load::Mix;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::redis_server::RedisServer;
use crate::wait::within;

/// By when work must go on after Redis answers again.
const STALL: Duration = super::stalls::STALL;

fn begin(extent: Extent, redis: RedisServer) -> World {
    let mut world = World::new(extent, redis, Recipe::default());
    for _ in 0..2 {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.produce(Mix {
        retrying: (0.3, 2),
        backlog: 300,
        ..Mix::default()
    });
    work_begins(&world);
    world
}

/// The times in which Redis answered, and whether work went on in them.
#[derive(Debug)]
struct Calm {
    since: u64,
    spans: Vec<(u64, u64)>,
}

impl Calm {
    fn begin() -> Self {
        Self {
            since: now(),
            spans: Vec::new(),
        }
    }

    /// Redis goes away.
    fn ends(&mut self) {
        self.spans.push((self.since, now()));
    }

    /// Redis answers again: waits until a task begins.
    fn begins(&mut self, follower: &mut Follower) {
        self.since = now();
        within(STALL, "work to go on after Redis answers again", || {
            // What had been fetched and marked before the outage may begin without Redis; that is over at once.
            let later = self.since + 500_000;
            (follower.begun().iter().any(|run| run.began > later)).then_some(())
        });
    }

    /// The longest time in which a worker began no run, and how many began in a second. There was always something to do.
    fn pace(&self, runs: &[Run]) -> (Duration, f64) {
        // For each worker by itself: one must not stand still while the others go on.
        let workers: BTreeSet<&str> = runs.iter().map(|run| run.worker.as_str()).collect();
        let (mut longest, mut begun, mut time) = (0, 0, 0);
        for (from, to) in &self.spans {
            for worker in &workers {
                let own = runs.iter().filter(|run| run.worker == *worker);
                let mut last = *from;
                for run in own.filter(|run| (from..to).contains(&&run.began)) {
                    longest = longest.max(run.began - last);
                    last = run.began;
                    begun += 1;
                }
                longest = longest.max(to - last);
            }
            time += to - from;
        }
        let seconds = Duration::from_micros(time).as_secs_f64();
        (
            Duration::from_micros(longest),
            f64::from(begun) / seconds.max(f64::EPSILON),
        )
    }
}

fn concluded(world: &mut World, done: String, mut calm: Calm) -> Outcome {
    calm.ends();
    let tally = world.conclude();
    assert_eq!(tally.repeated, 0, "no worker died or lost its lease");
    let (longest, rate) = calm.pace(&world.ledger.runs());
    assert!(
        longest < STALL,
        "nothing began for {longest:?} while Redis answered"
    );
    Outcome::new(done, tally).remark(format!(
        "longest stall while Redis answered {:.1} s; {rate:.0} runs/s",
        longest.as_secs_f64()
    ))
}

/// Redis, with `appendonly yes` and `appendfsync always`, is shut down and killed, and started again.
///
/// # Panics
/// When a task is lost or runs twice, or work does not go on.
pub fn restarts(extent: Extent) -> Outcome {
    let mut world = begin(extent, RedisServer::durable());
    let mut calm = Calm::begin();
    for round in 0..extent.rounds {
        world.pause(&(0.2..1.0));
        calm.ends();
        if round % 2 == 0 {
            world.redis.kill();
        } else {
            world.redis.stop();
        }
        world.pause(&(0.0..2.5));
        world.redis.restart();
        calm.begins(&mut world.ledger.follow());
    }
    let done = format!("{} × Redis killed or shut down and started", extent.rounds);
    concluded(&mut world, done, calm)
}

/// Every connection is killed once a second.
///
/// # Panics
/// As [`restarts`].
pub fn connections(extent: Extent) -> Outcome {
    let mut world = begin(extent, RedisServer::start());
    let mut calm = Calm::begin();
    for _ in 0..extent.rounds {
        calm.ends();
        for kind in ["normal", "pubsub"] {
            let _: i64 = world
                .redis
                .command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
        }
        let second = Instant::now();
        calm.begins(&mut world.ledger.follow());
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    let done = format!("{} × CLIENT KILL of all connections", extent.rounds);
    concluded(&mut world, done, calm)
}

/// Redis stands still for longer than the lease, so that every lease has run out when it goes on.
///
/// # Panics
/// As [`restarts`].
pub fn standstill(extent: Extent) -> Outcome {
    let mut world = begin(extent, RedisServer::start());
    let mut calm = Calm::begin();
    for _ in 0..extent.rounds {
        world.pause(&(0.2..1.0));
        calm.ends();
        world.redis.process().signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(3));
        world.redis.process().signal(Signal::CONT);
        calm.begins(&mut world.ledger.follow());
    }
    let done = format!("{} × SIGSTOP of Redis for 3 s, lease 2 s", extent.rounds);
    concluded(&mut world, done, calm)
}
