//! One suite for every form of the store that keeps results, then what only a server can show.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{sync::Arc, time::Duration};

use lovage_broker::{MemoryBroker, redis_server::RedisServer};
use lovage_protocol::{ExceptionInfo, Extended, Map, State, TaskId, TaskMeta, Value};
use lovage_results::{DatabaseStore, Error, MemoryStore, RedisStore, ResultStore};
use lovage_settings::{BrokerUrl, RedisUrl, ResultSettings};

#[path = "../places/mod.rs"]
mod places;
mod servers;
mod watching;

use places::{Kind, Place};

const SOON: Option<Duration> = Some(Duration::from_secs(5));

type Store = Arc<dyn ResultStore>;

/// Database 1, so that a forgotten SELECT is noticed.
fn urls(server: &RedisServer) -> Vec<RedisUrl> {
    match BrokerUrl::parse(&server.url(1)).unwrap() {
        BrokerUrl::Redis(urls) => urls,
        BrokerUrl::Memory => unreachable!("the URL is one of Redis"),
    }
}

async fn redis_store(server: &RedisServer, settings: &ResultSettings) -> Store {
    Arc::new(RedisStore::connect(settings, &urls(server)).await.unwrap())
}

fn memory_store(broker: &MemoryBroker, settings: &ResultSettings) -> Store {
    Arc::new(MemoryStore::new(settings, broker).unwrap())
}

/// Runs a test on each form; every store gets settings of its own.
async fn check<T: Future<Output = ()>>(settings: ResultSettings, test: impl Fn(Store) -> T) {
    check_announcing(settings.clone(), &test).await;
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let place = Place::new(kind).await;
        let store = DatabaseStore::connect(&settings, &place.database()).await;
        test(Arc::new(store.unwrap())).await;
        place.end().await;
    }
}

/// Runs a test on each form that announces what it stores and has keys.
async fn check_announcing<T: Future<Output = ()>>(
    settings: ResultSettings,
    test: impl Fn(Store) -> T,
) {
    let broker = MemoryBroker::new();
    test(memory_store(&broker, &settings)).await;
    let server = RedisServer::start().unwrap();
    test(redis_store(&server, &settings).await).await;
}

fn meta(id: &str, status: State, result: impl Into<Value>) -> TaskMeta {
    TaskMeta::new(TaskId::from(id), status, result.into())
}

fn failure(id: &str) -> TaskMeta {
    let exception = ExceptionInfo::new("builtins", "ValueError", vec!["boom".into()]);
    meta(id, State::Failure, exception.to_value())
}

fn progress(number: i64) -> Value {
    Value::Map(Map::from([("current".to_owned(), number.into())]))
}

fn custom(id: &str, number: i64) -> TaskMeta {
    meta(id, State::Custom("PROGRESS".to_owned()), progress(number))
}

