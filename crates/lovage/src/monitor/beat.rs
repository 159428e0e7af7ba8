//! A beat's health: it leads or stands by, and its store answers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use lovage_beat::{Beat, BeatNumbers, Status};
use lovage_broker::Broker;
use lovage_monitor::{Condition, Part, Probe, Readiness};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::sync::watch;

use super::{broker, page, registry};

/// Looks at a beat, once there is one. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BeatProbe(Arc<Mutex<Option<Arc<Watched>>>>);

#[derive(Debug)]
struct Watched {
    status: watch::Receiver<Status>,
    numbers: BeatNumbers,
    broker: Arc<dyn Broker>,
    /// How long its store may be silent.
    lease: Duration,
}

impl BeatProbe {
    /// Looks at this beat from now on: another takes its turn when schedules are kept elsewhere.
    pub(crate) fn watch(&self, beat: &Beat, broker: Arc<dyn Broker>, lease: Duration) {
        let watched = Watched {
            status: beat.status(),
            numbers: beat.numbers(),
            broker,
            lease,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(watched));
    }

    fn watched(&self) -> Option<Arc<Watched>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Watched {
    fn lead(&self) -> Part {
        let status = self.status.borrow().clone();
        let since = status.seen.map(|seen| chrono::Utc::now() - seen);
        // A clock that was set back makes it negative: then it was seen just now.
        let silent = since.map(|since| since.to_std().unwrap_or_default());
        match silent {
            Some(silent) if silent <= self.lease => {}
            Some(silent) => {
                let why = format!("its schedules were not reached for {} s", silent.as_secs());
                return Part::bad("lead", Condition::Failing, why);
            }
            None => {
                return Part::bad(
                    "lead",
                    Condition::Failing,
                    "it has not asked for the lead yet",
                );
            }
        }
        let at = |moment: Option<chrono::DateTime<chrono::Utc>>| {
            moment.map_or_else(|| "none".to_owned(), |moment| moment.to_rfc3339())
        };
        if !status.leads {
            return Part::good("lead").telling(format!("stands by for {}", status.leader));
        }
        let age = status.last_tick.map(|last| chrono::Utc::now() - last);
        let age = age.map_or_else(String::new, |age| {
            format!(" ({} s ago)", age.num_seconds().max(0))
        });
        let told = format!(
            "leads {} schedules; last sent: {}{age}, next due: {}",
            status.schedules,
            at(status.last_tick),
            at(status.next_due)
        );
        if status.refused > 0 {
            let why = format!("{} schedules cannot run; {told}", status.refused);
            return Part::bad("lead", Condition::Degraded, why);
        }
        Part::good("lead").telling(told)
    }

    fn register(&self, registry: &mut Registry) {
        self.numbers.register(registry);
        let status = self.status.borrow().clone();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for (name, help, value) in [
            (
                "lovage_beat_leads",
                "Whether this beat leads",
                i64::from(status.leads),
            ),
            (
                "lovage_beat_schedules",
                "Schedules that run, at the one that leads",
                count(status.schedules),
            ),
            (
                "lovage_beat_schedules_refused",
                "Schedules that are kept and cannot run, at the one that leads",
                count(status.refused),
            ),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        }
    }
}

#[async_trait]
impl Probe for BeatProbe {
    async fn readiness(&self) -> Readiness {
        let Some(watched) = self.watched() else {
            let why = "it waits for the broker";
            return Readiness::of(vec![Part::bad("lead", Condition::Failing, why)]);
        };
        let broker = broker(&*watched.broker).await;
        Readiness::of(vec![broker, watched.lead()])
    }

    async fn metrics(&self) -> String {
        let mut registry = registry();
        if let Some(watched) = self.watched() {
            watched.register(&mut registry);
        }
        page(&registry)
    }
}
