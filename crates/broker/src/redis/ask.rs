//! A request to everybody and a queue for the replies, as kombu's mailbox does it (`kombu/pidbox.py`, `_broadcast`).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{
    Core,
    link::{Patience, Request},
    reply,
};
use crate::{Ask, Enough, Error, binding::Member};

/// kombu keeps a table of expiring bindings at least this long (milliseconds).
const TABLE_LIFE: u128 = 3_600_000;

/// How often the replies are counted by whoever may end early.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn ask(core: &Core, request: &Ask) -> Result<Vec<Bytes>, Error> {
    let table = core.keys.binding(&request.reply_exchange);
    let member = Member::text(
        &request.reply_key,
        &request.reply_queue,
        core.keys.separator(),
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let deadline = now.map_or(0, |now| now.as_millis()) + TABLE_LIFE;

    let mut opening = redis::Pipeline::new();
    opening.cmd("SADD").arg(&table).arg(&member);
    // Without a deadline of its own a sweep by kombu could take the table away while replies are on their way.
    opening
        .cmd("ZADD")
        .arg(core.keys.binding_deadlines())
        .arg("GT")
        .arg(deadline.to_string())
        .arg(&request.reply_exchange);
    for channel in core.keys.channels(&request.exchange, "") {
        opening
            .cmd("PUBLISH")
            .arg(channel)
            .arg(&request.payload[..]);
    }
    let answers = core
        .link
        .send(Request::Many(&opening), Patience::Bounded)
        .await?;
    let list = core.keys.list_for(&request.reply_queue, 0);
    // Where peers of ours use two channels each of them hears both.
    let answers = reply::list(answers);
    let heard = answers.iter().skip(2).filter_map(reply::integer);
    let heard = heard.max().unwrap_or(0);
    let enough = match request.enough {
        Enough::Never => None,
        // Nobody replies who has not heard.
        Enough::Replies(replies) => Some(replies.min(heard)),
        Enough::Everybody => Some(heard),
    };
    wait(core, &list, request.wait, enough).await?;

    let mut closing = redis::Pipeline::new();
    closing.cmd("SREM").arg(&table).arg(&member);
    closing.cmd("LRANGE").arg(&list).arg(0).arg(-1);
    closing.cmd("DEL").arg(&list);
    let answers = core
        .link
        .send(Request::Many(&closing), Patience::Bounded)
        .await?;
    let lists = reply::list(answers).into_iter().nth(1);
    let replies = lists.map(reply::list).unwrap_or_default();
    // The list is pushed to at its head: the first reply is its last element.
    Ok(replies.into_iter().rev().filter_map(reply::bytes).collect())
}

/// Waits for its time, or until `enough` replies are there.
async fn wait(core: &Core, list: &str, time: Duration, enough: Option<u64>) -> Result<(), Error> {
    let Some(enough) = enough else {
        tokio::time::sleep(time).await;
        return Ok(());
    };
    let began = Instant::now();
    let mut count = redis::cmd("LLEN");
    count.arg(list);
    let mut pause = LOOK_EVERY;
    loop {
        let left = time.saturating_sub(began.elapsed());
        if enough == 0 || left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(pause.min(left)).await;
        // A table of many workers is not asked for it two hundred times a second.
        pause = (pause * 5 / 4).min(10 * LOOK_EVERY);
        let length = core
            .link
            .send(Request::One(&count), Patience::Bounded)
            .await?;
        if reply::integer(&length).is_some_and(|replies| replies >= enough) {
            return Ok(());
        }
    }
}
