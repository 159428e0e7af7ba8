//! Looking after a server: how it is set up, keys that nobody takes away, messages that nobody puts back.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lovage_protocol::QueueName;
use redis::{Cmd, Value};

use super::{
    Core, RedisBroker, reply,
    survey::{KEYS, in_database, scanned},
};
use crate::{Error, FoundKey, HeldTooLong, ServerCondition, Walked};

impl RedisBroker {
    /// How the server keeps what it was given; `None` when we are not allowed to ask.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn condition(&self) -> Result<Option<ServerCondition>, Error> {
        let core = &self.core;
        let Some(info) = allowed(core.ask(&redis::cmd("INFO")).await)? else {
            return Ok(None);
        };
        let info = reply::text(info).unwrap_or_default();
        let limit = number(&info, "maxmemory").filter(|limit| *limit > 0);
        let mut unwritten = Vec::new();
        for (name, what) in [
            ("rdb_last_bgsave_status", "snapshot"),
            ("aof_last_write_status", "append-only file"),
        ] {
            if field(&info, name) == Some("err") {
                unwritten.push(what);
            }
        }
        Ok(Some(ServerCondition {
            eviction: match limit {
                None => "noeviction".to_owned(),
                Some(_) => field(&info, "maxmemory_policy")
                    .unwrap_or("noeviction")
                    .to_owned(),
            },
            used_memory: number(&info, "used_memory").unwrap_or(0),
            memory_limit: limit,
            append_only: field(&info, "aof_enabled") == Some("1"),
            fsync: configured(core, "appendfsync").await?,
            snapshots: configured(core, "save").await?,
            unwritten,
            ahead_seconds: ahead(core).await?,
        }))
    }

    /// How many keys there are, those of others too.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn key_count(&self) -> Result<u64, Error> {
        let size = self.core.ask(&redis::cmd("DBSIZE")).await?;
        Ok(reply::integer(&size).unwrap_or(0))
    }

    /// Shows the keys whose names are `wanted`, some perhaps twice. Goes through the names of all keys, a thousand at a time, so
    /// that nobody is held up, and looks at no more than about `most`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn find_keys(
        &self,
        most: u64,
        wanted: &(dyn Fn(&str) -> bool + Sync),
        see: &mut (dyn FnMut(FoundKey) + Send),
    ) -> Result<Walked, Error> {
        let core = &self.core;
        let (mut cursor, mut seen) = (0, 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(KEYS);
            let (next, names) = scanned(core.ask(&scan).await?)?;
            seen = seen.saturating_add(u64::try_from(names.len()).unwrap_or(u64::MAX));
            let mut names: Vec<String> = names.into_iter().filter_map(reply::text).collect();
            names.retain(|name| wanted(name));
            for key in described(core, names).await? {
                see(key);
            }
            let done = next == 0;
            if done || seen >= most {
                let cut_short = !done;
                return Ok(Walked { seen, cut_short });
            }
            cursor = next;
        }
    }

    /// The queues that lists of the server would belong to, whatever is in these; looks at no more than about `most` keys.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn lists(&self, most: u64) -> Result<(BTreeSet<QueueName>, Walked), Error> {
        let keys = &self.core.keys;
        // Results are most of what a server holds, and no lists.
        let may_be = |name: &str| !name.contains("celery-task-meta-");
        let mut queues = BTreeSet::new();
        let walked = self
            .find_keys(most, &may_be, &mut |key| {
                if key.kind == "list" {
                    queues.extend(keys.queue_of(&key.name));
                }
            })
            .await?;
        Ok((queues, walked))
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        let found = self.core.ask(redis::cmd("EXISTS").arg(key)).await?;
        Ok(reply::integer(&found) == Some(1))
    }

    /// Gives keys an end, those that have none. Tells how many there were.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn end_keys(&self, keys: &[String], life: Duration) -> Result<u64, Error> {
        let mut count = 0;
        for names in keys.chunks(KEYS) {
            let endless = described(&self.core, names.to_vec()).await?;
            let endless = endless.into_iter().filter(|key| key.left.is_none());
            let commands: Vec<Cmd> = endless
                .map(|key| {
                    let mut expire = redis::cmd("PEXPIRE");
                    expire
                        .arg(key.name)
                        .arg(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
                    expire
                })
                .collect();
            count += self.changed(commands).await?;
        }
        Ok(count)
    }

    /// Deletes keys that have no end. Tells how many there were.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn remove_endless(&self, keys: &[String]) -> Result<u64, Error> {
        let mut count = 0;
        for names in keys.chunks(KEYS) {
            let endless = described(&self.core, names.to_vec()).await?;
            let endless = endless.into_iter().filter(|key| key.left.is_none());
            let commands: Vec<Cmd> = endless
                .map(|key| {
                    let mut unlink = redis::cmd("UNLINK");
                    unlink.arg(key.name);
                    unlink
                })
                .collect();
            count += self.changed(commands).await?;
        }
        Ok(count)
    }

    async fn changed(&self, commands: Vec<Cmd>) -> Result<u64, Error> {
        if commands.is_empty() {
            return Ok(0);
        }
        let database = self.core.servers.database();
        let answers = in_database(&self.core, database, commands).await?;
        Ok(answers.iter().filter_map(reply::integer).sum())
    }

    /// The messages that are held for longer than the visibility time-out and this much besides; `None`: there is none. Workers of
    /// ours say every quarter of it that they hold theirs.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn held_too_long(&self, besides: Duration) -> Result<Option<HeldTooLong>, Error> {
        let core = &self.core;
        let now = now();
        let timeout = core.options.visibility_timeout.saturating_add(besides);
        let latest = (now - timeout.as_secs_f64()).max(0.0);
        let index = &core.keys.unacked_index;
        let mut count = redis::cmd("ZCOUNT");
        count.arg(index).arg("-inf").arg(latest);
        let mut first = redis::cmd("ZRANGE");
        first.arg(index).arg(0).arg(0).arg("WITHSCORES");
        let answers = in_database(core, core.servers.database(), vec![count, first]).await?;
        let [count, first] =
            <[Value; 2]>::try_from(answers).map_err(|_| Error::Misunderstood { what: "EXEC" })?;
        let count = reply::integer(&count).unwrap_or(0);
        let score = reply::list(first).get(1).and_then(reply::float);
        let held = score.map_or(0.0, |score| now - score);
        let oldest = Duration::try_from_secs_f64(held).unwrap_or_default();
        Ok((count > 0).then_some(HeldTooLong { count, oldest }))
    }
}

