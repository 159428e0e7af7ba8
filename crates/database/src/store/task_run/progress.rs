//! Which of two states of a task is the later one.
//!
//! What happened to a task is heard of in any order: from several workers, from a journal and from events, with repeats. A state
//! that is final stands against every other that is not, and among final ones Celery's order holds (`celery/states.py`:
//! SUCCESS over FAILURE over REVOKED). States of a task's life follow by attempt, and within one by rank; one that puts the task
//! back to its beginning (RETRY, REJECTED) stands by its time. Unlike Celery's `State`, which lets RETRY always win and a state
//! of the task's own win over REVOKED, a late event moves nothing back.
//!
//! The same rule stands here for what is merged in memory and in [`ACCEPTED`] for what is merged by the database; a test
//! compares the two.

use chrono::{DateTime, Utc};
use lovage_protocol::State;

/// From here on a state is final.
const FINAL: i16 = 60;
/// Up to here a state puts the task back to its beginning.
const BACK: i16 = 20;

/// As a condition on `excluded`, the row that comes, and `task_run`, the row that is there.
pub(super) const ACCEPTED: &str = "(CASE
    WHEN excluded.state_rank >= 60 OR task_run.state_rank >= 60
        THEN excluded.state_rank > task_run.state_rank
            OR (excluded.state_rank = task_run.state_rank AND excluded.state_at >= task_run.state_at)
    WHEN excluded.retries <> task_run.retries THEN excluded.retries > task_run.retries
    WHEN excluded.state_rank <= 20 OR task_run.state_rank <= 20 THEN excluded.state_at >= task_run.state_at
    ELSE excluded.state_rank > task_run.state_rank
        OR (excluded.state_rank = task_run.state_rank AND excluded.state_at >= task_run.state_at)
END)";

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Progress {
    pub(super) rank: i16,
    pub(super) at: DateTime<Utc>,
    pub(super) attempt: Option<u32>,
}

impl Progress {
    /// Whether a task that is at `self` moves on to `next`.
    pub(super) fn accepts(self, next: Self) -> bool {
        let by_rank = next.rank > self.rank || (next.rank == self.rank && next.at >= self.at);
        if next.rank >= FINAL || self.rank >= FINAL {
            return by_rank;
        }
        match (self.attempt, next.attempt) {
            (Some(known), Some(told)) if known != told => return told > known,
            _ => {}
        }
        if next.rank <= BACK || self.rank <= BACK {
            return next.at >= self.at;
        }
        by_rank
    }
}

/// Whether nothing follows a state of this rank.
pub(super) fn is_final(rank: i16) -> bool {
    rank >= FINAL
}

/// The order of states.
pub(super) fn rank(state: &State) -> i16 {
    match state {
        State::Pending => 0,
        State::Retry => 10,
        State::Rejected => BACK,
        State::Received => 30,
        State::Started => 40,
        State::Ignored => FINAL,
        State::Revoked => 70,
        State::Failure => 80,
        State::Success => 90,
        // A state of the task's own, and whatever the protocol learns.
        _ => 50,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use lovage_protocol::State;

    use super::{Progress, rank};

    fn at(state: &str, seconds: i64, attempt: Option<u32>) -> Progress {
        Progress {
            rank: rank(&State::from(state)),
            at: DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds),
            attempt,
        }
    }

    #[test]
    fn a_late_event_moves_nothing_back() {
        let check = |now: Progress, next: Progress, expected: bool| {
            assert_eq!(now.accepts(next), expected, "{now:?} {next:?}");
        };
        check(at("RECEIVED", 1, None), at("STARTED", 2, None), true);
        check(at("STARTED", 2, None), at("RECEIVED", 1, None), false);
        check(at("STARTED", 2, None), at("RECEIVED", 3, None), false);
        check(at("STARTED", 2, None), at("PROGRESS", 3, None), true);
        check(at("PROGRESS", 4, None), at("PROGRESS", 3, None), false);
        check(at("SUCCESS", 3, None), at("STARTED", 4, None), false);
        check(at("SUCCESS", 3, None), at("RETRY", 4, None), false);
        check(at("SUCCESS", 3, None), at("FAILURE", 4, None), false);
        check(at("FAILURE", 4, None), at("SUCCESS", 3, None), true);
        check(at("REVOKED", 4, None), at("PROGRESS", 5, None), false);
        check(at("STARTED", 2, None), at("RETRY", 3, None), true);
        check(at("STARTED", 4, None), at("RETRY", 3, None), false);
        check(at("RETRY", 3, None), at("RECEIVED", 4, None), true);
        check(at("RETRY", 3, None), at("STARTED", 2, None), false);
        // By attempt where both tell it, whatever their clocks say.
        check(at("STARTED", 9, Some(0)), at("RECEIVED", 4, Some(1)), true);
        check(at("RECEIVED", 4, Some(1)), at("STARTED", 9, Some(0)), false);
        check(at("RETRY", 5, Some(0)), at("RECEIVED", 4, Some(1)), true);
    }
}
