//! The journal: a stream, and a hash that says how it stands, which exists while the journal is kept.
//!
//! An entry of the stream is one batch of a worker: `n` and `b` are the records and bytes written up to its end, `w` the
//! node, `r` the records, a line each.

use async_trait::async_trait;
use bytes::Bytes;
use redis::Value;

use super::{
    RedisBroker,
    link::{Patience, Request},
    reply,
    scripts::{self, JOURNAL_FORGET, JOURNAL_KEEP, JOURNAL_READ},
};
use crate::{Budget, Error, Journal, JournalEntry, Mark, Page};

/// So many entries at most are read in one step.
const MOST_ENTRIES: usize = 256;

#[async_trait]
impl Journal for RedisBroker {
    async fn keep(&self, budget: Budget) -> Result<String, Error> {
        let keys = &self.core.keys;
        let mut cmd = scripts::call(&JOURNAL_KEEP, &[&keys.journal, &keys.journal_state]);
        let life = u64::try_from(budget.life.as_millis()).unwrap_or(u64::MAX >> 20);
        cmd.arg(uuid::Uuid::new_v4().simple().to_string())
            .arg(budget.bytes)
            .arg(life.max(1));
        let answer = self.journal_script(&JOURNAL_KEEP, &cmd).await?;
        reply::text(answer).ok_or(MISUNDERSTOOD)
    }

    async fn read(&self, after: Option<&str>, enough: usize) -> Result<Option<Page>, Error> {
        let keys = &self.core.keys;
        let mut cmd = scripts::call(&JOURNAL_READ, &[&keys.journal, &keys.journal_state]);
        cmd.arg(after.map_or_else(|| "-".to_owned(), |id| format!("({id}")))
            .arg(enough)
            .arg(MOST_ENTRIES);
        let mut answer = reply::list(self.journal_script(&JOURNAL_READ, &cmd).await?).into_iter();
        let (Some(epoch), Some(written), Some(entries)) =
            (answer.next(), answer.next(), answer.next())
        else {
            return Ok(None);
        };
        let epoch = reply::text(epoch).ok_or(MISUNDERSTOOD)?;
        let written = reply::integer(&written).ok_or(MISUNDERSTOOD)?;
        let entries = reply::list(entries)
            .into_iter()
            .map(|entry| read_entry(&epoch, entry).ok_or(MISUNDERSTOOD))
            .collect::<Result<_, _>>()?;
        Ok(Some(Page {
            epoch,
            written,
            entries,
        }))
    }

    async fn forget(&self, mark: &Mark) -> Result<(), Error> {
        let keys = &self.core.keys;
        let next = after(&mark.id).ok_or(Error::Misunderstood {
            what: "the id of a journal entry",
        })?;
        let mut cmd = scripts::call(&JOURNAL_FORGET, &[&keys.journal, &keys.journal_state]);
        cmd.arg(&mark.epoch).arg(next).arg(mark.bytes);
        self.journal_script(&JOURNAL_FORGET, &cmd).await.map(drop)
    }

    async fn end(&self) -> Result<(), Error> {
        let keys = &self.core.keys;
        let mut cmd = redis::cmd("DEL");
        cmd.arg(&keys.journal_state).arg(&keys.journal);
        self.core.ask(&cmd).await.map(drop)
    }
}

const MISUNDERSTOOD: Error = Error::Misunderstood {
    what: "a script of the journal",
};

impl RedisBroker {
    async fn journal_script(
        &self,
        script: &'static redis::Script,
        cmd: &redis::Cmd,
    ) -> Result<Value, Error> {
        let request = Request::Script(script, cmd);
        self.core.link.send(request, Patience::Bounded).await
    }
}

/// The first id that may come after this one.
fn after(id: &str) -> Option<String> {
    let (time, number) = id.split_once('-')?;
    let (time, number): (u64, u64) = (time.parse().ok()?, number.parse().ok()?);
    Some(format!("{time}-{}", number.checked_add(1)?))
}

fn read_entry(epoch: &str, entry: Value) -> Option<JournalEntry> {
    let mut entry = reply::list(entry).into_iter();
    let id = reply::text(entry.next()?)?;
    let mut fields = reply::list(entry.next()?).into_iter();
    let mut field = |name: &[u8]| {
        let found = reply::bytes(fields.next()?)?;
        (found == name).then(|| fields.next()).flatten()
    };
    let (records, bytes) = (field(b"n")?, field(b"b")?);
    let node = reply::text(field(b"w")?)?;
    let text = reply::bytes(field(b"r")?)?;
    Some(JournalEntry {
        mark: Mark {
            epoch: epoch.to_owned(),
            id,
            records: reply::integer(&records)?,
            bytes: reply::integer(&bytes)?,
        },
        node,
        records: lines(&text),
    })
}

fn lines(text: &Bytes) -> Vec<Bytes> {
    text.split(|byte| *byte == b'\n')
        .map(|line| text.slice_ref(line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_next_one() {
        assert_eq!(after("17-0").as_deref(), Some("17-1"));
        assert_eq!(after("17"), None);
        assert_eq!(after("17-18446744073709551615"), None);
    }

    #[test]
    fn entries_are_read_line_by_line() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = ["n", "7", "b", "310", "w", "w@h", "r", "one\ntwo"];
        let fields = Value::Array(fields.into_iter().map(text).collect());
        let entry = read_entry("e", Value::Array(vec![text("5-1"), fields])).unwrap();
        assert_eq!(entry.records, ["one", "two"]);
        assert_eq!((entry.before(), entry.mark.bytes), (5, 310));
        assert_eq!(read_entry("e", Value::Array(vec![text("5-1")])), None);
    }
}
