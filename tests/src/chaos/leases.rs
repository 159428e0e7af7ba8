//! Workers that are stopped for longer than their lease, and go on.

use std::fs::File;
use std::time::Duration;

use serde_json::json;

use super::crew::Recipe;
use super::deaths::work_begins;
use super::load::{Job, Mix, QUEUE};
use super::remains;
use super::report::Outcome;
use super::world::{Extent, World};
use crate::message::TaskMessage;
use crate::redis_server::RedisServer;
use crate::wait::within;

const PATIENCE: Duration = Duration::from_secs(20);
/// What a worker says of a run whose message it no longer holds.
const LOST: &str = "a task ended whose message is no longer ours";

/// Two tasks of a worker whose lease runs out; one ends elsewhere before it goes on, the other is still running elsewhere
/// when it ends the run. It must neither store nor settle anything.
///
/// # Panics
/// When it does.
pub fn lost_lease(extent: Extent) -> Outcome {
    let recipe = Recipe::default();
    let mut world = World::new(extent, RedisServer::start(), recipe);
    let first = world.crew.hire();
    let gates = [world.folder().join("early"), world.folder().join("late")];
    let open = |gate: usize, worker: &str| {
        let path = format!("{}.{worker}", gates[gate].display());
        File::create(path).expect("the temporary folder is writable");
    };
    let mut follower = world.ledger.follow();
    let mut ids = Vec::new();
    for (number, gate) in (0..).zip(&gates) {
        let message = TaskMessage::new("chaos.gate", &json!([number, gate]), &json!({}));
        world.redis.publish(QUEUE, &message);
        ids.push(message.id.clone());
        world.expect(Job {
            id: message.id,
            number,
            retries: 0,
            eta: None,
            key: None,
            in_chord: false,
        });
    }
    let mut begun = Vec::new();
    let mut both_begun = |worker: &str| {
        within(PATIENCE, &format!("{worker} to run both"), || {
            begun.extend(follower.begun());
            (begun.iter().filter(|run| run.worker == worker).count() == 2).then_some(())
        });
    };
    both_begun(&first);
    world.crew.stop(0);
    let second = world.crew.hire();
    both_begun(&second);

    open(0, &second);
    let stands = world.redis.wait_for_state(&ids[0], "SUCCESS");
    within(PATIENCE, "the first to be settled", || {
        (world.redis.unacked() == 1).then_some(())
    });
    let held = remains::held(&world.redis);

    open(0, &first);
    open(1, &first);
    let away = world.crew.go_on(0);
    let log = world.crew.members()[0].log();
    within(PATIENCE, "the first worker to find both lost", || {
        (log.text().matches(LOST).count() == 2).then_some(())
    });
    assert_eq!(
        world.redis.result(&ids[0]),
        Some(stands),
        "it stored nothing"
    );
    assert_eq!(world.redis.state(&ids[1]), "PENDING", "it stored nothing");
    assert_eq!(remains::held(&world.redis), held, "it settled nothing");

    open(1, &second);
    let record = world.redis.wait_for_state(&ids[1], "SUCCESS");
    assert_eq!(record["result"]["by"], second.as_str());
    let tally = world.conclude();
    Outcome::new(
        format!("SIGSTOP for {:.1} s, then SIGCONT", away.as_secs_f64()),
        tally,
    )
    .remark("neither stored nor acknowledged by the first".to_owned())
}

/// Workers are stopped at random under load, for less than their lease and for more.
///
/// # Panics
/// When a task is lost or runs twice without a reason, as every scenario.
pub fn stops(extent: Extent) -> Outcome {
    let recipe = Recipe::default();
    let lease = recipe.lease.as_secs_f64();
    let mut world = World::new(extent, RedisServer::start(), recipe);
    for _ in 0..3 {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.listen();
    world.produce(Mix {
        seconds: 0.0..0.2,
        retrying: (0.2, 2),
        ..Mix::default()
    });
    work_begins(&world);
    let mut outlasted = 0;
    for _ in 0..extent.rounds {
        world.pause(&(0.1..0.6));
        let victim = world.anyone();
        world.crew.stop(victim);
        world.pause(&(0.2 * lease..2.2 * lease));
        let away = world.crew.go_on(victim);
        outlasted += usize::from(away > world.crew.recipe.lease);
    }
    let tally = world.conclude();
    assert!(
        outlasted > 0 || extent.rounds < 10,
        "no stop was longer than the lease"
    );
    Outcome::new(format!("{} × SIGSTOP and SIGCONT", extent.rounds), tally)
        .remark(format!("{outlasted} for longer than the lease"))
}
