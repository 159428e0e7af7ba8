//! Whether a text is a crontab. Beat reads it, and says the same; here it is said where it was written.

/// What a field counts, and from where to where.
const FIELDS: [(&str, u64, u64); 5] = [
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day_of_month", 1, 31),
    ("month_of_year", 1, 12),
    ("day_of_week", 0, 6),
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Refuses what is no crontab with Celery's meaning.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split(' ').collect();
    if parts.len() != FIELDS.len() {
        return Err(format!(
            "a crontab has five fields between single blanks, \"minute hour day_of_month month_of_year day_of_week\", and this has {}",
            parts.len()
        ));
    }
    for (field, text) in FIELDS.iter().zip(parts) {
        let (name, least, most) = *field;
        check_field(text, least, most).map_err(|problem| {
            format!("{name} `{text}`: {problem}; write numbers from {least} to {most}, as in 5, 1,2, 1-5, 1-9/2, * or */2")
        })?;
    }
    Ok(())
}

fn check_field(text: &str, least: u64, most: u64) -> Result<(), String> {
    for part in text.split(',').map(str::trim) {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        match range.split_once('-') {
            _ if range == "*" => {}
            Some((from, to)) => {
                number(from, least, most)?;
                number(to, least, most)?;
            }
            None if step.is_some() => {
                return Err("a step needs * or a range before it".to_owned());
            }
            None => number(range, least, most)?,
        }
        if let Some(step) = step
            && !step.trim().parse::<u64>().is_ok_and(|step| step > 0)
        {
            return Err(format!("the step `{step}` is no number above 0"));
        }
    }
    Ok(())
}

fn number(text: &str, least: u64, most: u64) -> Result<(), String> {
    let text = text.trim();
    let number = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX)
    } else {
        named(text).ok_or_else(|| format!("`{text}` is neither a number nor a name"))?
    };
    match number {
        number if number < least => Err(format!("{text} is below {least}")),
        7 if most == 6 => Err("7 is above 6 (Sunday is 0)".to_owned()),
        number if number > most => Err(format!("{text} is above {most}")),
        _ => Ok(()),
    }
}

/// Names count in every field, months before days, as in Celery.
fn named(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let short: String = text.chars().take(3).collect::<String>().to_lowercase();
    let place = |names: &[&str]| names.iter().position(|name| *name == short);
    let found = place(&MONTHS).map(|at| at + 1).or_else(|| place(&DAYS))?;
    u64::try_from(found).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{check, check_field};

    /// What Celery computed, and beat is held to.
    #[test]
    fn takes_the_fields_that_beat_takes() {
        let captured = include_str!("../../../beat/tests/captures/09-vectors-crontab-fields.json");
        let captured: Value = serde_json::from_str(captured).unwrap();
        let not_offered = ["1-2-3", "mon#2", "٣", "1_0"];
        let rows = captured["decoded"]["fields"].as_array().unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let spec = row["spec"].as_str().unwrap();
            let (count, least) = (row["max"].as_u64().unwrap(), row["min"].as_u64().unwrap());
            let taken = check_field(spec, least, count - 1 + least).is_ok();
            let expected = row["values"].is_array() && !not_offered.contains(&spec);
            assert_eq!(taken, expected, "{spec}");
        }
    }

    #[test]
    fn says_which_field_is_wrong() {
        for (text, words) in [
            ("* * * *", "and this has 4"),
            ("60 * * * *", "minute `60`: 60 is above 59"),
            ("* * 0 * *", "day_of_month `0`: 0 is below 1"),
            ("* * * * 7", "Sunday is 0"),
            ("*/0 * * * *", "no number above 0"),
            ("* * * mayday *", ""),
        ] {
            match check(text) {
                Err(problem) => assert!(problem.contains(words), "{problem}"),
                Ok(()) => assert_eq!(words, "", "{text}"),
            }
        }
    }
}
