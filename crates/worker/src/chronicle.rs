//! What the journal is told of tasks, while somebody keeps a history (`lovage keeper`).
//!
//! A record is an event as `LOVAGE_EVENTS_FINAL_ONLY` would send it, without what all records of a worker share: who reads one
//! knows all there is to know of this attempt. How a message leaves this worker is told in the step by which it leaves
//! ([`lovage_broker::Finish::record`]), so that nothing that dies in between leaves one without the other. That a message waits
//! or runs here is told a moment later and by itself, and only of those that still do: what is over by then has told it all.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use lovage_broker::{Consumer, DeliveryTag, Finish, Recorder, Settle, Went};
use lovage_flower_compat::machine;
use lovage_protocol::{DecodeOptions, Message, TaskId, event::EventText};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    announce::{Report, Tiding, failed, identity},
    attempt::Shared,
    records,
};

/// How often is told what waits and runs here.
const ROUND: Duration = Duration::from_millis(250);
/// What has run for less has probably ended before anybody looks.
const SETTLED_IN: f64 = 0.1;

/// Writes records. Cloning shares it; every method costs next to nothing while no journal is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chronicle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Weak: the consumer keeps what writes obituaries, which keeps this.
    consumer: OnceLock<Weak<dyn Consumer>>,
    /// Records that go by themselves, with the next round.
    loose: Mutex<Vec<Bytes>>,
}

impl Chronicle {
    /// Gives it the consumer that knows whether a journal is kept. There is one.
    pub(crate) fn attach(&self, consumer: &Arc<dyn Consumer>) {
        let _ = self.0.consumer.set(Arc::downgrade(consumer));
    }

    fn consumer(&self) -> Option<Arc<dyn Consumer>> {
        let consumer = self.0.consumer.get()?.upgrade()?;
        consumer.journals().then_some(consumer)
    }

    /// Whether a journal is kept.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.consumer().is_some()
    }

    /// The record of how a message leaves this worker.
    pub(crate) fn end(&self, report: &Report, finish: &Finish) -> Option<Bytes> {
        if !self.is_on() {
            return None;
        }
        let kind = match (report.tidings.first(), &finish.settle) {
            (Some(tiding), _) => tiding.kind(),
            (None, None | Some(Settle::Ack)) if !finish.publishes.is_empty() => "task-replaced",
            (None, None | Some(Settle::Ack)) => "task-ignored",
            (None, _) => return None,
        };
        let queue = finish.delivery.queue.as_str();
        Some(record(kind, &report.message, Some(queue), |event| {
            if report.received > 0.0 {
                event.float("received", report.received);
            }
            if let Some(started) = report.started {
                event.float("started", started);
            }
            for tiding in &report.tidings {
                tiding.write(event);
            }
        }))
    }

    /// The record of a message that is put off to its time, or waits for it in a line.
    pub(crate) fn received(&self, message: &Message, queue: &str) -> Option<Bytes> {
        self.is_on()
            .then(|| record("task-received", message, Some(queue), |_| {}))
    }

    /// The record of a task that begins.
    pub(crate) fn started(&self, message: &Message, queue: &str) -> Option<Bytes> {
        self.is_on()
            .then(|| record("task-started", message, Some(queue), |_| {}))
    }

    /// The record of a task whose end was refused.
    pub(crate) fn refused(&self, message: &Message, queue: &str, detail: &str) -> Option<Bytes> {
        self.is_on().then(|| {
            let exception = records::operational_error(detail);
            let failed = failed(message.headers.task.as_str(), &exception, None);
            record(failed.kind(), message, Some(queue), |event| {
                failed.write(event)
            })
        })
    }

    /// A running task tells something of its own.
    pub(crate) fn told(
        &self,
        message: &Message,
        kind: &str,
        write: impl FnOnce(&mut EventText<'_>),
    ) {
        if self.is_on() {
            self.note(record(kind, message, None, write));
        }
    }

    /// Has a record go with the next round.
    pub(crate) fn note(&self, record: Bytes) {
        let mut loose = self.0.loose.lock().unwrap_or_else(PoisonError::into_inner);
        loose.push(record);
    }

    fn take(&self) -> Vec<Bytes> {
        let mut loose = self.0.loose.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut loose)
    }

    /// Tells what waits and runs here, until it is to stop.
    pub(crate) async fn run(self, shared: Arc<Shared>, stop: CancellationToken) {
        let mut told = HashSet::new();
        while stop
            .run_until_cancelled(tokio::time::sleep(ROUND))
            .await
            .is_some()
        {
            self.round(&shared, &mut told).await;
        }
        self.round(&shared, &mut told).await;
    }

    async fn round(&self, shared: &Shared, told: &mut HashSet<DeliveryTag>) {
        let Some(consumer) = self.consumer() else {
            told.clear();
            drop(self.take());
            return;
        };
        let mut records = self.take();
        let now = machine::now();
        let running = shared.running.all();
        let mut still = HashSet::with_capacity(told.len());
        for runs in &running {
            if now - runs.since < SETTLED_IN {
                continue;
            }
            still.insert(runs.tag);
            // One that was acked as it started was told of in that step.
            if !told.contains(&runs.tag) && !runs.acknowledged {
                let context = &runs.context;
                let queue = Some(context.queue().as_str());
                let since = runs.since;
                records.push(record_at(
                    "task-started",
                    since,
                    context.message(),
                    queue,
                    |_| {},
                ));
            }
        }
        *told = still;
        if records.is_empty() {
            return;
        }
        if let Err(error) = consumer.record(records).await {
            debug!(
                error = &error as &dyn std::error::Error,
                "what runs here was not told to the journal: how it ends will be"
            );
        }
    }
}

