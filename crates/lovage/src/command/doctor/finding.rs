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
    /// What `--fix` does; `None` where only a person can say what is right.
    pub(super) repair: Option<Repair>,
    /// Worth knowing, and perhaps as it is meant to be: no reason for an exit code.
    pub(super) hint: bool,
}

/// A repair that is begun only when it is asked for.
pub(super) struct Repair {
    /// What it will do, after the word "would".
    pub(super) would: String,
    /// Does it, and tells what it has done.
    pub(super) run: BoxFuture<'static, Result<String, Failure>>,
}

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
            Some(repair) => Some(repair.run.await?),
            None => None,
        };
        Ok(Treated {
            finding: self,
            done,
        })
    }
}

impl Treated {
    /// It is wrong, and stays as it was found.
    pub(super) fn remains(&self) -> bool {
        self.done.is_none() && !self.finding.hint
    }

    /// It is only worth knowing.
    pub(super) fn is_hint(&self) -> bool {
        self.finding.hint
    }

    /// Whether `--fix` would do something about it.
    pub(super) fn can_be_fixed(&self) -> bool {
        self.done.is_none() && self.finding.repair.is_some()
    }

    /// Tells it to people.
    pub(super) fn tell(&self) -> Result<(), Failure> {
        let Finding {
            check,
            subject,
            text,
            remedy,
            repair,
            hint,
            ..
        } = &self.finding;
        let (subject, text) = (output::one_line(subject), output::one_line(text));
        let (style, kind) = match hint {
            true => (FAINT, "hint: "),
            false => (BAD, ""),
        };
        output::line(format_args!(
            "{style}{kind}{check}{style:#}  {NAME}{subject}{NAME:#}  {text}"
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
        if let (None, Some(repair)) = (&self.done, repair) {
            let would = output::one_line(&repair.would);
            output::line(format_args!("    {FAINT}--fix would {would}{FAINT:#}"))?;
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
            "hint": self.finding.hint,
            "fixable": self.can_be_fixed(),
            "would": self.finding.repair.as_ref().map(|repair| &repair.would),
            "done": self.done,
            "facts": self.finding.facts,
        })
    }
}
