//! Messages so large that a batch of them would stop the server for everybody.

use bytes::Bytes;
use lovage_broker::{Broker, Delivery, Publish, RedisBroker, Settle, redis_server::RedisServer};

use super::{DONE, LEASE, consumer, end, envelope, fetch, ids, message, queue};

const COUNT: usize = 24;

/// 1 MiB and some.
fn large(id: &str) -> Publish {
    let mut payload = envelope(id).to_vec();
    // Blanks at the end are JSON too.
    payload.resize(1 << 20, b' ');
    Publish {
        payload: Bytes::from(payload),
        ..message("q", id)
    }
}

#[tokio::test]
async fn batches_are_bounded_by_their_weight_too() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let all: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    let batch: Vec<Publish> = all.iter().map(|id| large(id)).collect();
    broker.publish(&batch).await.unwrap();
    let first = consumer(&broker, "first", &["q"], LEASE).await;
    let mut taken: Vec<Delivery> = Vec::new();
    while taken.len() < COUNT {
        let some = fetch(&*first, COUNT, 0).await;
        assert!(some.len() <= 12, "{} MiB in one fetch", some.len());
        taken.extend(some);
    }
    assert_eq!(ids(&taken), all);
    let until = 0.0;
    let delays = taken.iter().map(|delivery| {
        let payload = None;
        end(delivery, Settle::Delay { until, payload })
    });
    let finished = first.finish(delays.collect()).await.unwrap();
    assert_eq!(finished, vec![DONE; COUNT]);
    let mut taken = Vec::new();
    while taken.len() < COUNT {
        taken.extend(fetch(&*first, COUNT, 0).await);
    }
    first.close().await.unwrap();
    assert_eq!(broker.depth(&[queue("q")]).await.unwrap(), [24]);
    let second = consumer(&broker, "second", &["q"], LEASE).await;
    let mut again = Vec::new();
    while again.len() < COUNT {
        again.extend(fetch(&*second, COUNT, 0).await);
    }
    assert_eq!(ids(&again), ids(&taken), "they went back in their order");
}
