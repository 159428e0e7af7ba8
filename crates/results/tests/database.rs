//! What only a database can show: the rows, the tables, and what Celery's versions and operators have left there.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lovage_broker::ResultPlace;
use lovage_protocol::{ExceptionInfo, State, TaskId, TaskMeta, Value};
use lovage_results::{DatabaseStore, Error, ResultStore, connect_lazily};
use lovage_settings::{BrokerUrl, ResultDatabase, ResultSettings, ResultUrl, TableName};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement,
};

mod places;

use places::{Kind, Place};

const BOTH: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

/// As Celery makes it from its models, without the columns that older versions do not have.
const OLD_TABLES: &str = "CREATE TABLE celery_taskmeta (id INTEGER NOT NULL PRIMARY KEY, task_id VARCHAR(155) UNIQUE, \
                          status VARCHAR(50), result BLOB, date_done DATETIME, traceback TEXT)";

async fn open(place: &Place, settings: &ResultSettings) -> DatabaseStore {
    DatabaseStore::connect(settings, &place.database())
        .await
        .unwrap()
}

/// A connection beside the store's.
async fn beside(place: &Place) -> DatabaseConnection {
    let url = place.url.strip_prefix("db+").unwrap();
    let url = match kind_of(place) {
        Kind::Sqlite => format!("{}?mode=rwc", url.replacen("sqlite:////", "sqlite:///", 1)),
        Kind::Postgres => url.to_owned(),
    };
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

fn kind_of(place: &Place) -> Kind {
    match place.url.starts_with("db+sqlite") {
        true => Kind::Sqlite,
        false => Kind::Postgres,
    }
}

/// The first column of a question's answer, as text.
async fn texts(connection: &DatabaseConnection, sql: &str) -> Vec<Option<String>> {
    let backend = connection.get_database_backend();
    let rows = connection
        .query_all_raw(Statement::from_string(backend, sql))
        .await
        .unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect()
}

async fn text(connection: &DatabaseConnection, sql: &str) -> Option<String> {
    texts(connection, sql).await.pop().flatten()
}

fn meta(id: &str, status: State, result: impl Into<Value>) -> TaskMeta {
    TaskMeta::new(TaskId::from(id), status, result.into())
}

fn failure(id: &str) -> TaskMeta {
    let exception = ExceptionInfo::new("builtins", "ValueError", vec!["e".into()]);
    meta(id, State::Failure, exception.to_value())
}

async fn status(store: &DatabaseStore, id: &str) -> Option<State> {
    let meta = store.load(&TaskId::from(id)).await.unwrap();
    meta.map(|meta| meta.status)
}

#[tokio::test]
async fn a_row_is_as_celery_writes_it() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let store = open(&place, &ResultSettings::default()).await;
        let mut written = failure("a");
        written.date_done = Some("2026-11-23T05:43:28.5+01:00".to_owned());
        written.children = Some(vec![Value::List(vec![
            Value::List(vec!["c".into(), Value::Null]),
            Value::Null,
        ])]);
        store.store(&written).await.unwrap();
        store.store(&meta("b", State::Success, 5)).await.unwrap();
        let other = beside(&place).await;
        let (bytes, moment) = match kind {
            Kind::Sqlite => ("CAST(? AS TEXT)", "date_done"),
            Kind::Postgres => (
                "convert_from(?, 'UTF8')",
                "to_char(date_done, 'YYYY-MM-DD HH24:MI:SS.US')",
            ),
        };
        let one = async |what: &str, id: &str| {
            let sql = format!("SELECT {what} FROM celery_taskmeta WHERE task_id = '{id}'");
            text(&other, &sql).await
        };
        let as_text = |column: &str| bytes.replace('?', column);
        assert_eq!(
            one(&as_text("result"), "a").await.unwrap(),
            r#"{"exc_type": "ValueError", "exc_message": ["e"], "exc_module": "builtins"}"#
        );
        assert_eq!(
            one(&as_text("children"), "a").await.unwrap(),
            r#"[[["c", null], null]]"#
        );
        assert_eq!(one(&as_text("result"), "b").await.unwrap(), "5");
        assert_eq!(one(&as_text("children"), "b").await, None);
        assert_eq!(one("name", "b").await, None);
        // Naive UTC, and six decimals, which SQLAlchemy asks of a text.
        assert_eq!(
            one(moment, "a").await.unwrap(),
            "2026-11-23 04:43:28.500000"
        );
        place.end().await;
    }
}

