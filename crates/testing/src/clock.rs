//! The time that is moved by hand.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use lovage_protocol::Clock;

/// Digits of a second's fraction.
const MICROSECONDS: u16 = 6;

/// A clock that stands still until somebody moves it; it counts microseconds, as the wire does. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct FakeClock {
    now: Arc<Mutex<DateTime<Utc>>>,
}

impl FakeClock {
    /// A clock that says `now`.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self {
            now: Arc::new(Mutex::new(now.trunc_subsecs(MICROSECONDS))),
        }
    }

    /// What it says.
    pub fn now(&self) -> DateTime<Utc> {
        *self.lock()
    }

    /// Moves it forward; not beyond the calendar.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        let by = TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        *now = now
            .checked_add_signed(by)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
            .trunc_subsecs(MICROSECONDS);
    }

    /// Moves it to a time, but never back.
    pub fn advance_to(&self, time: DateTime<Utc>) {
        let mut now = self.lock();
        *now = time.trunc_subsecs(MICROSECONDS).max(*now);
    }

    /// The clock as the parts of Lovage take it.
    pub fn clock(&self) -> Clock {
        let clock = self.clone();
        Clock::read_by(move || clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, DateTime<Utc>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
