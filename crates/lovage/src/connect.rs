//! From settings to a broker, a result store and a client.

use std::{sync::Arc, time::Duration};

use lovage_broker::{Broker, MemoryBroker, RedisBroker};
use lovage_client::{Client, ClientOptions};
use lovage_registry::TaskSpec;
use lovage_results::ResultStore;
use lovage_settings::{BrokerUrl, Settings};
use lovage_worker::{Catalogue, Module};
use tracing::{error, warn};

use crate::failure::{Failure, chain};

/// The longest wait between two attempts of a worker; Celery's is about the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

const NO_BROKER: &str = "no broker is set; set CELERY_BROKER_URL, such as redis://localhost:6379/0, \
                         or run `lovage up`, which starts a Redis of its own";

/// What most commands need.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) results: Arc<dyn ResultStore>,
    pub(crate) client: Client,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The broker is away or refuses.
    #[error(transparent)]
    Broker(#[from] lovage_broker::Error),
    /// The result store is away or refuses.
    #[error(transparent)]
    Results(#[from] lovage_results::Error),
    /// The settings do not allow it.
    #[error("{0}")]
    Settings(String),
    /// The modules do not go together.
    #[error(transparent)]
    Modules(#[from] lovage_worker::BuildError),
}

/// Opens a client for a program of one's own, from the same settings as the worker's. What the tasks of `modules` say of
/// themselves (queue, priority, expiry) holds for what it sends.
///
/// # Errors
/// When broker or result store do not answer within seconds, or no broker is set.
pub async fn connect(settings: &Settings, modules: &[Module]) -> Result<Client, ConnectError> {
    let url = settings.broker.url.as_ref();
    let url = url.ok_or_else(|| ConnectError::Settings(NO_BROKER.to_owned()))?;
    let tasks = Catalogue::specs(modules)?;
    Ok(open(settings, url, &tasks).await?.client)
}

impl From<ConnectError> for Failure {
    fn from(refusal: ConnectError) -> Self {
        match refusal {
            // Nothing was asked yet: what is refused is the password, or the number of the database.
            ConnectError::Broker(error @ lovage_broker::Error::Refused { .. }) => {
                Self::settings(chain(&error))
            }
            ConnectError::Broker(error) => error.into(),
            ConnectError::Results(error) => error.into(),
            ConnectError::Settings(text) => Self::settings(text),
            ConnectError::Modules(error) => error.into(),
        }
    }
}

impl ConnectError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_transient(),
            Self::Results(error) => error.is_transient(),
            Self::Settings(_) | Self::Modules(_) => false,
        }
    }
}

/// The broker's URL, which every command but the local ones needs.
pub(crate) fn broker_url(settings: &Settings) -> Result<&BrokerUrl, Failure> {
    settings
        .broker
        .url
        .as_ref()
        .ok_or_else(|| Failure::settings(NO_BROKER))
}

/// As [`broker_url`], for a command that talks to other processes: memory is not shared with them.
fn shared_broker_url(settings: &Settings) -> Result<&BrokerUrl, Failure> {
    match broker_url(settings)? {
        BrokerUrl::Memory => Err(Failure::settings(
            "CELERY_BROKER_URL is memory://, which no other process can reach; set one that is shared",
        )),
        url => Ok(url),
    }
}

/// Broker, results and client, for a command that runs once.
pub(crate) async fn once(settings: &Settings, tasks: &[TaskSpec]) -> Result<Connected, Failure> {
    let url = shared_broker_url(settings)?;
    Ok(open(settings, url, tasks).await?)
}

/// As [`once`], with the Redis itself for a look behind what tasks need. One that may evict keys is not refused.
pub(crate) async fn examined(settings: &Settings) -> Result<(Connected, RedisBroker), Failure> {
    let url = shared_broker_url(settings)?;
    let redis = RedisBroker::connect(&settings.broker)
        .await
        .map_err(ConnectError::from)?;
    let results = lovage_results::connect(&settings.results, url, None).await?;
    let broker: Arc<dyn Broker> = Arc::new(redis.clone());
    let client = client(settings, &[], Arc::clone(&broker), Arc::clone(&results))?;
    let connected = Connected {
        broker,
        results,
        client,
    };
    Ok((connected, redis))
}

/// The broker alone, for a command that runs once.
pub(crate) async fn broker(settings: &Settings) -> Result<Arc<dyn Broker>, Failure> {
    shared_broker_url(settings)?;
    let broker = RedisBroker::connect(&settings.broker).await;
    Ok(Arc::new(broker.map_err(ConnectError::from)?))
}

