//! What a child process wrote, as it comes.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The lines of a child's output so far; clones share them.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    text: String,
    open: usize,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Reads a pipe into the log until it closes, in a thread of its own.
    pub fn follow(&self, pipe: impl Read + Send + 'static) {
        self.change(|state| state.open += 1);
        let log = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                log.change(|state| state.text.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
            log.change(|state| state.open -= 1);
        });
    }

    /// Everything written so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Whether a text was written.
    pub fn has(&self, needle: &str) -> bool {
        self.lock().text.contains(needle)
    }

    /// How often a text was written.
    pub fn count(&self, needle: &str) -> usize {
        self.lock().text.matches(needle).count()
    }

    /// Waits until a text is written; false when the output ends or the time is over first.
    pub fn wait_for(&self, needle: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if state.text.contains(needle) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.open == 0 || left.is_zero() {
                return false;
            }
            state = self
                .0
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.changed.notify_all();
    }
}
