//! The results as they are announced, in order.

use std::time::Duration;

use redis::Connection;
use serde_json::Value;

use crate::redis_server::RedisServer;

/// Hears every result published on database 0 from its making on.
pub struct ResultFeed {
    connection: Connection,
}

impl std::fmt::Debug for ResultFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultFeed").finish_non_exhaustive()
    }
}

impl ResultFeed {
    /// Begins to listen.
    ///
    /// # Panics
    /// When Redis cannot be reached.
    pub fn of(redis: &RedisServer) -> Self {
        let mut connection = redis.connection();
        // The crate's own subscription ends with its borrow of the connection; this one lives as long as the feed.
        let subscribe = redis::cmd("PSUBSCRIBE")
            .arg("celery-task-meta-*")
            .get_packed_command();
        connection
            .send_packed_command(&subscribe)
            .expect("PSUBSCRIBE works");
        connection.recv_response().expect("PSUBSCRIBE is answered");
        connection
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a read timeout can be set");
        Self { connection }
    }

    /// The next announced record.
    ///
    /// # Panics
    /// When none comes in 20 seconds.
    pub fn next_record(&mut self) -> Value {
        loop {
            let reply: redis::Value = self
                .connection
                .recv_response()
                .expect("a result is announced in time");
            let Some(message) = redis::Msg::from_value(&reply) else {
                continue;
            };
            let text: String = message.get_payload().expect("a result is text");
            return serde_json::from_str(&text).expect("a result is JSON");
        }
    }
}
