//! A request to everybody and a queue for the replies, as kombu's mailbox does it (`kombu/pidbox.py`, `_broadcast`).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{
    Core,
    link::{Patience, Request},
    reply,
};
use crate::{Ask, Error, binding::Member};

/// kombu keeps a table of expiring bindings at least this long (milliseconds).
const TABLE_LIFE: u128 = 3_600_000;

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
    core.link
        .send(Request::Many(&opening), Patience::Bounded)
        .await?;

    tokio::time::sleep(request.wait).await;

    let list = core.keys.list_for(&request.reply_queue, 0);
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
