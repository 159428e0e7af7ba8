//! How faults and warnings are told: all in one list, naming the variable, never showing a secret.

use std::fmt;

/// One variable that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The variable's name, or `.env` when the file itself cannot be read.
    pub variable: String,
    /// What it holds; stars where that is a secret.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub expected: String,
}

/// Every fault found, in the order in which the variables are documented; and what else is odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>, pub Vec<Warning>);

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 {
            "setting is"
        } else {
            "settings are"
        };
        write!(f, "{} {noun} wrong:", self.0.len())?;
        let width = self
            .0
            .iter()
            .map(|fault| fault.variable.chars().count())
            .max()
            .unwrap_or(0);
        for fault in &self.0 {
            let Fault {
                variable,
                value,
                problem,
                expected,
            } = fault;
            write!(f, "\n  {variable:width$}  {value}")?;
            write!(f, "\n  {:width$}  {problem}; expected {expected}", "")?;
        }
        Ok(())
    }
}

/// Something that does not stop the start but is probably not what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The variable's name.
    pub variable: String,
    /// What is odd about it, and the nearest known name where there is one.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.variable, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Faults};

    #[test]
    fn the_list_is_aligned() {
        let fault = |variable: &str| Fault {
            variable: variable.to_owned(),
            value: "x".to_owned(),
            problem: "not a number".to_owned(),
            expected: "a number".to_owned(),
        };
        assert_eq!(
            Faults(vec![fault("A"), fault("LONG")], Vec::new()).to_string(),
            "2 settings are wrong:\n  A     x\n        not a number; expected a number\
             \n  LONG  x\n        not a number; expected a number"
        );
    }
}
