//! The steps of a history.

use proptest::prelude::*;

pub(crate) const WORKERS: usize = 3;

/// One step. Numbers pick among what there is, so that every step is possible at any time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Publish(usize),
    Fetch {
        worker: usize,
        max: usize,
        start: usize,
    },
    Start {
        worker: usize,
        pick: usize,
        ack: bool,
    },
    Finish {
        worker: usize,
        pick: usize,
        how: How,
    },
    /// Ends a delivery that its worker was robbed of.
    FinishLost {
        pick: usize,
    },
    Release {
        worker: usize,
    },
    Close {
        worker: usize,
    },
    Kill {
        worker: usize,
    },
    /// Somebody else gives the worker's messages back while it lives.
    Rob {
        worker: usize,
    },
    Restart,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Ack,
    Requeue,
    Restore,
    Delay,
    DeadLetter,
}

pub(crate) fn steps() -> BoxedStrategy<Step> {
    let worker = 0..WORKERS;
    let how = prop_oneof![
        3 => Just(How::Ack), 1 => Just(How::Requeue), 1 => Just(How::Restore), 1 => Just(How::Delay),
        1 => Just(How::DeadLetter),
    ];
    prop_oneof![
        4 => (1..6usize).prop_map(Step::Publish),
        6 => (worker.clone(), 1..5usize, 0..4usize).prop_map(|(worker, max, start)| Step::Fetch { worker, max, start }),
        3 => (worker.clone(), 0..9usize, prop::bool::weighted(0.3))
            .prop_map(|(worker, pick, ack)| Step::Start { worker, pick, ack }),
        6 => (worker.clone(), 0..9usize, how).prop_map(|(worker, pick, how)| Step::Finish { worker, pick, how }),
        2 => (0..9usize).prop_map(|pick| Step::FinishLost { pick }),
        1 => worker.clone().prop_map(|worker| Step::Release { worker }),
        1 => worker.clone().prop_map(|worker| Step::Close { worker }),
        2 => worker.clone().prop_map(|worker| Step::Kill { worker }),
        1 => worker.prop_map(|worker| Step::Rob { worker }),
        1 => Just(Step::Restart),
    ]
    .boxed()
}
