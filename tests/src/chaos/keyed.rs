//! Tasks that are unique or limited, while their workers are killed: no two of a key at once, never more than the limit,
//! nothing stuck in a line or behind a lock.

use std::collections::{BTreeMap, HashMap};

use super::crew::{Deed, Recipe, What};
use super::ledger::Run;
use super::load::{Job, Mix};
use super::report::Outcome;
use super::tasks::{MOST, MOST_OF_KEY};
use super::world::{Extent, World};
use crate::redis_server::RedisServer;

const WORKERS: usize = 3;

/// Unique tasks: of each key one at a time runs, a duplicate ends as one, and every other task runs.
///
/// # Panics
/// When a task is lost, runs twice without a reason or beside another of its key.
pub fn unique(extent: Extent) -> Outcome {
    let mix = Mix {
        task: "chaos.unique",
        keys: Some(12),
        retrying: (0.3, 2),
        countdown: 0.0..0.1,
        backlog: 60,
        rate: 250.0,
        ..Mix::default()
    };
    let (world, outcome) = storm(extent, mix);
    let busy = Busy::of(&world);
    let most = busy.most_of_a_key();
    assert_eq!(most, 1, "{most} of a key ran at once");
    let (refused, ended) = (world.refused(), world.duplicates());
    assert!(
        refused > 0 && ended > 0,
        "there were duplicates of both kinds"
    );
    outcome.remark(format!(
        "{ended} ended as duplicates, {refused} more were refused as they were sent"
    ))
}

/// Limited tasks: all run, and never more at once than may, of all and of each key.
///
/// # Panics
/// When a task is lost, runs twice without a reason, or too many run.
pub fn limited(extent: Extent) -> Outcome {
    let mix = Mix {
        task: "chaos.narrow",
        keys: Some(6),
        seconds: 0.005..0.04,
        retrying: (0.2, 2),
        countdown: 0.0..0.1,
        backlog: 40,
        rate: 60.0,
        ..Mix::default()
    };
    let (world, outcome) = storm(extent, mix);
    let busy = Busy::of(&world);
    let (most, of_key) = (busy.most(), busy.most_of_a_key());
    assert!(most <= MOST, "{most} ran at once, {MOST} were allowed");
    assert!(
        of_key <= MOST_OF_KEY,
        "{of_key} of a key ran at once, {MOST_OF_KEY} were allowed"
    );
    outcome.remark(format!(
        "{most} at once at most, {of_key} of a key; {MOST} and {MOST_OF_KEY} allowed"
    ))
}

/// As [`super::deaths::storm`], with a client that has it decided as it sends.
fn storm(extent: Extent, mix: Mix) -> (World, Outcome) {
    let mut world = World::new(extent, RedisServer::start(), Recipe::default());
    for _ in 0..WORKERS {
        world.crew.launch();
    }
    world.crew.settle_in();
    world.listen();
    world.call(mix.clone());
    world.produce(mix);
    for _ in 0..extent.rounds {
        world.pause(&(0.1..1.0));
        let victim = world.anyone();
        world.crew.kill(victim);
        world.crew.launch();
    }
    let tally = world.conclude();
    let outcome = Outcome::new(format!("{} × kill -9", extent.rounds), tally);
    (world, outcome)
}

/// The times in which tasks ran. Of one that was cut off, until its worker was certainly gone.
#[derive(Debug)]
struct Busy(Vec<(Option<u64>, u64, u64)>);

impl Busy {
    fn of(world: &World) -> Self {
        Self::from(&world.ledger.runs(), world.jobs(), world.crew.deeds())
    }

    fn from(runs: &[Run], jobs: &[Job], deeds: &[Deed]) -> Self {
        let keys: HashMap<&str, Option<u64>> =
            jobs.iter().map(|job| (job.id.as_str(), job.key)).collect();
        let died: HashMap<&str, u64> = deeds
            .iter()
            .filter(|deed| deed.what == What::Killed)
            .map(|deed| (deed.worker.as_str(), deed.to))
            .collect();
        let times = runs.iter().map(|run| {
            let end = run.ended.or_else(|| died.get(run.worker.as_str()).copied());
            let end = end.unwrap_or_else(|| panic!("{run:?} neither ended nor was cut off"));
            let key = keys.get(run.id.as_str()).copied().flatten();
            (key, run.began, end)
        });
        Self(times.collect())
    }

    fn most(&self) -> usize {
        most_at_once(self.0.iter().map(|(_, from, to)| (*from, *to)))
    }

    fn most_of_a_key(&self) -> usize {
        let mut of: BTreeMap<Option<u64>, Vec<(u64, u64)>> = BTreeMap::new();
        for (key, from, to) in &self.0 {
            of.entry(*key).or_default().push((*from, *to));
        }
        let most = of
            .into_values()
            .map(|times| most_at_once(times.into_iter()));
        most.max().unwrap_or(0)
    }
}

fn most_at_once(times: impl Iterator<Item = (u64, u64)>) -> usize {
    let mut marks: Vec<(u64, bool)> = Vec::new();
    for (from, to) in times {
        marks.extend([(from, true), (to, false)]);
    }
    // Of two in one microsecond the end is first.
    marks.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, begins) in marks {
        if begins {
            now += 1;
            most = most.max(now);
        } else {
            now = now.saturating_sub(1);
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_at_once_is_counted() {
        assert_eq!(most_at_once([(1, 5), (5, 9), (2, 3)].into_iter()), 2);
        assert_eq!(most_at_once([(1, 5), (5, 9)].into_iter()), 1);
        assert_eq!(most_at_once([(1, 9), (2, 8), (3, 7)].into_iter()), 3);
    }
}
