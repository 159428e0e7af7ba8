//! Waiting for what becomes true, with a limit.

use std::thread;
use std::time::{Duration, Instant};

/// The default patience of the tests: long enough for a loaded machine, short enough to fail in good time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` finds something, and returns it.
///
/// # Panics
/// After `limit`, naming what was waited for.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits with [`PATIENCE`] until `condition` holds.
///
/// # Panics
/// When it does not come true in time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    within(PATIENCE, what, || condition().then_some(()));
}

/// Watches for a while that `condition` does not come true.
///
/// # Panics
/// When it does.
pub fn never_within(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < time {
        assert!(!condition(), "this must not happen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
