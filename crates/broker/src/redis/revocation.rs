//! Revocations: a sorted set by time, and the delayed messages that they concern.

use std::{fmt::Write as _, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_protocol::TaskId;
use redis::{Cmd, Pipeline, Value};

use super::{
    Core, RedisBroker,
    link::{Patience, Request},
    reply,
    scripts::{self, RECALL, REVOKE, SWEEP},
};
use crate::{
    Error, Recorded, Revocations, Revoke, Target,
    revocation::{Choice, EXCHANGE, TERMINATION_LIFE},
};

/// So many ids in one script: it moves messages, and others wait meanwhile.
const PORTION: usize = 200;
/// So many delayed messages are looked through in one script.
const LOOKED_AT: usize = 500;

#[async_trait]
impl Revocations for RedisBroker {
    async fn revoke(&self, revoke: &Revoke) -> Result<(), Error> {
        let keys = &self.core.keys;
        for targets in revoke.targets.chunks(PORTION) {
            let mut cmd = scripts::call(&REVOKE, &[&keys.revoked, &keys.terminated]);
            cmd.arg(revoke.life.as_secs().max(1))
                .arg(revoke.most.max(1))
                .arg(keys.channel(EXCHANGE, ""))
                .arg(revoke.terminate.as_deref().unwrap_or_default())
                .arg(TERMINATION_LIFE.as_secs());
            for target in targets {
                cmd.arg(target.to_text());
            }
            self.script(&REVOKE, &cmd).await?;
        }
        Ok(())
    }

    async fn recorded(&self, since: f64) -> Result<Recorded, Error> {
        let keys = &self.core.keys;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME");
        for key in [&keys.revoked, &keys.terminated] {
            let after = pipeline.cmd("ZRANGEBYSCORE");
            after.arg(key).arg(after_text(since)).arg("+inf");
            after.arg("WITHSCORES");
        }
        let answer = self
            .core
            .link
            .send(Request::Many(&pipeline), Patience::Bounded)
            .await?;
        let mut answers = reply::list(answer).into_iter();
        let time = answers.next().and_then(time);
        let (Some(now), Some(revoked), Some(terminated)) = (time, answers.next(), answers.next())
        else {
            return Err(Error::Misunderstood {
                what: "the revocations",
            });
        };
        let revoked = rows(revoked).filter_map(|(text, at)| Some((Target::from_text(&text)?, at)));
        let terminated = rows(terminated).filter_map(|(text, at)| {
            let (signal, target) = text.split_once(' ')?;
            Some((Target::from_text(target)?, signal.to_owned(), at))
        });
        Ok(Recorded {
            now,
            revoked: revoked.collect(),
            terminated: terminated.collect(),
        })
    }

    async fn is_revoked(&self, target: &Target, life: Duration) -> Result<bool, Error> {
        let mut pipeline = Pipeline::new();
        let key = &self.core.keys.revoked;
        pipeline.cmd("TIME");
        pipeline.cmd("ZSCORE").arg(key).arg(target.to_text());
        let request = Request::Many(&pipeline);
        let answer = self.core.link.send(request, Patience::Bounded).await?;
        let mut answers = reply::list(answer).into_iter();
        let now = answers.next().and_then(time);
        let at = answers.next().as_ref().and_then(reply::float);
        let now = now.ok_or(Error::Misunderstood { what: "TIME" })?;
        Ok(at.is_some_and(|at| at >= now - life.as_secs_f64()))
    }

    async fn recall(&self, ids: &[TaskId]) -> Result<u64, Error> {
        let mut total = 0;
        for ids in ids.chunks(PORTION) {
            let mut cmd = self.recall_call("ids");
            for id in ids {
                cmd.arg(id.as_str());
            }
            total += self.script(&RECALL, &cmd).await?;
        }
        Ok(total)
    }

    async fn recall_where(&self, texts: &[String], choice: Choice<'_>) -> Result<u64, Error> {
        let (mut total, mut cursor) = (0, Bytes::from_static(b"0"));
        loop {
            let mut cmd = scripts::call(&SWEEP, &[&self.core.keys.delayed_messages]);
            cmd.arg(&cursor[..]).arg(LOOKED_AT).arg(texts);
            let request = Request::Script(&SWEEP, &cmd);
            let answer = self.core.link.send(request, Patience::Bounded).await?;
            let mut found = reply::bytes_list(answer).into_iter();
            cursor = found.next().ok_or(Error::Misunderstood {
                what: "the sweep script",
            })?;
            let mut cmd = self.recall_call("members");
            let mut any = false;
            while let (Some(member), Some(kept)) = (found.next(), found.next()) {
                if message_of(&kept).is_some_and(choice) {
                    cmd.arg(&member[..]);
                    any = true;
                }
            }
            if any {
                total += self.script(&RECALL, &cmd).await?;
            }
            if cursor == "0" {
                return Ok(total);
            }
        }
    }
}

impl RedisBroker {
    fn recall_call(&self, what: &str) -> Cmd {
        let keys = &self.core.keys;
        let mut cmd = scripts::call(
            &RECALL,
            &[&keys.delayed, &keys.delayed_messages, &keys.delayed_twins],
        );
        cmd.arg(what);
        cmd
    }

    /// Runs a script that answers with a count.
    async fn script(&self, script: &redis::Script, cmd: &Cmd) -> Result<u64, Error> {
        let Core { link, .. } = &*self.core;
        let answer = link
            .send(Request::Script(script, cmd), Patience::Bounded)
            .await?;
        Ok(reply::integer(&answer).unwrap_or(0))
    }
}

/// The message in a value of the hash of delayed messages: `<length of the list's name>:<list><message>`.
fn message_of(kept: &[u8]) -> Option<&[u8]> {
    let colon = kept.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&kept[..colon]).ok()?.parse().ok()?;
    kept.get(colon + 1 + length..)
}

/// A bound that excludes the time itself.
fn after_text(since: f64) -> String {
    let mut text = String::from("(");
    // Writing to a String cannot fail.
    let _ = write!(text, "{since:.6}");
    text
}

/// Seconds and microseconds, as TIME gives them.
fn time(answer: Value) -> Option<f64> {
    match reply::text_list(answer).as_slice() {
        [seconds, micros] => Some(seconds.parse::<f64>().ok()? + micros.parse::<f64>().ok()? / 1e6),
        _ => None,
    }
}

fn rows(answer: Value) -> impl Iterator<Item = (String, f64)> {
    let mut words = reply::text_list(answer).into_iter();
    std::iter::from_fn(move || {
        let text = words.next()?;
        Some((text, words.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delayed_message_is_found_behind_its_list() {
        assert_eq!(message_of(b"2:q:{}"), Some(&b"{}"[..]));
        for broken in [&b""[..], b"{}", b"9:q{}", b"x:q{}"] {
            assert_eq!(message_of(broken), None);
        }
    }
}
