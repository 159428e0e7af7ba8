//! Where messages come from.

use std::time::Duration;

use crate::{
    BrokerUrl, CertReqs, RedisTls, RedisUrl, TransportOptions,
    complete::{self, Origin},
    lookup::Lookup,
    parse, redis_tls, transport_options,
    variable::{
        BROKER_CONNECTION_TIMEOUT, BROKER_TRANSPORT_OPTIONS, BROKER_URL, BROKER_USE_SSL, REDIS_URL,
        Variable,
    },
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

/// Where the parts of a broker's address are set.
static BROKER: Origin = Origin {
    options: &BROKER_TRANSPORT_OPTIONS,
    use_ssl: &BROKER_USE_SSL,
};

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
        let use_ssl = redis_tls::read_use_ssl(lookup, &BROKER_USE_SSL);
        if let Some(BrokerUrl::Redis(urls)) = &mut settings.url {
            for url in urls {
                complete::with_options(
                    url,
                    &settings.options.sentinel,
                    use_ssl.as_ref(),
                    lookup,
                    &BROKER,
                );
                unverified_by_default(url, lookup, variable);
            }
        }
        lookup.set(
            &BROKER_CONNECTION_TIMEOUT,
            &mut settings.connect_timeout,
            parse::positive_seconds,
        );
        settings
    }
}

/// kombu (kombu/connection.py): a `rediss://` broker of which nothing more is said is encrypted and not verified.
fn unverified_by_default(url: &mut RedisUrl, lookup: &mut Lookup, variable: &'static Variable) {
    let Some(tls) = url.tls.as_mut().filter(|tls| **tls == RedisTls::default()) else {
        return;
    };
    tls.cert_reqs = Some(CertReqs::None);
    let message = "is encrypted but the server's certificate is not verified, as with Celery; add \
                   ?ssl_cert_reqs=required";
    lookup.warn(variable, message.to_owned());
}
