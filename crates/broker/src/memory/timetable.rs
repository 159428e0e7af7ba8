//! Schedules in memory.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryBroker;
use crate::{
    Error,
    timetable::{
        Candidate, Changes, HISTORY, Kept, Leadership, MadeUp, MakeUp, PAST, Past, Put, Span, Tick,
        Ticked, Timetable,
    },
};

/// Everything of the timetable.
#[derive(Debug, Default)]
pub(super) struct Entries {
    kept: BTreeMap<String, Kept>,
    removed: BTreeMap<String, u64>,
    history: BTreeMap<String, VecDeque<Bytes>>,
    past: BTreeMap<String, Past>,
    edition: u64,
    fence: u64,
    leader: Option<Leader>,
}

#[derive(Debug)]
struct Leader {
    owner: String,
    about: String,
    /// Unix time in seconds.
    until: f64,
}

impl Entries {
    fn leader(&mut self, now: f64) -> Option<&Leader> {
        self.leader = self.leader.take().filter(|leader| leader.until > now);
        self.leader.as_ref()
    }

    fn next_edition(&mut self) -> u64 {
        self.edition += 1;
        self.edition
    }

    fn lengthen(&mut self, name: &str, span: Span) {
        let past = self.past.entry(name.to_owned()).or_default();
        past.number += 1;
        past.spans.push(span);
        let surplus = past.spans.len().saturating_sub(PAST);
        past.spans.drain(..surplus);
    }

    fn remember(&mut self, name: &str, records: &[Bytes]) {
        let history = self.history.entry(name.to_owned()).or_default();
        for record in records {
            history.push_front(record.clone());
        }
        history.truncate(HISTORY);
    }
}

/// The entry as it is now.
fn span(kept: &Kept) -> Span {
    Span {
        definition: kept.definition.clone(),
        progress: kept.progress.clone(),
    }
}

#[async_trait]
impl Timetable for MemoryBroker {
    async fn lead(&self, candidate: &Candidate) -> Result<Leadership, Error> {
        let mut state = self.inner.lock();
        let now = state.now();
        let entries = &mut state.timetable;
        let edition = entries.edition;
        match entries.leader(now) {
            Some(leader) if leader.owner != candidate.owner => {
                return Ok(Leadership {
                    fence: None,
                    about: leader.about.clone(),
                    edition,
                });
            }
            Some(_) => {}
            None => entries.fence += 1,
        }
        entries.leader = Some(Leader {
            owner: candidate.owner.clone(),
            about: candidate.about.clone(),
            until: now + candidate.lease.as_secs_f64(),
        });
        Ok(Leadership {
            fence: Some(entries.fence),
            about: candidate.about.clone(),
            edition,
        })
    }

    async fn step_down(&self, owner: &str) -> Result<(), Error> {
        let leader = &mut self.inner.lock().timetable.leader;
        *leader = leader.take().filter(|leader| leader.owner != owner);
        Ok(())
    }

    async fn leader(&self) -> Result<Option<Leadership>, Error> {
        let mut state = self.inner.lock();
        let now = state.now();
        let entries = &mut state.timetable;
        let (fence, edition) = (entries.fence, entries.edition);
        Ok(entries.leader(now).map(|leader| Leadership {
            fence: Some(fence),
            about: leader.about.clone(),
            edition,
        }))
    }

    async fn changes(&self, since: u64, most: usize) -> Result<Changes, Error> {
        let state = self.inner.lock();
        let entries = &state.timetable;
        let mut changed: Vec<Kept> = entries.kept.values().cloned().collect();
        changed.retain(|kept| kept.version > since);
        changed.sort_unstable_by_key(|kept| kept.version);
        let most = most.max(1);
        let more = changed.len() >= most;
        changed.truncate(most);
        let edition = match changed.last() {
            Some(last) if more => last.version,
            _ => entries.edition,
        };
        let removed = entries.removed.iter();
        let removed = removed.filter(|(_, at)| **at > since && **at <= edition);
        Ok(Changes {
            edition,
            removed: removed.map(|(name, _)| name.clone()).collect(),
            entries: changed,
            more,
        })
    }

    async fn kept(&self, name: &str) -> Result<Option<Kept>, Error> {
        Ok(self.inner.lock().timetable.kept.get(name).cloned())
    }

