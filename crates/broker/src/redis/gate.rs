//! Asking whether deliveries may run, and sending what asks as it is sent: the calls of the scripts around `gate.lua`.

use std::time::Duration;

use redis::{Cmd, Pipeline};

use super::{
    Core,
    consumer::Shared,
    link::{Patience, Request},
    publish, reply,
    scripts::{self, ADMIT, PUBLISH_GATED},
};
use crate::{
    Admit, Admitted, Demand, Destination, Entry, Error, Hold, Line, Publish,
    envelope::{self, entry_ending},
};

/// So many are decided about in one script.
const CHUNK: usize = 100;

/// See [`crate::Consumer::admit`]. A decision whose answer was lost is made again: a task finds what it holds.
pub(crate) async fn admit(shared: &Shared, batch: &[Admit]) -> Result<Vec<Admitted>, Error> {
    let mut decided = Vec::with_capacity(batch.len());
    for chunk in batch.chunks(CHUNK) {
        let cmd = call(shared, chunk);
        let answer = shared
            .link
            .send(Request::Script(&ADMIT, &cmd), Patience::Endless)
            .await?;
        let answers = reply::text_list(answer);
        let read: Option<Vec<Admitted>> = answers.iter().map(|answer| read(answer)).collect();
        let read = read
            .filter(|read| read.len() == chunk.len())
            .ok_or(Error::Misunderstood {
                what: "the admit script",
            })?;
        let gone = chunk
            .iter()
            .zip(&read)
            .filter(|(_, admitted)| matches!(admitted, Admitted::Waits | Admitted::Lost));
        shared
            .held
            .remove(gone.map(|(admit, _)| admit.delivery.tag.0));
        if read.contains(&Admitted::Waits) {
            shared.delayed.notify_one();
        }
        decided.extend(read);
    }
    Ok(decided)
}

fn call(shared: &Shared, chunk: &[Admit]) -> Cmd {
    let keys = &shared.core.keys;
    let mut cmd = scripts::call(
        &ADMIT,
        &[
            &shared.holder.worker_key,
            &keys.unacked,
            &keys.unacked_index,
            &keys.delayed,
            &keys.delayed_messages,
        ],
    );
    cmd.arg(keys.root()).arg(chunk.len());
    for admit in chunk {
        let delivery = &admit.delivery;
        let list = keys.list_for(&delivery.queue, envelope::priority(&delivery.raw));
        cmd.arg(shared.tag(delivery.tag.0))
            .arg(u8::from(admit.early))
            .arg(entry_ending(delivery.queue.as_str()));
        write_demand(
            &mut cmd,
            &admit.owner,
            &list,
            admit.not_before,
            &admit.demand,
        );
    }
    cmd
}

/// As `line.lua` reads it.
fn write_demand(cmd: &mut Cmd, owner: &str, list: &str, not_before: Option<f64>, demand: &Demand) {
    let earliest = not_before.filter(|at| at.is_finite()).unwrap_or(0.0);
    let (debounce, window) = match &demand.debounce {
        Some((key, window)) => (key.as_str(), window.as_secs_f64()),
        None => ("", 0.0),
    };
    cmd.arg(owner).arg(list).arg(earliest);
    cmd.arg(debounce).arg(window);
    match &demand.claim {
        Some(claim) => {
            let (mode, span) = mode(claim.hold);
            cmd.arg(&claim.key)
                .arg(mode)
                .arg(millis(claim.waiting))
                .arg(span)
                .arg(u8::from(claim.join));
        }
        None => {
            cmd.arg("").arg("").arg(0).arg(0).arg(0);
        }
    }
    cmd.arg(demand.rations.len());
    for ration in &demand.rations {
        let period = ration.period.map_or(0.0, |period| period.as_secs_f64());
        cmd.arg(&ration.key).arg(ration.most.max(1)).arg(period);
    }
}

