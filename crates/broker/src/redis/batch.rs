//! The arguments of `apply.lua`: a batch of deliveries and what is to happen with each.

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Script};

use super::{
    gate,
    keys::Keys,
    scripts::{self, APPLY, APPLY_GATED, APPLY_GATED_TOLD, APPLY_TOLD},
};
use crate::{ChordPart, Error, Leave, Reason, ResultPlace, ResultWrite, envelope};

/// So many items at most go into one script, so that nobody else waits long for the server.
pub(crate) const MOST_ITEMS: usize = 500;
/// So many bytes of payload at most go into one script.
pub(crate) const MOST_BYTES: usize = 8 << 20;

/// The end of a list that a message is pushed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Popped last: where publishers push.
    Back,
    /// Popped next: where messages are restored to.
    Head,
}

/// Which deliveries of a batch are settled by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// None but those marked so.
    Keep,
    /// All that are still ours.
    All,
    /// Those that are still ours and were not started; the started ones count as not ours.
    Waiting,
}

/// Position of a delivery within its batch, as the script counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item(usize);

/// A dead letter to write.
#[derive(Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) id: String,
    pub(crate) reason: &'a Reason,
    pub(crate) queue: &'a str,
    pub(crate) node: &'a str,
    pub(crate) raw: Bytes,
}

/// The name under which the answer to a batch is kept, so that asking twice does nothing twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket<'a> {
    pub(crate) field: &'a str,
    pub(crate) number: u64,
}

#[derive(Debug)]
struct ResultRow {
    database: i64,
    item: usize,
    key: String,
    value: Bytes,
    life: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Batch<'k> {
    keys: &'k Keys,
    database: i64,
    tags: Vec<String>,
    lists: Vec<String>,
    results: Vec<ResultRow>,
    pushes: Vec<(usize, usize, End, Bytes)>,
    starts: Vec<usize>,
    unstarts: Vec<usize>,
    acks: Vec<usize>,
    delays: Vec<(usize, f64, String, Vec<u8>)>,
    letters: Vec<(usize, Vec<Bytes>)>,
    deaths: Vec<(usize, String, Duration)>,
    forgotten: Vec<(usize, String)>,
    leaves: Vec<(usize, String, Leave)>,
    chords: Vec<(usize, ChordPart, i64, String)>,
    /// The node that tells, and what.
    records: (&'k str, Vec<(usize, Bytes)>),
}

impl<'k> Batch<'k> {
    pub(crate) fn new(keys: &'k Keys, database: i64) -> Self {
        Self {
            keys,
            database,
            tags: Vec::new(),
            lists: Vec::new(),
            results: Vec::new(),
            pushes: Vec::new(),
            starts: Vec::new(),
            unstarts: Vec::new(),
            acks: Vec::new(),
            delays: Vec::new(),
            letters: Vec::new(),
            deaths: Vec::new(),
            forgotten: Vec::new(),
            leaves: Vec::new(),
            chords: Vec::new(),
            records: ("", Vec::new()),
        }
    }

    /// Adds a delivery that must still be ours.
    pub(crate) fn fenced(&mut self, tag: String) -> Item {
        self.tags.push(tag);
        Item(self.tags.len())
    }

    /// Adds something to be done in any case.
    pub(crate) fn unfenced(&mut self) -> Item {
        self.fenced(String::new())
    }

    pub(crate) fn result(&mut self, Item(item): Item, write: &ResultWrite) -> Result<(), Error> {
        let database = database_of(&write.place)?;
        self.results.push(ResultRow {
            database,
            item,
            key: write.key.clone(),
            value: write.value.clone(),
            life: write.expires,
        });
        Ok(())
    }

    pub(crate) fn push(&mut self, Item(item): Item, list: String, end: End, payload: Bytes) {
        // A batch goes to few lists, mostly to the one used last.
        let at = self
            .lists
            .iter()
            .rposition(|known| *known == list)
            .unwrap_or_else(|| {
                self.lists.push(list);
                self.lists.len() - 1
            });
        self.pushes.push((item, at, end, payload));
    }

    pub(crate) fn start(&mut self, Item(item): Item) {
        self.starts.push(item);
    }

    pub(crate) fn unstart(&mut self, Item(item): Item) {
        self.unstarts.push(item);
    }

    pub(crate) fn ack(&mut self, Item(item): Item) {
        self.acks.push(item);
    }

    pub(crate) fn delay(&mut self, Item(item): Item, until: f64, list: &str, payload: &Bytes) {
        let mut message = format!("{}:{list}", list.len()).into_bytes();
        message.extend_from_slice(payload);
        // A time that is no number would stop the script half way; such a message is due at once.
        let until = if until.is_nan() { 0.0 } else { until };
        let id = envelope::identity(payload);
        self.delays.push((item, until, id, message));
    }

