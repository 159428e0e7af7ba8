//! What a listener missed that this process has not heard: as keepers have recorded it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use lovage_database::{
    Database, Error,
    store::{
        lease,
        task_event::{self, Recorded},
    },
};
use serde_json::Value;

use crate::{
    app::App,
    live::{Happening, recorded_id},
};

/// Keepers have recorded what happened so long ago.
const SETTLED: Duration = Duration::from_secs(3);
/// Clocks of workers differ, so it is looked so much further back; some events may be told twice.
const SLACK: TimeDelta = TimeDelta::seconds(1);
/// So many events are told; whoever missed more has a gap.
const MOST: usize = 10_000;
/// The leases of the keepers' duties that record.
const KEEPERS: &str = "keeper:";

/// What was missed.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// In the order of time.
    pub(crate) happenings: Vec<Arc<Happening>>,
    /// Something is missing all the same.
    pub(crate) gap: bool,
}

/// What happened since then, from the database, and from what is kept here.
pub(crate) async fn read(app: &App, since: DateTime<Utc>, kept: Vec<Arc<Happening>>) -> Backlog {
    settle(app).await;
    match recorded(app.database(), since).await {
        Ok(backlog) => joined(backlog, since, kept),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what a listener missed cannot be looked up"
            );
            Backlog {
                gap: true,
                happenings: kept,
            }
        }
    }
}

/// Waits until what happened before this process heard anything has been recorded.
async fn settle(app: &App) {
    let heard = app.live().since().unwrap_or_else(Utc::now);
    let passed = (Utc::now() - heard).to_std().unwrap_or_default();
    tokio::select! {
        () = tokio::time::sleep(SETTLED.saturating_sub(passed)) => {}
        () = app.stopping().cancelled() => {}
    }
}

async fn recorded(database: &Database, since: DateTime<Utc>) -> Result<Backlog, Error> {
    let leases = lease::all(database).await?;
    let is_kept = leases
        .iter()
        .any(|lease| lease.live && lease.name.starts_with(KEEPERS));
    let most = u64::try_from(MOST).unwrap_or(u64::MAX);
    let from = since.checked_sub_signed(SLACK).unwrap_or(since);
    let mut found = task_event::since(database.reader(), from, most + 1).await?;
    let gap = !is_kept || found.len() > MOST;
    found.truncate(MOST);
    let happenings = found.into_iter().filter_map(happening).map(Arc::new);
    Ok(Backlog {
        happenings: happenings.collect(),
        gap,
    })
}

fn happening(recorded: Recorded) -> Option<Happening> {
    let event = recorded.event;
    let fields: Value = serde_json::from_str(&event.body).unwrap_or_default();
    let text = |name: &str| fields[name].as_str().map(str::to_owned);
    Some(Happening {
        id: recorded_id(event.at),
        kind: event.kind.strip_prefix("task-")?.to_owned(),
        task_id: event.task_id.as_str().to_owned(),
        task: text("name"),
        root_id: text("root_id"),
        worker: event.worker.unwrap_or_default(),
        at: event.at,
        fields,
    })
}

/// What was recorded, and behind it what was heard here and was not.
fn joined(mut backlog: Backlog, since: DateTime<Utc>, kept: Vec<Arc<Happening>>) -> Backlog {
    let mut told: HashMap<(String, String), DateTime<Utc>> = HashMap::new();
    for one in &backlog.happenings {
        told.insert((one.task_id.clone(), one.kind.clone()), one.at);
    }
    backlog.happenings.extend(kept.into_iter().filter(|one| {
        let key = (one.task_id.clone(), one.kind.clone());
        let is_told = told.get(&key).is_some_and(|at| one.at <= *at + SLACK);
        one.at >= since && !is_told
    }));
    backlog
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn one(task_id: &str, kind: &str, seconds: i64) -> Arc<Happening> {
        Arc::new(Happening {
            id: recorded_id(at(seconds)),
            kind: kind.to_owned(),
            task_id: task_id.to_owned(),
            task: None,
            root_id: None,
            worker: "w@h".to_owned(),
            at: at(seconds),
            fields: Value::Null,
        })
    }

    #[test]
    fn what_was_recorded_and_heard_is_told_once() {
        let backlog = Backlog {
            happenings: vec![one("1", "succeeded", 10), one("2", "retried", 11)],
            gap: false,
        };
        let kept = vec![
            one("0", "succeeded", 5),
            one("1", "succeeded", 10),
            one("2", "retried", 20),
            one("3", "started", 21),
        ];
        let joined = joined(backlog, at(9), kept).happenings;
        let told: Vec<_> = joined
            .iter()
            .map(|one| (one.task_id.as_str(), one.at))
            .collect();
        assert_eq!(
            told,
            [("1", at(10)), ("2", at(11)), ("2", at(20)), ("3", at(21))]
        );
    }
}