fn mode(hold: Hold) -> (&'static str, u64) {
    match hold {
        Hold::Start => ("start", 0),
        Hold::End => ("end", 0),
        Hold::For(span) => ("for", millis(span)),
    }
}

/// Whole milliseconds, at least one; a century is for ever.
pub(crate) fn millis(duration: Duration) -> u64 {
    const CENTURY: u64 = 100 * 365 * 24 * 3600 * 1000;
    u64::try_from(duration.as_millis())
        .unwrap_or(CENTURY)
        .clamp(1, CENTURY)
}

fn read(answer: &str) -> Option<Admitted> {
    let of = |of: &str| of.to_owned();
    Some(match answer.split_once(' ').unwrap_or((answer, "")) {
        ("run", _) => Admitted::Runs,
        ("wait", _) => Admitted::Waits,
        ("lost", _) => Admitted::Lost,
        ("duplicate", id) => Admitted::Duplicate { of: of(id) },
        ("joined", id) => Admitted::Joined { of: of(id) },
        _ => return None,
    })
}

/// See [`crate::Broker::publish_gated`].
pub(crate) async fn publish_gated(
    core: &Core,
    publish: &Publish,
    entry: &Entry,
) -> Result<Option<String>, Error> {
    let Destination::Queue(queue) = &publish.destination else {
        // Where an exchange leads is known by nobody but the broker; the worker that picks it up decides.
        return publish::publish(core, std::slice::from_ref(publish))
            .await
            .map(|()| None);
    };
    let keys = &core.keys;
    let list = keys.list_for(queue, publish.priority);
    let ahead = keys.lists(queue).position(|other| other == list);
    let ahead = ahead.map_or(0, |last| last + 1);
    let mut cmd = scripts::call(
        &PUBLISH_GATED,
        &[
            &list,
            &keys.unacked,
            &keys.unacked_index,
            &keys.delayed,
            &keys.delayed_messages,
        ],
    );
    cmd.arg(keys.root()).arg(&publish.payload[..]).arg(ahead);
    for list in keys.lists(queue).take(ahead) {
        cmd.arg(list);
    }
    write_demand(
        &mut cmd,
        &entry.owner,
        &list,
        entry.not_before,
        &entry.demand,
    );
    let request = Request::Script(&PUBLISH_GATED, &cmd);
    let answer = core.link.send(request, Patience::Bounded).await?;
    let holder = reply::text(answer).ok_or(Error::Misunderstood {
        what: "the script that publishes what asks",
    })?;
    Ok((!holder.is_empty()).then_some(holder))
}

/// See [`crate::Broker::lines`].
pub(crate) async fn lines(core: &Core) -> Result<Vec<Line>, Error> {
    let root = core.keys.root();
    let known = format!("{root}lines");
    let mut keys = reply::text_list(core.ask(redis::cmd("SMEMBERS").arg(&known)).await?);
    keys.sort_unstable();
    let mut pipeline = Pipeline::new();
    for key in &keys {
        pipeline.cmd("ZCARD").arg(format!("{root}line:{key}"));
        let count = match key.split(':').next() {
            Some("slots") => "HLEN",
            Some("rate") => "LLEN",
            _ => "EXISTS",
        };
        pipeline.cmd(count).arg(format!("{root}{key}"));
    }
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let request = Request::Many(&pipeline);
    let counts = reply::list(core.link.send(request, Patience::Bounded).await?);
    let counts: Vec<u64> = counts.iter().filter_map(reply::integer).collect();
    let lines = keys.into_iter().zip(counts.chunks_exact(2));
    let lines = lines.map(|(key, counts)| Line {
        key,
        waiting: counts[0],
        holding: counts[1],
    });
    Ok(lines.filter(|line| line.waiting > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_decisions() {
        assert_eq!(read("run"), Some(Admitted::Runs));
        let of = "a task's id".to_owned();
        assert_eq!(read("joined a task's id"), Some(Admitted::Joined { of }));
        assert_eq!(read("who knows"), None);
    }
}
