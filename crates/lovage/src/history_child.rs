//! The keeper that `lovage up` runs in its own process, beside the worker.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use lovage_broker::Broker;
use lovage_database::Database;
use lovage_keeper::replay;
use lovage_protocol::control::{self, Received};
use lovage_settings::Settings;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{command::keeper, connect, failure::Failure};

/// So many events a Flower that was started gets back.
const REPLAYED: u64 = 10_000;
/// A Flower asks before it listens: kombu subscribes as it first waits for something, and what is sent before that is lost.
const LISTENS_AFTER: Duration = Duration::from_secs(2);

/// A keeper beside the worker.
#[derive(Debug)]
pub(crate) struct HistoryChild {
    database: Database,
    broker: Arc<dyn Broker>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl HistoryChild {
    /// Makes the tables that are missing, and starts the keeper.
    pub(crate) async fn start(settings: &Settings) -> Result<Self, Failure> {
        let database = Database::connect(&settings.database, "up").await?;
        lovage_migrations::up(database.writer(), None).await?;
        let broker = connect::broker_lazily(settings)?;
        let stop = CancellationToken::new();
        let keeper = keeper::keeper(settings, Arc::clone(&broker), database.clone());
        let task = tokio::spawn(keeper.run(stop.clone(), || debug!("keeper ready")));
        Ok(Self {
            database,
            broker,
            stop,
            task,
        })
    }

    /// Gives the Flower that is about to be started its history, once it listens: it then asks all workers for a sign of life.
    /// To be called before it is started.
    pub(crate) async fn tell_flower(&self) {
        let mut requests = match self.broker.subscribe(control::EXCHANGE, "").await {
            Ok(requests) => requests,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "Flower does not get its history back"
                );
                return;
            }
        };
        let (database, broker) = (self.database.clone(), Arc::clone(&self.broker));
        let told = async move {
            while let Some(request) = requests.next().await {
                let method = Received::parse(&request.payload).map(|request| request.method);
                if method.is_ok_and(|method| method == "heartbeat") {
                    break;
                }
            }
            drop(requests);
            tokio::time::sleep(LISTENS_AFTER).await;
            match replay(&database, &broker, REPLAYED).await {
                Ok(told) => debug!(events = told, "Flower has its history back"),
                Err(error) => warn!(
                    error = &error as &dyn std::error::Error,
                    "Flower does not get its history back"
                ),
            }
        };
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(told).await });
    }

    /// Ends it, with what it has heard written.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // It fails only when the runtime is ending.
        let _ = self.task.await;
    }
}
