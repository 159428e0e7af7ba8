//! What the system says of this process: memory and resources used.

use std::fs;

use lovage_protocol::{Map, Value};

/// The clock ticks of a second in `/proc`; Linux has had no other number for programs for decades.
const TICKS: f64 = 100.0;

/// Memory in use, in bytes (`celery/utils/debug.py`, `mem_rss`).
pub(super) fn memory() -> u64 {
    status("VmRSS:").map_or(0, |kib| kib * 1024)
}

/// As Celery writes an amount of memory: five digits and a unit.
pub(super) fn amount(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "five digits are shown")]
    let bytes_f64 = bytes as f64;
    for (unit, name) in [(4_u32, "TB"), (3, "GB"), (2, "MB"), (1, "KB")] {
        let size = 1024_f64.powi(i32::try_from(unit).unwrap_or(0));
        if bytes_f64 >= size {
            return format!("{}{name}", five_digits(bytes_f64 / size));
        }
    }
    format!("{bytes}b")
}

fn five_digits(number: f64) -> String {
    let whole = format!("{number:.0}").len();
    let text = format!("{number:.*}", 5_usize.saturating_sub(whole));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The fields of `getrusage`, as far as `/proc` tells them.
pub(super) fn usage() -> Map {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: state, then numbers from field 4 on.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let field = |number: usize| -> i64 {
        let text = fields.get(number.saturating_sub(3));
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    #[expect(clippy::cast_precision_loss, reason = "ticks of a process's life")]
    let seconds = |ticks: i64| Value::Float(ticks as f64 / TICKS);
    let kib = |name| {
        Value::Int(
            status(name)
                .and_then(|n| i64::try_from(n).ok())
                .unwrap_or(0),
        )
    };
    let zero = || Value::Int(0);
    [
        ("utime", seconds(field(14))),
        ("stime", seconds(field(15))),
        ("maxrss", kib("VmHWM:")),
        ("ixrss", zero()),
        ("idrss", zero()),
        ("isrss", zero()),
        ("minflt", Value::Int(field(10))),
        ("majflt", Value::Int(field(12))),
        ("nswap", zero()),
        ("inblock", zero()),
        ("oublock", zero()),
        ("msgsnd", zero()),
        ("msgrcv", zero()),
        ("nsignals", zero()),
        ("nvcsw", kib("voluntary_ctxt_switches:")),
        ("nivcsw", kib("nonvoluntary_ctxt_switches:")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_celery_does() {
        let check = |bytes, expected: &str| assert_eq!(amount(bytes), expected);
        check(64_958_464, "61.949MB");
        check(1024, "1KB");
        check(999, "999b");
        check(3 << 29, "1.5GB");
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(memory() > 100_000);
        let usage = usage();
        assert_eq!(usage.len(), 16);
        assert!(usage["maxrss"].as_i64() > Some(1000));
    }
}
