//! What events say of the machine and the software.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{Local, Offset};

/// Free text in events: who this is.
pub const SW_IDENT: &str = "lovage";
/// The version of this software.
pub const SW_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The operating system, as Python's `platform.system()` calls it.
pub const SW_SYSTEM: &str = if cfg!(target_os = "macos") {
    "Darwin"
} else {
    "Linux"
};

/// Hours of the local zone from UTC, those in the west positive (`celery/utils/time.py`, `utcoffset`).
#[must_use]
pub fn utcoffset() -> f64 {
    // -0.0 would be written with its sign.
    0.0 - f64::from(Local::now().offset().fix().local_minus_utc()) / 3600.0
}

/// The load of the last one, five and fifteen minutes; zeros where the system does not tell.
#[must_use]
pub fn load_average() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split(' ').map_while(|word| word.parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or(0.0))
}

/// Now, in unix seconds.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_tells() {
        assert!(super::now() > 1.7e9);
        assert!(super::utcoffset().abs() <= 15.0);
        assert!(super::load_average().iter().all(|load| *load >= 0.0));
    }
}