#[tokio::test]
async fn an_unfinished_task_has_the_time_of_its_last_state() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let store = open(&place, &ResultSettings::default()).await;
        let progress = meta("a", State::Custom("PROGRESS".to_owned()), 1);
        store.store(&progress).await.unwrap();
        let other = beside(&place).await;
        let sql = "SELECT 'there' FROM celery_taskmeta WHERE date_done IS NOT NULL";
        assert_eq!(text(&other, sql).await.as_deref(), Some("there"));
        let stored = store.load(&TaskId::from("a")).await.unwrap().unwrap();
        assert_eq!(stored.date_done, None, "it has not ended");
        place.end().await;
    }
}

#[tokio::test]
async fn columns_that_an_older_version_did_not_have_are_added() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let other = beside(&place).await;
        let old = match kind {
            Kind::Sqlite => OLD_TABLES.to_owned(),
            Kind::Postgres => {
                other
                    .execute_unprepared("CREATE SEQUENCE task_id_sequence")
                    .await
                    .unwrap();
                OLD_TABLES
                    .replace("BLOB", "BYTEA")
                    .replace("DATETIME", "TIMESTAMP")
            }
        };
        other.execute_unprepared(&old).await.unwrap();
        // As Celery before 5.7 wrote every result: pickle.dumps(5, protocol=4).
        let pickle = match kind {
            Kind::Sqlite => "X'80044B052E'",
            Kind::Postgres => "'\\x80044B052E'",
        };
        other
            .execute_unprepared(&format!(
                "INSERT INTO celery_taskmeta (id, task_id, status, result) VALUES (-1, 'old', 'SUCCESS', {pickle})"
            ))
            .await
            .unwrap();
        let store = open(&place, &ResultSettings::default()).await;
        let old = store.load(&TaskId::from("old")).await.unwrap().unwrap();
        assert_eq!((old.status, old.result), (State::Success, 5.into()));
        let mut with_child = meta("a", State::Success, 1);
        with_child.children = Some(vec![Value::Null]);
        store.store(&with_child).await.unwrap();
        let stored = store.load(&TaskId::from("a")).await.unwrap().unwrap();
        assert_eq!(stored.children, with_child.children);
        place.end().await;
    }
}

#[tokio::test]
async fn tables_may_have_other_names_and_schemas() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let schema = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => {
                let other = beside(&place).await;
                other
                    .execute_unprepared("CREATE SCHEMA \"the results\"")
                    .await
                    .unwrap();
                Some("the results".to_owned())
            }
        };
        let mut settings = ResultSettings::default();
        settings.database.task_table = TableName {
            schema: schema.clone(),
            name: "own \"tasks\"".to_owned(),
        };
        settings.database.group_table = TableName {
            schema,
            name: "own groups".to_owned(),
        };
        let store = open(&place, &settings).await;
        store.store(&meta("a", State::Success, 1)).await.unwrap();
        store.save_group("g", &Value::Null).await.unwrap();
        // They are found again, and not made anew.
        let again = open(&place, &settings).await;
        assert_eq!(status(&again, "a").await, Some(State::Success));
        assert_eq!(again.load_group("g").await.unwrap(), Some(Value::Null));
        store.forget(&TaskId::from("a")).await.unwrap();
        store.forget_group("g").await.unwrap();
        assert_eq!(status(&again, "a").await, None);
        place.end().await;
    }
}

#[tokio::test]
async fn several_may_make_the_tables_at_once() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let settings = ResultSettings::default();
        let opening = (0..8).map(|number| {
            let (place, settings) = (&place, &settings);
            async move {
                let store = open(place, settings).await;
                let id = format!("t{number}");
                store
                    .store(&meta(&id, State::Success, number))
                    .await
                    .unwrap();
                store
            }
        });
        let stores = futures::future::join_all(opening).await;
        for number in 0..8 {
            let id = format!("t{number}");
            assert_eq!(status(&stores[0], &id).await, Some(State::Success));
        }
        place.end().await;
    }
}

#[tokio::test]
async fn what_is_older_than_results_are_kept_is_deleted() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let settings = ResultSettings {
            expires: Some(Duration::from_secs(3_600)),
            ..ResultSettings::default()
        };
        let store = open(&place, &settings).await;
        let mut old = meta("old", State::Success, 1);
        old.date_done = Some("2020-01-01T00:00:00+00:00".to_owned());
        store.store(&old).await.unwrap();
        store.store(&meta("new", State::Success, 1)).await.unwrap();
        store.save_group("g", &Value::Null).await.unwrap();
        assert_eq!(store.cleanup().await.unwrap(), 1);
        assert_eq!(status(&store, "old").await, None);
        assert_eq!(status(&store, "new").await, Some(State::Success));
        let for_ever = ResultSettings {
            expires: None,
            ..settings
        };
        store.store(&old).await.unwrap();
        assert_eq!(open(&place, &for_ever).await.cleanup().await.unwrap(), 0);
        place.end().await;
    }
}

