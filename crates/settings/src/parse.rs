//! The forms a value may have: numbers, booleans, durations, sizes. Pure text to value.

use std::time::Duration;

/// Why a text is not the value it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) problem: String,
    /// What would be right.
    pub(crate) expected: String,
}

impl Problem {
    pub(crate) fn new(problem: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            expected: expected.into(),
        }
    }
}

pub(crate) fn boolean(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Problem::new(
            "is not a yes or no",
            "1, true, yes, on or 0, false, no, off",
        )),
    }
}

pub(crate) fn text(text: &str) -> Result<String, Problem> {
    Ok(text.to_owned())
}

pub(crate) fn whole_number(text: &str) -> Result<usize, Problem> {
    text.parse()
        .map_err(|_| Problem::new("is not a whole number", "a whole number, 0 or more"))
}

pub(crate) fn positive_number(text: &str) -> Result<usize, Problem> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Problem::new(
            "is not a whole number above 0",
            "a whole number, 1 or more",
        )),
    }
}

pub(crate) fn positive_u32(text: &str) -> Result<u32, Problem> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Problem::new(
            "is not a whole number above 0",
            "a whole number from 1 to 4294967295",
        )),
    }
}

/// A priority as messages carry it; Redis knows 0 to 9, RabbitMQ up to 255.
pub(crate) fn priority(text: &str) -> Result<i64, Problem> {
    match text.parse() {
        Ok(number) if (0..=255).contains(&number) => Ok(number),
        _ => Err(Problem::new(
            "is not a priority",
            "a whole number from 0 to 255",
        )),
    }
}

/// Celery's durations: a number of seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, Problem> {
    let number: f64 = text.parse().map_err(|_| not_seconds())?;
    seconds_of(number)
}

/// As [`seconds`], for what would fail at once without any time.
pub(crate) fn positive_seconds(text: &str) -> Result<Duration, Problem> {
    let length = seconds(text)?;
    if length.is_zero() {
        return Err(Problem::new("is zero", "a number of seconds above 0"));
    }
    Ok(length)
}

/// Celery's durations where zero or none means "never".
pub(crate) fn optional_seconds(text: &str) -> Result<Option<Duration>, Problem> {
    if matches!(text.to_ascii_lowercase().as_str(), "none" | "null") {
        return Ok(None);
    }
    Ok(Some(seconds(text)?).filter(|duration| !duration.is_zero()))
}

/// A number of seconds as a duration. A hundred years is the most: beyond that a sum of times could overflow.
pub(crate) fn seconds_of(number: f64) -> Result<Duration, Problem> {
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(not_seconds()),
    }
}

const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn not_seconds() -> Problem {
    Problem::new(
        "is not a number of seconds",
        "a number of seconds without a unit, such as 3600 or 0.5",
    )
}

/// Lovage's durations: numbers with units, such as `6s`, `250ms` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, Problem> {
    let expected = "a number with its unit: ms, s, m, h or d, such as 250ms, 6s, 10m or 1h30m";
    let wrong = || Problem::new("is not a duration", expected);
    if !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err(Problem::new("has no unit", expected));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit.trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())?;
        total = total
            .checked_add(part)
            .filter(|sum| *sum <= LONGEST)
            .ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// Reads a duration with its units, such as `250ms`, `6s`, `10m` or `1h30m`; at most a hundred years. For whatever is not a
/// variable and has the same form: schedules, requests.
///
/// # Errors
/// What is wrong and what would be right, in one text. A number without a unit is refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|Problem { problem, expected }| {
        format!("{text:?} {problem}; right would be {expected}")
    })
}

pub(crate) fn positive_duration(text: &str) -> Result<Duration, Problem> {
    let length = duration(text)?;
    if length.is_zero() {
        return Err(Problem::new("is zero", "a duration above zero, such as 6s"));
    }
    Ok(length)
}

/// Sizes: numbers with units, `64MiB`.
pub(crate) fn size(text: &str) -> Result<usize, Problem> {
    let expected = "a number with its unit: B, KiB, MiB, GiB, kB, MB or GB, such as 64MiB";
    let wrong = || Problem::new("is not a size", expected);
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| wrong())?;
    let factor: usize = match unit.trim() {
        "" => return Err(Problem::new("has no unit", expected)),
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = number.checked_mul(factor).ok_or_else(wrong)?;
    if bytes == 0 {
        return Err(Problem::new("is zero", "a size above zero, such as 64MiB"));
    }
    Ok(bytes)
}

/// Comma-separated names; blanks around them do not count.
pub(crate) fn names(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{boolean, duration, optional_seconds, positive_seconds, seconds, size};

    #[test]
    fn durations_carry_units() {
        let check = |text, expected| assert_eq!(duration(text).ok(), expected, "{text}");
        check("250ms", Some(Duration::from_millis(250)));
        check("6s", Some(Duration::from_secs(6)));
        check("1h30m", Some(Duration::from_secs(5400)));
        check("1.5h", Some(Duration::from_secs(5400)));
        check("2d", Some(Duration::from_secs(172_800)));
        for wrong in [
            "",
            "6",
            "s",
            "6x",
            "6s7",
            "-6s",
            "1e9d",
            "99999999999999d",
            "é",
        ] {
            check(wrong, None);
        }
        assert_eq!(duration("600").unwrap_err().problem, "has no unit");
    }

    #[test]
    fn celery_durations_are_seconds_without_a_unit() {
        assert_eq!(seconds("0.5").unwrap(), Duration::from_millis(500));
        for wrong in ["", "6s", "-1", "nan", "inf", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(positive_seconds("0").unwrap_err().problem, "is zero");
        assert_eq!(positive_seconds("4"), seconds("4"));
        assert_eq!(optional_seconds("0").unwrap(), None);
        assert_eq!(optional_seconds("None").unwrap(), None);
        assert_eq!(optional_seconds("7").unwrap(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn sizes_carry_units() {
        assert_eq!(size("64MiB").unwrap(), 64 << 20);
        assert_eq!(size("10 kB").unwrap(), 10_000);
        for wrong in ["", "64", "MiB", "64mib", "0B", "99999999999GiB", "1.5MiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn booleans_have_eight_spellings() {
        for (yes, no) in [("1", "0"), ("TRUE", "False"), ("yes", "no"), ("On", "off")] {
            assert!(boolean(yes).unwrap());
            assert!(!boolean(no).unwrap());
        }
        assert!(boolean("ja").is_err());
    }
}
