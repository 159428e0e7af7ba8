//! Looking at all that a server keeps: its keys are gone through with `SCAN`, which holds nobody up.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use super::{
    Core, RedisBroker,
    delayed::behind_list,
    link::{Patience, Request},
    reply,
};
use crate::{Error, Kept, OpenChord, ResultPlace, Spot, Survey, envelope::Entry};

/// So many messages are read at once: they may be large.
const PAGE: usize = 200;
/// So many keys are looked at by one `SCAN`, and so many chords are asked about at once.
pub(super) const KEYS: usize = 1000;

#[async_trait]
impl Survey for RedisBroker {
    async fn messages(&self, see: &mut (dyn FnMut(Kept) + Send)) -> Result<(), Error> {
        let core = &self.core;
        let mut lists = Vec::new();
        let pattern = format!("{}*", literal(&core.keys.prefixed("")));
        walk(
            core,
            core.servers.database(),
            &pattern,
            Some("list"),
            |key| {
                lists.push(key);
            },
        )
        .await?;
        for list in lists {
            let spot = Spot::Waiting(list.clone());
            waiting(core, &list, &spot, see).await?;
        }
        hash(core, &core.keys.unacked, |value| {
            if let Some(entry) = Entry::split(&value) {
                let (spot, raw) = (Spot::Held, entry.message);
                see(Kept { spot, raw });
            }
        })
        .await?;
        hash(core, &core.keys.delayed_messages, |value| {
            if let Some(raw) = behind_list(&value) {
                let spot = Spot::Delayed;
                see(Kept { spot, raw });
            }
        })
        .await
    }

    async fn open_chords(&self, place: &ResultPlace, keys: &str) -> Result<Vec<OpenChord>, Error> {
        let core = &self.core;
        let database = core.check_place(place)?;
        let mut groups = Vec::new();
        let pattern = format!("{}*.s", literal(keys));
        walk(core, database, &pattern, Some("string"), |key| {
            groups.extend(key.strip_suffix(".s").map(str::to_owned));
        })
        .await?;
        let mut found = Vec::with_capacity(groups.len());
        for groups in groups.chunks(KEYS) {
            let commands = groups.iter().flat_map(|group| about(group)).collect();
            let answers = in_database(core, database, commands).await?;
            let rows = answers.chunks(ABOUT);
            found.extend(
                groups
                    .iter()
                    .zip(rows)
                    .filter_map(|(group, row)| read(group, row)),
            );
        }
        Ok(found)
    }

    async fn parts(
        &self,
        place: &ResultPlace,
        group_key: &str,
    ) -> Result<Vec<(f64, Bytes)>, Error> {
        let core = &self.core;
        let database = core.check_place(place)?;
        let mut range = redis::cmd("ZRANGE");
        range.arg(format!("{group_key}.j")).arg(0).arg(-1);
        range.arg("WITHSCORES");
        let mut answers = in_database(core, database, vec![range]).await?;
        let cells = reply::list(answers.pop().unwrap_or(Value::Nil));
        let pairs = cells.chunks_exact(2).filter_map(|pair| {
            let member = reply::bytes(pair[0].clone())?;
            Some((reply::float(&pair[1])?, member))
        });
        Ok(pairs.collect())
    }
}

/// The messages of a list. New ones come in at its begin, so that none is missed by counting from there.
async fn waiting(
    core: &Core,
    list: &str,
    spot: &Spot,
    see: &mut (dyn FnMut(Kept) + Send),
) -> Result<(), Error> {
    let mut from = 0;
    loop {
        let mut range = redis::cmd("LRANGE");
        range.arg(list).arg(from).arg(from + PAGE - 1);
        let page = reply::bytes_list(core.ask(&range).await?);
        let read = page.len();
        for raw in page {
            let spot = spot.clone();
            see(Kept { spot, raw });
        }
        if read < PAGE {
            return Ok(());
        }
        from += read;
    }
}

