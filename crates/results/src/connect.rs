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
        ResultUrl::Disabled => Ok(Arc::new(DisabledStore)),
    }
}

/// As [`connect`], but a Redis is connected to at the first use. For a process that may never store anything.
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
        ResultUrl::Disabled => Ok(Arc::new(DisabledStore)),
    }
}
