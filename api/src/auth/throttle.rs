//! How often something may be tried: a bucket for each who tries, in this process's memory.
//!
//! It keeps guesses slow; what keeps an account from being guessed for ever is its own lock, which is in the database.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::problem::{Code, Problem};

/// So many who try are remembered; beyond it the fullest buckets, which hold nobody back, are forgotten.
const MOST: usize = 10_000;

/// Buckets of tries.
#[derive(Debug)]
pub(crate) struct Throttle {
    tries: f64,
    every: Duration,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Throttle {
    /// So many tries at once, and one more after each `every`.
    pub(crate) fn new(tries: u32, every: Duration) -> Self {
        Self {
            tries: f64::from(tries),
            every,
            buckets: Mutex::default(),
        }
    }

    /// Counts a try.
    ///
    /// # Errors
    /// When it is one too many, with the seconds until the next.
    pub(crate) fn allow(&self, who: &str, now: Instant) -> Result<(), Problem> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.tries);
        }
        let full = Bucket {
            left: self.tries,
            at: now,
        };
        let bucket = buckets.entry(who.to_owned()).or_insert(full);
        let left = self.filled(*bucket, now);
        if left < 1.0 {
            let wait = self.every.mul_f64(1.0 - left);
            let detail = "too many attempts; wait before the next";
            return Err(Problem::new(Code::TooManyAttempts, detail)
                .retry_after(wait.as_secs().saturating_add(1)));
        }
        *bucket = Bucket {
            left: left - 1.0,
            at: now,
        };
        Ok(())
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let gone = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + gone / self.every.as_secs_f64()).min(self.tries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_run_out_and_come_back_for_each_alone() {
        let throttle = Throttle::new(2, Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(throttle.allow("a", at(0)).is_ok());
        assert!(throttle.allow("a", at(0)).is_ok());
        let refused = throttle.allow("a", at(1)).unwrap_err();
        assert_eq!(refused.code(), Code::TooManyAttempts);
        assert_eq!(refused.response("r").header("Retry-After"), Some("10"));
        assert!(throttle.allow("b", at(1)).is_ok());
        assert!(throttle.allow("a", at(10)).is_ok());
        assert!(throttle.allow("a", at(11)).is_err());
    }
}