/// Makes the records of messages that their workers died with.
pub(crate) fn recorder(decode: DecodeOptions) -> Recorder {
    Arc::new(move |raw, went| {
        let message = Message::parse_with(raw, &decode).ok()?;
        Some(match went {
            Went::Back(deaths) => record("task-redelivered", &message, None, |event| {
                event.int("deaths", i64::from(deaths));
            }),
            Went::Under(deaths) => {
                let exception = records::worker_lost(deaths);
                let failed = failed(message.headers.task.as_str(), &exception, None);
                record(failed.kind(), &message, None, |event| {
                    event.int("deaths", i64::from(deaths));
                    failed.write(event);
                })
            }
        })
    })
}

fn record(
    kind: &str,
    message: &Message,
    queue: Option<&str>,
    write: impl FnOnce(&mut EventText<'_>),
) -> Bytes {
    record_at(kind, machine::now(), message, queue, write)
}

fn record_at(
    kind: &str,
    at: f64,
    message: &Message,
    queue: Option<&str>,
    write: impl FnOnce(&mut EventText<'_>),
) -> Bytes {
    let headers = &message.headers;
    let mut text = String::with_capacity(512);
    let mut event = EventText::plain(&mut text);
    identity(&mut event, message);
    event.int("retries", i64::from(headers.retries));
    // There are as many records as tasks: what there is nothing to say of is left out.
    for (name, said) in [
        ("root_id", headers.root_id.as_ref().map(TaskId::as_str)),
        ("parent_id", headers.parent_id.as_ref().map(TaskId::as_str)),
        ("group_id", headers.group.as_deref()),
        ("eta", headers.eta.as_deref()),
        ("expires", headers.expires.as_deref()),
        ("queue", queue),
    ] {
        if let Some(said) = said {
            event.text(name, said);
        }
    }
    write(&mut event);
    event.end(at, kind);
    text.into()
}

impl Tiding {
    /// Celery's event that tells it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "task-succeeded",
            Self::Failed { .. } => "task-failed",
            Self::Retried { .. } => "task-retried",
            Self::Revoked { .. } => "task-revoked",
            Self::Rejected { .. } => "task-rejected",
            Self::Cancelled => "task-cancelled",
        }
    }
}
