//! Gives the messages of dead workers back.
//!
//! A worker is dead when its lease key is gone. That a key is gone can also mean that the server was away, paused or
//! exchanged, when nobody could renew; so nobody is declared dead before one and the same server has been answering for
//! one whole lease, and before the lease was missing in two looks a second apart. The script that puts a message back
//! looks once more, in the same step.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Pipeline, Value};
use uuid::Uuid;

use super::{
    batch::Settling,
    consumer::Shared,
    exclusive::Estate,
    foreign,
    link::{Patience, Request},
    orphans, reply,
    restore::{self, Restore},
    scripts::{self, BURY, RELEASE_LOCK},
};
use crate::{Error, Reaped};

/// The longest pause between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A second look this much later makes a suspect dead.
const SECOND_LOOK: Duration = Duration::from_millis(800);
/// How long the lock of one dead worker is held at most. It only saves work; one who dies with it holds the others up for
/// so long.
const LOCK: Duration = Duration::from_secs(3);

/// What is known from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    suspects: Suspects,
    server: Server,
    pub(crate) sweep: foreign::Sweep,
    search: orphans::Search,
    /// What was given back so far.
    pub(crate) reaped: Reaped,
}

/// Runs until it is aborted.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut watch = Watch::default();
    // Looks of many workers spread themselves.
    let pause = LOOK_EVERY.min(shared.holder.lease / 4);
    tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
    loop {
        if let Err(error) = look(&shared, &mut watch).await {
            watch.suspects.clear();
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "dead workers cannot be looked for now"
            );
        }
        tokio::time::sleep(pause).await;
    }
}

/// Looks once. Gives the workers that are known, and of how many of them it is not known yet whether they are dead.
pub(crate) async fn look(
    shared: &Shared,
    watch: &mut Watch,
) -> Result<(Vec<String>, usize), Error> {
    let Watch {
        suspects,
        server,
        sweep,
        search,
        reaped,
    } = watch;
    let keys = &shared.core.keys;
    let began = Instant::now();
    let mut ask = redis::cmd("ZRANGE");
    ask.arg(&keys.workers).arg(0).arg(-1);
    let workers = reply::text_list(
        shared
            .upkeep
            .send(Request::One(&ask), Patience::Endless)
            .await?,
    );
    let mut pipeline = Pipeline::new();
    for worker in &workers {
        pipeline.cmd("EXISTS").arg(keys.lease(worker));
    }
    // Over the same connection, so it is the same server that says both.
    if !server.is_silent {
        pipeline.cmd("INFO").arg("server");
    }
    let mut answers = Vec::new();
    let mut observed = true;
    if !pipeline.is_empty() {
        let answer = shared.upkeep.attempt(Request::Many(&pipeline)).await;
        let answer = match answer.map_err(|failure| shared.upkeep.classify(failure)) {
            Err(Error::Refused { .. }) if !server.is_silent => {
                // Not allowed; EXISTS will say if that was not it.
                server.is_silent = true;
                return Ok((workers, 1));
            }
            answer => answer?,
        };
        answers = reply::list(answer.value);
        let since = if server.is_silent {
            answer.since
        } else {
            let known = server.run.is_some();
            let since = server.note(answers.pop());
            if known && since >= began {
                search.arm();
            }
            since
        };
        observed = began.elapsed() <= shared.holder.lease / 3
            && since.elapsed() >= shared.holder.lease
            && shared.pulse.observed_a_lease();
    }
    let missing = workers
        .iter()
        .zip(&answers)
        .filter(|(_, exists)| **exists == Value::Int(0))
        .map(|(id, _)| id);
    let missing: Vec<String> = missing
        .filter(|id| **id != shared.holder.id)
        .cloned()
        .collect();
    let mut unsure = missing.len();
    if !observed {
        suspects.clear();
        return Ok((workers, unsure));
    }
    // Those are asked for anew each time.
    reaped.left = 0;
    for dead in suspects.look(
        missing,
        Instant::now(),
        SECOND_LOOK.min(shared.holder.lease / 3),
    ) {
        unsure -= 1;
        reap(shared, &dead, reaped).await?;
    }
    search.look(shared).await?;
    sweep.look(shared, &workers, reaped).await?;
    Ok((workers, unsure))
}

