//! Giving back what the dead held, by somebody who takes nothing: as plain data.

use std::{fmt, time::Duration};

use lovage_protocol::NodeName;

use crate::Recorder;

/// Who looks for the dead, and how.
#[derive(Clone)]
pub struct Reaping {
    /// Who looks, for people and for the journal.
    pub node: NodeName,
    /// How long a worker may be silent. Somebody without a lease counts as dead only once the broker has answered for so long.
    pub lease: Duration,
    /// How many deaths a message may cost. What has cost more is left to a worker of ours, who stores its results.
    pub max_deaths: u32,
    /// Makes the record for the journal of a message whose worker died.
    pub recorder: Option<Recorder>,
}

impl fmt::Debug for Reaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaping")
            .field("node", &self.node)
            .field("lease", &self.lease)
            .field("max_deaths", &self.max_deaths)
            .finish_non_exhaustive()
    }
}

impl Reaping {
    /// With the defaults of a worker.
    pub fn new(node: NodeName) -> Self {
        Self {
            node,
            lease: Duration::from_secs(6),
            max_deaths: 3,
            recorder: None,
        }
    }
}

/// What was given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reaped {
    /// So many dead workers of ours of whom nothing is left.
    pub workers: u64,
    /// So many of their messages are back in their queues.
    pub messages: u64,
    /// So many messages are back that workers of others held past the visibility time-out.
    pub abandoned: u64,
    /// So many messages stay recorded as held until a worker of ours comes: they have cost too many deaths, or cannot be put back.
    pub left: u64,
}
