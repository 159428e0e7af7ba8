//! What the doctor finds, and how it is told.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{self, BAD, FAINT, GOOD, NAME},
};

/// Something that is wrong.
pub(super) struct Finding {
    /// Which of the checks has found it, such as `stuck-chord`.
    pub(super) check: &'static str,
    /// What it is about: an id, a name.
    pub(super) subject: String,
    /// What is wrong with it, in one line.
    pub(super) text: String,
    /// What `--fix` does about it, or what a person can do.
    pub(super) remedy: String,
    /// What was seen, for programs.
    pub(super) facts: Value,
    /// What `--fix` runs; tells what it has done. `None` where only a person can say what is right.
    pub(super) repair: Option<Repair>,
}

/// A repair that is begun only when it is asked for.
pub(super) type Repair = BoxFuture<'static, Result<String, Failure>>;

/// A finding that was told, and what has been done about it.
pub(super) struct Treated {
    finding: Finding,
    done: Option<String>,
}

impl Finding {
    /// Leaves it as it is.
    pub(super) fn leave(self) -> Treated {
        Treated {
            finding: self,
            done: None,
        }
    }

    /// Repairs it, where that is possible.
    pub(super) async fn fix(mut self) -> Result<Treated, Failure> {
        let done = match self.repair.take() {
            Some(repair) => Some(repair.await?),
            None => None,
        };
        Ok(Treated {
            finding: self,
            done,
        })
    }
}

impl Treated {
    /// It stays as it was found.
    pub(super) fn remains(&self) -> bool {
        self.done.is_none()
    }

    /// Whether `--fix` would do something about it.
    pub(super) fn can_be_fixed(&self) -> bool {
        self.remains() && self.finding.repair.is_some()
    }

    /// Tells it to people.
    pub(super) fn tell(&self) -> Result<(), Failure> {
        let Finding {
            check,
            subject,
            text,
            remedy,
            ..
        } = &self.finding;
        let (subject, text) = (output::one_line(subject), output::one_line(text));
        output::line(format_args!(
            "{BAD}{check}{BAD:#}  {NAME}{subject}{NAME:#}  {text}"
        ))?;
        match &self.done {
            Some(done) => output::line(format_args!(
                "    {GOOD}done:{GOOD:#} {}",
                output::one_line(done)
            ))?,
            None => output::line(format_args!(
                "    {FAINT}{}{FAINT:#}",
                output::one_line(remedy)
            ))?,
        }
        Ok(())
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "check": self.finding.check,
            "subject": self.finding.subject,
            "text": self.finding.text,
            "remedy": self.finding.remedy,
            "fixable": self.can_be_fixed(),
            "done": self.done,
            "facts": self.finding.facts,
        })
    }
}
