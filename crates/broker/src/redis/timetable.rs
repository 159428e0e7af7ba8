//! Schedules: hashes by name, a sorted set by the edition of each one's last change, and a leader with a life.

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Script, Value};

use super::{
    RedisBroker,
    link::{Patience, Request},
    publish, reply,
    scripts::{
        self, LEAD, SCHEDULE_CHANGES, SCHEDULE_MAKE_UP, SCHEDULE_PUT, SCHEDULE_REMOVE, TICK,
    },
};
use crate::{
    Error, Publish,
    timetable::{
        Candidate, Changes, HISTORY, Kept, Leadership, MadeUp, MakeUp, PAST, Past, Put, Span, Tick,
        Ticked, Timetable,
    },
};

/// So many ticks in one script: others wait meanwhile.
const CHUNK: usize = 100;
/// So many removed names are remembered, for leaders that have not heard of it.
const REMOVED: usize = 10_000;

/// The keys of the timetable.
struct TimetableKeys {
    leader: String,
    fence: String,
    edition: String,
    schedules: String,
    progress: String,
    changes: String,
    removed: String,
    history: String,
    past: String,
}

impl TimetableKeys {
    fn history(&self, name: &str) -> String {
        format!("{}{name}", self.history)
    }

    fn past(&self, name: &str) -> String {
        format!("{}{name}", self.past)
    }

    fn all(&self) -> [&str; 5] {
        [
            &self.schedules,
            &self.progress,
            &self.changes,
            &self.removed,
            &self.edition,
        ]
    }
}

fn misunderstood(what: &'static str) -> Error {
    Error::Misunderstood { what }
}

impl RedisBroker {
    fn timetable_keys(&self) -> TimetableKeys {
        let root = self.core.keys.root();
        let named = |name: &str| format!("{root}schedules{name}");
        TimetableKeys {
            leader: named(":leader"),
            fence: named(":fence"),
            edition: named(":edition"),
            schedules: named(""),
            progress: named(":progress"),
            changes: named(":changes"),
            removed: named(":removed"),
            history: named(":history:"),
            past: named(":past:"),
        }
    }

    async fn ask_timetable(&self, script: &'static Script, cmd: &Cmd) -> Result<Value, Error> {
        let request = Request::Script(script, cmd);
        self.core.link.send(request, Patience::Bounded).await
    }

    /// The lists that messages go into.
    async fn pushes(&self, publishes: &[Publish]) -> Result<Vec<publish::Pushed>, Error> {
        let core = &self.core;
        let mut pushes = Vec::with_capacity(publishes.len());
        for one in publishes {
            pushes.extend(publish::resolve(core, &core.link, Patience::Bounded, one).await?);
        }
        Ok(pushes)
    }

    async fn tick_call(&self, owner: &str, fence: u64, ticks: &[Tick]) -> Result<Cmd, Error> {
        let keys = self.timetable_keys();
        let mut cmd = scripts::call(
            &TICK,
            &[&keys.leader, &keys.schedules, &keys.progress, &keys.changes],
        );
        cmd.arg(owner).arg(fence).arg(HISTORY).arg(PAST);
        for tick in ticks {
            let pushes = self.pushes(&tick.publishes).await?;
            let past = tick.breaks.then(|| keys.past(&tick.name));
            cmd.arg(&tick.name)
                .arg(tick.version)
                .arg(&tick.before[..])
                .arg(&tick.after[..])
                .arg(keys.history(&tick.name))
                .arg(past.unwrap_or_default());
            cmd.arg(tick.records.len());
            for record in &tick.records {
                cmd.arg(&record[..]);
            }
            cmd.arg(pushes.len());
            for (list, payload) in &pushes {
                cmd.arg(list).arg(&payload[..]);
            }
        }
        Ok(cmd)
    }
}

#[async_trait]
impl Timetable for RedisBroker {
    async fn lead(&self, candidate: &Candidate) -> Result<Leadership, Error> {
        let keys = self.timetable_keys();
        let mut cmd = scripts::call(&LEAD, &[&keys.leader, &keys.fence, &keys.edition]);
        cmd.arg(&candidate.owner)
            .arg(&candidate.about)
            .arg(candidate.lease.as_millis().max(1).to_string());
        let answer = reply::text_list(self.ask_timetable(&LEAD, &cmd).await?);
        read_leadership(&answer).ok_or(misunderstood("the lead script"))
    }

    async fn step_down(&self, owner: &str) -> Result<(), Error> {
        let keys = self.timetable_keys();
        let script = &scripts::STEP_DOWN;
        let mut cmd = scripts::call(script, &[&keys.leader]);
        cmd.arg(owner);
        self.ask_timetable(script, &cmd).await.map(drop)
    }

