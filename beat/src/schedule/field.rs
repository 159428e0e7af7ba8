//! One field of a crontab: from its text to the numbers it names.
//!
//! The grammar is that of Celery's `crontab_parser` (`celery/schedules.py`), without what it accepts only because
//! Python's `int` does (`1_0`, other scripts' digits) and because it does not look past the end of a range (`1-2-3`).

use std::fmt;

/// What a field counts, and from where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Its name, as it is written in requests and files.
    pub(crate) name: &'static str,
    pub(crate) least: u8,
    pub(crate) most: u8,
}

pub(crate) const MINUTE: Kind = Kind::new("minute", 0, 59);
pub(crate) const HOUR: Kind = Kind::new("hour", 0, 23);
pub(crate) const DAY_OF_MONTH: Kind = Kind::new("day_of_month", 1, 31);
pub(crate) const MONTH_OF_YEAR: Kind = Kind::new("month_of_year", 1, 12);
pub(crate) const DAY_OF_WEEK: Kind = Kind::new("day_of_week", 0, 6);

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Kind {
    const fn new(name: &'static str, least: u8, most: u8) -> Self {
        Self { name, least, most }
    }

    fn all(self) -> impl Iterator<Item = u8> {
        self.least..=self.most
    }
}

/// One field, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    text: String,
    /// Bit `n` stands for the number `n`.
    bits: u64,
}

/// Why a text is no field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadField {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) problem: String,
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kind { name, least, most } = self.kind;
        write!(
            f,
            "{name} {:?}: {}; right would be numbers from {least} to {most}, as in 5, 1,2, 1-5, 1-9/2, * or */2",
            self.text, self.problem
        )
    }
}

impl Field {
    /// Reads a field. Blanks around numbers do not count.
    pub(crate) fn parse(kind: Kind, text: &str) -> Result<Self, BadField> {
        let bad = |problem: String| BadField {
            kind,
            text: text.to_owned(),
            problem,
        };
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let mut bits = 0;
        for part in &parts {
            for number in numbers(kind, part).map_err(bad)? {
                bits |= 1_u64 << number;
            }
        }
        Ok(Self {
            text: parts.join(","),
            bits,
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        number < 64 && self.bits & (1 << number) != 0
    }

    /// The least number of the field that is `number` or more.
    pub(crate) fn at_least(&self, number: u32) -> Option<u32> {
        let rest = self.bits.checked_shr(number)?;
        (rest != 0).then(|| number + rest.trailing_zeros())
    }

    /// Its numbers, the least first.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        let bits = self.bits;
        (0..64).filter(move |number| bits & (1 << number) != 0)
    }

    /// Whether it names every number there is.
    pub(crate) fn is_every(&self, kind: Kind) -> bool {
        kind.all().all(|number| self.contains(number.into()))
    }
}

fn numbers(kind: Kind, part: &str) -> Result<Vec<u8>, String> {
    if part.is_empty() {
        return Err("a part between commas is empty".to_owned());
    }
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let listed = match range.split_once('-') {
        _ if range == "*" => kind.all().collect(),
        Some(("", _)) => return Err("there are no negative numbers".to_owned()),
        Some((from, to)) => wrapped(kind, number(kind, from)?, number(kind, to)?),
        None if step.is_some() => {
            return Err(format!(
                "a step needs * or a range before it, not {range:?}"
            ));
        }
        None => vec![number(kind, range)?],
    };
    match step {
        None => Ok(listed),
        Some("") => Err("there is no step after /".to_owned()),
        // Steps count places in the list, not numbers: */3 of the days of a month is 1, 4, 7.
        Some(step) => match step.trim().parse::<usize>() {
            Ok(step) if step > 0 => Ok(listed.into_iter().step_by(step).collect()),
            _ => Err(format!("the step {step:?} is no number above 0")),
        },
    }
}

/// From one number to another, past the end of the field when the second is the lesser one.
fn wrapped(kind: Kind, from: u8, to: u8) -> Vec<u8> {
    if from <= to {
        (from..=to).collect()
    } else {
        (from..=kind.most).chain(kind.least..=to).collect()
    }
}

fn number(kind: Kind, text: &str) -> Result<u8, String> {
    let text = text.trim();
    let number = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse::<u64>().unwrap_or(u64::MAX)
    } else {
        named(text)?
    };
    let Kind { least, most, .. } = kind;
    if number > most.into() {
        let hint = if kind == DAY_OF_WEEK && number == 7 {
            " (Sunday is 0)"
        } else {
            ""
        };
        return Err(format!("{text} is above {most}{hint}"));
    }
    u8::try_from(number)
        .ok()
        .filter(|number| *number >= least)
        .ok_or_else(|| format!("{text} is below {least}"))
}

/// Names count in every field, months before days, as in Celery: `mon` is 1 and `may` is 5 wherever they stand.
fn named(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is neither a number nor the name of a month or day");
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(wrong());
    }
    let short: String = text.chars().take(3).collect::<String>().to_lowercase();
    let place = |names: &[&str]| names.iter().position(|name| *name == short);
    let found = place(&MONTHS).map(|at| at + 1).or_else(|| place(&DAYS));
    found.map_or_else(|| Err(wrong()), |number| Ok(number as u64))
}
