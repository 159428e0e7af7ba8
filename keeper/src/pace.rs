//! How fast the journal is read: slower while workers write faster than anybody could keep up with.
//!
//! In a storm nothing is won by racing it: the journal grows all the same, and on a small machine what the keeper and the database
//! take is missing for the tasks. So the keeper then works a tenth of the time and catches up afterwards, as long as the journal
//! has room: once half of it is filled, history comes first.

use std::time::{Duration, Instant};

/// The rest after a step of a storm, in lengths of the step.
const REST: u32 = 9;
/// Not longer, so that the end of a storm is seen soon.
const LONGEST: Duration = Duration::from_secs(1);

/// Looks at each step of a reader and says how long to rest after it.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What the journal may hold, in bytes.
    cap: u64,
    last: Option<(Instant, u64)>,
}

/// One step of a reader, which began with a look into the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// Records that were ever written, at its beginning.
    pub(crate) written: u64,
    /// Of these, up to where it has read.
    pub(crate) read: u64,
    /// How many it has read itself.
    pub(crate) records: u64,
    /// Bytes of a record, on average.
    pub(crate) weight: u64,
}

impl Pace {
    pub(crate) fn new(cap: u64) -> Self {
        Self { cap, last: None }
    }

    /// How long to rest after this step. Nothing, but in a storm that the journal has room for, and then no longer than until half of it is filled.
    pub(crate) fn after(&mut self, step: Step) -> Duration {
        let before = self.last.replace((step.began, step.written));
        let Some((then, known)) = before else {
            return Duration::ZERO;
        };
        let left = step.written.saturating_sub(step.read);
        let took = step.ended.saturating_duration_since(step.began);
        let filled = left.saturating_mul(step.weight);
        if left <= step.records || filled > self.cap / 2 {
            return Duration::ZERO;
        }
        let rate = |records: u64, time: Duration| {
            u128::from(records) * 1_000_000 / time.as_micros().max(1)
        };
        let written = rate(
            step.written.saturating_sub(known),
            step.began.saturating_duration_since(then),
        );
        if written <= rate(step.records, took) {
            return Duration::ZERO;
        }
        let room = self.cap / 2 - filled;
        let grows = written.saturating_mul(u128::from(step.weight)).max(1);
        let until_half = u128::from(room).saturating_mul(1_000) / grows;
        let until_half = Duration::from_millis(u64::try_from(until_half).unwrap_or(u64::MAX));
        (took * REST).min(LONGEST).min(until_half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: u64 = 1_000_000_000;

    /// Two steps of 1,000 records and 100 ms, with so many written between their beginnings and so many left after them.
    fn rest(written: u64, left: u64) -> Duration {
        let mut pace = Pace::new(CAP);
        let start = Instant::now();
        let step = |after: u64, written: u64| {
            let began = start + Duration::from_millis(after);
            Step {
                began,
                ended: began + Duration::from_millis(100),
                written,
                read: written.saturating_sub(left),
                records: 1_000,
                weight: 350,
            }
        };
        assert_eq!(pace.after(step(0, 10_000_000)), Duration::ZERO);
        pace.after(step(100, 10_000_000 + written))
    }

    #[test]
    fn what_can_be_kept_up_with_is_read_without_rest() {
        assert_eq!(rest(1_000, 0), Duration::ZERO);
        assert_eq!(rest(900, 50_000), Duration::ZERO);
        // The storm is over and a heap is left.
        assert_eq!(rest(0, 500_000), Duration::ZERO);
    }

    #[test]
    fn in_a_storm_the_machine_is_left_to_the_workers() {
        assert_eq!(rest(8_000, 50_000), Duration::from_millis(900));
    }

    #[test]
    fn a_journal_that_fills_up_comes_first() {
        // 10 MB are left to its half, and 28 MB a second are written.
        assert_eq!(rest(8_000, 1_400_000), Duration::from_millis(357));
        assert_eq!(rest(8_000, 2_000_000), Duration::ZERO);
    }
}
