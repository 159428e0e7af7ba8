//! Tasks that wait: for their eta through deaths, and behind long ones beside impatient Python peers.

use std::time::Duration;

use serde_json::json;

use super::crew::Recipe;
use super::load::{Job, Mix, QUEUE};
use super::report::Outcome;
use super::world::{Extent, World};
use crate::message::TaskMessage;
use crate::redis_server::RedisServer;
use crate::wait::within;

/// A task whose worker dies with it may be so late: a lease of two seconds, two looks, and its turn in the queue.
const LATE: Duration = Duration::from_secs(10);

/// Etas and retries with countdowns, while their workers are killed.
///
/// # Panics
/// When a task is lost, runs twice without a reason, too early or much too late.
pub fn eta(extent: Extent) -> Outcome {
    let mut world = World::new(extent, RedisServer::start(), Recipe::default());
    for _ in 0..3 {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.listen();
    world.produce(Mix {
        eta: (0.6, 0.05..3.0),
        retrying: (0.3, 2),
        countdown: 0.2..1.5,
        rate: 250.0,
        ..Mix::default()
    });
    for _ in 0..extent.rounds {
        world.pause(&(0.2..1.0));
        let victim = world.anyone();
        world.crew.kill(victim);
        world.crew.launch();
    }
    let tally = world.conclude();
    let latest = world.lateness();
    assert!(latest < LATE, "a task began {latest:?} after its eta");
    Outcome::new(format!("{} × kill -9", extent.rounds), tally).remark(format!(
        "none early, the latest {:.1} s after its eta",
        latest.as_secs_f64()
    ))
}

/// How long the visibility time-out is, in seconds.
const VISIBILITY: u64 = 2;

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
    #[expect(clippy::cast_precision_loss, reason = "it is a handful of seconds")]
    let seconds = 4.0 * VISIBILITY as f64;
    let mut follower = world.ledger.follow();
    let publish = |world: &mut World, number: u64, seconds: f64| {
        let arguments = json!([number, seconds, 0, 0.0]);
        let message = TaskMessage::new("chaos.work", &arguments, &json!({}));
        world.redis.publish(QUEUE, &message);
        world.expect(Job {
            id: message.id,
            number,
            retries: 0,
            eta: None,
        });
    };
    // Two run, and as many as it may hold wait behind them.
    for number in 0..8 {
        publish(&mut world, number, if number < 2 { seconds } else { 0.0 });
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
    // They sweep while they work.
    for number in 8..20 {
        publish(&mut world, number, 0.05);
    }
    let tally = world.conclude();
    assert_eq!(tally.repeated, 0, "{rust} held its messages all the time");
    Outcome::new(
        format!("{} Celery workers sweep every second", extent.rounds),
        tally,
    )
    .remark(format!(
        "two tasks of {seconds} s and six held behind them, visibility_timeout {VISIBILITY} s"
    ))
}
