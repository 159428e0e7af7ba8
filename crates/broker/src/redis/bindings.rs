//! kombu's binding tables: which queues hang on an exchange (wire 2.1, 2.3).

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::Pipeline;

use super::{
    Core,
    link::{Patience, Request},
    scripts::{self, BIND_EXPIRING, DECLARE},
};
use crate::{Binding, Error, binding::Member};

/// kombu keeps the table of an expiring binding at least this long.
const LEAST_TABLE_LIFE: Duration = Duration::from_secs(3600);

/// The lists of queues that are forgotten when nobody uses them.
#[derive(Debug, Default)]
pub(crate) struct Expiring {
    any: AtomicBool,
    lists: RwLock<HashMap<String, Life>>,
}

/// What is known of the queue of a list.
#[derive(Debug)]
struct Life {
    /// All its lists.
    lists: Arc<[String]>,
    /// In milliseconds.
    life: u64,
}

impl Expiring {
    /// Begins the life of a queue's lists anew, when this one is of such a queue.
    pub(crate) fn prolong(&self, list: &str, pipeline: &mut Pipeline) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Life { lists, life }) = lists.get(list) {
            for list in lists.iter() {
                pipeline.cmd("PEXPIRE").arg(list).arg(*life);
            }
        }
    }

    /// Notes a queue; false when it is known.
    fn note(&self, core: &Core, binding: &Binding, life: Duration) -> bool {
        let all: Arc<[String]> = core.keys.lists(&binding.queue).collect();
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = false;
        for list in all.iter() {
            let known = Life {
                lists: Arc::clone(&all),
                life: millis(life),
            };
            new |= lists.insert(list.clone(), known).is_none();
        }
        self.any.store(true, Ordering::Relaxed);
        new
    }
}

/// Writes the binding of each queue.
pub(crate) async fn bind(core: &Arc<Core>, bindings: &[Binding]) -> Result<(), Error> {
    let (expiring, lasting): (Vec<&Binding>, Vec<&Binding>) = bindings
        .iter()
        .partition(|binding| binding.expires.is_some());
    for binding in expiring {
        let Some(expires) = binding.expires else {
            continue;
        };
        bind_expiring(core, binding, expires).await?;
        if core.expiring.note(core, binding, expires) {
            tokio::spawn(keep(Arc::downgrade(core), binding.clone(), expires));
        }
    }
    if lasting.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = lasting
        .iter()
        .flat_map(|binding| {
            [
                core.keys.binding(&binding.exchange),
                core.keys.binding_permanent(&binding.exchange),
            ]
        })
        .collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let mut cmd = scripts::call(&DECLARE, &tables);
    for binding in lasting {
        cmd.arg(Member::of(binding, core.keys.separator()));
    }
    core.link
        .send(Request::Script(&DECLARE, &cmd), Patience::Bounded)
        .await
        .map(drop)
}

/// One that does not last: not among the permanent ones, and with a time until which its table is kept.
async fn bind_expiring(core: &Core, binding: &Binding, expires: Duration) -> Result<(), Error> {
    let (table, deadlines) = (
        core.keys.binding(&binding.exchange),
        core.keys.binding_deadlines(),
    );
    let mut cmd = scripts::call(&BIND_EXPIRING, &[&table, &deadlines]);
    cmd.arg(Member::of(binding, core.keys.separator()))
        .arg(&binding.exchange)
        .arg(millis(table_life(expires)));
    core.link
        .send(Request::Script(&BIND_EXPIRING, &cmd), Patience::Bounded)
        .await
        .map(drop)
}

/// Writes the binding again and again, as kombu does, while the broker lives.
async fn keep(core: Weak<Core>, binding: Binding, expires: Duration) {
    loop {
        tokio::time::sleep(table_life(expires) / 3).await;
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = bind_expiring(&core, &binding, expires).await {
            tracing::debug!(
                queue = %binding.queue,
                error = &error as &dyn std::error::Error,
                "a binding could not be prolonged"
            );
        }
    }
}

fn table_life(expires: Duration) -> Duration {
    (2 * expires).max(LEAST_TABLE_LIFE)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