    pub(crate) fn letter(&mut self, Item(item): Item, letter: Letter<'_>) {
        let key = self.keys.letter(&letter.id);
        let mut values: Vec<(&'static str, Bytes)> = vec![
            ("code", letter.reason.code.clone().into()),
            ("detail", letter.reason.detail.clone().into()),
            ("queue", letter.queue.to_owned().into()),
            ("node", letter.node.to_owned().into()),
            ("raw", letter.raw),
        ];
        values.extend(letter.reason.task.clone().map(|task| ("task", task.into())));
        values.extend(
            letter
                .reason
                .task_id
                .clone()
                .map(|id| ("task_id", id.into())),
        );
        let mut row: Vec<Bytes> = vec![
            letter.id.into(),
            key.into(),
            (values.len() * 2).to_string().into(),
        ];
        for (name, value) in values {
            row.push(Bytes::from_static(name.as_bytes()));
            row.push(value);
        }
        self.letters.push((item, row));
    }

    pub(crate) fn count_death(&mut self, Item(item): Item, key: String, life: Duration) {
        self.deaths.push((item, key, life));
    }

    pub(crate) fn forget_deaths(&mut self, Item(item): Item, key: String) {
        self.forgotten.push((item, key));
    }

    /// `tag` is the delivery that leaves; an item that is not fenced does not say.
    pub(crate) fn leave(&mut self, Item(item): Item, tag: String, leave: Leave) {
        self.leaves.push((item, tag, leave));
    }

    pub(crate) fn chord(
        &mut self,
        Item(item): Item,
        part: ChordPart,
        token: String,
    ) -> Result<(), Error> {
        let database = database_of(&part.place)?;
        self.chords.push((item, part, database, token));
        Ok(())
    }

    /// A line for the journal, from the node that writes it.
    pub(crate) fn record(&mut self, Item(item): Item, node: &'k str, record: Bytes) {
        self.records.0 = node;
        self.records.1.push((item, record));
    }

    /// The script that it is for; to be asked once all is in it.
    pub(crate) fn script(&self) -> &'static Script {
        match (self.leaves.is_empty(), self.records.1.is_empty()) {
            (true, true) => &APPLY,
            (true, false) => &APPLY_TOLD,
            (false, true) => &APPLY_GATED,
            (false, false) => &APPLY_GATED_TOLD,
        }
    }

    /// Writes the call. `guard` is a key that must not exist, or empty.
    pub(crate) fn into_call(
        mut self,
        worker: &str,
        ticket: Option<Ticket<'_>>,
        guard: &str,
        settling: Settling,
    ) -> Cmd {
        let keys = self.keys;
        let mut cmd = scripts::call(
            self.script(),
            &[
                worker,
                &keys.unacked,
                &keys.unacked_index,
                &keys.delayed,
                &keys.delayed_messages,
                &keys.letters,
                &keys.delayed_twins,
                &keys.journal,
                &keys.journal_state,
            ],
        );
        let (field, number) = ticket.map_or(("", 0), |ticket| (ticket.field, ticket.number));
        cmd.arg(field)
            .arg(number)
            .arg(guard)
            .arg(self.database)
            .arg(match settling {
                Settling::Keep => "keep",
                Settling::All => "all",
                Settling::Waiting => "waiting",
            });
        cmd.arg(self.tags.len()).arg(&self.tags);
        if !self.lists.is_empty() {
            cmd.arg("T").arg(self.lists.len()).arg(&self.lists);
        }
        if !self.chords.is_empty() {
            cmd.arg("J").arg(self.chords.len());
            for (_, part, database, _) in &self.chords {
                cmd.arg(database).arg(&part.group_key);
            }
        }
        // Database and life are the same for nearly all of a batch: they stand once before each run of alike rows.
        self.results.sort_by_key(|row| (row.database, row.life));
        let alike = |a: &ResultRow, b: &ResultRow| a.database == b.database && a.life == b.life;
        for rows in self.results.chunk_by(alike) {
            cmd.arg("R").arg(rows.len());
            cmd.arg(rows[0].database).arg(milliseconds(rows[0].life));
            for row in rows {
                cmd.arg(row.item).arg(&row.key).arg(&row.value[..]);
            }
        }
        section(
            &mut cmd,
            "P",
            &self.pushes,
            |cmd, (item, list, end, payload)| {
                let side = if *end == End::Back { "L" } else { "R" };
                cmd.arg(item)
                    .arg(&self.lists[*list])
                    .arg(side)
                    .arg(&payload[..]);
            },
        );
        section(&mut cmd, "S", &self.starts, |cmd, item| {
            cmd.arg(item);
        });
        section(&mut cmd, "U", &self.unstarts, |cmd, item| {
            cmd.arg(item);
        });
        section(
            &mut cmd,
            "D",
            &self.delays,
            |cmd, (item, until, member, message)| {
                cmd.arg(item).arg(until).arg(member).arg(message);
            },
        );
        section(&mut cmd, "X", &self.letters, |cmd, (item, row)| {
            cmd.arg(item);
            for value in row {
                cmd.arg(&value[..]);
            }
        });
        section(&mut cmd, "I", &self.deaths, |cmd, (item, key, life)| {
            cmd.arg(item).arg(key).arg(seconds(*life));
        });
        section(&mut cmd, "K", &self.forgotten, |cmd, (item, key)| {
            cmd.arg(item).arg(key);
        });
        section(&mut cmd, "G", &self.leaves, |cmd, (item, tag, leave)| {
            let (owner, how, pause) = match leave {
                Leave::End { owner } => (owner, "end", 0),
                Leave::Again { owner, pause } => (owner, "again", gate::millis(*pause)),
            };
            cmd.arg(item).arg(keys.root()).arg(owner).arg(tag);
            cmd.arg(how).arg(pause);
        });
        section(
            &mut cmd,
            "C",
            &self.chords,
            |cmd, (item, part, database, token)| {
                cmd.arg(database)
                    .arg(item)
                    .arg(&part.group_key)
                    .arg(part.task_id.as_str())
                    .arg(&part.member[..]);
                cmd.arg(score(part.index));
                cmd.arg(
                    part.expires
                        .map_or_else(String::new, |life| seconds(life).to_string()),
                );
                cmd.arg(seconds(part.claim)).arg(token).arg(part.more);
                cmd.arg(&part.body[..]);
            },
        );
        section(&mut cmd, "A", &self.acks, |cmd, item| {
            cmd.arg(item);
        });
        let (node, records) = &self.records;
        if !records.is_empty() {
            // Joined here: the server's Lua pays for each byte of a string that it puts together.
            let lines: Vec<&[u8]> = records.iter().map(|(_, record)| &record[..]).collect();
            cmd.arg("N")
                .arg(records.len())
                .arg(node)
                .arg(lines.join(&b'\n'));
            for (item, _) in records {
                cmd.arg(item);
            }
        }
        cmd
    }
}

