//! What is told of all workers together: queues, who consumes them, who lives, and what those tell by events that serve no numbers
//! of their own. The names are those of danihodovic/celery-exporter, so that dashboards and alerts for Celery go on working.
//!
//! One process of a fleet is to tell it: sums over two would count everything twice.

mod heard;
mod look;
mod page;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lovage_broker::{Broker, Error};
use lovage_flower_compat::Control;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::look::{Census, census};
use self::{
    heard::Heard,
    look::{Head, Seen},
    page::Page,
};

/// How long what workers said of themselves is taken for true.
const FRESH: Duration = Duration::from_secs(10);

/// The fleet as one broker shows it. Cloning shares it.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Arc<dyn Broker>,
    control: Control,
    /// Told of even when nobody consumes them.
    routed: BTreeSet<String>,
    heads: Mutex<BTreeMap<String, Head>>,
    census: tokio::sync::Mutex<Option<(Instant, Arc<Census>)>>,
    seen: Arc<Mutex<Seen>>,
    heard: Heard,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("routed", &self.inner.routed)
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// The fleet of a broker. `routed` are the queues that tasks are sent to: they are told of even when nobody consumes them.
    pub fn new(broker: Arc<dyn Broker>, routed: impl IntoIterator<Item = String>) -> Self {
        let inner = Inner {
            control: Control::new(Arc::clone(&broker)),
            broker,
            routed: routed.into_iter().collect(),
            heads: Mutex::default(),
            census: tokio::sync::Mutex::default(),
            seen: Arc::default(),
            heard: Heard::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Registers what it tells.
    pub fn register(&self, registry: &mut Registry) {
        let page = Page {
            seen: Arc::clone(&self.inner.seen),
            heard: self.inner.heard.clone(),
        };
        registry.register_collector(Box::new(page));
        self.inner.heard.register(registry);
    }

    /// Hears the events of workers until told to stop. A broker that is away is waited for.
    pub async fn listen(&self, stop: &CancellationToken) {
        let listening = self.inner.heard.listen(&self.inner.broker);
        stop.run_until_cancelled(listening).await;
    }

    /// Looks anew at queues and workers, for the next page of numbers.
    ///
    /// # Errors
    /// When the broker does not answer; what was seen before is forgotten then.
    pub async fn look(&self) -> Result<(), Error> {
        let seen = self.seen().await;
        let (seen, result) = match seen {
            Ok(seen) => (seen, Ok(())),
            Err(error) => (Seen::default(), Err(error)),
        };
        *self
            .inner
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = seen;
        result
    }

    /// Tells nothing any more until the next look: another process does.
    pub fn be_silent(&self) {
        *self
            .inner
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Seen::default();
        self.inner.heard.forget();
    }

    async fn seen(&self) -> Result<Seen, Error> {
        let inner = &*self.inner;
        let census = self.census().await?;
        inner.heard.know(&census);
        let mut heads = std::mem::take(&mut *self.heads());
        let seen = look::look(&*inner.broker, &inner.routed, &census, &mut heads).await;
        *self.heads() = heads;
        seen
    }

    fn heads(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Head>> {
        self.inner
            .heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn census(&self) -> Result<Arc<Census>, Error> {
        let mut known = self.inner.census.lock().await;
        if let Some((when, census)) = &*known
            && when.elapsed() < FRESH
        {
            return Ok(Arc::clone(census));
        }
        let census = Arc::new(look::census(&*self.inner.broker, &self.inner.control).await?);
        *known = Some((Instant::now(), Arc::clone(&census)));
        Ok(census)
    }
}
