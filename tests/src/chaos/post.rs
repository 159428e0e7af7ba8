//! Sees every task being sent: what follows another is sent once, however often that one ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::redis_server::RedisServer;
use crate::wait::eventually;

/// Counts how often the message of each task was put at the end of a queue as a new one, by whoever did it and in whatever
/// script. Its thread ends with the Redis that it watches, which is not to be hurt.
#[derive(Debug, Clone)]
pub struct Post {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    sent: HashMap<String, u32>,
    marks: u32,
}

/// Asked for when all before it is to have been seen.
const MARK: &str = "the post has seen all before";
/// How a header names its own task, as the server tells of it.
const ID: &str = r#"\"id\": \""#;
/// What gives a message back instead of sending it marks it so.
const GIVEN_BACK: &str = r#"\"redelivered\": true"#;

impl Post {
    /// Begins to watch.
    ///
    /// # Panics
    /// When Redis cannot be reached.
    pub fn open(redis: &RedisServer) -> Self {
        let mut connection = redis.connection();
        let monitor = redis::cmd("MONITOR").get_packed_command();
        connection
            .send_packed_command(&monitor)
            .expect("MONITOR works");
        connection.recv_response().expect("MONITOR is answered");
        let seen = Arc::<Mutex<Seen>>::default();
        let post = Self {
            seen: Arc::clone(&seen),
        };
        thread::spawn(move || {
            while let Ok(told) = connection.recv_response() {
                let redis::Value::SimpleString(line) = told else {
                    continue;
                };
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                for id in sent_by(&line) {
                    *seen.sent.entry(id.to_owned()).or_default() += 1;
                }
                if line.ends_with(&format!("\"ECHO\" \"{MARK}\"")) {
                    seen.marks += 1;
                }
            }
        });
        post
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of these tasks that were not sent exactly once so far, with how often they were.
    ///
    /// # Panics
    /// When Redis cannot be asked.
    pub fn not_once<'a>(
        &self,
        redis: &RedisServer,
        ids: impl Iterator<Item = &'a str>,
    ) -> Vec<(&'a str, u32)> {
        let before = self.seen().marks;
        let _: String = redis.command(&["ECHO", MARK]);
        eventually("the post to see the mark", || self.seen().marks > before);
        let seen = self.seen();
        let counted = ids.map(|id| (id, seen.sent.get(id).copied().unwrap_or(0)));
        counted.filter(|(_, times)| *times != 1).collect()
    }
}

/// The tasks that a command sends, as `MONITOR` tells of it: `<time> [<database> <who>] "LPUSH" "<list>" "<message>"…`.
fn sent_by(line: &str) -> impl Iterator<Item = &str> {
    let command = line.split_once("] ").map_or("", |(_, command)| command);
    let pushes = command.starts_with("\"LPUSH\" ");
    // Quotes inside of a word have a backslash before them.
    let words = command.split("\" \"").skip(2).filter(move |_| pushes);
    let fresh = words.filter(|word| !word.contains(GIVEN_BACK));
    fresh.filter_map(|message| message.split_once(ID)?.1.split('\\').next())
}

#[cfg(test)]
mod tests {
    use super::sent_by;

    #[test]
    fn a_new_message_is_told_from_one_that_is_given_back() {
        let message = |id: &str, more: &str| {
            format!(
                r#""{{\"body\": \"W10=\", \"headers\": {{\"task\": \"t\", \"id\": \"{id}\", \"root_id\": \"r\"{more}}}}}""#
            )
        };
        let (fresh, back) = (
            message("a-1", ""),
            message("a-2", r#", \"redelivered\": true"#),
        );
        let check = |command: &str, messages: &str, expected: &[&str]| {
            let line = format!(r#"17.5 [0 lua] "{command}" "celery" {messages}"#);
            assert_eq!(sent_by(&line).collect::<Vec<_>>(), expected, "{line}");
        };
        check("LPUSH", &fresh, &["a-1"]);
        check("LPUSH", &back, &[]);
        let more = format!("{fresh} {back} {}", message("a-3", ""));
        check("LPUSH", &more, &["a-1", "a-3"]);
        // Back to the head; and what a script is called with is told once more by its own commands.
        check("RPUSH", &fresh, &[]);
        check("EVALSHA", &fresh, &[]);
    }
}
