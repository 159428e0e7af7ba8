//! Rate limits as Celery writes them.

use serde_json::Value;

use crate::parse::Problem;

/// How often one worker may start a task at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Starts per second; above zero and finite.
    pub per_second: f64,
}

impl RateLimit {
    /// Reads a number of tasks per second, or a text of a number and `/s`, `/m` or `/h` (`celery/utils/time.py`, `rate`).
    /// Null, zero and the empty text mean that there is no limit. A negative number, with which Celery would never start
    /// the task again, is refused.
    pub(crate) fn read(value: &Value) -> Result<Option<Self>, Problem> {
        let per_second = match value {
            Value::Null => Some(0.0),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => per_second(text),
            _ => None,
        };
        match per_second {
            Some(0.0) => Ok(None),
            Some(per_second) if per_second > 0.0 && per_second.is_finite() => {
                Ok(Some(Self { per_second }))
            }
            _ => Err(Problem::new(
                "is not a rate limit",
                "a number, or a text such as 10/s, 100/m or 5/h",
            )),
        }
    }
}

fn per_second(text: &str) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let (count, unit) = text.split_once('/').unwrap_or((text, ""));
    let seconds = match unit {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // Python's float() allows blanks around the number.
    Some(count.trim().parse::<f64>().ok()? / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Celery 5.7's `rate` made of them; captured.
    const CAPTURED: &str = include_str!("../tests/vectors/rate.json");

    #[test]
    fn a_rate_limit_is_what_celery_takes_it_for() {
        let captured: Value = serde_json::from_str(CAPTURED).unwrap();
        for vector in captured["vectors"].as_array().unwrap() {
            let ours =
                RateLimit::read(&vector["in"]).map(|limit| limit.map_or(0.0, |l| l.per_second));
            match vector["per_second"].as_f64() {
                Some(rate) if rate >= 0.0 => assert_eq!(ours, Ok(rate), "{vector}"),
                _ => assert!(ours.is_err(), "{vector}"),
            }
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for wrong in [
            r#""inf/s""#,
            r#""nan""#,
            "true",
            "[]",
            r#""/s""#,
            r#""1/s/s""#,
        ] {
            let value = serde_json::from_str(wrong).unwrap();
            assert!(RateLimit::read(&value).is_err(), "{wrong}");
        }
    }
}
