//! Waiting for a state, on every form of the store.

use std::time::Duration;

use lovage_protocol::{State, TaskId, Value};
use lovage_results::Error;
use lovage_settings::ResultSettings;

use crate::{SOON, check, check_announcing, custom, failure, meta, progress};

#[tokio::test]
async fn a_watch_hears_every_state() {
    check_announcing(ResultSettings::default(), |store| async move {
        let mut watch = store.watch(&TaskId::from("a")).await.unwrap();
        store.store(&meta("b", State::Success, 0)).await.unwrap();
        for number in 0..3 {
            store.store(&custom("a", number)).await.unwrap();
        }
        store.store(&meta("a", State::Success, 3)).await.unwrap();
        for number in 0..3 {
            assert_eq!(watch.next().await.unwrap().result, progress(number));
        }
        assert_eq!(watch.ready(SOON).await.unwrap().result, 3.into());
    })
    .await;
}

#[tokio::test]
async fn a_watch_hears_the_last_state() {
    check(ResultSettings::default(), |store| async move {
        let mut watch = store.watch(&TaskId::from("a")).await.unwrap();
        store.store(&custom("a", 0)).await.unwrap();
        assert_eq!(watch.next().await.unwrap().result, progress(0));
        store.store(&custom("a", 1)).await.unwrap();
        store.store(&meta("a", State::Success, 3)).await.unwrap();
        assert_eq!(watch.ready(SOON).await.unwrap().result, 3.into());
    })
    .await;
}

#[tokio::test]
async fn a_watch_begins_with_what_is_stored() {
    check(ResultSettings::default(), |store| async move {
        store.store(&failure("a")).await.unwrap();
        let id = TaskId::from("a");
        let (one, other) = (
            store.watch(&id).await.unwrap(),
            store.watch(&id).await.unwrap(),
        );
        assert_eq!(one.ready(SOON).await.unwrap().status, State::Failure);
        assert_eq!(other.ready(SOON).await.unwrap().status, State::Failure);
    })
    .await;
}

#[tokio::test]
async fn one_of_two_watches_outlives_the_other() {
    check(ResultSettings::default(), |store| async move {
        let id = TaskId::from("a");
        let (one, other) = (
            store.watch(&id).await.unwrap(),
            store.watch(&id).await.unwrap(),
        );
        drop(one);
        drop(store.watch(&id).await.unwrap());
        store.store(&meta("a", State::Success, 1)).await.unwrap();
        assert_eq!(other.ready(SOON).await.unwrap().result, 1.into());
    })
    .await;
}

#[tokio::test]
async fn waiting_ends_when_patience_does() {
    check(ResultSettings::default(), |store| async move {
        let watch = store.watch(&TaskId::from("a")).await.unwrap();
        store
            .store(&meta("a", State::Started, Value::Null))
            .await
            .unwrap();
        let error = watch
            .ready(Some(Duration::from_millis(50)))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn thousands_wait_at_once() {
    check(ResultSettings::default(), |store| async move {
        let ids: Vec<TaskId> = (0..2_000)
            .map(|number| TaskId::from(number.to_string()))
            .collect();
        let waiting = ids.iter().map(|id| store.watch(id));
        let watches = futures::future::try_join_all(waiting).await.unwrap();
        let writes: Vec<_> = ids
            .iter()
            .map(|id| {
                store
                    .encode(&meta(id.as_str(), State::Success, id.as_str()))
                    .unwrap()
            })
            .collect();
        store.write(&writes).await.unwrap();
        let results = watches.into_iter().map(|watch| watch.ready(SOON));
        let results = futures::future::try_join_all(results).await.unwrap();
        for (id, meta) in ids.iter().zip(results) {
            assert_eq!(meta.result.as_str(), Some(id.as_str()));
        }
    })
    .await;
}
