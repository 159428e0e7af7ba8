mod any_text;
mod files;

use std::{fs, path::Path, time::Duration};

use crate::{
    BrokerUrl, Environment, Fault, Faults, Pool, ResultUrl, Settings, Warning, documented,
    env_example, lookup::Lookup, reference,
};

fn read(pairs: &[(&str, &str)]) -> Result<(Settings, Vec<Warning>), Faults> {
    Settings::from_lookup(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

fn good(pairs: &[(&str, &str)]) -> Settings {
    let (settings, warnings) = read(pairs).unwrap();
    assert_eq!(warnings, []);
    settings
}

fn faults(pairs: &[(&str, &str)]) -> Vec<Fault> {
    read(pairs).unwrap_err().0
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    assert_eq!(good(&[]), Settings::default());
    let written = documented()
        .into_iter()
        .filter(|variable| !variable.default.is_empty())
        .map(|variable| (variable.name.to_owned(), variable.default.to_owned()));
    assert_eq!(
        Settings::from_lookup(written).unwrap().0,
        Settings::default()
    );
}

#[test]
fn an_empty_variable_is_unset() {
    assert_eq!(
        good(&[("CELERY_BROKER_URL", ""), ("LOVAGE_LEASE", "  ")]),
        Settings::default()
    );
}

#[test]
fn every_documented_variable_is_read_and_every_read_one_documented() {
    let read_with = |pairs: &[(&str, &str)]| {
        let variables = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut lookup = Lookup::new(variables.collect());
        Settings::read_all(&mut lookup);
        lookup.names_read().clone()
    };
    // REDIS_URL is read only where CELERY_BROKER_URL is not.
    let mut read = read_with(&[]);
    read.append(&mut read_with(&[("CELERY_BROKER_URL", "redis://h")]));
    // And this one where the backend is only named.
    read.append(&mut read_with(&[
        ("CELERY_RESULT_BACKEND", "database"),
        ("CELERY_DATABASE_URL", "sqlite:////x.db"),
    ]));
    let read: Vec<_> = read.into_iter().collect();
    let mut documented: Vec<_> = documented()
        .into_iter()
        .map(|variable| variable.name)
        .collect();
    documented.sort_unstable();
    assert_eq!(read, documented);
}

#[test]
fn the_committed_example_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    let committed = fs::read_to_string(path).unwrap();
    assert!(
        committed == env_example(),
        ".env.example is not what the code says; write it anew with `lovage config example > .env.example`"
    );
}

#[test]
fn the_committed_reference_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let committed = fs::read_to_string(path).unwrap();
    assert!(
        committed == reference(),
        "docs/settings.md is not what the code says; write it anew with `lovage config reference > docs/settings.md`"
    );
}

#[test]
fn the_reference_has_a_row_of_four_cells_for_each_variable() {
    let text = reference();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let names: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.split('`').nth(1))
        .collect();
    let documented: Vec<&str> = documented().iter().map(|variable| variable.name).collect();
    assert_eq!(names, documented);
    for row in rows {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 5, "{row}");
    }
}

#[test]
fn all_faults_come_in_one_list_in_the_order_of_the_example() {
    let faults = faults(&[
        ("LOVAGE_LEASE", "6"),
        ("CELERY_RESULT_BACKEND", "django-db"),
        ("CELERY_BROKER_URL", "amqp://:hunter2@h"),
        ("CELERY_WORKER_CONCURRENCY", "many"),
        ("CELERY_TASK_ACKS_LATE", "perhaps"),
        ("CELERY_TIMEZONE", "Europe/Lausanne"),
    ]);
    let told: Vec<_> = faults
        .iter()
        .map(|f| (f.variable.as_str(), f.value.as_str(), f.problem.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "CELERY_BROKER_URL",
                "amqp://********",
                "amqp:// is not supported in this version"
            ),
            (
                "CELERY_RESULT_BACKEND",
                "********",
                "django-db:// is not supported in this version"
            ),
            ("CELERY_TASK_ACKS_LATE", "perhaps", "is not a yes or no"),
            (
                "CELERY_WORKER_CONCURRENCY",
                "many",
                "is not a number of tasks"
            ),
            ("LOVAGE_LEASE", "6", "has no unit"),
            ("CELERY_TIMEZONE", "Europe/Lausanne", "is not a time zone"),
        ]
    );
    assert!(faults.iter().all(|fault| !fault.expected.is_empty()));
}

