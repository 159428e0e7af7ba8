//! The logical clock of one process (`kombu/clocks.py`): what is sent later has a higher number, across all processes that
//! hear of each other.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// A Lamport clock. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Lamport(Arc<AtomicI64>);

impl Lamport {
    /// What it says.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One further: the number for what is sent now.
    pub fn forward(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Something with the number `other` was received; its own number is the answer.
    pub fn adjust(&self, other: i64) -> i64 {
        // A clock that somebody sets to the end of all numbers must not come round to the other end.
        let other = other.min(i64::MAX / 2);
        let next = |own: i64| Some(own.max(other).saturating_add(1));
        match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        {
            Ok(before) | Err(before) => before.max(other).saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lamport;

    #[test]
    fn what_comes_later_has_a_higher_number() {
        let clock = Lamport::default();
        assert_eq!(clock.forward(), 1);
        assert_eq!(clock.adjust(10), 11);
        assert_eq!(clock.adjust(3), 12);
        assert_eq!(clock.clone().forward(), 13);
        assert_eq!(clock.value(), 13, "a clone is the same clock");
        clock.adjust(i64::MAX);
        assert!(clock.forward() > 0);
    }
}
