//! What `scripts/celery-conf` prints of a real Celery app is what these settings read.

use std::{env, fs, path::Path, process::Command, time::Duration};

use lovage_settings::{ExchangeType, Pool, RoutePattern, Settings};

#[test]
fn a_celery_apps_settings_come_over() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = env::var_os("LOVAGE_TEST_PYTHON")
        .map_or_else(|| repository.join(".venv/bin/python"), Into::into);
    assert!(
        python.exists(),
        "this test asks a real Celery: run scripts/setup, or set LOVAGE_TEST_PYTHON to a Python that has it"
    );
    let output = Command::new(python)
        .args(["scripts/celery-conf", "examples.python.celery_app:app"])
        .current_dir(&repository)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{warnings}");
    assert!(warnings.contains("beat_schedule is set"), "{warnings}");

    // The output is a .env file, so it is read as one.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    fs::write(&file, output.stdout).unwrap();
    let variables: Vec<_> = dotenvy::from_path_iter(&file)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let (settings, warnings) = Settings::from_lookup(variables).unwrap();

    assert_eq!(warnings, []);
    let broker = settings.broker.url.unwrap();
    assert_eq!(broker.to_string(), "redis://:********@cache:6379/1");
    assert_eq!(
        settings.broker.options.visibility_timeout,
        Duration::from_secs(43_200)
    );
    assert_eq!(settings.broker.options.global_keyprefix, "shop.");
    assert_eq!(
        settings.results.expires,
        Some(Duration::from_secs(6 * 3600))
    );
    assert_eq!(
        settings.tasks.soft_time_limit,
        Some(Duration::from_millis(540_500))
    );
    assert_eq!(settings.worker.pool, Pool::Prefork);
    assert_eq!(settings.worker.max_tasks_per_child, Some(100));
    assert_eq!(settings.tasks.accept_content, ["json", "yaml"]);
    assert_eq!(settings.tasks.serializer, "yaml");
    assert_eq!(settings.results.serializer, "msgpack");
    let mail = settings.tasks.annotations.of("shop.send_mail");
    assert_eq!(mail.max_retries, Some(Some(5)));
    let per_second = mail.rate_limit.flatten().map(|limit| limit.per_second);
    assert_eq!(per_second, Some(10.0 / 60.0));
    assert_eq!(
        settings.worker.queues,
        ["shop", "mail", "reports", "everyone"]
    );
    let [shop, _, reports, everyone] = &settings.tasks.queues[..] else {
        panic!("{:?}", settings.tasks.queues);
    };
    assert_eq!(shop.exchange, None, "the default one, as in Celery");
    assert_eq!(reports.exchange.as_deref(), Some("office"));
    assert_eq!(reports.exchange_type, Some(ExchangeType::Topic));
    assert_eq!(reports.expires, Some(Duration::from_secs(60)));
    assert!(everyone.broadcast);
    let patterns: Vec<_> = settings
        .tasks
        .routes
        .into_iter()
        .map(|route| route.pattern)
        .collect();
    assert_eq!(
        patterns,
        [
            RoutePattern::Exact("shop.tasks.it's".to_owned()),
            RoutePattern::Glob("shop.send_*".to_owned()),
            RoutePattern::Regex(r"shop\.(daily|weekly)_report".to_owned()),
        ]
    );
}