fn section<T>(cmd: &mut Cmd, letter: &str, rows: &[T], write: impl Fn(&mut Cmd, &T)) {
    if rows.is_empty() {
        return;
    }
    cmd.arg(letter).arg(rows.len());
    for row in rows {
        write(cmd, row);
    }
}

/// Longer lives are cut: the server refuses numbers that end beyond its calendar, which must not happen half way.
const LONGEST_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A life in whole seconds, at least one.
fn seconds(life: Duration) -> u64 {
    life.min(LONGEST_LIFE).as_secs().max(1)
}

/// A life as the scripts take it; empty for ever.
pub(crate) fn milliseconds(life: Option<Duration>) -> String {
    life.map_or_else(String::new, |life| {
        life.min(LONGEST_LIFE).as_millis().max(1).to_string()
    })
}

/// The score text must be Python's, as it becomes part of the mark by which a part is counted once.
fn score(index: Option<f64>) -> String {
    match index {
        Some(index) if index.is_nan() => "+inf".to_owned(),
        None => "+inf".to_owned(),
        Some(index) => format!("{index}"),
    }
}

fn database_of(place: &ResultPlace) -> Result<i64, Error> {
    match place {
        ResultPlace::Redis { database, .. } => Ok(*database),
        ResultPlace::Memory | ResultPlace::Tables => Err(Error::ForeignPlace {
            place: place.clone(),
        }),
    }
}

/// What `apply.lua` answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Items that were no longer ours, counted from 0.
    pub(crate) lost: Vec<usize>,
    /// Items whose chord's claim is ours now.
    pub(crate) claimed: Vec<usize>,
}

impl Applied {
    /// Reads `<number>|1,2|3`.
    pub(crate) fn parse(answer: &[u8]) -> Option<Self> {
        let answer = std::str::from_utf8(answer).ok()?;
        let mut parts = answer.split('|');
        let _number = parts.next()?;
        let mut positions = || -> Option<Vec<usize>> {
            parts
                .next()?
                .split(',')
                .filter(|part| !part.is_empty())
                .map(|part| part.parse().ok())
                .collect()
        };
        Some(Self {
            lost: positions()?,
            claimed: positions()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers() {
        assert_eq!(Applied::parse(b"7||"), Some(Applied::default()));
        assert_eq!(
            Applied::parse(b"7|0,3|12"),
            Some(Applied {
                lost: vec![0, 3],
                claimed: vec![12]
            })
        );
        assert_eq!(Applied::parse(b"ALIVE"), None);
    }

    #[test]
    fn scores_are_written_as_python_does() {
        assert_eq!(score(None), "+inf");
        assert_eq!(score(Some(3.0)), "3");
    }
}
