//! A limit that holds over all workers: so many at once, or so many starts in a period.

use std::{fmt, time::Duration};

/// So many at once, or so many in a period, over all workers.
///
/// ```
/// use lovage_registry::Limit;
///
/// let limit = Limit::at_once(5).per(["account"]);
/// assert_eq!(Limit::parse("5 per account").unwrap(), limit);
/// assert_eq!(limit.to_string(), "5 per account");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    most: u32,
    period: Option<Duration>,
    scope: Scope,
}

/// What a limit counts together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All calls of the task.
    Task,
    /// All calls from the queue, of those tasks that declare a limit of this scope.
    Queue,
    /// The calls of the task with equal values of these parameters.
    Arguments(Vec<String>),
}

/// Says that a text is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no limit: write \"5\", \"100/m\", \"5 per queue\" or \"5 per account\", with a number above 0"
)]
pub struct InvalidLimit(String);

impl Limit {
    /// At most so many at once; 0 counts as 1.
    #[must_use]
    pub fn at_once(most: u32) -> Self {
        Self {
            most: most.max(1),
            period: None,
            scope: Scope::Task,
        }
    }

    /// At most so many starts in any stretch of time of this length; 0 counts as 1.
    #[must_use]
    pub fn in_period(most: u32, period: Duration) -> Self {
        Self {
            period: Some(period.max(Duration::from_millis(1))),
            ..Self::at_once(most)
        }
    }

    /// Counts each combination of values of these parameters by itself.
    #[must_use]
    pub fn per<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.scope = Scope::Arguments(names.into_iter().map(Into::into).collect());
        self
    }

    /// Counts all tasks of the queue together that declare a limit of this kind.
    #[must_use]
    pub fn per_queue(mut self) -> Self {
        self.scope = Scope::Queue;
        self
    }

    /// Reads a limit: a number, `/s`, `/m` or `/h` after it for a rate, and what it is counted by: `per queue`, or `per`
    /// and names of parameters, comma separated. (A parameter that is called `queue` needs [`Limit::per`].)
    ///
    /// # Errors
    /// The text is written otherwise.
    pub fn parse(text: &str) -> Result<Self, InvalidLimit> {
        let invalid = || InvalidLimit(text.to_owned());
        let (amount, scope) = match text.split_once(" per ") {
            None => (text.trim(), Scope::Task),
            Some((amount, names)) => (amount.trim(), scope(names).ok_or_else(invalid)?),
        };
        let (most, period) = match amount.split_once('/') {
            None => (amount, None),
            Some((most, unit)) => {
                let seconds = match unit {
                    "s" => 1,
                    "m" => 60,
                    "h" => 3600,
                    _ => return Err(invalid()),
                };
                (most, Some(Duration::from_secs(seconds)))
            }
        };
        let most: u32 = most.parse().map_err(|_| invalid())?;
        if most == 0 {
            return Err(invalid());
        }
        Ok(Self {
            most,
            period,
            scope,
        })
    }

    /// How many.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most
    }

    /// The period in which they are counted; `None`: at once.
    #[must_use]
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// What is counted together.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The first part of its keys.
    pub(crate) fn kind(&self) -> &'static str {
        match self.period {
            None => "slots",
            Some(_) => "rate",
        }
    }
}

fn scope(names: &str) -> Option<Scope> {
    if names.trim() == "queue" {
        return Some(Scope::Queue);
    }
    let names: Vec<String> = names
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    let valid = |name: &String| {
        !name.is_empty()
            && name
                .chars()
                .all(|character| character.is_alphanumeric() || character == '_')
    };
    names.iter().all(valid).then_some(Scope::Arguments(names))
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.most)?;
        match self.period.map(|period| period.as_secs_f64()) {
            None => {}
            Some(1.0) => f.write_str("/s")?,
            Some(60.0) => f.write_str("/m")?,
            Some(3600.0) => f.write_str("/h")?,
            Some(seconds) => write!(f, " in {seconds} s")?,
        }
        match &self.scope {
            Scope::Task => Ok(()),
            Scope::Queue => f.write_str(" per queue"),
            Scope::Arguments(names) => write!(f, " per {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["5", "100/m", "1/h per queue", "5 per a, b_2", "10/s per x"] {
            assert_eq!(Limit::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Limit::parse("2/m per a").unwrap(),
            Limit::in_period(2, Duration::from_secs(60)).per(["a"])
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0",
            "-1",
            "x",
            "5/d",
            "5 per ",
            "5 per a,,b",
            "5 per a b",
            "1.5/s",
        ] {
            assert!(Limit::parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
