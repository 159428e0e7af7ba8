//! From the journal of Lovage workers into rows.
//!
//! Records are numbered, and how far was read is a row too, so what is missing between the last read and the next is known
//! exactly, and is a row of its own: a gap. Writing the same records again is harmless (each names its place), so a keeper that dies
//! anywhere in between leaves neither a gap nor a double.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use lovage_broker::{Broker, JournalEntry, Mark, Page};
use lovage_database::{
    Database, commit,
    store::{
        history_gap::Gap,
        journal_mark::{self, Position},
        lease::Lease,
    },
};
use lovage_protocol::event::Event;
use lovage_settings::Redact;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    Error,
    account::Account,
    duty::Work,
    ledger::{self, Entry},
    pace::{Pace, Step},
};

/// Where gaps and marks of the journal are filed.
pub(crate) const SOURCE: &str = "journal";
/// So many bytes are read in one step; a batch of some thousand tasks.
const ENOUGH: usize = 1 << 20;
/// The pause after a look that found nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// What the duty works with.
#[derive(Debug, Clone)]
pub(crate) struct JournalReader {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) database: Database,
    pub(crate) redact: Arc<Redact>,
    /// What the journal may hold, in bytes.
    pub(crate) cap: u64,
}

/// What a page leads to.
#[derive(Debug, Default)]
struct Found {
    entries: Vec<Entry>,
    gaps: Vec<Gap>,
    mark: Option<Mark>,
    /// Records that were ever written.
    written: u64,
}

impl Work for JournalReader {
    type Error = Error;

    /// Reads until told to stop.
    async fn run(&self, lease: &Lease, stop: &CancellationToken) -> Result<(), Error> {
        let mut position = journal_mark::load(self.database.reader(), SOURCE).await?;
        let mut pace = Pace::new(self.cap);
        while !stop.is_cancelled() {
            let began = Instant::now();
            let after = position.as_ref().map(|position| position.id.as_str());
            let mut page = self.broker.journal().read(after, ENOUGH).await?;
            if let (Some(found), Some(known)) = (&page, &position)
                && found.epoch != known.epoch
            {
                // Its places say nothing about this one.
                page = self.broker.journal().read(None, ENOUGH).await?;
            }
            let found = page.map(|page| digest(page, position.as_ref(), &self.redact));
            let Some((found, mark)) = found.and_then(|mut found| {
                let mark = found.mark.take()?;
                Some((found, mark))
            }) else {
                // Cancelled: the loop ends.
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            };
            let new = Position {
                epoch: mark.epoch.clone(),
                id: mark.id.clone(),
                records: mark.records,
                bytes: mark.bytes,
            };
            for gap in &found.gaps {
                warn!(lost = gap.lost, reason = gap.reason, "history has a gap");
            }
            ledger::write(&self.database, &found.entries).await?;
            // With a fence: who was stopped for long does not set back what another has read since.
            let transaction = self.database.begin().await?;
            lease.confirm(&transaction).await?;
            for gap in &found.gaps {
                gap.record(&transaction).await?;
            }
            journal_mark::save(&transaction, SOURCE, &new).await?;
            commit(transaction).await?;
            let read = position
                .filter(|known| known.epoch == new.epoch)
                .map_or(0, |known| known.records);
            self.broker.journal().forget(&mark).await?;
            let rest = pace.after(Step {
                began,
                ended: Instant::now(),
                written: found.written,
                read: new.records,
                records: new.records.saturating_sub(read),
                weight: new.bytes / new.records.max(1),
            });
            position = Some(new);
            if !rest.is_zero() {
                stop.run_until_cancelled(tokio::time::sleep(rest)).await;
            }
        }
        Ok(())
    }
}

/// What a page says to a reader who has read up to `position`.
fn digest(page: Page, position: Option<&Position>, redact: &Redact) -> Found {
    let mut found = Found {
        written: page.written,
        ..Found::default()
    };
    let known = position.filter(|position| position.epoch == page.epoch);
    if let (Some(last), None, Some(first)) = (position, known, page.entries.first()) {
        // Nobody knows how much the one before still got.
        found.gaps.push(Gap {
            source: SOURCE.to_owned(),
            began_at: time_of(&last.id),
            ended_at: time_of(&first.mark.id),
            lost: 0,
            reason: "the journal ended before it was read to its end, or the broker lost it"
                .to_owned(),
        });
    }
    let mut read = match (known, position) {
        (Some(known), _) => known.records,
        (None, Some(_)) => 0,
        // A new database knows nothing of the time before it.
        (None, None) => page.entries.first().map_or(0, JournalEntry::before),
    };
    let mut last = known.map(|position| position.id.clone());
    for entry in page.entries {
        let missing = entry.before().saturating_sub(read);
        if missing > 0 {
            let began = last.as_deref().unwrap_or(&entry.mark.id);
            found.gaps.push(Gap {
                source: SOURCE.to_owned(),
                began_at: time_of(began),
                ended_at: time_of(&entry.mark.id),
                lost: i64::try_from(missing).unwrap_or(i64::MAX),
                reason: "more was written than LOVAGE_JOURNAL_BYTES keeps".to_owned(),
            });
        }
        add(&entry, redact, &mut found.entries);
        read = entry.mark.records;
        last = Some(entry.mark.id.clone());
        found.mark = Some(entry.mark);
    }
    found
}

