//! Where messages come from.

use std::time::Duration;

use crate::{
    BrokerUrl, TransportOptions,
    lookup::Lookup,
    parse, transport_options,
    variable::{BROKER_CONNECTION_TIMEOUT, BROKER_TRANSPORT_OPTIONS, BROKER_URL, REDIS_URL},
};

/// The broker and how to speak to it.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerSettings {
    /// `CELERY_BROKER_URL`, else `REDIS_URL`. None: neither is set, and the command decides what that means.
    pub url: Option<BrokerUrl>,
    /// `CELERY_BROKER_TRANSPORT_OPTIONS`, a JSON object.
    pub options: TransportOptions,
    /// `CELERY_BROKER_CONNECTION_TIMEOUT`, seconds; default 4 s. `socket_connect_timeout` of the options comes first.
    pub connect_timeout: Duration,
    /// Whether a broker that may evict keys is only warned of. True unless `LOVAGE_ENV=production`.
    pub allow_eviction: bool,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            url: None,
            options: TransportOptions::default(),
            connect_timeout: Duration::from_secs(4),
            allow_eviction: true,
        }
    }
}

impl BrokerSettings {
    pub(crate) fn read(lookup: &mut Lookup, production: bool) -> Self {
        let mut settings = Self {
            allow_eviction: !production,
            ..Self::default()
        };
        // Other programs may have their own use for REDIS_URL, in forms unknown here.
        let variable = if lookup.is_set(&BROKER_URL) {
            &BROKER_URL
        } else {
            &REDIS_URL
        };
        settings.url = lookup.parsed(variable, BrokerUrl::of_setting);
        if let Some(options) = lookup.text(&BROKER_TRANSPORT_OPTIONS) {
            settings.options = transport_options::read(lookup, &options);
        }
        lookup.set(
            &BROKER_CONNECTION_TIMEOUT,
            &mut settings.connect_timeout,
            parse::positive_seconds,
        );
        settings
    }
}