    async fn put(&self, put: &Put) -> Result<Option<u64>, Error> {
        let mut state = self.inner.lock();
        let entries = &mut state.timetable;
        let current = entries.kept.get(&put.name);
        let is_so = |kept: &Kept| {
            let progress = put.progress.as_ref();
            kept.definition == put.definition && progress.is_none_or(|it| *it == kept.progress)
        };
        if let Some(kept) = current.filter(|kept| is_so(kept)) {
            return Ok(Some(kept.version));
        }
        if current.map(|kept| kept.version) != put.version {
            return Ok(None);
        }
        let ended = current.filter(|_| put.progress.is_some()).map(span);
        let before = current.map(|kept| kept.progress.clone());
        let progress = put.progress.clone().or(before).unwrap_or_default();
        if let Some(ended) = ended {
            entries.lengthen(&put.name, ended);
        }
        let version = entries.next_edition();
        entries.removed.remove(&put.name);
        let kept = Kept {
            name: put.name.clone(),
            version,
            definition: put.definition.clone(),
            progress,
        };
        entries.kept.insert(put.name.clone(), kept);
        Ok(Some(version))
    }

    async fn remove(&self, name: &str) -> Result<bool, Error> {
        let mut state = self.inner.lock();
        let entries = &mut state.timetable;
        if entries.kept.remove(name).is_none() {
            return Ok(false);
        }
        entries.history.remove(name);
        entries.past.remove(name);
        let edition = entries.next_edition();
        entries.removed.insert(name.to_owned(), edition);
        Ok(true)
    }

    async fn tick(
        &self,
        owner: &str,
        fence: u64,
        ticks: &[Tick],
    ) -> Result<Option<Vec<Ticked>>, Error> {
        let mut state = self.inner.lock();
        let now = state.now();
        let entries = &mut state.timetable;
        let current = entries.fence;
        let leads = entries
            .leader(now)
            .is_some_and(|leader| leader.owner == owner);
        if !leads || current != fence {
            return Ok(None);
        }
        let mut ticked = Vec::with_capacity(ticks.len());
        for tick in ticks {
            let entries = &mut state.timetable;
            let kept = entries.kept.get_mut(&tick.name);
            let Some(kept) = kept.filter(|kept| kept.version == tick.version) else {
                ticked.push(Ticked::Changed);
                continue;
            };
            if kept.progress == tick.after && tick.before != tick.after {
                ticked.push(Ticked::Done);
                continue;
            }
            if kept.progress != tick.before {
                ticked.push(Ticked::Changed);
                continue;
            }
            let ended = tick.breaks.then(|| span(kept));
            kept.progress = tick.after.clone();
            if let Some(ended) = ended {
                entries.lengthen(&tick.name, ended);
            }
            entries.remember(&tick.name, &tick.records);
            for publish in &tick.publishes {
                state.publish(publish);
                self.inner.tell_listeners(publish);
            }
            ticked.push(Ticked::Done);
        }
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(Some(ticked))
    }

    async fn past(&self, name: &str) -> Result<Past, Error> {
        let state = self.inner.lock();
        Ok(state.timetable.past.get(name).cloned().unwrap_or_default())
    }

    async fn make_up(&self, make_up: &MakeUp) -> Result<MadeUp, Error> {
        let MakeUp { name, span, .. } = make_up;
        let mut state = self.inner.lock();
        let entries = &mut state.timetable;
        let kept = entries.kept.get(name);
        if kept.is_none_or(|kept| kept.version != make_up.version) {
            return Ok(MadeUp::Changed);
        }
        let past = entries.past.get(name);
        let number = past.map_or(0, |past| past.number);
        if number == make_up.number + 1 && past.and_then(|past| past.spans.last()) == Some(span) {
            return Ok(MadeUp::Done);
        }
        if number != make_up.number {
            return Ok(MadeUp::Outdated);
        }
        entries.lengthen(name, span.clone());
        entries.remember(name, &make_up.records);
        for publish in &make_up.publishes {
            state.publish(publish);
            self.inner.tell_listeners(publish);
        }
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(MadeUp::Done)
    }

    async fn remember(&self, name: &str, records: &[Bytes]) -> Result<(), Error> {
        self.inner.lock().timetable.remember(name, records);
        Ok(())
    }

    async fn history(&self, name: &str, most: usize) -> Result<Vec<Bytes>, Error> {
        let state = self.inner.lock();
        let history = state.timetable.history.get(name);
        let history = history.into_iter().flatten().take(most);
        Ok(history.cloned().collect())
    }
}
