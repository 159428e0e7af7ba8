//! Where the time comes from.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};

/// The time of day as a part asks for it: the system's, or in tests one that is moved by hand.
///
/// Everything that compares a time of the wire with now (eta, expires, delays, the date of a result) asks a clock; what
/// merely waits (time limits, timeouts) uses the runtime's timers.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that is read by asking `now`.
    pub fn read_by(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// What it says.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            None => Utc::now(),
            Some(now) => now(),
        }
    }

    /// Whether it goes by itself: sleeping until a time of another clock makes no sense.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_system() {
            "the system's clock"
        } else {
            "a clock of its own"
        })
    }
}