/// The run of the server that is looked at: a restart or a fail-over begins another.
#[derive(Debug, Default)]
struct Server {
    run: Option<(String, Instant)>,
    /// It does not say; then a connection counts as a run.
    is_silent: bool,
}

impl Server {
    /// Reads the answer of `INFO server`, and gives the time since when this run is known.
    fn note(&mut self, info: Option<Value>) -> Instant {
        let info = info.and_then(reply::text).unwrap_or_default();
        let found = info
            .lines()
            .find_map(|line| line.strip_prefix("run_id:"))
            .unwrap_or_default();
        match &self.run {
            Some((run, since)) if run == found && !found.is_empty() => *since,
            _ => {
                let now = Instant::now();
                self.run = Some((found.to_owned(), now));
                now
            }
        }
    }
}

/// Workers whose lease was missing at the last look, each with the time of the first.
#[derive(Debug, Default)]
struct Suspects(HashMap<String, Instant>);

impl Suspects {
    fn clear(&mut self) {
        self.0.clear();
    }

    /// Notes who is missing now, and gives those who have been missing for `patience`.
    fn look(&mut self, missing: Vec<String>, now: Instant, patience: Duration) -> Vec<String> {
        self.0.retain(|id, _| missing.contains(id));
        for id in missing {
            self.0.entry(id).or_insert(now);
        }
        self.0
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= patience)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

async fn reap(shared: &Shared, worker: &str, reaped: &mut Reaped) -> Result<(), Error> {
    let keys = &shared.core.keys;
    let (lock, token) = (
        keys.reaper_lock(worker),
        Uuid::new_v4().simple().to_string(),
    );
    let mut take = redis::cmd("SET");
    take.arg(&lock)
        .arg(&token)
        .arg("NX")
        .arg("EX")
        .arg(LOCK.as_secs());
    if shared
        .upkeep
        .send(Request::One(&take), Patience::Bounded)
        .await?
        == Value::Nil
    {
        return Ok(());
    }
    let done = reap_locked(shared, worker, reaped).await;
    let mut release = scripts::call(&RELEASE_LOCK, &[&lock]);
    release.arg(&token);
    // When this fails the lock runs out by itself.
    let _ = shared
        .upkeep
        .send(Request::Script(&RELEASE_LOCK, &release), Patience::Bounded)
        .await;
    done
}

async fn reap_locked(shared: &Shared, worker: &str, reaped: &mut Reaped) -> Result<(), Error> {
    let keys = &shared.core.keys;
    let lease = keys.lease(worker);
    let tags = held_by(shared, worker).await?;
    let (mut count, mut left) = (0, 0);
    for chunk in tags.rchunks(restore::CHUNK) {
        match restore::chunk_back(
            shared,
            &shared.upkeep,
            chunk,
            &lease,
            Settling::All,
            Patience::Bounded,
        )
        .await
        {
            Ok(Some(back)) => {
                count += chunk.len() - back.lost.len() - back.given_up - back.left;
                left += back.left;
            }
            Ok(None) => return Ok(()),
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => {
                // One of them cannot be put back; the others can.
                for one in chunk.chunks(1).rev() {
                    match restore::chunk_back(
                        shared,
                        &shared.upkeep,
                        one,
                        &lease,
                        Settling::All,
                        Patience::Bounded,
                    )
                    .await
                    {
                        Ok(Some(back)) => {
                            count += 1 - back.lost.len() - back.given_up - back.left;
                            left += back.left;
                        }
                        Ok(None) => return Ok(()),
                        Err(error) => {
                            left += 1;
                            let tag = &one[0].tag;
                            tracing::error!(
                                tag,
                                error = &error as &dyn std::error::Error,
                                "a message cannot be put back"
                            );
                        }
                    }
                }
            }
        }
    }
    if count > 0 {
        tracing::warn!(
            worker,
            count,
            "a worker died, its messages are back in their queues"
        );
    }
    reaped.messages += number(count);
    reaped.left += number(left);
    if left == 0 {
        reaped.workers += 1;
        let record = keys.worker(worker);
        let estate = estate_of(shared, &record).await?;
        let mut buried: Vec<&str> = vec![&lease, &keys.workers, &record];
        buried.extend(estate.members.iter().map(|(table, _)| table.as_str()));
        buried.extend(estate.lists.iter().map(String::as_str));
        let mut bury = scripts::call(&BURY, &buried);
        bury.arg(worker);
        for (_, member) in &estate.members {
            bury.arg(member);
        }
        shared
            .upkeep
            .send(Request::Script(&BURY, &bury), Patience::Bounded)
            .await?;
    }
    Ok(())
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The queues that were the worker's own.
async fn estate_of(shared: &Shared, record: &str) -> Result<Estate, Error> {
    let mut ask = redis::cmd("HGET");
    ask.arg(record).arg("estate");
    let written = shared
        .upkeep
        .send(Request::One(&ask), Patience::Bounded)
        .await?;
    Ok(reply::bytes(written).map_or_else(Estate::default, |text| Estate::parse(&text)))
}

/// What a worker holds, in the order in which it took it.
pub(crate) async fn held_by(shared: &Shared, worker: &str) -> Result<Vec<Restore>, Error> {
    let mut found = Vec::new();
    let mut cursor = String::from("0");
    loop {
        let mut scan = redis::cmd("ZSCAN");
        scan.arg(&shared.core.keys.unacked_index)
            .arg(&cursor)
            .arg("MATCH")
            .arg(format!("{worker}:*"));
        scan.arg("COUNT").arg(1000);
        let mut answer = reply::list(
            shared
                .upkeep
                .send(Request::One(&scan), Patience::Bounded)
                .await?,
        )
        .into_iter();
        let (Some(next), Some(page)) = (answer.next().and_then(reply::text), answer.next()) else {
            return Err(Error::Misunderstood { what: "ZSCAN" });
        };
        let page = reply::list(page);
        found.extend(page.chunks_exact(2).filter_map(|row| {
            let tag = reply::text(row[0].clone())?;
            let number = tag.rsplit_once(':')?.1.parse().ok()?;
            Some(Restore {
                number,
                started: reply::float(&row[1])?.fract() > 0.25,
                tag,
            })
        }));
        if next == "0" {
            break;
        }
        cursor = next;
    }
    found.sort_unstable_by_key(|restore| restore.number);
    // A scan may show an element twice.
    found.dedup_by_key(|restore| restore.number);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_begins_a_new_run() {
        let info = |run: &str| {
            let text = format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run}\r\n");
            Some(Value::BulkString(text.into_bytes()))
        };
        let mut server = Server::default();
        let first = server.note(info("a"));
        assert_eq!(server.note(info("a")), first);
        let second = server.note(info("b"));
        assert!(second > first);
        assert!(server.note(Some(Value::Nil)) > second, "it did not say");
        let unsaid = server.note(None);
        assert!(server.note(None) > unsaid, "two that do not say may differ");
    }

    #[test]
    fn a_second_look_decides_and_a_return_clears() {
        let (start, patience) = (Instant::now(), Duration::from_millis(800));
        let at = |millis| start + Duration::from_millis(millis);
        let mut suspects = Suspects::default();
        assert!(
            suspects
                .look(vec!["a".into(), "b".into()], at(0), patience)
                .is_empty()
        );
        assert_eq!(suspects.look(vec!["a".into()], at(1000), patience), ["a"]);
        assert!(
            suspects
                .look(vec!["b".into()], at(1100), patience)
                .is_empty(),
            "b was back in between"
        );
        suspects.clear();
        assert!(
            suspects
                .look(vec!["b".into()], at(3000), patience)
                .is_empty()
        );
    }
}
