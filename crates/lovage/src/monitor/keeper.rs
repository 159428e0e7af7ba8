//! A keeper's health, and the numbers of the whole fleet, which one keeper of all tells.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use lovage_broker::Broker;
use lovage_database::{
    Database, Error, lead,
    store::{history_gap, lease, outbox},
};
use lovage_monitor::{Condition, Part, Probe, Readiness, fleet::Fleet};
use lovage_settings::Settings;
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{PATIENCE, broker, page, registry};

/// The lease of the one that tells of the fleet.
const DUTY: &str = "keeper:monitor";
const LENGTH: Duration = Duration::from_secs(10);
/// The pause after the database did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// So many gaps of history are counted, the newest.
const MOST_GAPS: u64 = 1000;

/// Looks at a keeper. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct KeeperProbe(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    broker: Arc<dyn Broker>,
    database: Database,
    fleet: Fleet,
    ready: AtomicBool,
    tells: AtomicBool,
}

impl KeeperProbe {
    pub(crate) fn new(broker: Arc<dyn Broker>, database: Database, settings: &Settings) -> Self {
        let fleet = Fleet::new(Arc::clone(&broker), routed(settings));
        Self(Arc::new(Watched {
            broker,
            database,
            fleet,
            ready: AtomicBool::new(false),
            tells: AtomicBool::new(false),
        }))
    }

    /// It has begun its duties.
    pub(crate) fn ready(&self) {
        self.0.ready.store(true, Ordering::Relaxed);
    }

    /// Tells of the fleet whenever no other keeper does, until told to stop.
    pub(crate) async fn tell_of_the_fleet(self, stop: CancellationToken) {
        let (watched, holder) = (&*self.0, uuid::Uuid::new_v4().simple().to_string());
        let work = async || {
            let led = lead(&watched.database, DUTY, &holder, LENGTH, async |_| {
                watched.tells.store(true, Ordering::Relaxed);
                watched.fleet.listen(&stop).await;
            });
            let led = led.await;
            watched.tells.store(false, Ordering::Relaxed);
            watched.fleet.be_silent();
            led
        };
        while !stop.is_cancelled() {
            // While it tells it hears of the stop itself, and gives the lease up.
            let led = tokio::select! {
                led = work() => led,
                () = stopped_without_telling(&stop, &watched.tells) => return,
            };
            if let Err(error) = led {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "the numbers of the fleet wait for the database"
                );
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
    }
}

async fn stopped_without_telling(stop: &CancellationToken, tells: &AtomicBool) {
    stop.cancelled().await;
    if tells.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// The queues that tasks are sent to when nobody says: told of even when nobody consumes them.
pub(crate) fn routed(settings: &Settings) -> BTreeSet<String> {
    let tasks = &settings.tasks;
    let mut queues = BTreeSet::from([tasks.default_queue.clone()]);
    queues.extend(tasks.routes.iter().filter_map(|route| route.queue.clone()));
    queues.extend(tasks.queues.iter().map(|queue| queue.name.clone()));
    queues
}

impl Watched {
    async fn schema(&self) -> Part {
        let wrong = match timeout(PATIENCE, self.database.schema()).await {
            Ok(Ok(schema)) if schema.is_usable() => return Part::good("database"),
            Ok(Ok(schema)) => schema.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Part::bad("database", Condition::Failing, wrong)
    }

    async fn stored(&self, registry: &mut Registry) -> Result<(), Error> {
        let depth = outbox::depth(self.database.reader()).await?;
        let gaps = history_gap::newest(self.database.reader(), MOST_GAPS).await?;
        let leases = lease::all(&self.database).await?;
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut add = |name: &str, help: &str, value: i64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        add(
            "lovage_outbox_messages",
            "Messages that wait in the outbox",
            count(depth.waiting),
        );
        add(
            "lovage_history_gaps",
            "Times of which history is not whole",
            i64::try_from(gaps.len()).unwrap_or(i64::MAX),
        );
        add(
            "lovage_history_events_lost",
            "Events that are missing in the history, as far as known",
            gaps.iter().map(|gap| gap.lost.max(0)).sum(),
        );
        let lag: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default();
        let oldest = depth.oldest.map(|oldest| chrono::Utc::now() - oldest);
        let waits = oldest.map(|waits| waits.to_std().unwrap_or_default());
        lag.set(waits.unwrap_or_default().as_secs_f64());
        registry.register(
            "lovage_outbox_lag_seconds",
            "How long the oldest message of the outbox has waited",
            lag,
        );
        let duties: Family<[(&'static str, String); 1], Gauge<i64, AtomicI64>> = Family::default();
        for duty in leases {
            let held = duties.get_or_create(&[("duty", duty.name)]);
            held.set(i64::from(duty.live));
        }
        registry.register(
            "lovage_duty_held",
            "Whether some keeper does a duty",
            duties,
        );
        Ok(())
    }
}

#[async_trait]
impl Probe for KeeperProbe {
    async fn readiness(&self) -> Readiness {
        let watched = &*self.0;
        let (broker, database) = tokio::join!(broker(&*watched.broker), watched.schema());
        let begun = match watched.ready.load(Ordering::Relaxed) {
            true => Part::good("keeper"),
            false => Part::bad(
                "keeper",
                Condition::Failing,
                "it waits for the database and the broker",
            ),
        };
        Readiness::of(vec![broker, database, begun])
    }

    async fn metrics(&self) -> String {
        let (watched, mut registry) = (&*self.0, registry());
        let tells = watched.tells.load(Ordering::Relaxed);
        if tells {
            let looked = timeout(PATIENCE, watched.fleet.look()).await;
            let is_up = matches!(looked, Ok(Ok(())));
            let up: Gauge = Gauge::default();
            up.set(i64::from(is_up));
            registry.register(
                "lovage_broker_up",
                "Whether the broker answered when this was written",
                up,
            );
            watched.fleet.register(&mut registry);
            if let Err(error) = watched.stored(&mut registry).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the database does not tell its numbers"
                );
            }
        }
        let telling: Gauge = Gauge::default();
        telling.set(i64::from(tells));
        registry.register(
            "lovage_keeper_tells_of_the_fleet",
            "Whether this keeper is the one that tells of the fleet",
            telling,
        );
        page(&registry)
    }
}
