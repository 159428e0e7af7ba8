//! What waits for its time: looked at, not touched. Kept by `lua/delayed.lua`, each message behind the name of its list.

use bytes::Bytes;
use lovage_protocol::TaskId;
use redis::{Pipeline, Value};

use super::{
    Core,
    link::{Patience, Request},
    reply,
};
use crate::{Delayed, Error};

/// So many are read at once.
const PAGE: usize = 500;

pub(crate) async fn first(core: &Core, most: usize) -> Result<Vec<Delayed>, Error> {
    let mut found = Vec::new();
    while found.len() < most {
        let page = PAGE.min(most - found.len());
        let mut range = redis::cmd("ZRANGE");
        range.arg(&core.keys.delayed).arg(found.len());
        range.arg(found.len() + page - 1).arg("WITHSCORES");
        let answer = core
            .link
            .send(Request::One(&range), Patience::Bounded)
            .await?;
        let rows: Vec<(Bytes, f64)> = rows(answer).collect();
        let read = rows.len();
        if read == 0 {
            break;
        }
        let before = found.len();
        found.extend(with_messages(core, rows).await?);
        if read < page || found.len() == before {
            break;
        }
    }
    Ok(found)
}

pub(crate) async fn of(core: &Core, ids: &[TaskId]) -> Result<Vec<Delayed>, Error> {
    let mut found = Vec::new();
    for ids in ids.chunks(PAGE) {
        let mut pipeline = Pipeline::with_capacity(ids.len());
        for id in ids {
            let score = pipeline.cmd("ZSCORE");
            score.arg(&core.keys.delayed).arg(id.as_str());
        }
        let answer = core
            .link
            .send(Request::Many(&pipeline), Patience::Bounded)
            .await?;
        let due = reply::list(answer)
            .into_iter()
            .map(|score| reply::float(&score));
        let rows = ids
            .iter()
            .zip(due)
            .filter_map(|(id, due)| Some((Bytes::copy_from_slice(id.as_str().as_bytes()), due?)));
        found.extend(with_messages(core, rows.collect()).await?);
    }
    Ok(found)
}

async fn with_messages(core: &Core, rows: Vec<(Bytes, f64)>) -> Result<Vec<Delayed>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut read = redis::cmd("HMGET");
    read.arg(&core.keys.delayed_messages);
    for (member, _) in &rows {
        read.arg(&member[..]);
    }
    let answer = core
        .link
        .send(Request::One(&read), Patience::Bounded)
        .await?;
    let messages = reply::list(answer).into_iter();
    let found = rows
        .into_iter()
        .zip(messages)
        .filter_map(|((_, due), kept)| {
            let raw = behind_list(&reply::bytes(kept)?)?;
            Some(Delayed { due, raw })
        });
    Ok(found.collect())
}

/// The message of `<length>:<list><message>`.
pub(crate) fn behind_list(kept: &Bytes) -> Option<Bytes> {
    let colon = kept.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&kept[..colon]).ok()?.parse().ok()?;
    let from = colon.checked_add(1)?.checked_add(length)?;
    (from <= kept.len()).then(|| kept.slice(from..))
}

fn rows(answer: Value) -> impl Iterator<Item = (Bytes, f64)> {
    let mut cells = reply::list(answer).into_iter();
    std::iter::from_fn(move || {
        let member = reply::bytes(cells.next()?)?;
        let due = reply::float(&cells.next()?)?;
        Some((member, due))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::behind_list;

    #[test]
    fn the_message_stands_behind_its_list() {
        let check = |kept: &'static str, expected: Option<&'static str>| {
            assert_eq!(
                behind_list(&kept.into()),
                expected.map(Bytes::from),
                "{kept}"
            );
        };
        check("6:celery{}", Some("{}"));
        check("3:a:b{}", Some("{}"));
        check("6:celery", Some(""));
        for wrong in ["", "x:celery{}", "99:celery{}", "celery"] {
            check(wrong, None);
        }
    }
}