#[test]
fn no_message_shows_a_password() {
    let url = "redis://user:hunter2@cache/1";
    let (settings, _) =
        read(&[("CELERY_BROKER_URL", url), ("CELERY_RESULT_BACKEND", url)]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    for wrong in [
        "redis://:hunter2@h:port",
        "redis://:hunter2",
        "hunter2",
        "://hunter2",
        "redis:hunter2://x",
    ] {
        for name in ["CELERY_BROKER_URL", "REDIS_URL", "CELERY_RESULT_BACKEND"] {
            let faults = read(&[(name, wrong)]).unwrap_err();
            assert!(!faults.to_string().contains("hunter2"), "{faults}");
        }
    }
}

#[test]
fn redis_url_is_the_broker_when_nothing_else_is() {
    let broker = |pairs| good(pairs).broker.url.map(|url| url.to_string());
    assert_eq!(
        broker(&[("REDIS_URL", "redis://a")]).as_deref(),
        Some("redis://a:6379/0")
    );
    let both = [
        ("REDIS_URL", "redis://a"),
        ("CELERY_BROKER_URL", "redis://b"),
    ];
    assert_eq!(broker(&both).as_deref(), Some("redis://b:6379/0"));
    let others = [
        ("REDIS_URL", "amqp://elsewhere"),
        ("CELERY_BROKER_URL", "redis://b"),
    ];
    assert_eq!(broker(&others).as_deref(), Some("redis://b:6379/0"));
}

#[test]
fn results_go_where_the_broker_is_unless_told() {
    let broker = BrokerUrl::parse("redis://a/1").unwrap();
    assert_eq!(
        good(&[]).results.place(&broker).to_string(),
        "redis://a:6379/1"
    );
    assert_eq!(
        good(&[]).results.place(&BrokerUrl::Memory),
        ResultUrl::Memory
    );
    let elsewhere = good(&[("CELERY_RESULT_BACKEND", "disabled://")]);
    assert_eq!(elsewhere.results.place(&broker), ResultUrl::Disabled);
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    fs::write(&file, "redis://:pw@cache\r\n").unwrap();
    let path = file.to_str().unwrap();
    let url = good(&[("CELERY_BROKER_URL_FILE", path)]).broker.url;
    assert_eq!(url, Some(BrokerUrl::parse("redis://:pw@cache").unwrap()));

    let both = faults(&[
        ("CELERY_BROKER_URL_FILE", path),
        ("CELERY_BROKER_URL", "redis://b"),
    ]);
    assert_eq!(both.len(), 1);
    assert_eq!(both[0].problem, "CELERY_BROKER_URL is set as well");
    let missing = faults(&[("CELERY_RESULT_BACKEND_FILE", "/nowhere/at/all")]);
    assert!(
        missing[0]
            .problem
            .starts_with("names a file that cannot be read"),
        "{missing:?}"
    );
    let folder = faults(&[("REDIS_URL_FILE", folder.path().to_str().unwrap())]);
    assert_eq!(folder[0].problem, "does not name a file");
    fs::write(&file, "\n").unwrap();
    assert_eq!(
        faults(&[("REDIS_URL_FILE", path)])[0].problem,
        "names an empty file"
    );
}

#[test]
fn only_secrets_may_come_from_files() {
    let (_, warnings) = read(&[("LOVAGE_LEASE_FILE", "/x")]).unwrap();
    assert_eq!(
        warnings[0].to_string(),
        "LOVAGE_LEASE_FILE is read by nothing"
    );
}

#[test]
fn unknown_names_are_warnings_with_the_nearest_name() {
    let (settings, warnings) = read(&[
        ("CELERY_BROKR_URL", "redis://x"),
        ("LOVAGE_MAX_DEATH", "3"),
        ("CELERY_WORKER_POOL_PUTLOCKS", "1"),
        ("CELERY_BEAT_SCHEDULE", "{}"),
        ("MAIL_SERVERS", "x"),
        ("LOVAGE_TEST_PYTHON", "x"),
        ("CELERY_APP", "x"),
        ("PATH", "x"),
    ])
    .unwrap();
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(settings, Settings::default());
    assert_eq!(
        told,
        [
            "CELERY_BEAT_SCHEDULE has no effect: schedules come from schedule.toml, `lovage schedule add` or `lovage schedule import`",
            "CELERY_BROKR_URL is read by nothing; did you mean CELERY_BROKER_URL?",
            "CELERY_WORKER_POOL_PUTLOCKS has no effect: child processes are started and watched by Lovage itself",
            "LOVAGE_MAX_DEATH is read by nothing; did you mean LOVAGE_MAX_DEATHS?",
            "MAIL_SERVERS is read by nothing; did you mean MAIL_SERVER?",
        ]
    );
}

#[test]
fn celery_durations_are_seconds_and_ours_have_units() {
    let settings = good(&[
        ("CELERY_RESULT_EXPIRES", "0"),
        ("CELERY_TASK_TIME_LIMIT", "600"),
        ("CELERY_TASK_SOFT_TIME_LIMIT", "0.5"),
        ("LOVAGE_LEASE", "1m"),
        ("LOVAGE_UNKNOWN_GRACE", "10m"),
        ("LOVAGE_MAX_MESSAGE_BYTES", "1MB"),
    ]);
    assert_eq!(settings.results.expires, None);
    assert_eq!(settings.tasks.time_limit, Some(Duration::from_secs(600)));
    assert_eq!(
        settings.tasks.soft_time_limit,
        Some(Duration::from_millis(500))
    );
    assert_eq!(settings.worker.lease, Duration::from_secs(60));
    assert_eq!(
        settings.worker.unknown_grace,
        Some(Duration::from_secs(600))
    );
    assert_eq!(settings.worker.max_message_bytes, 1_000_000);
    assert_eq!(
        faults(&[("CELERY_TASK_TIME_LIMIT", "10m")])[0].problem,
        "is not a number of seconds"
    );
}

#[test]
fn a_soft_limit_above_the_hard_one_is_a_fault() {
    let faults = faults(&[
        ("CELERY_TASK_TIME_LIMIT", "5"),
        ("CELERY_TASK_SOFT_TIME_LIMIT", "6"),
    ]);
    assert_eq!(faults[0].variable, "CELERY_TASK_SOFT_TIME_LIMIT");
    assert_eq!(faults[0].expected, "at most 5");
}

#[test]
fn the_older_ack_setting_is_the_default_of_the_two_newer_ones() {
    let acks = |pairs: &[(&str, &str)]| {
        let tasks = good(pairs).tasks;
        (tasks.acks_on_failure, tasks.acks_on_timeout)
    };
    let older = ("CELERY_TASK_ACKS_ON_FAILURE_OR_TIMEOUT", "false");
    assert_eq!(acks(&[older]), (false, false));
    assert_eq!(
        acks(&[older, ("CELERY_TASK_ACKS_ON_FAILURE", "true")]),
        (true, false)
    );
}

#[test]
fn the_result_prefix_gets_celerys_underscore() {
    let check = |prefix: &str, expected: &str| {
        let text = format!(r#"{{"global_keyprefix": "{prefix}"}}"#);
        let settings = good(&[("CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS", &text)]);
        assert_eq!(settings.results.global_keyprefix, expected);
    };
    check("rp", "rp_");
    check("rp.", "rp.");
    check("rp:", "rp:");
    check("", "");
}

#[test]
fn pools_have_celerys_names() {
    let check = |name: &str, pool: Pool| {
        assert_eq!(good(&[("CELERY_WORKER_POOL", name)]).worker.pool, pool);
        assert_eq!(pool.name().parse(), Ok(pool));
    };
    check("threads", Pool::Threads);
    check("prefork", Pool::Prefork);
    check("processes", Pool::Prefork);
    check("solo", Pool::Solo);
    let fault = &faults(&[("CELERY_WORKER_POOL", "gevent")])[0];
    assert!(fault.problem.contains("async"), "{}", fault.problem);
    assert_eq!(
        "-".parse::<Pool>().unwrap_err(),
        "is not a pool; expected async, threads, prefork or solo"
    );
}

#[test]
fn only_what_lovage_writes_and_reads_is_taken() {
    for (name, value) in [
        ("CELERY_TASK_SERIALIZER", "pickle"),
        ("CELERY_RESULT_SERIALIZER", "pickle"),
        ("CELERY_ACCEPT_CONTENT", "json,application/text"),
        ("CELERY_TASK_PROTOCOL", "1"),
        ("CELERY_TASK_COMPRESSION", "lz4"),
        ("CELERY_TASK_DEFAULT_PRIORITY", "-1"),
    ] {
        assert_eq!(faults(&[(name, value)]).len(), 1, "{name}");
    }
    assert_eq!(
        good(&[(
            "CELERY_ACCEPT_CONTENT",
            r#"["json", "application/x-yaml", "yaml", 'pickle']"#
        )])
        .tasks
        .accept_content,
        ["json", "yaml", "pickle"]
    );
    let written = good(&[
        ("CELERY_TASK_SERIALIZER", "application/x-msgpack"),
        ("CELERY_RESULT_SERIALIZER", "yaml"),
    ]);
    assert_eq!(written.tasks.serializer, "msgpack");
    assert_eq!(written.results.serializer, "yaml");
}

#[test]
fn production_refuses_eviction_and_weak_passwords() {
    let production = |url| read(&[("LOVAGE_ENV", "production"), ("CELERY_BROKER_URL", url)]);
    let (settings, _) = production("redis://:a-long-random-one@h").unwrap();
    assert_eq!(settings.environment, Environment::Production);
    assert!(!settings.broker.allow_eviction);
    assert!(good(&[]).broker.allow_eviction);
    assert!(production("redis://h").is_ok());
    for weak in [
        "redis://:ChangeMe@h",
        "redis://:short@h",
        "redis://:a-long-random-one@h;redis://:redis@h",
    ] {
        let faults = production(weak).unwrap_err().0;
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].value.contains("********") && faults[0].problem.contains("password"),
            "{faults:?}"
        );
    }
    assert!(read(&[("CELERY_BROKER_URL", "redis://:short@h")]).is_ok());
}

#[test]
fn a_rate_limit_is_read_for_tasks_without_one() {
    let settings = |text: &str| {
        Settings::from_lookup([("CELERY_TASK_DEFAULT_RATE_LIMIT".to_owned(), text.to_owned())])
    };
    let (read, _) = settings("90/m").unwrap();
    assert_eq!(read.tasks.default_rate_limit.unwrap().per_second, 1.5);
    assert_eq!(settings("0").unwrap().0.tasks.default_rate_limit, None);
    let faults = settings("10/d").unwrap_err().to_string();
    assert!(
        faults.contains("CELERY_TASK_DEFAULT_RATE_LIMIT"),
        "{faults}"
    );
}
