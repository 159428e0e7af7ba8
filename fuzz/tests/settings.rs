//! The environment and the broker's own records: whoever can set a variable or write a key is not always careful.

use bolero::check;
use bytes::Bytes;
use lovage_broker::hostile;
use lovage_fuzz::{captures, edited};
use lovage_settings::{BrokerUrl, ResultUrl, Settings};

fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn urls() {
    let seeds = texts(&[
        "redis://:pass%20word@cache:6379/1?virtual_host=2",
        "redis+socket:///run/r.sock?virtual_host=3&password=x",
        "redis://[::1]:6379/0;redis://other",
        "rediss://u:p@h/0?ssl_cert_reqs=none",
        "sentinel://:pw@one:26379/0;sentinel://two:26379",
        "memory://",
        "db+postgresql+psycopg2://u:p%40w@h:5432/d?sslmode=require&host=/run",
        "db+sqlite:////var/r.db?timeout=5",
    ]);
    check!().with_max_len(62).for_each(|entropy: &[u8]| {
        let input = edited(&seeds, entropy);
        let text = String::from_utf8_lossy(&input);
        if let Ok(url) = BrokerUrl::parse(&text) {
            let _ = url.to_string();
        }
        if let Ok(url) = ResultUrl::parse(&text) {
            let _ = url.to_string();
            if let ResultUrl::Database(database) = &url {
                let again = ResultUrl::parse(&database.exposed());
                assert_eq!(again.as_ref(), Ok(&url), "{text}");
            }
        }
    });
}

/// Each of these is read by a parser of its own.
const VARIABLES: [(&str, &str); 17] = [
    ("CELERY_TASK_DEFAULT_RATE_LIMIT", "100/m"),
    (
        "CELERY_BROKER_USE_SSL",
        r#"{"ssl_cert_reqs": "required", "ssl_ca_certs": "/a.pem", "ssl_certfile": "/c.pem", "ssl_keyfile": "/k.pem"}"#,
    ),
    (
        "CELERY_REDIS_BACKEND_USE_SSL",
        r#"{"ssl_cert_reqs": "none"}"#,
    ),
    (
        "CELERY_TASK_ROUTES",
        r#"{"a.*": {"queue": "q", "priority": 3}, "re:b(c|d)": "r", "x": {"routing_key": "k"}}"#,
    ),
    (
        "CELERY_TASK_ANNOTATIONS",
        r#"{"*": {"rate_limit": "10/m", "time_limit": 1.5}, "a": {"max_retries": null}}"#,
    ),
    (
        "CELERY_BROKER_TRANSPORT_OPTIONS",
        r#"{"visibility_timeout": 3600, "priority_steps": [0, 3], "sep": ":", "master_name": "m", "sentinel_kwargs": {"password": "p"}}"#,
    ),
    (
        "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
        r#"{"global_keyprefix": "p_"}"#,
    ),
    (
        "CELERY_TASK_QUEUES",
        r#"["a", {"name": "b", "exchange": "e", "routing_key": "r"}]"#,
    ),
    (
        "CELERY_ACCEPT_CONTENT",
        r#"["json", 'yaml', application/x-msgpack]"#,
    ),
    (
        "CELERY_DATABASE_TABLE_NAMES",
        r#"{"task": "t", "group": "g"}"#,
    ),
    (
        "CELERY_DATABASE_ENGINE_OPTIONS",
        r#"{"pool_size": 5, "max_overflow": 3, "pool_recycle": -1}"#,
    ),
    ("MAIL_DEFAULT_SENDER", "A Name <name@host>"),
    ("LOVAGE_MAIL_OPERATORS", "a@b, C <c@d>"),
    ("LOVAGE_LEASE", "1m30s"),
    ("LOVAGE_MAX_MESSAGE_BYTES", "64MiB"),
    ("CELERY_RESULT_EXPIRES", "86400.5"),
    ("LOVAGE_LOG", "info,lovage_worker=debug"),
];

#[test]
fn variables() {
    check!().with_max_len(62).for_each(|entropy: &[u8]| {
        let Some((which, entropy)) = entropy.split_first() else {
            return;
        };
        let (name, seed) = VARIABLES[usize::from(*which) % VARIABLES.len()];
        let input = edited(&[seed.as_bytes().to_vec()], entropy);
        let value = String::from_utf8_lossy(&input).into_owned();
        match Settings::from_lookup([(name.to_owned(), value)]) {
            Ok((settings, _)) => {
                let _ = settings.tasks.annotations.of("a");
            }
            Err(faults) => assert!(faults.to_string().contains(name)),
        }
    });
}

#[test]
fn entries_of_held_messages() {
    let mut seeds = texts(&[
        r#"[{"body": "W10="}, "", "celery"]"#,
        r#"[{"a": "\", \"b\", \"c"}, "ex", "key\", \""]"#,
        "routing.key\x06\x16\x06\x16queue",
        r#"stamp:["customer", {"id": [1, null]}]"#,
        "id:5f3c",
        r#"{"members": [["_kombu.binding.b", "k\u0006\u0016\u0006\u0016q"]], "lists": ["q"]}"#,
        "17|0,3|5",
    ]);
    seeds.extend(captures());
    check!().with_max_len(62).for_each(|entropy: &[u8]| {
        hostile::take_apart(&Bytes::from(edited(&seeds, entropy)));
    });
}

#[test]
fn frames_of_child_processes() {
    let seeds = lovage_worker::hostile::frames();
    check!().with_max_len(62).for_each(|entropy: &[u8]| {
        lovage_worker::hostile::read_frames(&edited(&seeds, entropy));
    });
}

#[test]
fn limits_in_attributes() {
    let seeds = texts(&["5 per account", "100/m", "2/s per queue", "1/h"]);
    check!().with_max_len(62).for_each(|entropy: &[u8]| {
        let input = edited(&seeds, entropy);
        let text = String::from_utf8_lossy(&input);
        if let Ok(limit) = lovage_registry::Limit::parse(&text) {
            let again = lovage_registry::Limit::parse(&limit.to_string());
            assert_eq!(again.ok(), Some(limit));
        }
        let _ = lovage_registry::RateLimit::parse(&text);
    });
}
