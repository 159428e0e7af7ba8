//! What can be done about a chord that stands still: a pure decision.

use std::collections::HashSet;

use lovage_protocol::{State, TaskId, Value};

/// What is known of a chord of which no message exists any more.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// How many parts it needs.
    pub(super) size: u64,
    /// The parts that have returned.
    pub(super) parts: Vec<Returned>,
    /// Results of its members that are stored, though their part never returned.
    pub(super) stored: Vec<(TaskId, State, Value)>,
    /// The members' ids, when the producer saved the group: then the body's argument has their order, whatever their index.
    pub(super) saved: Option<Vec<TaskId>>,
}

/// A part that has returned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Returned {
    pub(super) id: TaskId,
    pub(super) state: State,
    pub(super) value: Value,
    /// Its place; `None` for one that came without.
    pub(super) index: Option<i64>,
}

/// What a worker is sent so that it returns a part as its member would have done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StandIn {
    pub(super) id: TaskId,
    pub(super) index: Option<i64>,
    /// What the member returned; `None`: it is lost, and fails the chord.
    pub(super) value: Option<Value>,
}

/// How a chord can be ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// All parts are there, and nobody has ended it: one of them is returned once more.
    End(StandIn),
    /// The results of all members that are missing are stored.
    Finish(Vec<StandIn>),
    /// So many are lost.
    Fail(Vec<StandIn>),
}

/// Decides about a chord.
pub(super) fn judge(group: &str, facts: &Facts) -> Verdict {
    let returned = u64::try_from(facts.parts.len()).unwrap_or(u64::MAX);
    let missing = facts.size.saturating_sub(returned);
    if missing == 0 {
        let good = |part: &&Returned| part.state == State::Success;
        let again = facts.parts.iter().find(good).or(facts.parts.first());
        return match again {
            Some(part) => Verdict::End(StandIn {
                id: part.id.clone(),
                index: part.index,
                value: (part.state == State::Success).then(|| part.value.clone()),
            }),
            // Of nothing, nothing can be returned again: one that is lost ends it.
            None => Verdict::Fail(lost(group, 1)),
        };
    }
    match completed(facts, missing) {
        Some(all) => Verdict::Finish(all),
        None => Verdict::Fail(lost(group, missing)),
    }
}

/// The members that are missing, from their stored results: all of them, each in a place that is known.
fn completed(facts: &Facts, missing: u64) -> Option<Vec<StandIn>> {
    let returned: HashSet<&TaskId> = facts.parts.iter().map(|part| &part.id).collect();
    let members = facts.saved.as_ref();
    let uncounted = facts.stored.iter().filter(|(id, state, _)| {
        *state == State::Success
            && !returned.contains(id)
            && members.is_none_or(|members| members.contains(id))
    });
    let uncounted: Vec<_> = uncounted.collect();
    if u64::try_from(uncounted.len()).ok()? != missing {
        return None;
    }
    let index = match (members, uncounted.len()) {
        (Some(_), _) => None,
        (None, 1) => Some(only_gap(facts)?),
        // Nobody knows which of them stood where.
        (None, _) => return None,
    };
    let stand_ins = uncounted.into_iter().map(|(id, _, value)| StandIn {
        id: id.clone(),
        index,
        value: Some(value.clone()),
    });
    Some(stand_ins.collect())
}

/// The one place of the header from which nothing has returned.
fn only_gap(facts: &Facts) -> Option<i64> {
    let taken: Option<HashSet<i64>> = facts.parts.iter().map(|part| part.index).collect();
    let taken = taken?;
    let size = i64::try_from(facts.size).ok()?;
    let mut gaps = (0..size).filter(|place| !taken.contains(place));
    match (gaps.next(), gaps.next()) {
        (gap, None) => gap,
        _ => None,
    }
}

/// Members that nobody knows, each with a name of its own.
fn lost(group: &str, count: u64) -> Vec<StandIn> {
    let name = |number| StandIn {
        id: TaskId::from(format!("lost-{number}-of-{group}")),
        index: None,
        value: None,
    };
    (1..=count).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: &str, index: i64) -> Returned {
        Returned {
            id: id.into(),
            state: State::Success,
            value: Value::Int(index * 10),
            index: Some(index),
        }
    }

    fn stored(id: &str, state: State) -> (TaskId, State, Value) {
        (id.into(), state, Value::Int(7))
    }

    fn facts(size: u64, parts: &[Returned]) -> Facts {
        Facts {
            size,
            parts: parts.to_vec(),
            ..Facts::default()
        }
    }

    #[test]
    fn a_complete_chord_is_ended_by_one_of_its_parts() {
        let verdict = judge("g", &facts(2, &[part("a", 0), part("b", 1)]));
        let again = StandIn {
            id: "a".into(),
            index: Some(0),
            value: Some(Value::Int(0)),
        };
        assert_eq!(verdict, Verdict::End(again));
    }

    #[test]
    fn one_that_is_missing_and_stored_stands_in_the_gap() {
        let mut facts = facts(3, &[part("a", 0), part("c", 2)]);
        facts.stored = vec![stored("b", State::Success), stored("a", State::Success)];
        let found = StandIn {
            id: "b".into(),
            index: Some(1),
            value: Some(Value::Int(7)),
        };
        assert_eq!(judge("g", &facts), Verdict::Finish(vec![found]));
    }

    #[test]
    fn what_is_stored_in_an_unknown_place_is_not_guessed() {
        let mut facts = facts(3, &[part("a", 0)]);
        facts.stored = vec![stored("b", State::Success), stored("c", State::Success)];
        assert!(matches!(judge("g", &facts), Verdict::Fail(lost) if lost.len() == 2));
        facts.saved = Some(["a", "b", "c"].map(TaskId::from).to_vec());
        assert!(matches!(judge("g", &facts), Verdict::Finish(all) if all.len() == 2));
    }

    #[test]
    fn a_stored_failure_and_a_member_that_is_nowhere_fail_it() {
        let mut facts = facts(2, &[part("a", 0)]);
        facts.stored = vec![stored("b", State::Failure)];
        let lost = StandIn {
            id: "lost-1-of-g".into(),
            index: None,
            value: None,
        };
        assert_eq!(judge("g", &facts), Verdict::Fail(vec![lost]));
    }
}
