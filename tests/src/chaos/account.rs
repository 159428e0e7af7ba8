//! The verdict: nothing lost, nothing run twice without a reason.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::crew::{Crew, Deed, What};
use super::ledger::Run;
use super::load::Job;

/// A worker that was killed so long after a run had ended must have told the broker of the end.
const TOLD: u64 = 2_000_000;
/// A stopped worker loses its lease at the earliest after this part of it: it is renewed every third.
const STOPPED_SHARE: f64 = 0.6;
/// A stopped worker may begin, right after it goes on, what it was about to begin before.
const CAUGHT_UP: u64 = 1_000_000;
/// How the names of Celery workers begin.
const CELERY: char = 'p';
/// So many faults are told in full.
const TOLD_IN_FULL: usize = 5;

/// What came of a scenario's tasks.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Tasks published, each once; each ended once.
    pub tasks: usize,
    /// Runs, retries among them.
    pub runs: usize,
    /// Attempts that ran more than once, all because their worker died or lost its lease.
    pub repeated: usize,
    /// Tasks that ended as duplicates of others, and did not run.
    pub duplicates: usize,
}

/// Judges every task from its stored result, its runs and what was done to the workers.
///
/// # Errors
/// All faults, in words.
pub fn settle(
    jobs: &[Job],
    results: &HashMap<String, String>,
    runs: &[Run],
    crew: &Crew,
    lease: Duration,
) -> Result<Tally, String> {
    let mut of: HashMap<&str, BTreeMap<u32, Vec<&Run>>> = HashMap::new();
    for run in runs {
        let attempts = of.entry(&run.id).or_default();
        attempts.entry(run.attempt).or_default().push(run);
    }
    let judge = Judge {
        deeds: crew.deeds(),
        lease,
    };
    let none = BTreeMap::new();
    let (mut faults, mut repeated, mut duplicates) = (Vec::new(), 0, 0);
    let keys: HashMap<&str, Option<u64>> =
        jobs.iter().map(|job| (job.id.as_str(), job.key)).collect();
    let ran: HashSet<String> = of.keys().map(|id| (*id).to_owned()).collect();
    for job in jobs {
        let attempts = of.remove(job.id.as_str()).unwrap_or_else(|| none.clone());
        repeated += attempts.values().filter(|runs| runs.len() > 1).count();
        let stored = results.get(&job.id).map(String::as_str);
        if let Some(first) = stored.and_then(duplicate_of) {
            duplicates += 1;
            let of_its_key = job.key.is_some() && keys.get(first.as_str()) == Some(&job.key);
            if !attempts.is_empty() || !of_its_key || !ran.contains(&first) {
                let fault = format!("it ended as a duplicate of {first}, which is no reason");
                faults.push((job, fault, attempts));
            }
            continue;
        }
        if let Err(fault) = judge.task(job, stored, &attempts) {
            faults.push((job, fault, attempts));
        }
    }
    if let Some(stranger) = of.keys().next() {
        return Err(format!("{stranger} ran and was never published"));
    }
    if faults.is_empty() {
        return Ok(Tally {
            tasks: jobs.len(),
            runs: runs.len(),
            repeated,
            duplicates,
        });
    }
    let mut text = format!("{} of {} tasks are at fault:\n", faults.len(), jobs.len());
    for (job, fault, attempts) in faults.iter().take(TOLD_IN_FULL) {
        let _ = writeln!(text, "* {job:?}: {fault}");
        for run in attempts.values().flatten() {
            let _ = writeln!(text, "    {run:?}");
            for deed in crew.deeds().iter().filter(|deed| deed.worker == run.worker) {
                let _ = writeln!(text, "      {deed:?}");
            }
        }
        let workers = attempts.values().flatten().map(|run| &run.worker);
        for worker in workers.collect::<std::collections::BTreeSet<_>>() {
            let _ = writeln!(text, "  the last lines of {worker}:\n{}", crew.tail(worker));
        }
    }
    Err(text)
}