#[tokio::test]
async fn stores_loads_and_forgets() {
    check(ResultSettings::default(), |store| async move {
        let id = TaskId::from("a");
        assert_eq!(store.load(&id).await.unwrap(), None);
        let mut written = meta("a", State::Success, 5);
        written.children = Some(Vec::new());
        written.date_done = Some("2026-11-23T04:43:28.596197+00:00".to_owned());
        store.store(&written).await.unwrap();
        assert_eq!(store.load(&id).await.unwrap().unwrap(), written);
        let unknown = TaskId::from("b");
        let many = store.load_many(&[unknown, id.clone()]).await.unwrap();
        assert_eq!(many, [None, Some(written)]);
        assert_eq!(store.load_many(&[]).await.unwrap(), []);
        store.forget(&id).await.unwrap();
        assert_eq!(store.load(&id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn results_are_found_by_the_group_that_their_tasks_belonged_to() {
    let settings = ResultSettings {
        global_keyprefix: "app[1]*".to_owned(),
        ..ResultSettings::default()
    };
    // Celery's tables have no column for it.
    check_announcing(settings, |store| async move {
        for (id, group) in [
            ("a", Some("g")),
            ("b", Some("h")),
            ("c", None),
            ("d", Some("g")),
        ] {
            let mut written = meta(id, State::Success, 5);
            written.group_id = group.map(str::to_owned);
            store.store(&written).await.unwrap();
        }
        let of = async |groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let found = store.of_groups(&groups).await.unwrap();
            let mut ids: Vec<String> = found.iter().map(|one| one.task_id.to_string()).collect();
            ids.sort();
            ids
        };
        assert_eq!(of(&["g"]).await, ["a", "d"]);
        assert_eq!(of(&["g", "h"]).await, ["a", "b", "d"]);
        assert_eq!(of(&["nobody"]).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_success_stays() {
    check(ResultSettings::default(), |store| async move {
        let id = TaskId::from("a");
        store.store(&failure("a")).await.unwrap();
        store.store(&meta("a", State::Success, 1)).await.unwrap();
        store.store(&failure("a")).await.unwrap();
        store.store(&meta("a", State::Success, 2)).await.unwrap();
        let stored = store.load(&id).await.unwrap().unwrap();
        assert_eq!((stored.status, stored.result), (State::Success, 1.into()));
    })
    .await;
}

#[tokio::test]
async fn a_state_named_like_success_does_not_stay() {
    check(ResultSettings::default(), |store| async move {
        store
            .store(&meta("a", State::Custom("SUCCESSFUL".to_owned()), 1))
            .await
            .unwrap();
        store
            .store(&meta("a", State::Retry, Value::Null))
            .await
            .unwrap();
        let stored = store.load(&TaskId::from("a")).await.unwrap().unwrap();
        assert_eq!(stored.status, State::Retry);
    })
    .await;
}

#[tokio::test]
async fn a_compressed_success_stays_too() {
    let settings = ResultSettings {
        compression: Some("zstd".to_owned()),
        ..ResultSettings::default()
    };
    let server = RedisServer::start().unwrap();
    let store = redis_store(&server, &settings).await;
    let plain = redis_store(&server, &ResultSettings::default()).await;
    let text = "x".repeat(5_000);
    assert!(
        store
            .encode(&meta("a", State::Success, text.as_str()))
            .unwrap()
            .value
            .len()
            < 500
    );
    store.store(&failure("a")).await.unwrap();
    store.store(&custom("a", 1)).await.unwrap();
    store
        .store(&meta("a", State::Success, text.as_str()))
        .await
        .unwrap();
    for store in [&store, &plain] {
        store.store(&failure("a")).await.unwrap();
        let stored = store.load(&TaskId::from("a")).await.unwrap().unwrap();
        assert_eq!(
            (stored.status, stored.result),
            (State::Success, text.as_str().into())
        );
    }
}

#[tokio::test]
async fn groups_are_saved_loaded_and_forgotten() {
    check(ResultSettings::default(), |store| async move {
        let task =
            |id: &str| Value::List(vec![Value::List(vec![id.into(), Value::Null]), Value::Null]);
        let group = |ids: &[&str]| {
            let own = Value::List(vec!["g".into(), Value::Null]);
            Value::List(vec![
                own,
                Value::List(ids.iter().map(|id| task(id)).collect()),
            ])
        };
        let key = store.group_key("g");
        assert_eq!(store.load_group(&key).await.unwrap(), None);
        store.save_group("g", &group(&["a"])).await.unwrap();
        store.save_group("g", &group(&["a", "b"])).await.unwrap();
        let saved = store.load_group(&key).await.unwrap();
        assert_eq!(saved, Some(group(&["a", "b"])));
        store.store(&meta("a", State::Success, 1)).await.unwrap();
        store.forget_group("g").await.unwrap();
        assert_eq!(store.load_group(&key).await.unwrap(), None);
        assert!(store.load(&TaskId::from("a")).await.unwrap().is_some());
        assert_eq!(store.cleanup().await.unwrap(), 0, "nothing is that old");
        assert!(store.load(&TaskId::from("a")).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_record_comes_back_as_it_was() {
    for serializer in ["json", "msgpack", "yaml"] {
        let settings = ResultSettings {
            serializer: serializer.to_owned(),
            ..ResultSettings::default()
        };
        check(settings, |store| async move {
            let mut written = failure("a");
            written.traceback = Some("Traceback\n  é\n".to_owned());
            written.date_done = Some("2026-11-23T04:43:28.596197+00:00".to_owned());
            let child = Value::List(vec!["c".into(), Value::Null]);
            written.children = Some(vec![Value::List(vec![child, Value::Null])]);
            written.extended = Some(Extended {
                name: Some("app.t".to_owned()),
                args: Value::List(vec![1.into(), "é".into()]),
                kwargs: progress(2),
                worker: Some("w@h".to_owned()),
                retries: Some(3),
                queue: Some("q".to_owned()),
                stamped_headers: Some(vec!["customer".to_owned()]),
                stamps: Map::from([("customer".to_owned(), "c1".into())]),
            });
            store.store(&written).await.unwrap();
            let id = TaskId::from("a");
            let twice = store.load_many(&[id.clone(), id]).await.unwrap();
            assert_eq!(twice, [Some(written.clone()), Some(written)]);
        })
        .await;
    }
}

#[tokio::test]
async fn values_of_every_kind_come_back() {
    check(ResultSettings::default(), |store| async move {
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Float(0.5),
            "text with \0 and é".into(),
            Value::List(Vec::new()),
            Value::Map(Map::new()),
            Value::DateTime("2026-11-23T04:43:28+00:00".to_owned()),
            Value::Decimal("1.10".to_owned()),
        ] {
            let written = meta("a", State::Custom("HERE".to_owned()), value);
            store.store(&written).await.unwrap();
            let stored = store.load(&TaskId::from("a")).await.unwrap();
            assert_eq!(stored.unwrap().result, written.result);
        }
    })
    .await;
}

#[tokio::test]
async fn lives_and_keys_follow_the_settings() {
    let settings = ResultSettings {
        global_keyprefix: "rp_".to_owned(),
        expires: Some(Duration::from_secs(100)),
        failure_expires: Some(Duration::from_secs(7)),
        ..ResultSettings::default()
    };
    check_announcing(settings, |store| async move {
        let success = store.encode(&meta("a", State::Success, 1)).unwrap();
        assert_eq!(success.key, "rp_celery-task-meta-a");
        assert_eq!(success.expires, Some(Duration::from_secs(100)));
        let failed = store.encode(&failure("a")).unwrap();
        assert_eq!(failed.expires, Some(Duration::from_secs(7)));
        assert_eq!(store.group_key("g"), "rp_celery-taskset-meta-g");
        assert_eq!(store.place(), Some(success.place));
    })
    .await;
}

#[tokio::test]
async fn damaged_records_are_errors_that_name_the_task() {
    let server = RedisServer::start().unwrap();
    let store = redis_store(&server, &ResultSettings::default()).await;
    let mut other = server.connection(1).unwrap();
    redis::cmd("SET")
        .arg("celery-task-meta-a")
        .arg("{")
        .exec(&mut other)
        .unwrap();
    let error = store.load(&TaskId::from("a")).await.unwrap_err();
    assert!(
        matches!(error, Error::Undecodable { .. }) && error.to_string().contains(" a "),
        "{error}"
    );
    let error = store
        .watch(&TaskId::from("a"))
        .await
        .unwrap()
        .next()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Undecodable { .. }));
    // And they do not stand in the way of a good one.
    store.store(&meta("a", State::Success, 1)).await.unwrap();
    assert!(store.load(&TaskId::from("a")).await.unwrap().is_some());
}
