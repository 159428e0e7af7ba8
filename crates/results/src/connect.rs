//! Which store the settings ask for.

use std::sync::Arc;

use lovage_broker::MemoryBroker;
use lovage_settings::{BrokerUrl, ResultSettings, ResultUrl};

use crate::{DisabledStore, Error, MemoryStore, RedisStore, ResultStore};

/// Opens the result store of the settings; without a URL of its own it is where the broker is.
///
/// `memory` is the broker of this process when it is a memory broker: results in memory live beside it.
///
/// # Errors
/// [`Error::Unreachable`] when no server answers within seconds, [`Error::Settings`] when results are to be kept in memory
/// but the broker is not there.
pub async fn connect(
    settings: &ResultSettings,
    broker_url: &BrokerUrl,
    memory: Option<&MemoryBroker>,
) -> Result<Arc<dyn ResultStore>, Error> {
    match settings.place(broker_url) {
        ResultUrl::Redis(urls) => Ok(Arc::new(RedisStore::connect(settings, &urls).await?)),
        ResultUrl::Memory => match memory {
            Some(broker) => Ok(Arc::new(MemoryStore::new(settings, broker)?)),
            None => Err(Error::Settings(
                "results can be kept in memory only beside a memory:// broker".to_owned(),
            )),
        },
        ResultUrl::Database(url) => database::connect(settings, &url).await,
        ResultUrl::Disabled => Ok(Arc::new(DisabledStore)),
    }
}

/// As [`connect`], but a Redis or a database is connected to at the first use. For a process that may never store anything.
///
/// # Errors
/// [`Error::Settings`] when results are to be kept in memory: no other process sees them.
pub fn connect_lazily(
    settings: &ResultSettings,
    broker_url: &BrokerUrl,
) -> Result<Arc<dyn ResultStore>, Error> {
    match settings.place(broker_url) {
        ResultUrl::Redis(urls) => Ok(Arc::new(RedisStore::lazy(settings, &urls)?)),
        ResultUrl::Memory => Err(Error::Settings(
            "results in memory are seen by no other process".to_owned(),
        )),
        ResultUrl::Database(url) => database::lazily(settings, &url),
        ResultUrl::Disabled => Ok(Arc::new(DisabledStore)),
    }
}

#[cfg(feature = "database")]
mod database {
    use std::sync::Arc;

    use lovage_settings::{ResultDatabase, ResultSettings};

    use crate::{DatabaseStore, Error, ResultStore};

    pub(super) async fn connect(
        settings: &ResultSettings,
        url: &ResultDatabase,
    ) -> Result<Arc<dyn ResultStore>, Error> {
        Ok(Arc::new(DatabaseStore::connect(settings, url).await?))
    }

    pub(super) fn lazily(
        settings: &ResultSettings,
        url: &ResultDatabase,
    ) -> Result<Arc<dyn ResultStore>, Error> {
        Ok(Arc::new(DatabaseStore::lazy(settings, url)?))
    }
}

/// What a build answers that has no databases.
#[cfg(not(feature = "database"))]
mod database {
    use std::sync::Arc;

    use lovage_settings::{ResultDatabase, ResultSettings};

    use crate::{Error, ResultStore};

    #[expect(clippy::unused_async, reason = "it stands in for one that waits")]
    pub(super) async fn connect(
        settings: &ResultSettings,
        url: &ResultDatabase,
    ) -> Result<Arc<dyn ResultStore>, Error> {
        lazily(settings, url)
    }

    pub(super) fn lazily(
        _: &ResultSettings,
        url: &ResultDatabase,
    ) -> Result<Arc<dyn ResultStore>, Error> {
        Err(Error::Settings(format!(
            "this program was built without databases of results and cannot keep them in {url}: \
             it needs the feature `database` of lovage-results"
        )))
    }
}
