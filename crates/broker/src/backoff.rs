//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// Once the broker answers again, nobody is to notice so late that people notice it too.
const LONGEST: Duration = Duration::from_secs(2);

/// The wait before attempt `attempt` (the first retry is 0): doubling from 50 ms to 2 s, of which `jitter`, a number from
/// 0 to 1, decides the upper half, so that workers cut off together do not come back together.
pub(crate) fn delay(attempt: u32, jitter: f64) -> Duration {
    let full = FIRST
        .saturating_mul(2u32.saturating_pow(attempt.min(16)))
        .min(LONGEST);
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_until_its_cap_and_jitters_in_the_upper_half() {
        assert_eq!(delay(0, 1.0), Duration::from_millis(50));
        assert_eq!(delay(0, 0.0), Duration::from_millis(25));
        assert_eq!(delay(3, 1.0), Duration::from_millis(400));
        assert_eq!(delay(30, 1.0), LONGEST);
        assert_eq!(delay(u32::MAX, 7.0), LONGEST);
        assert!((0..40).all(|n| delay(n, 0.3) <= delay(n + 1, 0.3)));
    }
}
