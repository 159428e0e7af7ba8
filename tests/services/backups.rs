//! The drill: what was backed up is restored into an empty place, and every row and key is there again.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use lovage_integration_tests::lovage_worker::lovage_with;
use lovage_integration_tests::place::repository;
use lovage_integration_tests::{RedisServer, ResultDatabase};
use redis::Commands;

use crate::{add, sleep};

fn script(name: &str, variables: &[(&str, &str)], words: &[&str]) -> Output {
    let mut command = Command::new(repository().join("scripts").join(name));
    command
        .env_remove("DATABASE_URL")
        .env_remove("CELERY_BROKER_URL");
    command
        .envs(variables.iter().copied())
        .args(words)
        .output()
        .expect("the script can be started")
}

fn good(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    out.trim().to_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every key with its value and whether it expires.
fn keys(redis: &RedisServer) -> BTreeMap<Vec<u8>, (Vec<u8>, bool)> {
    let mut connection = redis.connection();
    let names: Vec<Vec<u8>> = connection.keys("*").unwrap();
    names
        .into_iter()
        .map(|name| {
            let value: Vec<u8> = redis::cmd("DUMP")
                .arg(&name)
                .query(&mut connection)
                .unwrap();
            let left: i64 = connection.ttl(&name).unwrap();
            (name, (value, left >= 0))
        })
        .collect()
}

/// A broker with messages, a result, a delayed task and a dead letter.
fn furnished() -> RedisServer {
    let redis = RedisServer::with_password("se@me");
    {
        let mut connection = redis.connection();
        let _: () = connection.set("celery-task-meta-x", "a result").unwrap();
        let _: () = connection.expire("celery-task-meta-x", 1000).unwrap();
    }
    for message in [add(), sleep(1.0)] {
        redis.publish("celery", &message);
    }
    redis.publish("mail", &add());
    redis
}

/// A database with its tables and somebody in it.
fn populate(variables: &[(&str, &str)]) {
    good(&lovage_with(variables, &["migrate", "up"]));
    let words = ["user", "create", "ada@example.org", "--role", "admin"];
    good(&lovage_with(variables, &words));
}

fn sqlite_rows(file: &Path) -> String {
    let dump = Command::new("sqlite3").arg(file).arg(".dump").output();
    good(&dump.expect("sqlite3 is there (Debian, Ubuntu: apt-get install sqlite3)"))
}

fn postgres_rows(url: &str) -> String {
    // The driver is Python's.
    let url = url.replacen("+psycopg2", "", 1);
    let dump = Command::new("pg_dump")
        .args(["--inserts", "--no-owner", &format!("--dbname={url}")])
        .output();
    let text =
        good(&dump.expect("pg_dump is there (Debian, Ubuntu: apt-get install postgresql-client)"));
    // Newer releases guard the dump by a word that is another each time.
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_sqlite_database_and_a_broker_come_back_whole() {
    let redis = furnished();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let database = format!("sqlite://{}", at("a.db").display());
    let broker = redis.port_url().replace("se@me", "se%40me");
    let variables = [
        ("DATABASE_URL", database.as_str()),
        ("CELERY_BROKER_URL", &broker),
    ];
    populate(&variables);
    let store = at("backups").display().to_string();
    let backup = good(&script("backup", &variables, &[&store]));

    let target = at("b.db");
    let restored = format!("sqlite://{}", target.display());
    let data = at("redis").display().to_string();
    let into = [("DATABASE_URL", restored.as_str())];
    good(&script(
        "restore",
        &into,
        &[&backup, "--redis-folder", &data],
    ));
    assert!(sqlite_rows(&target).contains("ada@example.org"));
    assert_eq!(sqlite_rows(&at("a.db")), sqlite_rows(&target));
    let again = RedisServer::with_arguments(&["--dir", &data, "--appendonly", "yes"]);
    let before = keys(&redis);
    assert!(before.len() >= 3, "{before:?}");
    assert_eq!(before, keys(&again));
    // The platform works on with it.
    let schema = lovage_with(&into, &["migrate", "status"]);
    good(&schema);
}

#[test]
fn a_postgresql_database_comes_back_whole() {
    let (source, target) = (ResultDatabase::postgres(), ResultDatabase::postgres());
    let url = |database: &ResultDatabase| database.url().replacen("db+", "", 1);
    let (source, target) = (url(&source), url(&target));
    let variables = [("DATABASE_URL", source.as_str())];
    populate(&variables);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().display().to_string();
    let backup = good(&script("backup", &variables, &[&store]));
    let into = [("DATABASE_URL", target.as_str())];
    good(&script("restore", &into, &[&backup]));
    assert!(postgres_rows(&target).contains("ada@example.org"));
    assert_eq!(postgres_rows(&source), postgres_rows(&target));
    // A second time there is something there.
    let why = refused(&script("restore", &into, &[&backup]));
    assert!(why.contains("tables already"), "{why}");
}

#[test]
fn nothing_is_overwritten_and_a_damaged_backup_is_refused() {
    let redis = furnished();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let broker = redis.port_url().replace("se@me", "se%40me");
    let variables = [("CELERY_BROKER_URL", broker.as_str())];
    let backup = good(&script("backup", &variables, &[&at("backups")]));
    std::fs::create_dir(at("used")).unwrap();
    std::fs::write(at("used/file"), "mine").unwrap();
    let why = refused(&script(
        "restore",
        &[],
        &[&backup, "--redis-folder", &at("used")],
    ));
    assert!(why.contains("is not empty"), "{why}");
    let why = refused(&script("restore", &[], &[&backup]));
    assert!(why.contains("--redis-folder does not say where"), "{why}");
    std::fs::write(format!("{backup}/broker.rdb"), "REDIS0011 and nothing more").unwrap();
    let why = refused(&script(
        "restore",
        &[],
        &[&backup, "--redis-folder", &at("new")],
    ));
    assert!(why.contains("damaged"), "{why}");
    assert!(!Path::new(&at("new")).exists());
}

#[test]
fn only_the_newest_backups_are_kept_and_no_half_one_is_left() {
    let redis = furnished();
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().display().to_string();
    let broker = redis.port_url().replace("se@me", "se%40me");
    let backup = |broker: &str| {
        script(
            "backup",
            &[("CELERY_BROKER_URL", broker)],
            &["--keep", "2", &store],
        )
    };
    std::fs::create_dir(folder.path().join(".partial-1")).unwrap();
    let made: Vec<String> = (0..3).map(|_| good(&backup(&broker))).collect();
    let why = refused(&backup("redis://127.0.0.1:1/0"));
    assert!(!why.is_empty());
    let left: std::collections::BTreeSet<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .filter(|path| !path.ends_with(".lock"))
        .collect();
    assert_eq!(left, made[1..].iter().cloned().collect());
}
