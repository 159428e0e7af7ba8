//! Dead letters: a hash each, and a sorted set of their ids by time.

use async_trait::async_trait;
use bytes::Bytes;
use lovage_protocol::QueueName;
use redis::{Pipeline, Value};

use super::{
    RedisBroker,
    link::{Patience, Request},
    reply,
    scripts::{self, LETTER},
};
use crate::{DeadLetter, DeadLetters, Error, Reason, envelope};

const FIELDS: [&str; 8] = [
    "raw", "code", "detail", "task", "task_id", "queue", "node", "at",
];

impl RedisBroker {
    /// Runs the script that takes a letter off the list, pushing it to `list` when one is given.
    async fn take_letter(&self, id: &str, list: &str) -> Result<bool, Error> {
        let mut cmd = scripts::call(
            &LETTER,
            &[&self.core.keys.letters, &self.core.keys.letter(id)],
        );
        cmd.arg(id).arg(list);
        let answer = self
            .core
            .link
            .send(Request::Script(&LETTER, &cmd), Patience::Bounded)
            .await?;
        Ok(answer == Value::Int(1))
    }

    async fn read_letters(&self, ids: &[String]) -> Result<Vec<DeadLetter>, Error> {
        let mut pipeline = Pipeline::new();
        for id in ids {
            pipeline
                .cmd("HMGET")
                .arg(self.core.keys.letter(id))
                .arg(&FIELDS);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let answers = reply::list(
            self.core
                .link
                .send(Request::Many(&pipeline), Patience::Bounded)
                .await?,
        );
        Ok(ids
            .iter()
            .zip(answers)
            .filter_map(|(id, fields)| letter(id, fields))
            .collect())
    }
}

/// Reads the fields; `None` for a letter that is gone.
fn letter(id: &str, fields: Value) -> Option<DeadLetter> {
    let mut fields = reply::optional_bytes_list(fields).into_iter();
    let raw = fields.next()??;
    let mut text = || {
        fields
            .next()
            .flatten()
            .map(|field: Bytes| String::from_utf8_lossy(&field).into_owned())
    };
    let reason = Reason {
        code: text().unwrap_or_default(),
        detail: text().unwrap_or_default(),
        task: text(),
        task_id: text(),
    };
    let (queue, node, at) = (
        text().unwrap_or_default(),
        text().unwrap_or_default(),
        text().unwrap_or_default(),
    );
    Some(DeadLetter {
        id: id.to_owned(),
        reason,
        queue,
        node,
        at: at.parse().unwrap_or(0.0),
        raw,
    })
}

#[async_trait]
impl DeadLetters for RedisBroker {
    async fn list(&self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let Some(last) = limit.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut cmd = redis::cmd("ZREVRANGE");
        // The server refuses numbers beyond its own.
        let position = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        cmd.arg(&self.core.keys.letters)
            .arg(position(offset))
            .arg(position(offset.saturating_add(last)));
        let ids = reply::text_list(self.core.ask(&cmd).await?);
        self.read_letters(&ids).await
    }

    async fn count(&self) -> Result<u64, Error> {
        let count = self
            .core
            .ask(redis::cmd("ZCARD").arg(&self.core.keys.letters))
            .await?;
        reply::integer(&count).ok_or(Error::Misunderstood { what: "ZCARD" })
    }

    async fn show(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        Ok(self.read_letters(&[id.to_owned()]).await?.pop())
    }

    async fn replay(&self, id: &str) -> Result<bool, Error> {
        let Some(letter) = self.show(id).await? else {
            return Ok(false);
        };
        let Ok(queue) = QueueName::parse(&letter.queue) else {
            return Ok(false);
        };
        let list = self
            .core
            .keys
            .list_for(&queue, envelope::priority(&letter.raw));
        self.take_letter(id, &list).await
    }

    async fn discard(&self, id: &str) -> Result<bool, Error> {
        self.take_letter(id, "").await
    }
}
