//! Who waits here for a rate limit, and who has waited.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use lovage_broker::{Delivery, DeliveryTag};

use crate::rate::Token;

/// Tokens of deliveries that have waited for them and stand in the engine's line again.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    granted: Mutex<HashMap<DeliveryTag, Token>>,
    /// How many there are, so that the lock is taken only when there are any.
    count: AtomicUsize,
    /// Those that wait for theirs, in nobody's way, for whoever asks.
    waiting: Mutex<HashMap<DeliveryTag, Delivery>>,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeliveryTag, Token>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The delivery need not wait again.
    pub(crate) fn grant(&self, tag: DeliveryTag, token: Token) {
        let mut granted = self.lock();
        granted.insert(tag, token);
        self.count.store(granted.len(), Ordering::Release);
    }

    /// The token of a delivery that has waited for it.
    pub(crate) fn granted(&self, tag: DeliveryTag) -> Option<Token> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut granted = self.lock();
        let token = granted.remove(&tag);
        self.count.store(granted.len(), Ordering::Release);
        token
    }

    /// A delivery begins to wait.
    pub(crate) fn waits(&self, delivery: &Delivery) {
        self.lock_waiting().insert(delivery.tag, delivery.clone());
    }

    /// It waits no more.
    pub(crate) fn has_waited(&self, tag: DeliveryTag) {
        self.lock_waiting().remove(&tag);
    }

    /// Those that wait, in the order of their coming.
    pub(crate) fn waiting(&self) -> Vec<Delivery> {
        let mut waiting: Vec<Delivery> = self.lock_waiting().values().cloned().collect();
        waiting.sort_by_key(|delivery| delivery.tag);
        waiting
    }

    fn lock_waiting(&self) -> MutexGuard<'_, HashMap<DeliveryTag, Delivery>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
