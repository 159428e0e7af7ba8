//! What the routes share.

use std::{fmt, sync::Arc, time::Duration};

use lovage_beat::store::Store;
use lovage_broker::Broker;
use lovage_client::Client;
use lovage_database::Database;
use lovage_flower_compat::Control;
use lovage_registry::TaskSpec;
use lovage_settings::Settings;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::Audit,
    auth::{Accounts, Post, Secrets},
    fleet::Fleet,
    heads::Heads,
    idempotency::Idempotency,
    live::Live,
    metrics::Metrics,
    operating::Operations,
    scheduling::Schedules,
    sending::{
        registered::{BadSchema, Registered},
        sender::Sender,
    },
};

/// What an API needs.
#[derive(Debug)]
pub struct AppParts {
    /// Sends tasks, and reads results.
    pub client: Client,
    /// The tasks compiled into this program.
    pub specs: Vec<TaskSpec>,
    /// Users, keys and history.
    pub database: Database,
    /// Where schedules are kept.
    pub schedules: Arc<dyn Store>,
    /// What signs tokens and keys.
    pub secrets: Secrets,
    /// All settings.
    pub settings: Arc<Settings>,
}

/// What the routes share. One for a process.
pub struct App {
    sender: Sender,
    registered: Arc<Registered>,
    fleet: Fleet,
    heads: Heads,
    live: Live,
    database: Database,
    accounts: Accounts,
    audit: Audit,
    idempotency: Idempotency,
    settings: Arc<Settings>,
    metrics: Metrics,
    operations: Operations,
    schedules: Schedules,
    stopping: CancellationToken,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When a task's parameters have a schema that is none.
    pub fn new(parts: AppParts) -> Result<Self, BadSchema> {
        let AppParts {
            client,
            specs,
            database,
            schedules,
            secrets,
            settings,
        } = parts;
        let schedules = Schedules::new(schedules, client.clone(), &specs, &settings);
        let registered = Arc::new(Registered::new(specs)?);
        let broker = Arc::clone(client.broker());
        Ok(Self {
            sender: Sender::new(client, Arc::clone(&registered)),
            registered,
            fleet: Fleet::new(Control::new(Arc::clone(&broker)), broker),
            heads: Heads::default(),
            live: Live::new(),
            accounts: Accounts::new(
                database.clone(),
                secrets.signing(&settings.http),
                Post::new(&settings),
            ),
            audit: Audit::new(database.clone()),
            idempotency: Idempotency::new(database.clone()),
            database,
            settings,
            metrics: Metrics::new(),
            operations: Operations::default(),
            schedules,
            stopping: CancellationToken::new(),
        })
    }

    /// Hears what happens to tasks, until the API is stopped.
    pub(crate) async fn listen(self: Arc<Self>) {
        let broker = Arc::clone(self.sender.client().broker());
        let stop = self.stopping.clone();
        self.live.listen(broker, self.fleet.control(), stop).await;
    }

    /// Writes down every `every`, and once more at the end, what is gathered in between: which API keys were used. Ends when
    /// `stop` is cancelled.
    pub async fn keep_notes(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => self.accounts.note_used_keys().await,
                () = stop.cancelled() => break,
            }
        }
        self.accounts.note_used_keys().await;
    }

    /// For how long a request waits that asks for so many seconds.
    pub(crate) fn patience(&self, seconds: f64) -> Duration {
        let asked = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        asked.min(self.settings.http.max_wait)
    }

    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    pub(crate) fn registered(&self) -> &Registered {
        &self.registered
    }

    pub(crate) fn broker(&self) -> &dyn Broker {
        &**self.sender.client().broker()
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What happens to tasks.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    pub(crate) fn heads(&self) -> &Heads {
        &self.heads
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    pub(crate) fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    pub(crate) fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Cancelled when the API is to stop: what waits for a result stops waiting, streams end.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }
}
