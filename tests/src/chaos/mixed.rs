//! Rust and Python workers on one queue.

use std::time::Duration;

use super::crew::Recipe;
use super::deaths::work_begins;
use super::ledger::now;
use super::load::Mix;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::redis_server::RedisServer;
use crate::wait::within;

/// By when a worker has found Redis again.
const GOES_ON: Duration = Duration::from_secs(20);
/// Tasks take longer, in microseconds.
const JUST_BEGUN: u64 = 60_000;
/// After it a dead Python worker's messages are given back, in seconds.
const VISIBILITY: u64 = 6;

fn begin(extent: Extent) -> World {
    let mix = Mix {
        seconds: 0.01..0.15,
        retrying: (0.3, 2),
        backlog: 60,
        ..Mix::default()
    };
    begin_with(extent, RedisServer::start(), mix)
}

fn begin_with(extent: Extent, redis: RedisServer, mix: Mix) -> World {
    let recipe = Recipe {
        visibility: VISIBILITY,
        concurrency: 2,
        ..Recipe::default()
    };
    let mut world = World::new(extent, redis, recipe);
    for _ in 0..2 {
        world.crew.launch_python();
        world.crew.launch();
    }
    world.crew.settle_in();
    world.produce(mix);
    work_begins(&world);
    world
}

fn kill(world: &mut World, python: bool) {
    let count = world.crew.members().len();
    let start = world.rng.usize(..count);
    let victim = (start..start + count)
        .map(|index| index % count)
        .find(|index| world.crew.members()[*index].is_python() == python);
    let victim = victim.unwrap_or_else(|| panic!("none of that kind lives"));
    if python {
        // Celery pops a message and records it in two steps, and loses what it has popped when it dies in between. While a
        // solo worker runs a task it does neither.
        let name = world.crew.members()[victim].name.clone();
        let mut follower = world.ledger.follow();
        within(GOES_ON, "the Celery worker to run a task", || {
            follower
                .begun()
                .iter()
                .any(|run| run.worker == name)
                .then_some(())
        });
    }
    world.crew.kill(victim);
}

/// Only the Rust workers are killed: what they held runs again, here or there, and nothing else does.
///
/// # Panics
/// When a task is lost or runs twice without a reason.
pub fn rust_dies(extent: Extent) -> Outcome {
    let mut world = begin(extent);
    for _ in 0..extent.rounds {
        world.pause(&(0.3..1.2));
        kill(&mut world, false);
        world.crew.launch();
    }
    let tally = world.conclude();
    let shares = shares(&world);
    Outcome::new(
        format!("{} × kill -9 of Rust workers", extent.rounds),
        tally,
    )
    .remark(shares)
}

/// Workers of both kinds are killed; what Python held comes back when the visibility time-out is over.
///
/// # Panics
/// As [`rust_dies`].
pub fn both_die(extent: Extent) -> Outcome {
    let mut world = begin(extent);
    for round in 0..extent.rounds {
        world.pause(&(0.3..1.2));
        let python = round % 2 == 0;
        kill(&mut world, python);
        if python {
            world.crew.launch_python();
        } else {
            world.crew.launch();
        }
    }
    world.crew.settle_in();
    let tally = world.conclude();
    let shares = shares(&world);
    Outcome::new(format!("{} × kill -9, by turns", extent.rounds), tally).remark(shares)
}

/// Redis, with `appendonly yes` and `appendfsync always`, is killed and started again beneath workers of both kinds. What Celery's
/// held comes back when the visibility time-out is over and may run again; nothing of ours does.
///
/// Nothing retries here: a Celery worker that cannot publish the next attempt within its own patience drops the task.
///
/// # Panics
/// As [`rust_dies`].
pub fn redis_restarts(extent: Extent) -> Outcome {
    let mix = Mix {
        seconds: 0.1..0.5,
        backlog: 40,
        ..Mix::default()
    };
    let mut world = begin_with(extent, RedisServer::durable(), mix);
    for _ in 0..extent.rounds {
        world.pause(&(0.3..1.2));
        python_is_busy(&world);
        let from = now();
        world.redis.kill();
        world.pause(&(0.0..1.5));
        world.redis.restart();
        world.crew.cut_off(from, now());
        both_go_on(&mut world);
    }
    let tally = world.conclude();
    let shares = shares(&world);
    Outcome::new(
        format!("{} × Redis killed and started", extent.rounds),
        tally,
    )
    .remark(shares)
}

/// Waits until every Celery worker runs a task, and has only just begun: then none of them has popped a message that it has
/// not recorded yet.
fn python_is_busy(world: &World) {
    within(GOES_ON, "the Celery workers to run tasks", || {
        let (runs, at) = (world.ledger.runs(), now());
        let busy = runs.iter().filter(|run| {
            run.worker.starts_with('p') && run.ended.is_none() && at - run.began < JUST_BEGUN
        });
        (busy.count() == 2).then_some(())
    });
}

/// Waits until a worker of each kind begins a task.
fn both_go_on(world: &mut World) {
    let mut follower = world.ledger.follow();
    let (mut rust, mut python) = (false, false);
    within(GOES_ON, "workers of both kinds to go on", || {
        for run in follower.begun() {
            let kind = if run.worker.starts_with('p') {
                &mut python
            } else {
                &mut rust
            };
            *kind = true;
        }
        (rust && python).then_some(())
    });
    world.crew.look();
}

fn shares(world: &World) -> String {
    let runs = world.ledger.runs();
    let python = runs.iter().filter(|run| run.worker.starts_with('p'));
    format!("{} runs by Celery", python.count())
}
