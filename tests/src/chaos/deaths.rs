//! Workers are killed under load.

use std::collections::HashMap;
use std::time::Duration;

use super::account::Tally;
use super::crew::Recipe;
use super::ledger::now;
use super::load::Mix;
use super::remains;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::redis_server::RedisServer;
use crate::wait::within;

/// By when the work of a dead worker must run again, with the default lease.
const BACK: Duration = Duration::from_secs(10);
const WORKERS: usize = 3;
/// The default lease.
const LEASE: Duration = Duration::from_secs(6);

/// Quick tasks, some of which retry at once or soon: deaths fall between the steps of retries too.
///
/// # Panics
/// When a task is lost or runs twice without a reason, as every scenario.
pub fn under_load(extent: Extent) -> Outcome {
    let mix = Mix {
        retrying: (0.5, 3),
        ..Mix::default()
    };
    let (_, tally) = storm(extent, Recipe::default(), mix);
    Outcome::new(format!("{} × kill -9", extent.rounds), tally)
}

/// Slow tasks, and many more held than run: deaths take a full prefetch along.
///
/// # Panics
/// As [`under_load`].
pub fn with_full_prefetch(extent: Extent) -> Outcome {
    let recipe = Recipe {
        concurrency: 3,
        multiplier: 20,
        ..Recipe::default()
    };
    let mix = Mix {
        seconds: 0.02..0.3,
        retrying: (0.2, 2),
        countdown: 0.0..0.05,
        backlog: 60,
        ..Mix::default()
    };
    let (_, tally) = storm(extent, recipe, mix);
    Outcome::new(format!("{} × kill -9", extent.rounds), tally)
}

/// Workers with child processes, whose pipes are full when they die.
///
/// # Panics
/// As [`under_load`].
pub fn with_children(extent: Extent) -> Outcome {
    in_pool("prefork", extent)
}

/// Workers with a thread for each task.
///
/// # Panics
/// As [`under_load`].
pub fn with_threads(extent: Extent) -> Outcome {
    in_pool("threads", extent)
}

fn in_pool(pool: &'static str, extent: Extent) -> Outcome {
    let recipe = Recipe {
        pool,
        concurrency: 3,
        ..Recipe::default()
    };
    let mix = Mix {
        seconds: 0.0..0.05,
        retrying: (0.3, 2),
        ..Mix::default()
    };
    let (_, tally) = storm(extent, recipe, mix);
    Outcome::new(format!("{} × kill -9, pool {pool}", extent.rounds), tally)
}

/// Kills a random worker in every round, under the load that is given, and brings it to its end.
pub(super) fn storm(extent: Extent, recipe: Recipe, mix: Mix) -> (World, Tally) {
    let mut world = World::new(extent, RedisServer::start(), recipe);
    for _ in 0..WORKERS {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.listen();
    world.produce(mix);
    for _ in 0..extent.rounds {
        world.pause(&(0.1..1.0));
        let victim = world.anyone();
        world.crew.kill(victim);
        world.crew.launch();
    }
    let tally = world.conclude();
    (world, tally)
}

/// The default lease: what a dead worker held is back, and runs again, within ten seconds.
///
/// # Panics
/// As [`under_load`], and when it takes longer.
pub fn back_in_time(extent: Extent) -> Outcome {
    let recipe = Recipe {
        lease: LEASE,
        concurrency: 6,
        ..Recipe::default()
    };
    let mut world = World::new(extent, RedisServer::start(), recipe);
    for _ in 0..WORKERS + 1 {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.produce(Mix {
        seconds: 0.05..0.4,
        ..Mix::default()
    });
    let (mut slowest_back, mut deaths) = (Duration::ZERO, HashMap::new());
    for _ in 0..extent.rounds {
        // Two at different points of their leases.
        let mut dying = Vec::new();
        for _ in 0..2 {
            world.pause(&(0.2..2.0));
            let victim = world.anyone();
            let known = remains::workers(&world.redis);
            let (name, at) = world.crew.kill(victim);
            let node = format!("{name}@");
            let id = known
                .into_iter()
                .find(|(_, other)| other.starts_with(&node));
            let (id, _) = id.unwrap_or_else(|| panic!("{name} is not among the workers"));
            deaths.insert(name.clone(), at);
            dying.push((name, id, at));
        }
        while !dying.is_empty() {
            dying.retain(|(name, id, at)| {
                let age = Duration::from_micros(now() - at);
                let back = remains::tags_of(&world.redis, id).is_empty();
                assert!(
                    age < BACK,
                    "what {name} held is not back {age:?} after its death"
                );
                if back {
                    slowest_back = slowest_back.max(age);
                }
                !back
            });
            std::thread::sleep(Duration::from_millis(20));
        }
        world.crew.launch();
        world.crew.launch();
    }
    let tally = world.conclude();
    // Of each run that a death cut off, when did the next one begin?
    let mut runs: HashMap<(String, u32), Vec<_>> = HashMap::new();
    for run in world.ledger.runs() {
        runs.entry((run.id.clone(), run.attempt))
            .or_default()
            .push(run);
    }
    let mut slowest_run = Duration::ZERO;
    for pair in runs.values().flat_map(|runs| runs.windows(2)) {
        // Who had it next may have died before he began: then the time counts from there. He cannot have had it before the
        // lease of the one before him was over.
        let lease = u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX);
        let mut later: Vec<u64> = deaths.values().copied().collect();
        later.sort_unstable();
        let died = later
            .into_iter()
            .fold(deaths[&pair[0].worker], |died, next| {
                let had_it = next >= died + lease && next < pair[1].began;
                if had_it { next } else { died }
            });
        let after = Duration::from_micros(pair[1].began.saturating_sub(died));
        assert!(
            after < BACK,
            "{after:?} between the death of {:?} (or a later one) and {:?}",
            pair[0],
            pair[1]
        );
        slowest_run = slowest_run.max(after);
    }
    Outcome::new(format!("{} × kill -9, default lease", deaths.len()), tally).remark(format!(
        "held messages back after {:.1} s at most, running again after {:.1} s",
        slowest_back.as_secs_f64(),
        slowest_run.as_secs_f64()
    ))
}

/// Rolling warm restarts: nothing runs twice at all.
///
/// # Panics
/// As [`under_load`].
pub fn rolling_restarts(extent: Extent) -> Outcome {
    let mut world = World::new(extent, RedisServer::start(), Recipe::default());
    for _ in 0..WORKERS {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.listen();
    world.produce(Mix {
        seconds: 0.0..0.3,
        retrying: (0.2, 2),
        ..Mix::default()
    });
    for _ in 0..extent.rounds {
        world.crew.launch();
        world.pause(&(0.0..0.5));
        world.crew.dismiss(0);
    }
    let tally = world.conclude();
    assert_eq!(tally.repeated, 0, "no worker died");
    Outcome::new(
        format!("{} × SIGTERM, one after the other", extent.rounds),
        tally,
    )
}

/// Waits until a scenario's tasks are under way.
pub(super) fn work_begins(world: &World) {
    let mut follower = world.ledger.follow();
    within(Duration::from_secs(20), "the first run", || {
        (!follower.begun().is_empty()).then_some(())
    });
}
