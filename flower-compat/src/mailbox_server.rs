//! Answering remote control (`kombu/pidbox.py`, `Node`).

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{BoxStream, FuturesUnordered},
};
use lovage_broker::{Broadcast, Broker, Destination, Error, Publish};
use lovage_protocol::{
    Lamport,
    control::{self, Received, Reply, ReplyTo},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    address,
    handler::{Answer, ControlHandler},
};

/// So many requests are under way at once; the others wait where they are.
const MOST_AT_ONCE: usize = 64;
/// So long the next request waits for the one before.
const LONG: Duration = Duration::from_millis(100);
/// A request of which more bytes than this come is not read.
const LARGEST: usize = 16 << 20;
/// The pause before an unreachable broker is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// A node's mailbox: requests come, a handler obeys, replies go.
#[derive(Clone)]
pub struct Mailbox {
    broker: Arc<dyn Broker>,
    node: Arc<str>,
    clock: Lamport,
}

impl Mailbox {
    /// The mailbox of a node.
    pub fn new(broker: Arc<dyn Broker>, node: &str, clock: Lamport) -> Self {
        Self {
            broker,
            node: node.into(),
            clock,
        }
    }

    /// Obeys until told to stop. A broker that is away is waited for.
    pub async fn serve(self, handler: Arc<dyn ControlHandler>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.serve_for_ever(&*handler) => {}
        }
    }

    async fn serve_for_ever(&self, handler: &dyn ControlHandler) {
        let mut requests = loop {
            match self.open().await {
                Ok(requests) => break requests,
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "remote control waits for the broker"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                // In the order of their coming each is begun before the next is read.
                biased;
                Some(()) = under_way.next() => {}
                request = requests.next(), if under_way.len() < MOST_AT_ONCE => {
                    let Some(request) = request else { return };
                    let mut obeyed = Box::pin(self.obey(handler, request.payload));
                    // One after the other, as a Celery worker does it: who revokes and then asks what is revoked is told so.
                    // Only what takes long goes on beside the next.
                    if tokio::time::timeout(LONG, &mut obeyed).await.is_err() {
                        under_way.push(obeyed);
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<BoxStream<'static, Broadcast>, Error> {
        self.broker.subscribe(control::EXCHANGE, "").await
    }

    async fn obey(&self, handler: &dyn ControlHandler, raw: Bytes) {
        if raw.len() > LARGEST {
            warn!(
                bytes = raw.len(),
                "a control request is too large, it is not read"
            );
            return;
        }
        let request = match Received::parse(&raw) {
            Ok(request) => request,
            Err(refused) => {
                warn!(
                    error = &refused as &dyn std::error::Error,
                    "a control request cannot be read"
                );
                return;
            }
        };
        self.clock.adjust(request.clock);
        if !address::means(&request.addressed, &self.node) {
            return;
        }
        let Received {
            method,
            arguments,
            ticket,
            reply_to,
            ..
        } = request;
        debug!(method, "remote control");
        let value = match handler.handle(&method, arguments).await {
            Ok(Answer::Value(value)) => value,
            Ok(Answer::Silence) => return,
            Err(raised) => {
                info!(method, %raised, "a control request was refused");
                raised.to_value()
            }
        };
        if let Some(reply_to) = reply_to {
            let reply = Reply {
                node: self.node.as_ref().to_owned(),
                value,
                ticket,
                clock: Some(self.clock.forward()),
            };
            self.reply(&reply, reply_to).await;
        }
    }

    async fn reply(&self, reply: &Reply, to: ReplyTo) {
        let ReplyTo {
            exchange,
            routing_key,
        } = to;
        let publish = Publish {
            payload: reply.to_json(&exchange, &routing_key).into(),
            destination: Destination::Exchange {
                exchange,
                routing_key,
            },
            priority: 0,
        };
        if let Err(failed) = self.broker.publish(&[publish]).await {
            // Who asked has his time-out.
            error!(
                error = &failed as &dyn std::error::Error,
                "a reply to remote control was not sent"
            );
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use lovage_broker::{Enough, MemoryBroker};
    use lovage_protocol::Value;

    use super::*;
    use crate::{handler::Raised, mailbox_client::Control};

    struct Obedient;

    #[async_trait]
    impl ControlHandler for Obedient {
        async fn handle(&self, method: &str, arguments: Value) -> Result<Answer, Raised> {
            match method {
                "ping" => Ok(Answer::ok("pong")),
                "echo" => Ok(Answer::Value(arguments)),
                "slow" => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(Answer::ok("slow"))
                }
                "quiet" => Ok(Answer::Silence),
                other => Err(Raised::new("KeyError", other)),
            }
        }
    }

    async fn ask(control: &Control, method: &str) -> String {
        let replies = control
            .ask(method)
            .enough(Enough::Replies(1))
            .wait(Duration::from_secs(5))
            .send()
            .await
            .unwrap();
        replies.first().map_or_else(String::new, |reply| {
            format!("{} {}", reply.node, reply.value.to_json())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_obeyed_and_a_slow_one_holds_up_nobody() {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
        let mailbox = Mailbox::new(Arc::clone(&broker), "w@h", Lamport::default());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(mailbox.serve(Arc::new(Obedient), stop.clone()));
        tokio::task::yield_now().await;
        let control = Control::new(Arc::clone(&broker));
        let slow = ask(&control, "slow");
        let others = async {
            for garbage in ["", "{}", "7"] {
                let garbage = garbage.into();
                broker
                    .broadcast(control::EXCHANGE, "", garbage)
                    .await
                    .unwrap();
            }
            assert_eq!(ask(&control, "ping").await, r#"w@h {"ok": "pong"}"#);
            assert_eq!(ask(&control, "echo").await, "w@h {}");
            assert_eq!(
                ask(&control, "dance").await,
                r#"w@h {"error": "KeyError('dance')"}"#
            );
            assert_eq!(ask(&control, "quiet").await, "");
        };
        let (slow, ()) = tokio::join!(slow, others);
        assert_eq!(slow, r#"w@h {"ok": "slow"}"#);
        stop.cancel();
        serving.await.unwrap();
    }
}
