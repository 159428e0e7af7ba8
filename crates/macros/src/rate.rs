//! The form of a rate limit: a number, and per second, minute or hour.

/// Reads a rate limit as Celery does (`celery/utils/time.py`, `rate`) and gives tasks per second.
///
/// Celery lets a wrong text through until the worker meets it; here it is an error where it was written.
pub(crate) fn per_second(text: &str) -> Result<f64, String> {
    let (count, divisor) = match text.split_once('/') {
        None => (text, 1.0),
        Some((count, "s")) => (count, 1.0),
        Some((count, "m")) => (count, 60.0),
        Some((count, "h")) => (count, 3600.0),
        Some((_, unit)) => {
            return Err(format!("`{unit}` is no unit of a rate limit: {FORMS}"));
        }
    };
    let plain = !count.is_empty()
        && count
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match count.parse::<f64>() {
        Ok(number) if plain && number > 0.0 => Ok(number / divisor),
        Ok(_) if plain => Err("a rate limit of zero means none: leave the option out".to_owned()),
        _ => Err(format!("`{text}` is no rate limit: {FORMS}")),
    }
}

const FORMS: &str = "write \"10/s\", \"100/m\" or \"5/h\"";

#[cfg(test)]
mod tests {
    use super::per_second;

    #[test]
    fn reads_what_celery_reads() {
        assert_eq!(per_second("10/s"), Ok(10.0));
        assert_eq!(per_second("120/m"), Ok(2.0));
        assert_eq!(per_second("1800/h"), Ok(0.5));
        assert_eq!(per_second("2.5"), Ok(2.5));
    }

    #[test]
    fn refuses_what_would_fail_in_the_worker() {
        for text in [
            "", "ten/s", "10/d", "10/", "-1/s", "1e3/s", "inf/s", "0/s", "10 /s", "10/s/s",
        ] {
            assert!(per_second(text).is_err(), "{text:?} was accepted");
        }
    }
}
