//! A worker's sign of life (`celery/worker/heartbeat.py`): worker-online, a heartbeat at an interval, worker-offline.

use std::{fmt, sync::Arc, time::Duration};

use lovage_protocol::{Value, event::EventText};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{emitter::Emitter, machine};

/// What a heartbeat says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Tasks that run.
    pub active: u64,
    /// Tasks accepted since the start.
    pub processed: u64,
}

/// Beats for a worker.
#[derive(Clone)]
pub struct Heart {
    emitter: Emitter,
    interval: Duration,
    pulse: Arc<dyn Fn() -> Pulse + Send + Sync>,
}

impl Heart {
    /// A heart that beats once in an interval; `pulse` is asked what it says.
    pub fn new(
        emitter: Emitter,
        interval: Duration,
        pulse: impl Fn() -> Pulse + Send + Sync + 'static,
    ) -> Self {
        Self {
            emitter,
            interval: interval.max(Duration::from_millis(10)),
            pulse: Arc::new(pulse),
        }
    }

    /// Says that the worker is there, again and again until told to stop, and then that it is gone. After the broker was
    /// away it begins anew, as a Celery worker does when it has reconnected.
    pub async fn run(self, stop: CancellationToken) {
        let mut kind = "worker-online";
        loop {
            let sent = tokio::select! {
                sent = self.send(kind) => sent,
                () = stop.cancelled() => break,
            };
            kind = if sent {
                "worker-heartbeat"
            } else {
                "worker-online"
            };
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = stop.cancelled() => break,
            }
        }
        // Tried once: who is told nothing finds out by the silence.
        if tokio::time::timeout(self.interval, self.send("worker-offline"))
            .await
            .is_err()
        {
            debug!("nobody was told that the worker stops: the broker is away");
        }
    }

    async fn send(&self, kind: &str) -> bool {
        let Pulse { active, processed } = (self.pulse)();
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let write = |event: &mut EventText<'_>| {
            event.float("freq", self.interval.as_secs_f64());
            event.int("active", number(active));
            event.int("processed", number(processed));
            let load = machine::load_average().map(Value::Float);
            event.value("loadavg", &Value::List(load.into()));
            software(event);
        };
        let sent = self.emitter.now(kind, machine::now(), write).await;
        if let Err(error) = &sent {
            debug!(
                kind,
                error = error as &dyn std::error::Error,
                "the event was not sent"
            );
        }
        sent.is_ok()
    }
}

impl Emitter {
    /// The heartbeat that the command of this name asks for: shorter than those that come by themselves
    /// (`celery/worker/control.py`, `heartbeat`).
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn forced_heartbeat(&self) -> Result<(), lovage_broker::Error> {
        let write = |event: &mut EventText<'_>| {
            event.int("freq", 5);
            software(event);
        };
        self.now("worker-heartbeat", machine::now(), write).await
    }
}

fn software(event: &mut EventText<'_>) {
    event.text("sw_ident", machine::SW_IDENT);
    event.text("sw_ver", machine::SW_VERSION);
    event.text("sw_sys", machine::SW_SYSTEM);
}

impl fmt::Debug for Heart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heart")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use lovage_broker::{Broker, MemoryBroker};
    use lovage_protocol::{
        Lamport,
        event::{self, Event, Origin},
    };

    use super::*;
    use crate::emitter::EmitterOptions;

    #[tokio::test(start_paused = true)]
    async fn a_worker_comes_beats_and_goes() {
        let broker = MemoryBroker::new();
        let mut heard = broker.subscribe(event::EXCHANGE, "worker.#").await.unwrap();
        let options = EmitterOptions {
            origin: Origin {
                hostname: "w@h".to_owned(),
                pid: 1,
                utcoffset: 0.0,
            },
            clock: Lamport::default(),
            task_events: false,
            waiting: 1,
            rate: None,
        };
        let emitter = Emitter::new(Arc::new(broker), options);
        let pulse = || Pulse {
            active: 2,
            processed: 7,
        };
        let heart = Heart::new(emitter.clone(), Duration::from_secs(2), pulse);
        let stop = CancellationToken::new();
        let running = tokio::spawn(heart.run(stop.clone()));
        let mut next = async || {
            let raw = heard.next().await.unwrap().payload;
            Event::parse(&raw).unwrap().remove(0)
        };
        let online = next().await;
        assert_eq!(online.kind, "worker-online");
        let names: Vec<&str> = online.fields.keys().map(String::as_str).collect();
        let expected = [
            "hostname",
            "utcoffset",
            "pid",
            "clock",
            "freq",
            "active",
            "processed",
            "loadavg",
            "sw_ident",
            "sw_ver",
            "sw_sys",
            "timestamp",
            "type",
        ];
        assert_eq!(names, expected);
        assert_eq!(online.fields["active"], 2.into());
        assert_eq!(next().await.kind, "worker-heartbeat");
        emitter.forced_heartbeat().await.unwrap();
        assert_eq!(next().await.fields["freq"], 5.into());
        stop.cancel();
        running.await.unwrap();
        assert_eq!(next().await.kind, "worker-offline");
    }
}
