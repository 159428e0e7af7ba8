//! Redis goes away and comes back: nothing is lost, nobody is taken for dead, and work goes on at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::crew::Recipe;
use super::deaths::work_begins;
use super::ledger::{Follower, now};
use super::load::Mix;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::redis_server::RedisServer;
use crate::wait::within;

/// By when work must go on after Redis answers again.
const STALL: Duration = Duration::from_secs(5);

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

/// Waits until a task begins that was begun after this moment.
fn goes_on(follower: &mut Follower, slowest: &mut Duration) {
    let (answers, since) = (now(), Instant::now());
    // What had been fetched and marked before the outage may begin without Redis: half a second of that is let pass.
    within(STALL, "work to go on after Redis answers again", || {
        let later = answers + 500_000;
        (follower.begun().iter().any(|run| run.began > later)).then_some(())
    });
    *slowest = (*slowest).max(since.elapsed());
}

fn concluded(world: &mut World, done: String, slowest: Duration) -> Outcome {
    let tally = world.conclude();
    assert_eq!(tally.repeated, 0, "no worker died or lost its lease");
    Outcome::new(done, tally).remark(format!(
        "work goes on within {:.1} s",
        slowest.as_secs_f64()
    ))
}

/// Redis, with `appendonly yes` and `appendfsync always`, is shut down and killed, and started again.
///
/// # Panics
/// When a task is lost or runs twice, or work does not go on.
pub fn restarts(extent: Extent) -> Outcome {
    let mut world = begin(extent, RedisServer::durable());
    let mut slowest = Duration::ZERO;
    for round in 0..extent.rounds {
        world.pause(&(0.2..1.0));
        if round % 2 == 0 {
            world.redis.kill();
        } else {
            world.redis.stop();
        }
        world.pause(&(0.0..2.5));
        world.redis.restart();
        goes_on(&mut world.ledger.follow(), &mut slowest);
    }
    let done = format!("{} × Redis killed or shut down and started", extent.rounds);
    concluded(&mut world, done, slowest)
}

/// Every connection is killed once a second.
///
/// # Panics
/// As [`restarts`].
pub fn connections(extent: Extent) -> Outcome {
    let mut world = begin(extent, RedisServer::start());
    let mut slowest = Duration::ZERO;
    for _ in 0..extent.rounds {
        for kind in ["normal", "pubsub"] {
            let _: i64 = world
                .redis
                .command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
        }
        let second = Instant::now();
        goes_on(&mut world.ledger.follow(), &mut slowest);
        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
    }
    let done = format!("{} × CLIENT KILL of all connections", extent.rounds);
    concluded(&mut world, done, slowest)
}

/// Redis stands still for longer than the lease, so that every lease has run out when it goes on.
///
/// # Panics
/// As [`restarts`].
pub fn standstill(extent: Extent) -> Outcome {
    let mut world = begin(extent, RedisServer::start());
    let mut slowest = Duration::ZERO;
    for _ in 0..extent.rounds {
        world.pause(&(0.2..1.0));
        world.redis.process().signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(3));
        world.redis.process().signal(Signal::CONT);
        goes_on(&mut world.ledger.follow(), &mut slowest);
    }
    let done = format!("{} × SIGSTOP of Redis for 3 s, lease 2 s", extent.rounds);
    concluded(&mut world, done, slowest)
}
