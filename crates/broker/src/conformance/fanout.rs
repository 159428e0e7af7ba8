//! Fanout exchanges.

use std::time::Duration;

use futures::StreamExt;

use lovage_protocol::QueueName;

use super::Stage;
use crate::{Ask, Destination, Enough, Publish};

/// Who listens hears, by pattern.
pub async fn a_broadcast_reaches_who_listens(stage: impl Stage) {
    let broker = stage.broker();
    broker
        .broadcast("celeryev", "task.early", "0".into())
        .await
        .expect("nobody listening is no error");
    let mut all = broker
        .subscribe("celeryev", "#")
        .await
        .expect("the broker answers");
    let mut workers = broker
        .subscribe("celeryev", "worker.*")
        .await
        .expect("the broker answers");
    let mut control = broker
        .subscribe("celery.pidbox", "")
        .await
        .expect("the broker answers");
    for (exchange, key, payload) in [
        ("celeryev", "task.sent", "1"),
        ("celeryev", "worker.online", "2"),
        ("celery.pidbox", "", "3"),
    ] {
        broker
            .broadcast(exchange, key, payload.into())
            .await
            .expect("the broker answers");
    }
    let limit = Duration::from_secs(5);
    let mut heard = Vec::new();
    for _ in 0..2 {
        let next = tokio::time::timeout(limit, all.next())
            .await
            .expect("it arrives")
            .expect("the stream goes on");
        heard.push((next.routing_key, next.payload));
    }
    assert_eq!(
        heard,
        [
            ("task.sent".to_owned(), "1".into()),
            ("worker.online".to_owned(), "2".into())
        ]
    );
    let worker = tokio::time::timeout(limit, workers.next())
        .await
        .expect("it arrives")
        .expect("the stream goes on");
    assert_eq!(
        (worker.routing_key.as_str(), &worker.payload[..]),
        ("worker.online", &b"2"[..])
    );
    let order = tokio::time::timeout(limit, control.next())
        .await
        .expect("it arrives")
        .expect("the stream goes on");
    assert_eq!(
        (order.routing_key.as_str(), &order.payload[..]),
        ("", &b"3"[..])
    );
    let nothing = tokio::time::timeout(Duration::from_millis(50), workers.next()).await;
    assert!(nothing.is_err(), "each hears its own only");
}

/// A request is heard, and replies that come in time are gathered in their order; later the queue is gone.
pub async fn a_request_gathers_its_replies(stage: impl Stage) {
    let broker = stage.broker();
    let mut heard = broker
        .subscribe("celery.pidbox", "")
        .await
        .expect("the broker answers");
    let reply = |payload: &'static str| Publish {
        destination: Destination::Exchange {
            exchange: "reply.celery.pidbox".to_owned(),
            routing_key: "asker".to_owned(),
        },
        priority: 0,
        payload: payload.into(),
    };
    let request = Ask {
        exchange: "celery.pidbox".to_owned(),
        payload: "who?".into(),
        reply_exchange: "reply.celery.pidbox".to_owned(),
        reply_key: "asker".to_owned(),
        reply_queue: QueueName::parse("asker.reply.celery.pidbox").expect("it is a name"),
        wait: Duration::from_millis(500),
        enough: Enough::Never,
    };
    let early = Ask {
        wait: Duration::from_secs(60),
        enough: Enough::Replies(2),
        ..request.clone()
    };
    let alone = Ask {
        exchange: "nobody.pidbox".to_owned(),
        enough: Enough::Everybody,
        ..early.clone()
    };
    let unheard = broker.ask(alone).await.expect("the broker answers");
    assert!(unheard.is_empty(), "nobody is waited for");
    for request in [request, early] {
        let replying = async {
            let request = heard.next().await.expect("the stream goes on");
            assert_eq!(request.payload, "who?");
            broker
                .publish(&[reply("first"), reply("second")])
                .await
                .expect("the broker answers");
        };
        let asked = tokio::time::timeout(Duration::from_secs(30), broker.ask(request));
        let (replies, ()) = tokio::join!(asked, replying);
        let replies = replies.expect("enough replies end the wait");
        assert_eq!(replies.expect("the broker answers"), ["first", "second"]);
    }

    broker
        .publish(&[reply("late")])
        .await
        .expect("nobody listening is no error");
    let queue = QueueName::parse("asker.reply.celery.pidbox").expect("it is a name");
    let depth = broker.depth(&[queue]).await.expect("the broker answers");
    assert_eq!(depth, [0]);
}