#[tokio::test]
async fn what_is_written_together_keeps_a_success() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let store = Arc::new(open(&place, &ResultSettings::default()).await);
        let encode = |meta: &TaskMeta| store.encode(meta).unwrap();
        let writes = [
            encode(&failure("a")),
            encode(&meta("a", State::Success, 1)),
            encode(&failure("a")),
            encode(&meta("b", State::Started, Value::Null)),
            encode(&failure("b")),
        ];
        store.write(&writes).await.unwrap();
        assert_eq!(status(&store, "a").await, Some(State::Success));
        assert_eq!(status(&store, "b").await, Some(State::Failure));
        // Hundreds that end at the same moment are one statement, or some.
        let many = (0..600).map(|number| {
            let store = Arc::clone(&store);
            async move {
                store
                    .store(&meta(&format!("m{number}"), State::Success, number))
                    .await
            }
        });
        for stored in futures::future::join_all(many).await {
            stored.unwrap();
        }
        let ids: Vec<TaskId> = (0..600).map(|n| TaskId::from(format!("m{n}"))).collect();
        let stored = store.load_many(&ids).await.unwrap();
        for (number, meta) in (0_i64..).zip(stored) {
            assert_eq!(meta.unwrap().result, number.into());
        }
        place.end().await;
    }
}

#[tokio::test]
async fn one_that_is_refused_does_not_hold_up_the_others() {
    let place = Place::new(Kind::Postgres).await;
    let store = open(&place, &ResultSettings::default()).await;
    let long = "x".repeat(200);
    let (good, bad) = (meta("a", State::Success, 1), meta(&long, State::Success, 2));
    let (first, second) = tokio::join!(store.store(&bad), store.store(&good));
    let refused = first.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    assert!(!refused.is_transient());
    second.unwrap();
    assert_eq!(status(&store, "a").await, Some(State::Success));
    place.end().await;
}

#[tokio::test]
async fn a_damaged_row_is_an_error_that_names_the_task() {
    for kind in BOTH {
        let place = Place::new(kind).await;
        let store = open(&place, &ResultSettings::default()).await;
        let value = match kind {
            Kind::Sqlite => "X'7B'",
            Kind::Postgres => "'\\x7B'",
        };
        beside(&place)
            .await
            .execute_unprepared(&format!(
                "INSERT INTO celery_taskmeta (id, task_id, status, result) VALUES (-1, 'a', 'FAILURE', {value})"
            ))
            .await
            .unwrap();
        let error = store.load(&TaskId::from("a")).await.unwrap_err();
        assert!(
            matches!(error, Error::Undecodable { .. }) && error.to_string().contains(" a "),
            "{error}"
        );
        // And it does not stand in the way of a good one.
        store.store(&meta("a", State::Success, 1)).await.unwrap();
        assert_eq!(status(&store, "a").await, Some(State::Success));
        place.end().await;
    }
}

#[tokio::test]
async fn nothing_is_opened_before_it_is_needed() {
    let place = Place::new(Kind::Sqlite).await;
    let settings = ResultSettings {
        url: Some(ResultUrl::parse(&place.url).unwrap()),
        ..ResultSettings::default()
    };
    let store = connect_lazily(&settings, &BrokerUrl::Memory).unwrap();
    assert_eq!(store.place(), Some(ResultPlace::Tables));
    assert!(store.encode(&failure("a")).is_some());
    let ResultDatabase::Sqlite(file) = place.database() else {
        panic!("it is a file")
    };
    assert!(!file.exists());
    store.store(&failure("a")).await.unwrap();
    assert!(file.exists());
    place.end().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("db+postgresql:///x?host={}", folder.path().display());
    let ResultUrl::Database(database) = ResultUrl::parse(&url).unwrap() else {
        panic!("it is a database")
    };
    let begun = Instant::now();
    let error = DatabaseStore::connect(&ResultSettings::default(), &database)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.is_transient(),
        "{error:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("db+sqlite:///{}/no/r.db", folder.path().display());
    let ResultUrl::Database(database) = ResultUrl::parse(&url).unwrap() else {
        panic!("it is a database")
    };
    let error = DatabaseStore::connect(&ResultSettings::default(), &database)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_somebody_else_writes_to_is_waited_for() {
    let place = Place::new(Kind::Sqlite).await;
    let store = open(&place, &ResultSettings::default()).await;
    let other = beside(&place).await;
    assert_eq!(other.get_database_backend(), DbBackend::Sqlite);
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let stored = store.clone();
    let writing = tokio::spawn(async move { stored.store(&meta("a", State::Success, 1)).await });
    assert_eq!(status(&store, "a").await, None);
    other.execute_unprepared("COMMIT").await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(status(&store, "a").await, Some(State::Success));
    place.end().await;
}