/// The values of a hash.
async fn hash(core: &Core, key: &str, mut see: impl FnMut(Bytes) + Send) -> Result<(), Error> {
    let mut cursor = 0;
    loop {
        let mut scan = redis::cmd("HSCAN");
        scan.arg(key).arg(cursor).arg("COUNT").arg(PAGE);
        let (next, cells) = scanned(core.ask(&scan).await?)?;
        for value in cells.into_iter().skip(1).step_by(2) {
            if let Some(value) = reply::bytes(value) {
                see(value);
            }
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

/// The keys of a logical database that have this pattern, some perhaps twice.
async fn walk(
    core: &Core,
    database: i64,
    pattern: &str,
    kind: Option<&str>,
    mut see: impl FnMut(String) + Send,
) -> Result<(), Error> {
    let mut cursor = 0;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern);
        scan.arg("COUNT").arg(KEYS);
        if let Some(kind) = kind {
            scan.arg("TYPE").arg(kind);
        }
        let mut answers = in_database(core, database, vec![scan]).await?;
        let (next, keys) = scanned(answers.pop().unwrap_or(Value::Nil))?;
        for key in keys {
            if let Some(key) = reply::text(key) {
                see(key);
            }
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

pub(super) fn scanned(answer: Value) -> Result<(u64, Vec<Value>), Error> {
    let misunderstood = || Error::Misunderstood { what: "SCAN" };
    let [cursor, found] =
        <[Value; 2]>::try_from(reply::list(answer)).map_err(|_| misunderstood())?;
    let cursor = reply::integer(&cursor).ok_or_else(misunderstood)?;
    Ok((cursor, reply::list(found)))
}

/// Runs commands in a logical database. The link is shared, so it is changed only inside a transaction.
pub(super) async fn in_database(
    core: &Core,
    database: i64,
    commands: Vec<Cmd>,
) -> Result<Vec<Value>, Error> {
    let home = core.servers.database();
    let count = commands.len();
    let mut pipeline = Pipeline::new();
    pipeline.atomic();
    pipeline.cmd("SELECT").arg(database);
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.cmd("SELECT").arg(home);
    let answers = core
        .link
        .send(Request::Many(&pipeline), Patience::Bounded)
        .await?;
    let answers: Vec<Value> = reply::list(answers)
        .into_iter()
        .skip(1)
        .take(count)
        .collect();
    match answers.len() == count {
        true => Ok(answers),
        false => Err(Error::Misunderstood { what: "EXEC" }),
    }
}

/// So many commands are asked about one chord.
const ABOUT: usize = 6;

fn about(group: &str) -> [Cmd; ABOUT] {
    let ask = |name: &str, suffix: &str| {
        let mut cmd = redis::cmd(name);
        cmd.arg(format!("{group}{suffix}"));
        cmd
    };
    [
        ask("GET", ".s"),
        ask("GET", ".t"),
        ask("ZCARD", ".j"),
        ask("PTTL", ".s"),
        ask("EXISTS", ".c"),
        ask("GET", ".b"),
    ]
}

/// `None`: it has been ended meanwhile.
fn read(group: &str, row: &[Value]) -> Option<OpenChord> {
    let [size, more, returned, left, claimed, body] = row else {
        return None;
    };
    let more = reply::integer(more).unwrap_or(0);
    Some(OpenChord {
        group_key: group.to_owned(),
        size: reply::integer(size)?.saturating_add(more),
        returned: reply::integer(returned).unwrap_or(0),
        left: reply::integer(left).map(Duration::from_millis),
        claimed: reply::integer(claimed) == Some(1),
        body: reply::bytes(body.clone()),
    })
}

/// A text that stands for itself in a pattern.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn what_means_something_in_a_pattern_is_taken_for_itself() {
        assert_eq!(literal("app[1]*:"), "app\\[1\\]\\*:");
    }
}
