//! What a scenario found, in a table.

use super::account::Tally;

/// What a scenario found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was done.
    pub done: String,
    /// What became of the tasks.
    pub tally: Tally,
    /// What else was measured.
    pub remark: String,
}

impl Outcome {
    /// An outcome without a remark.
    pub fn new(done: String, tally: Tally) -> Self {
        Self {
            done,
            tally,
            remark: String::new(),
        }
    }

    /// Adds what else was measured.
    #[must_use]
    pub fn remark(mut self, remark: String) -> Self {
        self.remark = remark;
        self
    }
}

/// The head of the table.
pub const HEAD: &str = "| scenario | done to it | tasks | runs | repeated for a reason | lost | twice without one | measured | s | seed |
|---|---|---:|---:|---:|---:|---:|---|---:|---|";

/// One row. A scenario that found a fault has none.
pub fn row(name: &str, outcome: &Outcome, seconds: u64, seed: u64) -> String {
    let Outcome {
        done,
        tally,
        remark,
    } = outcome;
    format!(
        "| {name} | {done} | {} | {} | {} | 0 | 0 | {remark} | {seconds} | {seed} |",
        tally.tasks, tally.runs, tally.repeated
    )
}
