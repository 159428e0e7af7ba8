//! How much a worker takes on. It may change while it runs; whoever reads it takes no lock.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc::WeakUnboundedSender;

use crate::engine::Event;

/// The number of slots, what is taken ahead of them, and how much of both is in use.
#[derive(Debug)]
pub(crate) struct Size {
    slots: AtomicUsize,
    /// The most that autoscale grows to; 0 without it. What is taken ahead is measured by it, as in Celery.
    ceiling: AtomicUsize,
    /// `CELERY_WORKER_PREFETCH_MULTIPLIER`; 0 takes without limit.
    multiplier: usize,
    running: AtomicUsize,
    held: AtomicUsize,
    /// The engine, which must look again after a change. Weak: this must not keep its line open at the end.
    engine: OnceLock<WeakUnboundedSender<Event>>,
}

impl Size {
    pub(crate) fn new(slots: usize, multiplier: usize) -> Self {
        Self {
            slots: AtomicUsize::new(slots.max(1)),
            ceiling: AtomicUsize::new(0),
            multiplier,
            running: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            engine: OnceLock::new(),
        }
    }

    /// Tasks at once.
    pub(crate) fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed)
    }

    /// Messages held at most.
    pub(crate) fn prefetch(&self) -> usize {
        match self.multiplier {
            0 => usize::MAX,
            times => self
                .slots()
                .max(self.ceiling.load(Ordering::Relaxed))
                .saturating_mul(times),
        }
    }

    /// Attempts that hold a slot.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Messages in the worker's hands, running ones included.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slots(&self, slots: usize) {
        self.slots.store(slots.max(1), Ordering::Relaxed);
        self.wake();
    }

    pub(crate) fn set_ceiling(&self, ceiling: usize) {
        self.ceiling.store(ceiling, Ordering::Relaxed);
        self.wake();
    }

    /// The engine's own counts.
    pub(crate) fn note(&self, running: usize, held: usize) {
        self.running.store(running, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
    }

    pub(crate) fn attach(&self, engine: WeakUnboundedSender<Event>) {
        // There is one engine.
        let _ = self.engine.set(engine);
    }

    fn wake(&self) {
        if let Some(engine) = self.engine.get().and_then(WeakUnboundedSender::upgrade) {
            let _ = engine.send(Event::Resized);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_ahead_follows_the_slots_or_what_they_may_become() {
        let size = Size::new(2, 4);
        assert_eq!(size.prefetch(), 8);
        size.set_ceiling(5);
        assert_eq!(size.prefetch(), 20);
        size.set_slots(6);
        assert_eq!(size.prefetch(), 24);
        assert_eq!(Size::new(2, 0).prefetch(), usize::MAX);
    }
}
