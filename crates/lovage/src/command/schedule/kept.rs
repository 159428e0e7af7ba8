//! Where schedules are kept: in the database, or at the broker (`LOVAGE_BEAT_STORE`).

use std::{sync::Arc, time::Duration};

use lovage_beat::{
    BrokerStore, DatabaseStore,
    store::{self, Store},
};
use lovage_broker::Broker;
use lovage_database::{Database, Error, Schema};
use lovage_settings::{BeatStore, DatabaseSettings, DatabaseUrl, Settings};
use tracing::{info, warn};

use crate::failure::Failure;

/// How often is looked whether the database is there, and whether its tables are.
const LOOK: Duration = Duration::from_secs(1);
/// Every so manyth look in vain is told.
const SAY: u32 = 10;

/// A place for schedules.
#[derive(Debug)]
pub(crate) enum Place {
    /// At the broker.
    Broker,
    /// In the database.
    Database(Database),
}

/// The store at a broker.
pub(crate) fn at_broker(broker: Arc<dyn Broker>) -> Arc<dyn Store> {
    Arc::new(BrokerStore::new(broker))
}

/// The store in a database. Who leads waits for it no longer than its lease.
pub(crate) fn in_database(settings: &Settings, database: Database) -> Arc<dyn Store> {
    Arc::new(DatabaseStore::new(database, settings.beat.lease))
}

/// The store for who has a database anyway, whether its tables are there yet or not.
pub(crate) fn beside(
    settings: &Settings,
    broker: &Arc<dyn Broker>,
    database: &Database,
) -> Arc<dyn Store> {
    let at_the_broker = match settings.beat.store {
        BeatStore::Broker => true,
        BeatStore::Database => false,
        _ => !is_set(settings),
    };
    match at_the_broker {
        true => at_broker(Arc::clone(broker)),
        false => in_database(settings, database.clone()),
    }
}

/// The place as the settings and the database have it.
pub(crate) async fn place(settings: &Settings) -> Result<Place, Failure> {
    match looked(settings).await? {
        Ok(place) => Ok(place),
        Err(schema) => Err(Failure::failed(schema.to_string())),
    }
}

/// The same for a beat: a database that is away or not ready is waited for.
pub(crate) async fn patiently(settings: &Settings) -> Place {
    let mut looks = 0_u32;
    loop {
        let why = match looked(settings).await {
            Ok(Ok(place)) => {
                let told = match &place {
                    Place::Broker => "at the broker".to_owned(),
                    Place::Database(_) => format!("in the database {}", settings.database.url),
                };
                info!("schedules are kept {told}");
                return place;
            }
            Ok(Err(schema)) => schema.to_string(),
            Err(error) => crate::failure::chain(&error),
        };
        if looks.is_multiple_of(SAY) {
            warn!("not ready: {why}");
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until schedules are to be kept in the database after all: it was migrated since a beat began at the broker.
pub(crate) async fn until_migrated(settings: &Settings) {
    if settings.beat.store != BeatStore::Auto || !is_set(settings) {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK * SAY).await;
        if let Ok(Ok(Place::Database(_))) = looked(settings).await {
            info!("the database has its tables now, schedules are kept there");
            return;
        }
    }
}

/// Reminds of schedules that were made by hand at the broker, where nobody looks any more.
pub(crate) async fn remind(broker: &Arc<dyn Broker>) {
    let Ok(left) = store::all(&*at_broker(Arc::clone(broker))).await else {
        return;
    };
    let left = left
        .iter()
        .filter(|one| !one.definition.source.is_declared())
        .count();
    if left > 0 {
        warn!(
            "{left} schedules are kept at the broker and do not run; to take them along: \
             LOVAGE_BEAT_STORE=broker lovage schedule export --format json > schedules.json, then lovage schedule import schedules.json"
        );
    }
}

/// Whether the settings name a database: the default is none for schedules, since other terminals may not stand in its folder.
fn is_set(settings: &Settings) -> bool {
    let url = &settings.database.url;
    !matches!(url, DatabaseUrl::Foreign { .. }) && *url != DatabaseSettings::default().url
}

/// The place; or why the database cannot be it yet.
async fn looked(settings: &Settings) -> Result<Result<Place, Schema>, Error> {
    let automatic = match settings.beat.store {
        BeatStore::Broker => return Ok(Ok(Place::Broker)),
        BeatStore::Database => false,
        _ if !is_set(settings) => return Ok(Ok(Place::Broker)),
        _ => true,
    };
    let database = Database::connect(&settings.database, "beat").await?;
    Ok(match database.schema().await? {
        schema if schema.is_usable() => Ok(Place::Database(database)),
        // A database of somebody else's, such as the application's own.
        Schema::Empty if automatic => Ok(Place::Broker),
        schema => Err(schema),
    })
}