    async fn leader(&self) -> Result<Option<Leadership>, Error> {
        let keys = self.timetable_keys();
        let mut pipeline = redis::pipe();
        pipeline
            .cmd("HMGET")
            .arg(&keys.leader)
            .arg("fence")
            .arg("about");
        pipeline.cmd("GET").arg(&keys.edition);
        let request = Request::Many(&pipeline);
        let answer = self.core.link.send(request, Patience::Bounded).await?;
        let mut answers = reply::list(answer).into_iter();
        let leader = reply::text_list(answers.next().unwrap_or(Value::Nil));
        let edition = answers.next().and_then(reply::text);
        let [fence, about] = leader.as_slice() else {
            return Ok(None);
        };
        let edition = edition.unwrap_or_else(|| "0".to_owned());
        let answer = [fence.clone(), about.clone(), edition];
        let read = read_leadership(&answer).ok_or(misunderstood("the leader"))?;
        Ok(Some(read))
    }

    async fn changes(&self, since: u64, most: usize) -> Result<Changes, Error> {
        let keys = self.timetable_keys();
        let mut cmd = scripts::call(&SCHEDULE_CHANGES, &keys.all());
        cmd.arg(since).arg(most.max(1));
        let answer = self.ask_timetable(&SCHEDULE_CHANGES, &cmd).await?;
        read_changes(answer).ok_or(misunderstood("the changes script"))
    }

    async fn kept(&self, name: &str) -> Result<Option<Kept>, Error> {
        let keys = self.timetable_keys();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.cmd("HGET").arg(&keys.schedules).arg(name);
        pipeline.cmd("HGET").arg(&keys.progress).arg(name);
        pipeline.cmd("ZSCORE").arg(&keys.changes).arg(name);
        let request = Request::Many(&pipeline);
        let answer = self.core.link.send(request, Patience::Bounded).await?;
        let Ok([definition, progress, version]) = <[Value; 3]>::try_from(reply::list(answer))
        else {
            return Err(misunderstood("a schedule"));
        };
        let (Some(definition), Some(version)) = (reply::bytes(definition), whole(&version)) else {
            return Ok(None);
        };
        Ok(Some(Kept {
            name: name.to_owned(),
            version,
            definition,
            progress: reply::bytes(progress).unwrap_or_default(),
        }))
    }

    async fn put(&self, put: &Put) -> Result<Option<u64>, Error> {
        let keys = self.timetable_keys();
        let past = keys.past(&put.name);
        let mut all = keys.all().to_vec();
        all.push(&past);
        let mut cmd = scripts::call(&SCHEDULE_PUT, &all);
        let version = put.version.map_or_else(String::new, |it| it.to_string());
        cmd.arg(&put.name).arg(version).arg(&put.definition[..]);
        cmd.arg(put.progress.as_deref().unwrap_or_default())
            .arg(PAST);
        let answer = self.ask_timetable(&SCHEDULE_PUT, &cmd).await?;
        let version = reply::integer(&answer).ok_or(misunderstood("the put script"))?;
        Ok((version > 0).then_some(version))
    }

    async fn remove(&self, name: &str) -> Result<bool, Error> {
        let keys = self.timetable_keys();
        let (history, past) = (keys.history(name), keys.past(name));
        let mut all = keys.all().to_vec();
        all.extend([history.as_str(), past.as_str()]);
        let mut cmd = scripts::call(&SCHEDULE_REMOVE, &all);
        cmd.arg(name).arg(REMOVED);
        let answer = self.ask_timetable(&SCHEDULE_REMOVE, &cmd).await?;
        Ok(reply::integer(&answer) == Some(1))
    }

    async fn tick(
        &self,
        owner: &str,
        fence: u64,
        ticks: &[Tick],
    ) -> Result<Option<Vec<Ticked>>, Error> {
        let mut ticked = Vec::with_capacity(ticks.len());
        for chunk in ticks.chunks(CHUNK) {
            let cmd = self.tick_call(owner, fence, chunk).await?;
            let answers = match self.ask_timetable(&TICK, &cmd).await? {
                Value::Array(answers) => reply::text_list(Value::Array(answers)),
                // What was done before that was done by a leader.
                _ => return Ok(None),
            };
            let answers = answers.iter().map(|answer| match answer.as_str() {
                "done" => Some(Ticked::Done),
                "changed" => Some(Ticked::Changed),
                "refused" => Some(Ticked::Refused),
                _ => None,
            });
            let answers: Option<Vec<Ticked>> = answers.collect();
            let answers = answers.filter(|answers| answers.len() == chunk.len());
            ticked.extend(answers.ok_or(misunderstood("the tick script"))?);
        }
        Ok(Some(ticked))
    }

