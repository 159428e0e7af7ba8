//! Writes rows: what comes while one statement is on its way goes into the next, so that a hundred tasks that end together
//! cost one commit, and a lone one waits for nobody.

use std::collections::{HashMap, hash_map::Entry};

use lovage_protocol::State;
use tokio::sync::{mpsc, oneshot};

use super::{fault::Fault, opened::Opened, row::TaskRow};
use crate::Error;

/// Rows of one statement: far below the number of values that either database takes.
const BATCH: usize = 256;

type Asked = (Vec<TaskRow>, oneshot::Sender<Result<(), Error>>);

/// Writes rows of one database. Its work ends when it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    line: mpsc::UnboundedSender<Asked>,
    fault: Fault,
}

impl Writer {
    pub(super) fn start(opened: Opened, fault: Fault) -> Self {
        let (line, mut asked) = mpsc::unbounded_channel::<Asked>();
        let own = fault.clone();
        tokio::spawn(async move {
            let mut gathered = Vec::with_capacity(BATCH);
            while asked.recv_many(&mut gathered, BATCH).await > 0 {
                write_together(&opened, &own, std::mem::take(&mut gathered)).await;
            }
        });
        Self { line, fault }
    }

    /// Returns when the rows are committed.
    pub(super) async fn write(&self, rows: Vec<TaskRow>) -> Result<(), Error> {
        let (asker, answer) = oneshot::channel();
        let closed = || {
            let text = "the process ends".to_owned();
            self.fault.told(sea_orm::DbErr::Custom(text))
        };
        self.line.send((rows, asker)).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Stores what several have asked for. When it is refused, each is tried by itself: one bad row does not hold up the others.
async fn write_together(opened: &Opened, fault: &Fault, asked: Vec<Asked>) {
    let all = asked.iter().flat_map(|(rows, _)| rows.iter().cloned());
    let together = store(opened, fault, all.collect()).await;
    let alone = asked.len() > 1 && together.as_ref().is_err_and(|error| !error.is_transient());
    match together {
        Err(error) if !alone => {
            // Each hears it; those after the first in the words of the first.
            let text = with_causes(&error);
            let transient = error.is_transient();
            let mut error = Some(error);
            for (_, asker) in asked {
                let told = error
                    .take()
                    .unwrap_or_else(|| fault.repeated(&text, transient));
                let _ = asker.send(Err(told));
            }
        }
        Err(_) => {
            for (rows, asker) in asked {
                let _ = asker.send(store(opened, fault, rows).await);
            }
        }
        Ok(()) => {
            for (_, asker) in asked {
                let _ = asker.send(Ok(()));
            }
        }
    }
}

async fn store(opened: &Opened, fault: &Fault, rows: Vec<TaskRow>) -> Result<(), Error> {
    for chunk in last_of_each(rows).chunks(BATCH) {
        let statement = opened.tables.store_tasks(chunk);
        fault.of(opened.run(statement)).await?;
    }
    Ok(())
}

/// One row for each task, as one statement can store: the last one, unless a SUCCESS came before it.
fn last_of_each(rows: Vec<TaskRow>) -> Vec<TaskRow> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(rows.len());
    let mut kept: Vec<TaskRow> = Vec::with_capacity(rows.len());
    for row in rows {
        match places.entry(row.task_id.clone()) {
            Entry::Vacant(free) => {
                free.insert(kept.len());
                kept.push(row);
            }
            Entry::Occupied(taken) => {
                let before = &mut kept[*taken.get()];
                if before.status != State::Success.as_str() {
                    *before = row;
                }
            }
        }
    }
    kept
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}
