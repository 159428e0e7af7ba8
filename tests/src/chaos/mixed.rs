//! Rust and Python workers on one queue.

use std::time::Duration;

use super::crew::Recipe;
use super::deaths::work_begins;
use super::load::Mix;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::redis_server::RedisServer;
use crate::wait::within;

/// After it a dead Python worker's messages are given back, in seconds.
const VISIBILITY: u64 = 6;

fn begin(extent: Extent) -> World {
    let recipe = Recipe {
        visibility: VISIBILITY,
        concurrency: 2,
        ..Recipe::default()
    };
    let mut world = World::new(extent, RedisServer::start(), recipe);
    for _ in 0..2 {
        world.crew.launch_python();
        world.crew.launch();
    }
    world.crew.settle_in();
    world.produce(Mix {
        seconds: 0.01..0.15,
        retrying: (0.3, 2),
        backlog: 60,
        ..Mix::default()
    });
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
        within(
            Duration::from_secs(20),
            "the Celery worker to run a task",
            || {
                follower
                    .begun()
                    .iter()
                    .any(|run| run.worker == name)
                    .then_some(())
            },
        );
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

fn shares(world: &World) -> String {
    let runs = world.ledger.runs();
    let python = runs.iter().filter(|run| run.worker.starts_with('p'));
    format!("{} runs by Celery", python.count())
}