/// `None` for what the server does not let us ask.
fn allowed(answer: Result<Value, Error>) -> Result<Option<Value>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn configured(core: &Core, name: &str) -> Result<Option<String>, Error> {
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg(name);
    let Some(answer) = allowed(core.ask(&ask).await)? else {
        return Ok(None);
    };
    // A name and its value; nothing where the server has no such setting.
    Ok(reply::text_list(answer).into_iter().nth(1))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim())
}

fn number(info: &str, name: &str) -> Option<u64> {
    field(info, name)?.parse().ok()
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// The server's clock against ours, in the middle of the way there and back.
async fn ahead(core: &Core) -> Result<f64, Error> {
    let before = now();
    let answer = core.ask(&redis::cmd("TIME")).await?;
    let ours = f64::midpoint(before, now());
    let parts = reply::list(answer);
    let [seconds, micros] = parts.as_slice() else {
        return Err(Error::Misunderstood { what: "TIME" });
    };
    let part = |value| reply::float(value).ok_or(Error::Misunderstood { what: "TIME" });
    Ok(part(seconds)? + part(micros)? / 1e6 - ours)
}

/// What is known of keys; those that are gone meanwhile are left out.
async fn described(core: &Core, names: Vec<String>) -> Result<Vec<FoundKey>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let about = |name: &String| {
        ["TYPE", "PTTL"].map(|command| {
            let mut cmd = redis::cmd(command);
            cmd.arg(name);
            cmd
        })
    };
    let commands = names.iter().flat_map(about).collect();
    let answers = in_database(core, core.servers.database(), commands).await?;
    let mut found = Vec::with_capacity(names.len());
    for (name, about) in names.into_iter().zip(answers.chunks_exact(2)) {
        let kind = reply::text(about[0].clone()).unwrap_or_default();
        if kind == "none" {
            continue;
        }
        // Below zero: it has no end.
        let left = reply::integer(&about[1]).map(Duration::from_millis);
        found.push(FoundKey { name, kind, left });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{field, number};

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = "# Memory\r\nmaxmemory_policy:allkeys-lru\r\nmaxmemory:52428800\r\n";
        assert_eq!(number(info, "maxmemory"), Some(52_428_800));
        assert_eq!(field(info, "maxmemory_policy"), Some("allkeys-lru"));
        assert_eq!(field(info, "memory"), None);
    }
}
