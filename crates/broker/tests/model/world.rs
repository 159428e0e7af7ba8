//! The two forms of the broker, and what is done to them from outside.

use std::{collections::BTreeMap, sync::Arc};

use lovage_broker::{Broker, MemoryBroker, RedisBroker, redis_server::RedisServer};

/// What differs between the forms.
pub(crate) trait World {
    fn broker(&self) -> Arc<dyn Broker>;
    /// Makes the lease run out.
    fn expire(&mut self, id: &str);
    /// Gives back what the worker holds; tells whether that counts as a death.
    fn rob(&mut self, id: &str) -> bool;
    fn restart(&mut self);
    /// How many messages are recorded as held, where that can be seen.
    fn held(&mut self) -> Option<usize>;
}

pub(crate) struct Memory(pub(crate) MemoryBroker);

impl World for Memory {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }
    fn expire(&mut self, id: &str) {
        assert!(self.0.expire_lease(id));
    }
    fn rob(&mut self, id: &str) -> bool {
        self.0.expire_lease(id)
    }
    fn restart(&mut self) {}
    fn held(&mut self) -> Option<usize> {
        None
    }
}

pub(crate) struct Redis {
    pub(crate) server: RedisServer,
    pub(crate) broker: RedisBroker,
}

impl World for Redis {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }
    fn expire(&mut self, id: &str) {
        let mut connection = self.server.connection(0).unwrap();
        redis::cmd("DEL")
            .arg(format!("lovage:lease:{id}"))
            .exec(&mut connection)
            .unwrap();
    }
    /// As a Python worker does it after the visibility time-out.
    fn rob(&mut self, id: &str) -> bool {
        let mut connection = self.server.connection(0).unwrap();
        let entries: BTreeMap<String, String> = redis::cmd("HGETALL")
            .arg("unacked")
            .query(&mut connection)
            .unwrap();
        for (tag, entry) in entries.into_iter().filter(|(tag, _)| tag.starts_with(id)) {
            let raw = entry
                .strip_prefix('[')
                .unwrap()
                .strip_suffix(", \"\", \"q\"]")
                .unwrap();
            redis::cmd("HDEL")
                .arg("unacked")
                .arg(&tag)
                .exec(&mut connection)
                .unwrap();
            redis::cmd("ZREM")
                .arg("unacked_index")
                .arg(&tag)
                .exec(&mut connection)
                .unwrap();
            redis::cmd("RPUSH")
                .arg("q")
                .arg(raw)
                .exec(&mut connection)
                .unwrap();
        }
        false
    }
    fn restart(&mut self) {
        self.server.restart().unwrap();
    }
    fn held(&mut self) -> Option<usize> {
        let mut connection = self.server.connection(0).unwrap();
        // In one step: a worker may be putting messages back at this moment.
        let mut both = redis::pipe();
        both.atomic()
            .cmd("HLEN")
            .arg("unacked")
            .cmd("ZCARD")
            .arg("unacked_index");
        let (entries, indexed): (usize, usize) = both.query(&mut connection).unwrap();
        assert_eq!(entries, indexed);
        Some(entries)
    }
}
