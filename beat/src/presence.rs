//! Answering remote control as Celery's beat does when it is allowed to: `ping`, and nothing else (`celery/beat.py`).

use std::sync::Arc;

use async_trait::async_trait;
use lovage_broker::Broker;
use lovage_flower_compat::{Answer, ControlHandler, Mailbox, Raised};
use lovage_protocol::{Lamport, Value};
use tokio_util::sync::CancellationToken;

struct Ping;

#[async_trait]
impl ControlHandler for Ping {
    async fn handle(&self, method: &str, _: Value) -> Result<Answer, Raised> {
        match method {
            "ping" => Ok(Answer::ok("pong")),
            // A worker's commands are meant for workers; Celery's beat does not know them either.
            _ => Ok(Answer::Silence),
        }
    }
}

/// Answers pings as `node` until told to stop.
pub async fn answer_pings(broker: Arc<dyn Broker>, node: &str, stop: CancellationToken) {
    let mailbox = Mailbox::new(broker, node, Lamport::default());
    mailbox.serve(Arc::new(Ping), stop).await;
}