/// The task whose duplicate one was, when its record says that.
fn duplicate_of(stored: &str) -> Option<String> {
    let record: Value = serde_json::from_str(stored).ok()?;
    if record["status"] != "REVOKED" {
        return None;
    }
    let why = record["result"]["exc_message"][0].as_str()?;
    why.strip_prefix("duplicate of ").map(str::to_owned)
}

struct Judge<'a> {
    deeds: &'a [Deed],
    lease: Duration,
}

impl Judge<'_> {
    fn task(
        &self,
        job: &Job,
        stored: Option<&str>,
        attempts: &BTreeMap<u32, Vec<&Run>>,
    ) -> Result<(), String> {
        let stored = stored.ok_or("it has no result: it is lost")?;
        let record: Value =
            serde_json::from_str(stored).map_err(|error| format!("its result: {error}"))?;
        let result = &record["result"];
        if record["status"] != "SUCCESS"
            || result["number"] != job.number
            || result["attempt"] != job.retries
        {
            return Err(format!("its result is {stored}"));
        }
        let wanted: Vec<u32> = (0..=job.retries).collect();
        if !attempts.keys().eq(&wanted) {
            return Err(format!(
                "it ran attempts {:?} of {wanted:?}",
                attempts.keys()
            ));
        }
        let mut sent_twice = false;
        for (attempt, runs) in attempts {
            let storer = (*attempt == job.retries).then(|| result["by"].as_str().unwrap_or(""));
            if !sent_twice {
                self.attempt(runs, storer, job.in_chord)?;
            }
            sent_twice |= self.died_between_two_steps(runs);
        }
        let first = attempts.values().flatten().map(|run| run.began).min();
        match (job.eta, first) {
            (Some(eta), Some(first)) if first < eta => {
                Err(format!("it ran {} µs before its eta", eta - first))
            }
            _ => Ok(()),
        }
    }

    /// Celery publishes the next attempt and then acknowledges: a Celery worker that dies in between leaves both messages, and
    /// the next attempt runs twice. Ours does it in one step.
    fn died_between_two_steps(&self, runs: &[&Run]) -> bool {
        let last = runs.iter().map(|run| run.began).max().unwrap_or(0);
        runs.len() > 1
            && runs.iter().any(|run| {
                let died = |deed: &&Deed| self.excuses(deed, run, last);
                run.worker.starts_with(CELERY) && self.deeds.iter().any(|deed| died(&deed))
            })
    }

    /// One run ended the attempt; every other needs an excuse. `storer` is the worker whose result stands.
    /// `in_chord`: see [`Job::in_chord`].
    fn attempt(&self, runs: &[&Run], storer: Option<&str>, in_chord: bool) -> Result<(), String> {
        let last = runs.iter().map(|run| run.began).max().unwrap_or(0);
        let excused = |run: &Run| self.deeds.iter().any(|deed| self.excuses(deed, run, last));
        let effective = match storer {
            None => runs.iter().position(|run| !excused(run)),
            Some(storer) => {
                let by = runs.iter().rposition(|run| run.worker == storer);
                Some(by.ok_or(format!("its result is by {storer}, who did not run it"))?)
            }
        };
        let effective = effective.unwrap_or(runs.len() - 1);
        // Celery stores and then acknowledges, and so do we with members of chords: a worker that dies in between leaves a
        // result that stands and a message that is run again.
        let ended = runs[effective];
        let in_two_steps = in_chord || ended.worker.starts_with(CELERY);
        let again = |run: &Run| in_two_steps && excused(ended) && run.began > ended.began;
        match runs
            .iter()
            .enumerate()
            .find(|(index, run)| *index != effective && !excused(run) && !again(run))
        {
            Some((_, run)) => Err(format!(
                "it ran twice, though {} neither died nor lost its lease with attempt {}",
                run.worker, run.attempt
            )),
            None => Ok(()),
        }
    }

    /// Whether a deed is why a run had to be repeated, by one that began at `last` or before.
    fn excuses(&self, deed: &Deed, run: &Run, last: u64) -> bool {
        if deed.worker != run.worker || deed.from > last {
            return false;
        }
        match deed.what {
            What::Killed | What::CutOff => {
                run.began <= deed.to && run.ended.is_none_or(|ended| ended + TOLD >= deed.from)
            }
            What::Stopped => {
                let away = Duration::from_micros(deed.to - deed.from);
                away >= self.lease.mul_f64(STOPPED_SHARE) && run.began <= deed.to + CAUGHT_UP
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(worker: &str, began: u64, ended: Option<u64>) -> Run {
        Run {
            id: "a".into(),
            attempt: 0,
            worker: worker.into(),
            began,
            ended,
        }
    }

    fn deed(what: What, from: u64, to: u64) -> Deed {
        Deed {
            worker: "w1".into(),
            what,
            from,
            to,
        }
    }

    fn check(runs: &[Run], deeds: &[Deed], storer: &str) -> bool {
        let judge = Judge {
            deeds,
            lease: Duration::from_micros(100),
        };
        let runs: Vec<&Run> = runs.iter().collect();
        judge.attempt(&runs, Some(storer), false).is_ok()
    }

    #[test]
    fn a_second_run_needs_the_death_of_the_first_worker_in_between() {
        let runs = [run("w1", 10, None), run("w2", 50, Some(60))];
        assert!(check(&runs, &[deed(What::Killed, 20, 25)], "w2"));
        assert!(!check(&runs, &[], "w2"));
        assert!(
            !check(&runs, &[deed(What::Killed, 70, 75)], "w2"),
            "it died later"
        );
        assert!(
            !check(&runs, &[deed(What::Killed, 20, 25)], "w1"),
            "the dead one's result"
        );
        let told = [run("w1", 10, Some(20)), run("w2", 9_000_050, None)];
        assert!(!check(
            &told,
            &[deed(What::Killed, 9_000_000, 9_000_005)],
            "w2"
        ));
    }

    #[test]
    fn a_celery_worker_may_die_between_its_result_and_its_ack() {
        let runs = |worker: &str| [run(worker, 10, Some(20)), run("w2", 50, Some(60))];
        let died = |worker: &str| Deed {
            worker: worker.into(),
            ..deed(What::Killed, 22, 25)
        };
        assert!(check(&runs("p1"), &[died("p1")], "p1"));
        assert!(
            !check(&runs("w1"), &[died("w1")], "w1"),
            "ours does both in one step"
        );
        assert!(!check(&runs("p1"), &[], "p1"), "it did not die");
    }

    #[test]
    fn a_worker_may_die_between_a_part_of_a_chord_and_its_ack() {
        let runs = [run("w1", 10, Some(20)), run("w2", 50, Some(60))];
        let runs: Vec<&Run> = runs.iter().collect();
        let died = [deed(What::Killed, 22, 25)];
        let judge = |deeds| Judge {
            deeds,
            lease: Duration::from_micros(100),
        };
        assert!(judge(&died).attempt(&runs, Some("w1"), true).is_ok());
        assert!(judge(&died).attempt(&runs, Some("w1"), false).is_err());
        assert!(judge(&[]).attempt(&runs, Some("w1"), true).is_err());
    }

    #[test]
    fn a_short_stop_is_no_excuse() {
        let runs = [run("w1", 10, Some(300)), run("w2", 250, Some(260))];
        assert!(check(&runs, &[deed(What::Stopped, 20, 290)], "w2"));
        assert!(!check(&runs, &[deed(What::Stopped, 20, 60)], "w2"));
        assert!(!check(&runs, &[deed(What::Stopped, 20, 290)], "w1"));
    }
}