fn add(entry: &JournalEntry, redact: &Redact, entries: &mut Vec<Entry>) {
    let mark = &entry.mark;
    for (record, number) in entry.records.iter().zip(entry.before() + 1..) {
        let read = Event::from_json(record);
        let account = read.map(|event| Account::of(event, Some(&entry.node), redact));
        match account {
            Ok(Some(account)) => entries.push(Entry {
                source: format!("{}:{number}", mark.epoch),
                account,
            }),
            Ok(None) => debug!(node = entry.node, number, "a record tells of no task"),
            Err(error) => warn!(
                node = entry.node,
                number,
                error = &error as &dyn std::error::Error,
                "a record of the journal cannot be read"
            ),
        }
    }
}

/// When an entry was written: its id begins with the server's time.
fn time_of(id: &str) -> DateTime<Utc> {
    let milliseconds = id.split_once('-').and_then(|(time, _)| time.parse().ok());
    milliseconds
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry whose last record has this number.
    fn entry(epoch: &str, last: u64, records: &[&str]) -> JournalEntry {
        JournalEntry {
            mark: Mark {
                epoch: epoch.to_owned(),
                id: format!("{}-0", 1000 * last),
                records: last,
                bytes: 100 * last,
            },
            node: "w@h".to_owned(),
            records: records
                .iter()
                .map(|record| (*record).to_owned().into())
                .collect(),
        }
    }

    fn read(entries: Vec<JournalEntry>, position: Option<(&str, u64)>) -> Found {
        let page = Page {
            epoch: "now".to_owned(),
            written: 0,
            entries,
        };
        let position = position.map(|(epoch, records)| Position {
            epoch: epoch.to_owned(),
            id: format!("{}-0", 1000 * records),
            records,
            bytes: 0,
        });
        digest(page, position.as_ref(), &Redact::default())
    }

    const RECORD: &str = r#"{"uuid": "1", "timestamp": 5.0, "type": "task-succeeded"}"#;

    fn lost(found: &Found) -> Vec<i64> {
        found.gaps.iter().map(|gap| gap.lost).collect()
    }

    #[test]
    fn what_follows_what_was_read_leaves_no_gap() {
        let entries = vec![
            entry("now", 7, &[RECORD, RECORD]),
            entry("now", 8, &[RECORD]),
        ];
        let found = read(entries, Some(("now", 5)));
        assert_eq!(lost(&found), [0; 0]);
        let sources: Vec<&str> = found
            .entries
            .iter()
            .map(|entry| entry.source.as_str())
            .collect();
        assert_eq!(sources, ["now:6", "now:7", "now:8"]);
        assert_eq!(found.mark.unwrap().records, 8);
    }

    #[test]
    fn what_is_missing_is_counted() {
        let entries = vec![
            entry("now", 17, &[RECORD]),
            entry("now", 30, &[RECORD, RECORD]),
        ];
        let found = read(entries, Some(("now", 5)));
        assert_eq!(lost(&found), [11, 11]);
        assert_eq!(found.gaps[0].began_at.timestamp(), 5);
        assert_eq!(found.gaps[0].ended_at.timestamp(), 17);
        assert_eq!(found.gaps[1].began_at.timestamp(), 17);
    }

    #[test]
    fn another_journal_is_a_gap_of_unknown_size() {
        let found = read(vec![entry("now", 1, &[RECORD])], Some(("before", 5)));
        assert_eq!(lost(&found), [0]);
        // It has lost some itself.
        let found = read(vec![entry("now", 4, &[RECORD])], Some(("before", 5)));
        assert_eq!(lost(&found), [0, 3]);
    }

    #[test]
    fn a_new_database_misses_nothing_of_the_time_before_it() {
        let found = read(vec![entry("now", 9, &[RECORD])], None);
        assert_eq!((lost(&found), found.entries.len()), (vec![], 1));
    }

    #[test]
    fn what_cannot_be_read_holds_nothing_up() {
        let found = read(
            vec![entry("now", 3, &["{", RECORD, "{}"])],
            Some(("now", 0)),
        );
        assert_eq!(found.entries.len(), 1);
        assert_eq!(found.entries[0].source, "now:2");
        assert_eq!(found.mark.unwrap().records, 3);
    }
}
