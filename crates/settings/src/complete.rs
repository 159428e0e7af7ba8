//! What other settings add to a URL: encryption, and whom to ask for the master.

use crate::{
    RedisAddress, RedisTls, RedisUrl, SentinelOptions, lookup::Lookup, variable::Variable,
};

/// The settings beside a URL, to name in faults.
pub(crate) struct Origin {
    /// The transport options.
    pub(crate) options: &'static Variable,
    /// The encryption.
    pub(crate) use_ssl: &'static Variable,
}

/// Adds to a URL what the settings beside it say. Where both say something the URL wins.
pub(crate) fn with_options(
    url: &mut RedisUrl,
    sentinel: &SentinelOptions,
    use_ssl: Option<&RedisTls>,
    lookup: &mut Lookup,
    origin: &Origin,
) {
    if let RedisAddress::Sentinel(sentinels) = &mut url.address {
        sentinels.options = sentinel.clone();
        if sentinel.master_name.is_empty() {
            lookup.push_fault(
                origin.options.name,
                "{}".to_owned(),
                "has no master_name, by which sentinels are asked",
                r#"{"master_name": ".."}"#,
            );
        }
    }
    let Some(use_ssl) = use_ssl else { return };
    if matches!(url.address, RedisAddress::Unix(_)) {
        lookup.push_fault(
            origin.use_ssl.name,
            url.to_string(),
            "encrypts a socket of this machine, which Redis cannot do",
            "a URL with a host, or no such setting",
        );
        return;
    }
    let tls = url.tls.get_or_insert_default();
    tls.fill_from(use_ssl);
    if tls.keyfile.is_some() && tls.certfile.is_none() {
        lookup.push_fault(
            origin.use_ssl.name,
            url.to_string(),
            "has an ssl_keyfile without an ssl_certfile",
            "both, or neither",
        );
    }
}