    async fn past(&self, name: &str) -> Result<Past, Error> {
        let mut cmd = redis::cmd("LRANGE");
        cmd.arg(self.timetable_keys().past(name)).arg(0).arg(-1);
        let parts = self.core.ask(&cmd).await.map(reply::bytes_list)?;
        read_past(&parts).ok_or(misunderstood("the past of a schedule"))
    }

    async fn make_up(&self, make_up: &MakeUp) -> Result<MadeUp, Error> {
        let keys = self.timetable_keys();
        let (past, history) = (keys.past(&make_up.name), keys.history(&make_up.name));
        let all = [&keys.schedules, &keys.changes, &past, &history].map(String::as_str);
        let mut cmd = scripts::call(&SCHEDULE_MAKE_UP, &all);
        cmd.arg(&make_up.name)
            .arg(make_up.version)
            .arg(make_up.number)
            .arg(HISTORY)
            .arg(PAST)
            .arg(&make_up.span.definition[..])
            .arg(&make_up.span.progress[..])
            .arg(make_up.records.len());
        for record in &make_up.records {
            cmd.arg(&record[..]);
        }
        for (list, payload) in self.pushes(&make_up.publishes).await? {
            cmd.arg(list).arg(&payload[..]);
        }
        let answer = self.ask_timetable(&SCHEDULE_MAKE_UP, &cmd).await?;
        match reply::text(answer).as_deref() {
            Some("done") => Ok(MadeUp::Done),
            Some("changed") => Ok(MadeUp::Changed),
            Some("outdated") => Ok(MadeUp::Outdated),
            Some("refused") => Ok(MadeUp::Refused),
            _ => Err(misunderstood("the make up script")),
        }
    }

    async fn remember(&self, name: &str, records: &[Bytes]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let key = self.timetable_keys().history(name);
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        let push = pipeline.cmd("LPUSH").arg(&key);
        for record in records {
            push.arg(&record[..]);
        }
        pipeline.cmd("LTRIM").arg(&key).arg(0).arg(HISTORY - 1);
        let request = Request::Many(&pipeline);
        self.core.link.send(request, Patience::Bounded).await?;
        Ok(())
    }

    async fn history(&self, name: &str, most: usize) -> Result<Vec<Bytes>, Error> {
        let key = self.timetable_keys().history(name);
        let mut cmd = redis::cmd("LRANGE");
        let last = i64::try_from(most).unwrap_or(i64::MAX) - 1;
        if last < 0 {
            return Ok(Vec::new());
        }
        cmd.arg(key).arg(0).arg(last);
        self.core.ask(&cmd).await.map(reply::bytes_list)
    }
}

fn read_leadership(answer: &[String]) -> Option<Leadership> {
    let [fence, about, edition] = answer else {
        return None;
    };
    Some(Leadership {
        fence: Some(fence.parse().ok()?).filter(|fence| *fence > 0),
        about: about.clone(),
        edition: edition.parse().ok()?,
    })
}

fn read_past(parts: &[Bytes]) -> Option<Past> {
    let mut past = Past::default();
    for part in parts.chunks(3) {
        let [number, definition, progress] = part else {
            return None;
        };
        past.number = std::str::from_utf8(number).ok()?.parse().ok()?;
        past.spans.push(Span {
            definition: definition.clone(),
            progress: progress.clone(),
        });
    }
    Some(past)
}

fn read_changes(answer: Value) -> Option<Changes> {
    let mut parts = reply::list(answer).into_iter();
    let edition = parts.next().and_then(reply::text)?;
    let more = parts.next().and_then(reply::text)?;
    let mut rows = reply::list(parts.next()?).into_iter();
    let removed = reply::text_list(parts.next()?);
    let mut entries = Vec::new();
    while let Some(name) = rows.next() {
        entries.push(Kept {
            name: reply::text(name)?,
            version: whole(&rows.next()?)?,
            definition: reply::bytes(rows.next()?)?,
            progress: reply::bytes(rows.next()?)?,
        });
    }
    Some(Changes {
        edition: edition.parse().ok()?,
        entries,
        removed,
        more: more == "1",
    })
}

/// A score that is a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "editions are counted up from 1 and stay far below 2^53"
)]
fn whole(value: &Value) -> Option<u64> {
    reply::float(value).map(|score| score as u64)
}
