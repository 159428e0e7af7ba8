//! Orders to running tasks from outside: end this one, drop them all. An attempt that ends by itself at once never looks
//! here; the others wait on one common bell, so that an ordinary task costs no entry in any table.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lovage_protocol::TaskId;
use tokio::sync::{Notify, oneshot};

use super::kill_signal::KillSignal;
use crate::shutdown::Shutdown;

/// How long an attempt may take to hear of an order; one that blocks its thread hears nothing.
const HEARING: Duration = Duration::from_secs(2);

/// What came of an order to end a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Terminated {
    /// It was ended, or its process was sent the signal.
    Yes,
    /// It runs on a thread of this process, and a thread cannot be stopped; the prefork pool can.
    OnThread,
    /// No task of this id runs here.
    NotRunning,
}

/// What an attempt is told.
pub(crate) enum Order {
    /// Drop it, its message goes back.
    Cold,
    /// End it for good.
    Terminate(KillSignal, Answer),
}

/// Tells whoever ordered what came of it.
pub(crate) struct Answer(oneshot::Sender<Terminated>);

impl Answer {
    pub(crate) fn give(self, what: Terminated) {
        // Whoever asked may be gone.
        let _ = self.0.send(what);
    }
}

/// The orders that wait to be heard.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    bell: Notify,
    /// How many are in the list, so that it is locked only when there is something in it.
    count: AtomicUsize,
    list: Mutex<Vec<(TaskId, KillSignal, oneshot::Sender<Terminated>)>>,
}

impl Orders {
    fn list(&self) -> MutexGuard<'_, Vec<(TaskId, KillSignal, oneshot::Sender<Terminated>)>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings for every attempt, whenever a cold shutdown is asked for.
    pub(crate) async fn announce_cold(&self, shutdown: &Shutdown) {
        shutdown.asked_cold().await;
        self.bell.notify_waiters();
    }

    /// Orders the end of a task, and waits until its attempt has heard it.
    pub(crate) async fn terminate(&self, id: &TaskId, signal: KillSignal) -> Terminated {
        let (sender, answer) = oneshot::channel();
        {
            let mut list = self.list();
            list.push((id.clone(), signal, sender));
            self.count.store(list.len(), Ordering::Release);
        }
        self.bell.notify_waiters();
        let heard = tokio::time::timeout(HEARING, answer).await;
        if let Ok(Ok(what)) = heard {
            return what;
        }
        // Nobody took it: it must not meet a task of this id that begins later.
        self.withdraw();
        Terminated::NotRunning
    }

    fn withdraw(&self) {
        let mut list = self.list();
        list.retain(|(_, _, sender)| !sender.is_closed());
        self.count.store(list.len(), Ordering::Release);
    }

    /// Waits for an order to this task.
    pub(crate) async fn next(&self, id: &TaskId, shutdown: &Shutdown) -> Order {
        loop {
            // Made before the look, so that what rings after the look is heard.
            let bell = self.bell.notified();
            if shutdown.is_cold() {
                return Order::Cold;
            }
            if self.count.load(Ordering::Acquire) > 0
                && let Some(order) = self.take(id)
            {
                return order;
            }
            bell.await;
        }
    }

    fn take(&self, id: &TaskId) -> Option<Order> {
        let mut list = self.list();
        let at = list
            .iter()
            .position(|(wanted, _, sender)| wanted == id && !sender.is_closed())?;
        let (_, signal, sender) = list.swap_remove(at);
        self.count.store(list.len(), Ordering::Release);
        Some(Order::Terminate(signal, Answer(sender)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_reaches_the_task_it_names() {
        let (orders, shutdown) = (Orders::default(), Shutdown::new());
        let id = TaskId::from("a");
        let ordered = orders.terminate(&id, KillSignal::KILL);
        let task = async {
            let other = TaskId::from("b");
            tokio::select! {
                biased;
                _ = orders.next(&other, &shutdown) => panic!("it is for another"),
                order = orders.next(&id, &shutdown) => match order {
                    Order::Terminate(signal, answer) => {
                        answer.give(Terminated::Yes);
                        signal
                    }
                    Order::Cold => panic!("nobody asked for it"),
                },
            }
        };
        let (answer, signal) = tokio::join!(ordered, task);
        assert_eq!((answer, signal), (Terminated::Yes, KillSignal::KILL));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_nobody_hears_is_forgotten() {
        let (orders, shutdown) = (Orders::default(), Shutdown::new());
        let id = TaskId::from("a");
        let answer = orders.terminate(&id, KillSignal::TERM).await;
        assert_eq!(answer, Terminated::NotRunning);
        shutdown.cold();
        assert!(matches!(orders.next(&id, &shutdown).await, Order::Cold));
    }
}
