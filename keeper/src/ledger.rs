//! Writes what was learnt of tasks: their runs, and their trails.

use chrono::Utc;
use lovage_database::{
    Database,
    store::{
        task_event,
        task_run::{self, Change},
    },
};
use lovage_protocol::TaskId;

use crate::account::Account;

/// One thing learnt, and from where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Names it wherever it is heard, so that it is kept once.
    pub(crate) source: String,
    pub(crate) account: Account,
}

/// Writes a batch; what is there already stays. Writing a batch twice is harmless.
pub(crate) async fn write(
    database: &Database,
    entries: &[Entry],
) -> Result<(), lovage_database::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let events = entries
        .iter()
        .map(|Entry { source, account }| task_event::Event {
            at: account.at,
            source: source.clone(),
            task_id: TaskId::from(account.task_id.as_str()),
            kind: account.kind.clone(),
            worker: account.worker.clone(),
            body: account.body.clone(),
        });
    let events: Vec<task_event::Event> = events.collect();
    task_event::record(database, &events, Utc::now()).await?;
    let changes = entries.iter().filter_map(|entry| change(&entry.account));
    task_run::record(database, changes).await?;
    Ok(())
}

fn change(account: &Account) -> Option<Change> {
    let id = |id: &Option<String>| id.as_deref().map(TaskId::from);
    let task_id = TaskId::from(account.task_id.as_str());
    let mut change = Change::new(task_id, account.state.clone()?, account.at);
    change.retries = account.retries;
    change.name.clone_from(&account.name);
    change.queue.clone_from(&account.queue);
    change.routing_key.clone_from(&account.routing_key);
    change.worker.clone_from(&account.worker);
    change.client.clone_from(&account.client);
    change.args.clone_from(&account.args);
    change.kwargs.clone_from(&account.kwargs);
    change.result.clone_from(&account.result);
    change.exception.clone_from(&account.exception);
    change.traceback.clone_from(&account.traceback);
    change.root_id = id(&account.root_id);
    change.parent_id = id(&account.parent_id);
    change.group_id.clone_from(&account.group_id);
    change.eta = account.eta;
    change.expires = account.expires;
    change.sent_at = account.sent;
    change.received_at = account.received;
    change.started_at = account.started;
    change.finished_at = account.finished;
    change.runtime = account.runtime;
    Some(change)
}