/// The broker alone, connected at its first use, for a role that waits for a broker that is away.
pub(crate) fn broker_lazily(settings: &Settings) -> Result<Arc<dyn Broker>, Failure> {
    shared_broker_url(settings)?;
    let broker = RedisBroker::lazy(&settings.broker);
    Ok(Arc::new(broker.map_err(ConnectError::from)?))
}

/// The result store alone, for a command that runs once.
pub(crate) async fn results(settings: &Settings) -> Result<Arc<dyn ResultStore>, Failure> {
    let url = match (&settings.results.url, &settings.broker.url) {
        // Results say where they are themselves; the broker is not asked.
        (Some(_), None) => &BrokerUrl::Memory,
        _ => shared_broker_url(settings)?,
    };
    Ok(lovage_results::connect(&settings.results, url, None).await?)
}

/// Client and results for a child process of the prefork pool: both connect at their first use, since most tasks send and
/// store nothing themselves.
pub(crate) fn lazily(
    settings: &Settings,
    modules: &[Module],
) -> Result<(Client, Arc<dyn ResultStore>), Failure> {
    let url = broker_url(settings)?;
    let tasks = Catalogue::specs(modules)?;
    let broker = RedisBroker::lazy(&settings.broker).map_err(ConnectError::Broker)?;
    let results =
        lovage_results::connect_lazily(&settings.results, url).map_err(ConnectError::Results)?;
    let client = client(settings, &tasks, Arc::new(broker), Arc::clone(&results));
    Ok((client?, results))
}

/// Broker, results and client for a worker: what is away is waited for, for ever, with a line for each attempt.
pub(crate) async fn patiently(
    settings: &Settings,
    tasks: &[TaskSpec],
) -> Result<Connected, Failure> {
    let url = broker_url(settings)?;
    let mut pause = Duration::from_secs(1);
    let mut attempt = 1_u32;
    loop {
        let refusal = match open(settings, url, tasks).await {
            Ok(connected) => return Ok(connected),
            Err(refusal) if refusal.is_transient() => refusal,
            Err(refusal) => return Err(refusal.into()),
        };
        let (why, seconds) = (chain(&refusal), pause.as_secs());
        error!(
            attempt,
            "{why}. Trying again in {seconds} s (attempt {attempt})"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        attempt = attempt.saturating_add(1);
    }
}

async fn open(
    settings: &Settings,
    url: &BrokerUrl,
    tasks: &[TaskSpec],
) -> Result<Connected, ConnectError> {
    let (broker, results): (Arc<dyn Broker>, _) = match url {
        BrokerUrl::Memory => {
            let memory = MemoryBroker::new();
            let results = lovage_results::connect(&settings.results, url, Some(&memory)).await?;
            (Arc::new(memory), results)
        }
        _ => {
            let redis = RedisBroker::connect(&settings.broker).await?;
            refuse_eviction(&redis, settings).await?;
            let results = lovage_results::connect(&settings.results, url, None).await?;
            (Arc::new(redis), results)
        }
    };
    let client = client(settings, tasks, Arc::clone(&broker), Arc::clone(&results))?;
    Ok(Connected {
        broker,
        results,
        client,
    })
}

fn client(
    settings: &Settings,
    tasks: &[TaskSpec],
    broker: Arc<dyn Broker>,
    results: Arc<dyn ResultStore>,
) -> Result<Client, ConnectError> {
    let mut options = ClientOptions::from(settings);
    options.own = Catalogue::own_options(tasks, settings)?;
    Ok(Client::new(broker, results, options))
}

/// A broker that evicts keys loses messages without a word.
async fn refuse_eviction(redis: &RedisBroker, settings: &Settings) -> Result<(), ConnectError> {
    let policy = redis.eviction_policy().await?;
    let Some(policy) = policy.filter(|policy| policy != "noeviction") else {
        return Ok(());
    };
    let text = format!(
        "the broker's maxmemory-policy is {policy}: when its memory is full it deletes messages without a word; \
         set it to noeviction (redis-cli CONFIG SET maxmemory-policy noeviction)"
    );
    if settings.broker.allow_eviction {
        warn!("{text}");
        return Ok(());
    }
    Err(ConnectError::Settings(format!(
        "{text}; LOVAGE_ENV=production refuses such a broker"
    )))
}
