//! The whole: registration, and every duty of a keeper.

use std::{fmt, sync::Arc, time::Duration};

use lovage_broker::{Broker, Budget};
use lovage_client::Composer;
use lovage_database::Database;
use lovage_settings::{HistorySettings, MailSettings, RetentionSettings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    dead_letters,
    digest::Digest,
    duty::{Duty, LENGTH},
    hearing::Hearing,
    journal::JournalReader,
    outbox,
    pruning::Pruning,
};

/// How often workers are told that somebody keeps the journal.
const REGISTER: Duration = Duration::from_secs(5);
/// How often is looked whether the database is ready, and how often that it is not is said.
const LOOK: Duration = Duration::from_secs(1);
const SAY: u32 = 10;

/// What a keeper is made of.
#[derive(Clone)]
pub struct Keeper {
    /// Where the journal and events are.
    pub broker: Arc<dyn Broker>,
    /// Where rows go.
    pub database: Database,
    /// What is kept, and how much of it waits.
    pub history: HistorySettings,
    /// How long rows are kept.
    pub retention: RetentionSettings,
    /// Who is told of tasks that failed for good, and how often.
    pub mail: MailSettings,
    /// Makes messages of the outbox's rows.
    pub composer: Composer,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("history", &self.history)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

impl Keeper {
    /// Keeps the database until told to stop. Waits for a database whose tables are not this version's yet, and for a broker that
    /// is away; calls `ready` once it has seen both, and workers will tell. Any number of keepers may run: each duty is done by one.
    pub async fn run(self, stop: CancellationToken, ready: impl FnOnce()) {
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let mut tasks = JoinSet::new();
        // Before the database is there: what workers do meanwhile waits in the journal.
        let registered = CancellationToken::new();
        tasks.spawn(register(
            Arc::clone(&self.broker),
            self.budget(),
            registered.clone(),
            stop.clone(),
        ));
        let known = stop.run_until_cancelled(registered.cancelled());
        if self.wait_for_the_database(&stop).await && known.await.is_some() {
            ready();
            self.begin(&holder, &stop, &mut tasks);
        }
        while tasks.join_next().await.is_some() {}
    }

    fn budget(&self) -> Budget {
        Budget {
            bytes: u64::try_from(self.history.journal_bytes).unwrap_or(u64::MAX),
            life: self.history.journal_life,
        }
    }

    fn begin(self, holder: &str, stop: &CancellationToken, tasks: &mut JoinSet<()>) {
        let duty = |name| Duty {
            name,
            database: self.database.clone(),
            holder: holder.to_owned(),
            length: LENGTH,
        };
        let redact = Arc::new(self.history.redact.clone());
        let reader = JournalReader {
            broker: Arc::clone(&self.broker),
            database: self.database.clone(),
            redact: Arc::clone(&redact),
            cap: self.budget().bytes,
        };
        tasks.spawn(duty("keeper:journal").hold(reader, stop.clone()));
        let hearing = Hearing {
            broker: Arc::clone(&self.broker),
            database: self.database.clone(),
            redact,
        };
        tasks.spawn(duty("keeper:events").hold(hearing, stop.clone()));
        let pruning = Pruning {
            database: self.database.clone(),
            retention: self.retention,
        };
        tasks.spawn(duty("keeper:pruning").hold(pruning, stop.clone()));
        if !self.mail.operators.is_empty() {
            let digest = Digest {
                database: self.database.clone(),
                mail: self.mail,
            };
            tasks.spawn(duty("keeper:digest").hold(digest, stop.clone()));
        }
        let letters = dead_letters::Parts::new(
            self.database.clone(),
            Arc::clone(&self.broker),
            holder.to_owned(),
        );
        tasks.spawn(dead_letters::run(letters, stop.clone()));
        let outbox =
            outbox::Parts::new(self.database, self.broker, self.composer, holder.to_owned());
        tasks.spawn(outbox::run(outbox, stop.clone()));
    }

    /// False: it was told to stop first.
    async fn wait_for_the_database(&self, stop: &CancellationToken) -> bool {
        let mut looks = 0_u32;
        while !stop.is_cancelled() {
            let why = match self.database.schema().await {
                Ok(schema) if schema.is_usable() => return true,
                Ok(schema) => schema.to_string(),
                Err(error) => error.to_string(),
            };
            if looks.is_multiple_of(SAY) {
                warn!("not ready: {why}");
            }
            looks += 1;
            stop.run_until_cancelled(tokio::time::sleep(LOOK)).await;
        }
        false
    }
}

/// Says to workers, again and again, that somebody keeps the journal. It is left standing at the end: that is how history has
/// no gap when a keeper is started anew.
async fn register(
    broker: Arc<dyn Broker>,
    budget: Budget,
    registered: CancellationToken,
    stop: CancellationToken,
) {
    let mut epoch = None;
    while !stop.is_cancelled() {
        match broker.journal().keep(budget).await {
            Ok(now) => {
                registered.cancel();
                if epoch.as_ref() != Some(&now) {
                    info!(epoch = now, "the journal is kept");
                    epoch = Some(now);
                }
            }
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "workers could not be told that the journal is kept, they go on for a while"
            ),
        }
        stop.run_until_cancelled(tokio::time::sleep(REGISTER)).await;
    }
}
