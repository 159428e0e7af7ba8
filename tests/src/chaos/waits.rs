//! Tasks that wait: for their eta through deaths, and behind long ones beside impatient Python peers.

use std::collections::HashMap;
use std::fs::File;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::crew::Recipe;
use super::deaths::storm;
use super::ledger::{Run, now};
use super::load::{Job, Mix, QUEUE};
use super::report::Outcome;
use super::world::{Extent, World};
use crate::message::TaskMessage;
use crate::redis_server::RedisServer;
use crate::wait::within;

/// The rate limit of `chaos.limited`, in each worker.
const RATE: usize = 40;
/// A turn is given by the worker and a begin is noted by the task: on a busy machine some begins of one moment are noted in another.
const LAG: usize = RATE / 5;
/// A task may be so late: each worker that dies with it costs a lease of two seconds, two looks and its turn in the queue, and
/// with a death every half second among three workers some tasks meet several, one after the other.
const LATE: Duration = Duration::from_secs(20);

/// Etas and retries with countdowns, while their workers are killed.
///
/// # Panics
/// When a task is lost, runs twice without a reason, too early or much too late.
pub fn eta(extent: Extent) -> Outcome {
    let mix = Mix {
        eta: (0.6, 0.05..3.0),
        retrying: (0.3, 2),
        countdown: 0.2..1.5,
        rate: 250.0,
        ..Mix::default()
    };
    let (world, tally) = storm(extent, Recipe::default(), mix);
    let latest = world.lateness();
    assert!(latest < LATE, "a task began {latest:?} after its eta");
    Outcome::new(format!("{} × kill -9", extent.rounds), tally).remark(format!(
        "none early, the latest {:.1} s after its eta",
        latest.as_secs_f64()
    ))
}

/// Tasks that wait for their turn under a rate limit, while their workers are killed.
///
/// # Panics
/// When a task is lost or runs twice without a reason.
pub fn rate_limited(extent: Extent) -> Outcome {
    let mix = Mix {
        task: "chaos.limited",
        seconds: 0.0..0.02,
        retrying: (0.2, 2),
        backlog: 200,
        rate: 200.0,
        ..Mix::default()
    };
    let (world, tally) = storm(extent, Recipe::default(), mix);
    let busiest = busiest_second(&world.ledger.runs());
    assert!(
        busiest <= RATE + LAG,
        "a worker began {busiest} tasks within a second, {RATE} were allowed"
    );
    Outcome::new(format!("{} × kill -9", extent.rounds), tally).remark(format!(
        "{busiest} tasks at most began in a worker within a second, {RATE} allowed"
    ))
}

/// The most runs that one worker began within one second.
fn busiest_second(runs: &[Run]) -> usize {
    let mut begun: HashMap<&str, Vec<u64>> = HashMap::new();
    for run in runs {
        begun.entry(&run.worker).or_default().push(run.began);
    }
    let mut busiest = 0;
    for times in begun.values_mut() {
        times.sort_unstable();
        let mut first = 0;
        for (at, time) in times.iter().enumerate() {
            while time - times[first] > 1_000_000 {
                first += 1;
            }
            busiest = busiest.max(at + 1 - first);
        }
    }
    busiest
}

/// How long the visibility time-out is, in seconds.
const VISIBILITY: u64 = 2;
/// So many tasks run for long.
const LONG: u64 = 2;

/// Tasks four times as long as the visibility time-out, and others that are held behind them, on a queue that Python workers
/// sweep every second: each runs once.
///
/// # Panics
/// When a task is lost or runs twice.
pub fn longer_than_visible(extent: Extent) -> Outcome {
    let recipe = Recipe {
        lease: Duration::from_secs(6),
        concurrency: 2,
        visibility: VISIBILITY,
        ..Recipe::default()
    };
    let mut world = World::new(extent, RedisServer::start(), recipe);
    let rust = world.crew.hire();
    let mut follower = world.ledger.follow();
    let gate = world.folder().join("gate");
    // Two run, and as many as it may hold wait behind them. Python does not know the long ones: would it get one, it
    // would be lost.
    for number in 0..LONG {
        let arguments = json!([number, gate]);
        publish(&mut world, "chaos.gate", number, &arguments);
    }
    for number in LONG..8 {
        publish(
            &mut world,
            "chaos.work",
            number,
            &json!([number, 0.0, 0, 0.0]),
        );
    }
    let mut begun = Vec::new();
    within(Duration::from_secs(10), "both long ones to run", || {
        begun.extend(follower.begun());
        (begun.len() == 2).then_some(())
    });
    for _ in 0..extent.rounds {
        world.crew.launch_python();
    }
    world.crew.settle_in();
    // They sweep from now on, and work meanwhile.
    for number in 8..20 {
        publish(
            &mut world,
            "chaos.work",
            number,
            &json!([number, 0.05, 0, 0.0]),
        );
    }
    let time = Duration::from_secs(4 * VISIBILITY);
    let oldest = oldest_score(&world.redis, time);
    assert!(
        oldest < Duration::from_secs(VISIBILITY),
        "a held message looked {oldest:?} old: the next sweep would have taken it"
    );
    File::create(format!("{}.{rust}", gate.display())).expect("the folder is writable");
    let tally = world.conclude();
    assert_eq!(tally.repeated, 0, "{rust} held its messages all the time");
    Outcome::new(
        format!("{} Celery workers sweep every second", extent.rounds),
        tally,
    )
    .remark(format!(
        "two tasks of over {time:?} and six held behind them, visibility_timeout {VISIBILITY} s; none looked older than {:.1} s",
        oldest.as_secs_f64()
    ))
}

/// Watches for a while how old the oldest held message looks to a sweep: whether one falls into a gap is chance.
fn oldest_score(redis: &RedisServer, time: Duration) -> Duration {
    let (mut connection, started) = (redis.connection(), Instant::now());
    let mut oldest = Duration::ZERO;
    while started.elapsed() < time {
        let first: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(&["unacked_index", "0", "0", "WITHSCORES"])
            .query(&mut connection)
            .expect("ZRANGE works");
        let at = Duration::from_micros(now());
        for (_, score) in first {
            oldest = oldest.max(at.saturating_sub(Duration::from_secs_f64(score)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    oldest
}

fn publish(world: &mut World, task: &str, number: u64, arguments: &Value) {
    let message = TaskMessage::new(task, arguments, &json!({}));
    world.redis.publish(QUEUE, &message);
    world.expect(Job {
        id: message.id,
        number,
        retries: 0,
        eta: None,
        key: None,
        in_chord: false,
    });
}
