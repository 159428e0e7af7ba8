//! Nothing lost: real workers and a real Redis are killed, stopped and cut off while tasks run, and every task is accounted
//! for.
//!
//! Each scenario publishes tasks exactly once, does its harm at random moments of a seed, waits for the end, and then holds
//! three sources to each other: what the producer knows it published, what the tasks wrote down about their own runs, and
//! what is stored. Required is: every task ended, exactly once; a run was repeated only when its worker had died or lost
//! its lease; no worker stood still while messages waited; the broker is clean; no key of ours is left.
//!
//! * [`load`], [`caller`] — the producers · [`tasks`] — what they send · [`stalls`] — who stood still
//! * [`crew`] — the workers and what was done to them · [`ledger`] — what the tasks wrote down
//! * [`ear`] — what was announced · [`post`] — what was sent · [`remains`] — what is in Redis · [`account`] — the verdict
//! * [`world`] — these together · [`report`] — the table
//! * [`deaths`], [`leases`], [`outages`], [`waits`], [`keyed`], [`mixed`],
//!   [`workflows`], [`soak`] — the scenarios
//!
//! The test target `chaos` plays each of them briefly, `scripts/chaos` for as long as one likes.

pub mod account;
pub mod caller;
pub mod crew;
pub mod deaths;
pub mod ear;
pub mod keyed;
pub mod leases;
pub mod ledger;
pub mod load;
pub mod mixed;
pub mod outages;
pub mod post;
pub mod remains;
pub mod report;
pub mod soak;
pub mod stalls;
pub mod tasks;
pub mod waits;
pub mod workflows;
pub mod world;

use report::Outcome;
use world::Extent;

/// One way to do harm.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line and in the table.
    pub name: &'static str,
    /// How often it does its harm in the tests, and by default in the long form.
    pub rounds: (usize, usize),
    /// Its rounds are minutes.
    pub in_minutes: bool,
    /// Plays it.
    pub play: fn(Extent) -> Outcome,
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario("kill", (6, 200), deaths::under_load),
    scenario("kill-prefetch", (4, 100), deaths::with_full_prefetch),
    scenario("kill-prefork", (4, 60), deaths::with_children),
    scenario("kill-threads", (3, 40), deaths::with_threads),
    scenario("kill-default-lease", (1, 10), deaths::back_in_time),
    scenario("restart", (5, 60), deaths::rolling_restarts),
    scenario("lost-lease", (1, 1), leases::lost_lease),
    scenario("stop", (2, 40), leases::stops),
    scenario("redis-restart", (3, 20), outages::restarts),
    scenario("redis-connections", (4, 60), outages::connections),
    scenario("redis-standstill", (1, 10), outages::standstill),
    scenario("visibility", (1, 2), waits::longer_than_visible),
    scenario("eta", (4, 60), waits::eta),
    scenario("rate-limit", (3, 40), waits::rate_limited),
    scenario("unique", (5, 60), keyed::unique),
    scenario("limited", (5, 60), keyed::limited),
    scenario("mixed-rust-dies", (3, 40), mixed::rust_dies),
    scenario("mixed-both-die", (2, 20), mixed::both_die),
    scenario("mixed-redis-restart", (2, 20), mixed::redis_restarts),
    scenario("workflows", (2, 100), workflows::many),
    scenario("large-chord", (3, 100), workflows::large),
    Scenario {
        name: "soak",
        rounds: (1, 30),
        in_minutes: true,
        play: soak::soak,
    },
];

const fn scenario(
    name: &'static str,
    rounds: (usize, usize),
    play: fn(Extent) -> Outcome,
) -> Scenario {
    Scenario {
        name,
        rounds,
        in_minutes: false,
        play,
    }
}

/// Plays a scenario as the tests do: briefly, with a seed of `LOVAGE_CHAOS_SEED` or a new one.
///
/// # Panics
/// When it finds a fault, or there is no such scenario.
pub fn play_briefly(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.unwrap_or_else(|| panic!("there is no scenario {name}"));
    let seed = std::env::var("LOVAGE_CHAOS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1_000_000));
    tell(&format!("{name}: seed {seed}"));
    let outcome = (scenario.play)(Extent {
        seed,
        rounds: scenario.rounds.0,
    });
    tell(&format!("{outcome:?}"));
}

#[expect(
    clippy::print_stderr,
    reason = "the seed and the course belong into the output of a failing test"
)]
fn tell(line: &str) {
    eprintln!("{line}");
}
