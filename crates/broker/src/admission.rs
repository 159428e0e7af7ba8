//! What must be free before a delivery may run: plain data of the seam, see [`crate::Consumer::admit`].
//!
//! Whatever is held here belongs to a task id: a redelivery or a retry finds what its task holds already, and no task stands
//! in its own way.

use std::time::Duration;

use bytes::Bytes;

use crate::{Delivery, Settle, envelope};

/// A delivery that asks whether it may run.
#[derive(Debug, Clone)]
pub struct Admit {
    /// Which.
    pub delivery: Delivery,
    /// The task's id: who holds what is taken.
    pub owner: String,
    /// Its message is acked when it begins (see [`crate::Start::ack`]): then only this worker's lease vouches for it.
    pub early: bool,
    /// Unix time in seconds before which it does not run, though it takes its lock now.
    pub not_before: Option<f64>,
    /// What it asks for.
    pub demand: Demand,
}

/// A message that asks as it is sent, see [`crate::Broker::publish_gated`].
#[derive(Debug, Clone)]
pub struct Entry {
    /// The task's id: who holds what is taken.
    pub owner: String,
    /// Unix time in seconds before which it does not run.
    pub not_before: Option<f64>,
    /// What it asks for.
    pub demand: Demand,
}

/// What must be free before a task runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    /// The lock that keeps duplicates away.
    pub claim: Option<Claim>,
    /// The key of calls of which only the last one runs, and how long after the last.
    pub debounce: Option<(String, Duration)>,
    /// The limits it counts towards; all must have room.
    pub rations: Vec<Ration>,
}

impl Demand {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.claim.is_none() && self.debounce.is_none() && self.rations.is_empty()
    }
}

/// A lock on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub key: String,
    /// Until when it is held.
    pub hold: Hold,
    /// How long it stays while the owner's message waits and is in nobody's hands.
    pub waiting: Duration,
    /// A duplicate waits for the owner's end, instead of ending itself.
    pub join: bool,
}

/// Until when a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Until the owner begins to run.
    Start,
    /// Until the owner has ended.
    End,
    /// For a time from when it was first taken.
    For(Duration),
}

/// A limit on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ration {
    /// Its name.
    pub key: String,
    /// So many, at least 1.
    pub most: u32,
    /// `None`: so many deliveries at once. Else so many starts in any stretch of time of this length.
    pub period: Option<Duration>,
}

/// What came of an [`Admit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// It may run, and holds what it asked for until it leaves (see [`Leave`]).
    Runs,
    /// It is out of our hands and waits outside of its queue, to whose head it returns when its turn comes.
    Waits,
    /// It is still ours; the task named has its key.
    Duplicate {
        /// The owner's id.
        of: String,
    },
    /// It is still ours; it has waited for the task named, which has ended.
    Joined {
        /// The id whose result is due.
        of: String,
    },
    /// It was no longer ours.
    Lost,
}

/// What a task gives up in the step that ends its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    /// Everything: it has ended.
    End {
        /// The task's id.
        owner: String,
    },
    /// Its room in limits; its message comes again, and it keeps its lock until then.
    Again {
        /// The task's id.
        owner: String,
        /// How long until the message comes, from now on; its lock stays for as long as it may wait after that.
        pause: Duration,
    },
}

/// How many run and wait for one key of a [`Ration`] or [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: String,
    /// Tasks that wait for it.
    pub waiting: u64,
    /// Deliveries that hold it; for a rate, the starts that count.
    pub holding: u64,
}

/// What follows from a settlement that is rare enough to look: whether the task holds anything is not known here.
pub(crate) fn implied(settle: Option<&Settle>, raw: &Bytes) -> Option<Leave> {
    let owner = || envelope::identity(raw);
    match settle? {
        Settle::Requeue | Settle::Restore => Some(Leave::Again {
            owner: owner(),
            pause: Duration::ZERO,
        }),
        Settle::DeadLetter(_) => Some(Leave::End { owner: owner() }),
        Settle::Ack | Settle::Delay { .. } => None,
    }
}
