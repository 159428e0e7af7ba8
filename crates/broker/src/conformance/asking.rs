//! What the tests of admission ask, and how they end what was admitted.

use std::time::Duration;

use super::stage::{end, id};
use crate::{
    Admit, Admitted, Claim, Consumer, Delivery, Demand, Finish, Finished, Hold, Leave, Ration,
    Settle,
};

pub(super) const DONE: [Finished; 1] = [Finished::Done { chord: None }];
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn claim(key: &str, hold: Hold, join: bool) -> Claim {
    Claim {
        key: format!("unique:{key}"),
        hold,
        waiting: DAY,
        join,
    }
}

pub(super) fn asks(delivery: &Delivery) -> Admit {
    Admit {
        owner: id(delivery),
        delivery: delivery.clone(),
        early: false,
        not_before: None,
        demand: Demand::default(),
    }
}

/// What takes a lock and nothing else.
pub(super) fn locks(claim: Claim) -> Demand {
    Demand {
        claim: Some(claim),
        ..Demand::default()
    }
}

/// What is the last call of its key for the time of the window.
pub(super) fn debounced(window: Duration) -> Demand {
    Demand {
        debounce: Some(("debounce:k".into(), window)),
        ..Demand::default()
    }
}

/// What keeps a limit.
pub(super) fn rationed(most: u32, period: Option<Duration>) -> Demand {
    let key = match period {
        None => "slots:k".to_owned(),
        Some(_) => "rate:k".to_owned(),
    };
    Demand {
        rations: vec![Ration { key, most, period }],
        ..Demand::default()
    }
}

pub(super) fn unique(delivery: &Delivery, hold: Hold) -> Admit {
    Admit {
        demand: locks(claim("k", hold, false)),
        ..asks(delivery)
    }
}

pub(super) fn joins(delivery: &Delivery) -> Admit {
    Admit {
        demand: locks(claim("k", Hold::End, true)),
        ..asks(delivery)
    }
}

pub(super) fn limited(delivery: &Delivery, most: u32, period: Option<Duration>) -> Admit {
    Admit {
        demand: rationed(most, period),
        ..asks(delivery)
    }
}

pub(super) async fn admit(consumer: &dyn Consumer, admit: Admit) -> Admitted {
    let mut decided = consumer.admit(vec![admit]).await.expect("it answers");
    decided.pop().expect("one decision")
}

pub(super) async fn admit_all(consumer: &dyn Consumer, admits: Vec<Admit>) -> Vec<Admitted> {
    consumer.admit(admits).await.expect("it answers")
}

pub(super) fn leaves(delivery: &Delivery, settle: Settle, leave: Option<Leave>) -> Finish {
    Finish {
        leave,
        ..end(delivery, settle)
    }
}

/// Ends a task for good.
pub(super) async fn finish(consumer: &dyn Consumer, delivery: &Delivery) {
    let owner = id(delivery);
    let finish = leaves(delivery, Settle::Ack, Some(Leave::End { owner }));
    assert_eq!(
        consumer.finish(vec![finish]).await.expect("it answers"),
        DONE
    );
}

pub(super) fn duplicate(of: &str) -> Admitted {
    Admitted::Duplicate { of: of.to_owned() }
}

pub(super) fn joined(of: &str) -> Admitted {
    Admitted::Joined { of: of.to_owned() }
}
