//! What was done with dead letters, told to people or to a script.

use serde_json::{Map, json};

use super::missing;
use crate::{failure::Failure, output};

/// What was done, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// So many letters.
    pub(super) done: u64,
    /// The ids of which there is no letter.
    pub(super) gone: Vec<String>,
    /// The ids of letters about which was decided before, each with what became of it.
    pub(super) before: Vec<(String, &'static str)>,
}

impl Done {
    /// Says it. `past` is the word for what was done.
    ///
    /// # Errors
    /// When something was asked for that could not be done: that is how scripts see it.
    pub(super) fn tell(self, past: &str, as_json: bool) -> Result<u8, Failure> {
        let Self { done, gone, before } = self;
        if as_json {
            let before: Map<_, _> = before
                .iter()
                .map(|(id, fate)| (id.clone(), json!(fate)))
                .collect();
            let clean = gone.is_empty() && before.is_empty();
            output::json(&json!({past: done, "missing": gone, "already": before}))?;
            return if clean {
                Ok(0)
            } else {
                Err(Failure::failed("").told())
            };
        }
        output::line(format_args!(
            "{past} {}",
            output::count(done, "dead letter")
        ))?;
        let mut faults = Vec::new();
        if let [one] = gone.as_slice() {
            faults.push(missing(one));
        } else if !gone.is_empty() {
            faults.push(format!(
                "there are no dead letters {}",
                output::one_line(&gone.join(", "))
            ));
        }
        faults.extend(
            before.iter().map(|(id, fate)| {
                format!("dead letter {} was {fate} already", output::one_line(id))
            }),
        );
        if faults.is_empty() {
            Ok(0)
        } else {
            Err(Failure::failed(faults.join("; ")))
        }
    }
}
