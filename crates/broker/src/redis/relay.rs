//! Publishing once what several may hand over: the marks and the messages are written in one step.

use std::time::Duration;

use redis::Value;

use super::{
    Core,
    link::{Patience, Request},
    publish::{Pushed, resolve},
    reply,
    scripts::{self, RELAY},
};
use crate::{Error, Relay, Relayed};

/// So long a mark is kept that nobody takes back: its relay died between its last two steps.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// See [`crate::Broker::relay`].
pub(crate) async fn relay(core: &Core, relay: &Relay) -> Result<Relayed, Error> {
    let mut resolved: Vec<(&str, Vec<Pushed>)> = Vec::with_capacity(relay.messages.len());
    for (mark, publish) in &relay.messages {
        let pushes = resolve(core, &core.link, Patience::Bounded, publish).await?;
        resolved.push((mark, pushes));
    }
    let marks = core.keys.relayed(&relay.scope);
    let fence = core.keys.relay_fence(&relay.scope);
    let mut cmd = scripts::call(&RELAY, &[&marks, &fence]);
    cmd.arg(relay.fence)
        .arg(KEPT.as_secs())
        .arg(relay.forget.len());
    for mark in &relay.forget {
        cmd.arg(mark);
    }
    for (mark, pushes) in &resolved {
        // All lists of a message get the same bytes; one that goes nowhere has no list, and leaves its mark all the same.
        let payload = pushes.first().map_or(&[][..], |(_, payload)| &payload[..]);
        cmd.arg(*mark).arg(payload).arg(pushes.len());
        for (list, _) in pushes {
            cmd.arg(list);
        }
    }
    let answer = core
        .link
        .send(Request::Script(&RELAY, &cmd), Patience::Bounded)
        .await?;
    read(answer).ok_or(Error::Misunderstood { what: "the relay" })
}

fn read(answer: Value) -> Option<Relayed> {
    let mut answer = reply::list(answer).into_iter();
    let word = reply::text(answer.next()?)?;
    let number = reply::integer(&answer.next()?)?;
    match word.as_str() {
        "done" => Some(Relayed::Done { published: number }),
        "fence" => Some(Relayed::Superseded {
            by: i64::try_from(number).ok()?,
        }),
        _ => None,
    }
}
