//! What is in Redis beside results: who holds what, and what is left when all is over.

use redis::{Commands, Connection};

use super::load::QUEUE;
use crate::redis_server::RedisServer;

/// Keys that may stay: results and binding tables, as Celery leaves them, and the scenario's own.
const MAY_STAY: [&str; 3] = ["celery-task-meta-", "_kombu.binding", "chaos:"];

/// Locks that whoever dies with them leaves behind for a while: of kombu's sweep, and of giving back a dead worker's messages;
/// and that a chord has ended, by the token that it was ended with.
const LOCKS: [&str; 3] = ["unacked_mutex", "lovage:reaping:", "lovage:chord:"];

/// What the lists end with in which answers wait for a worker that asked the others as it began.
const ANSWERS: &str = ".reply.celery.pidbox";

/// What the keys of chords begin with.
const CHORDS: &str = "celery-taskset-meta-";

/// And by its claim, which stays of a chord's keys for a while; and with it what returned after the end, as a redelivered member
/// does: it may be the first of the same chord sent again.
fn outlives_its_chord(key: &str) -> bool {
    key.starts_with(CHORDS) && (key.ends_with(".c") || key.ends_with(".p"))
}

/// Every message that waits or is held, each with its place.
///
/// # Panics
/// When Redis cannot be asked, or holds what the two kombu keys do not agree about.
pub fn held(redis: &RedisServer) -> Vec<(String, String)> {
    let mut connection = redis.connection();
    let mut held = Vec::new();
    for (place, key) in [
        ("unacked", "unacked"),
        ("delayed", "lovage:delayed:messages"),
    ] {
        let messages: Vec<(String, String)> = connection.hgetall(key).expect("HGETALL works");
        held.extend(
            messages
                .into_iter()
                .map(|(tag, text)| (format!("{place} {tag}"), text)),
        );
    }
    for list in lists(&mut connection) {
        let messages: Vec<String> = connection.lrange(&list, 0, -1).expect("LRANGE works");
        held.extend(
            messages
                .into_iter()
                .map(|text| (format!("list {list}"), text)),
        );
    }
    if held.is_empty() {
        // Both keys are always written together.
        for index in ["unacked_index", "lovage:delayed"] {
            let tags: Vec<String> = connection.zrange(index, 0, -1).expect("ZRANGE works");
            held.extend(
                tags.into_iter()
                    .map(|tag| (format!("{index} {tag}"), String::new())),
            );
        }
    }
    held
}

fn lists(connection: &mut Connection) -> Vec<String> {
    connection
        .keys(format!("{QUEUE}*"))
        .map(|keys: Vec<String>| {
            let other = |key: &String| {
                let mut prefixes = MAY_STAY.iter().chain([&CHORDS]);
                prefixes.any(|prefix| key.starts_with(prefix))
            };
            keys.into_iter().filter(|key| !other(key)).collect()
        })
        .expect("KEYS works")
}

/// The ids of Lovage's workers, living and not yet buried, each with its node name.
///
/// # Panics
/// When Redis cannot be asked.
pub fn workers(redis: &RedisServer) -> Vec<(String, String)> {
    let mut connection = redis.connection();
    let ids: Vec<String> = connection
        .zrange("lovage:workers", 0, -1)
        .expect("ZRANGE works");
    ids.into_iter()
        .map(|id| {
            let node: Option<String> = connection
                .hget(format!("lovage:worker:{id}"), "node")
                .expect("HGET works");
            (id, node.unwrap_or_default())
        })
        .collect()
}

/// The tags that a worker holds.
///
/// # Panics
/// When Redis cannot be asked.
pub fn tags_of(redis: &RedisServer, worker: &str) -> Vec<String> {
    let mut connection = redis.connection();
    let tags: Vec<String> = connection
        .zrange("unacked_index", 0, -1)
        .expect("ZRANGE works");
    let prefix = format!("{worker}:");
    tags.into_iter()
        .filter(|tag| tag.starts_with(&prefix))
        .collect()
}

/// Keys that should not be there once all workers have stopped. How many workers a message has cost is forgotten when a
/// worker of ours ends the message; when one of Celery's does, the count stays until its time is over.
///
/// # Panics
/// When Redis cannot be asked.
pub fn left_over(redis: &RedisServer, with_python: bool) -> Vec<String> {
    let mut connection = redis.connection();
    let mut keys: Vec<String> = connection.keys("*").expect("KEYS works");
    keys.retain(|key| {
        if MAY_STAY.iter().any(|prefix| key.starts_with(prefix)) {
            return false;
        }
        let passing = LOCKS.iter().any(|prefix| key.starts_with(prefix))
            || outlives_its_chord(key)
            || key.ends_with(ANSWERS)
            || with_python && key.starts_with("lovage:deaths:");
        let life: i64 = connection.ttl(key).expect("TTL works");
        // Gone in this moment, or it goes by itself.
        !(life == -2 || passing && life >= 0)
    });
    keys
}
