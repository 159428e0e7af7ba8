//! Celery's priorities on Redis: a few steps, the lowest number first.

/// The highest priority number that kombu knows.
const HIGHEST: i64 = 9;

/// The steps that messages are sorted into, ascending; the first is consumed first (`priority_steps`).
#[derive(Debug, Clone)]
pub(crate) struct Steps(Vec<u8>);

impl Steps {
    /// Takes the configured steps; 0 is always one of them, as it is the list without a suffix.
    pub(crate) fn new(steps: &[u8]) -> Self {
        let mut steps = steps.to_vec();
        steps.push(0);
        steps.sort_unstable();
        steps.dedup();
        Self(steps)
    }

    pub(crate) fn all(&self) -> &[u8] {
        &self.0
    }

    /// The largest step not above the priority, which is clamped to 0..=9 first.
    pub(crate) fn of(&self, priority: i64) -> u8 {
        let priority = priority.clamp(0, HIGHEST);
        self.0
            .iter()
            .copied()
            .rfind(|step| i64::from(*step) <= priority)
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamps_and_rounds_down_to_a_step() {
        let steps = Steps::new(&[0, 3, 6, 9]);
        let found: Vec<u8> = (-1..=11).map(|priority| steps.of(priority)).collect();
        assert_eq!(found, [0, 0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]);
        assert_eq!(Steps::new(&[5]).all(), [0, 5]);
    }
}
