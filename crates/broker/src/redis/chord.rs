//! The end of a chord; its parts are counted by `apply.lua`.

use bytes::Bytes;
use redis::Pipeline;

use super::{
    Core,
    batch::milliseconds,
    link::{Patience, Request},
    publish, reply,
    scripts::{self, CHORD_CLOSE},
};
use crate::{ChordClose, Error, ResultPlace};

impl Core {
    /// Refuses a place that is not on this server.
    pub(crate) fn check_place(&self, place: &ResultPlace) -> Result<i64, Error> {
        match place {
            ResultPlace::Redis { address, database } if self.servers.knows(address) => {
                Ok(*database)
            }
            other => Err(Error::ForeignPlace {
                place: other.clone(),
            }),
        }
    }
}

/// The members in the order of their index.
pub(crate) async fn members(
    core: &Core,
    place: &ResultPlace,
    group_key: &str,
) -> Result<Vec<Bytes>, Error> {
    let database = core.check_place(place)?;
    let key = format!("{group_key}.j");
    if database == core.servers.database() {
        return core
            .ask(redis::cmd("ZRANGE").arg(key).arg(0).arg(-1))
            .await
            .map(reply::bytes_list);
    }
    // The link is shared, so the database is changed only inside a transaction.
    let mut pipeline = Pipeline::new();
    pipeline.atomic();
    pipeline.cmd("SELECT").arg(database);
    pipeline.cmd("ZRANGE").arg(key).arg(0).arg(-1);
    pipeline.cmd("SELECT").arg(core.servers.database());
    let answers = core
        .link
        .send(Request::Many(&pipeline), Patience::Bounded)
        .await?;
    let members = reply::list(answers).into_iter().nth(1);
    members
        .map(reply::bytes_list)
        .ok_or(Error::Misunderstood { what: "ZRANGE" })
}

/// See [`crate::Broker::chord_close`].
pub(crate) async fn close(core: &Core, close: ChordClose) -> Result<bool, Error> {
    let database = core.check_place(&close.place)?;
    let mut pushes = Vec::new();
    for publish in &close.publishes {
        pushes.extend(publish::resolve(core, &core.link, Patience::Bounded, publish).await?);
    }
    let remembered = core.keys.chord_closed(&close.token);
    let mut cmd = scripts::call(&CHORD_CLOSE, &[&remembered]);
    cmd.arg(core.servers.database())
        .arg(database)
        .arg(&close.group_key)
        .arg(&close.token);
    cmd.arg(u8::from(close.failed)).arg(pushes.len());
    for (list, payload) in &pushes {
        cmd.arg(list).arg(&payload[..]);
    }
    for result in &close.results {
        let life = milliseconds(result.expires);
        cmd.arg(core.check_place(&result.place)?)
            .arg(&result.key)
            .arg(&result.value[..])
            .arg(life);
    }
    let answer = core
        .link
        .send(Request::Script(&CHORD_CLOSE, &cmd), Patience::Bounded)
        .await?;
    match reply::integer(&answer) {
        Some(done) => Ok(done == 1),
        None => Err(Error::Misunderstood {
            what: "the chord script",
        }),
    }
}
