//! Which workers there are, as far as can be heard, and which of them tell the journal.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use lovage_database::store::worker::Heard;
use lovage_flower_compat::machine;
use lovage_protocol::event::Event;

use crate::account::instant;

/// What a worker of ours says that it is.
const OURS: &str = machine::SW_IDENT;
/// A worker is taken for dead after so many of its intervals (`celery/events/state.py`, `Worker`).
const EXPIRE_WINDOW: f64 = 2.0;
/// The interval of a worker that does not say.
const USUAL_INTERVAL: f64 = 60.0;

/// The workers that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    workers: BTreeMap<String, Known>,
    /// Names of workers that hold a lease: they tell the journal.
    ours: HashSet<String>,
    /// Of whom something new is to be written.
    changed: BTreeSet<String>,
}

#[derive(Debug)]
struct Known {
    heard: Heard,
    /// By our own clock.
    at: Instant,
    software: String,
}

impl Roster {
    /// Takes in an event of a worker.
    pub(crate) fn hear(&mut self, event: &Event, now: Instant) {
        if event.hostname.is_empty() {
            return;
        }
        let at = instant(event.timestamp).unwrap_or_else(Utc::now);
        let known = self.workers.entry(event.hostname.clone());
        let known = known.or_insert_with(|| Known {
            heard: Heard::new(event.hostname.clone(), at, true),
            at: now,
            software: String::new(),
        });
        let online = event.kind != "worker-offline";
        known.at = now;
        known.take(event, online, at);
        if known.software == OURS {
            self.ours.insert(event.hostname.clone());
        } else if event.kind == "worker-online" && !known.software.is_empty() {
            // A name that was ours, and is a Python worker's now.
            self.ours.remove(&event.hostname);
        }
        self.changed.insert(event.hostname.clone());
    }

    /// These hold a lease now, each with its queues.
    pub(crate) fn hold_leases(
        &mut self,
        peers: impl Iterator<Item = (String, Vec<String>)>,
        at: DateTime<Utc>,
        now: Instant,
    ) {
        for (name, queues) in peers {
            self.ours.insert(name.clone());
            let known = self.workers.entry(name.clone()).or_insert_with(|| Known {
                heard: Heard::new(name.clone(), at, true),
                at: now,
                software: OURS.to_owned(),
            });
            known.at = now;
            let same = known.heard.queues.as_ref() == Some(&queues);
            if !known.heard.online || !same {
                self.changed.insert(name);
            }
            known.heard.online = true;
            known.heard.at = at;
            known.heard.queues = Some(queues);
        }
    }

    /// Whether this node tells the journal; `None`: it was never heard of.
    pub(crate) fn tells_the_journal(&self, node: &str) -> Option<bool> {
        if self.ours.contains(node) {
            return Some(true);
        }
        let known = self.workers.get(node)?;
        (!known.software.is_empty()).then_some(false)
    }

    /// Notes that a node is none of ours, though it has said nothing of itself.
    pub(crate) fn is_a_stranger(&mut self, node: &str, at: DateTime<Utc>, now: Instant) {
        let known = self
            .workers
            .entry(node.to_owned())
            .or_insert_with(|| Known {
                heard: Heard::new(node.to_owned(), at, true),
                at: now,
                software: String::new(),
            });
        known.at = now;
        if known.software.is_empty() {
            "unknown".clone_into(&mut known.software);
        }
        self.changed.insert(node.to_owned());
    }

    /// The workers that live and do not tell the journal.
    pub(crate) fn strangers(&self, now: Instant) -> Vec<String> {
        let alive = self
            .workers
            .iter()
            .filter(|(name, known)| !self.ours.contains(*name) && known.is_alive(now));
        alive.map(|(name, _)| name.clone()).collect()
    }

    /// What is to be written of whom, those that have gone silent included.
    pub(crate) fn news(&mut self, now: Instant) -> Vec<Heard> {
        for (name, known) in &mut self.workers {
            if known.heard.online && !known.is_alive(now) {
                known.heard.online = false;
                self.changed.insert(name.clone());
            }
        }
        let changed = std::mem::take(&mut self.changed);
        let heard = changed.iter().filter_map(|name| self.workers.get(name));
        heard.map(|known| known.heard.clone()).collect()
    }
}

impl Known {
    fn is_alive(&self, now: Instant) -> bool {
        let interval = self.heard.heartbeat_seconds.unwrap_or(USUAL_INTERVAL);
        let window = Duration::try_from_secs_f64(interval * EXPIRE_WINDOW);
        let window = window.unwrap_or(Duration::from_secs(3600));
        self.heard.online && now.saturating_duration_since(self.at) <= window
    }

    fn take(&mut self, event: &Event, online: bool, at: DateTime<Utc>) {
        let int = |name: &str| event.fields.get(name).and_then(|value| value.as_i64());
        let text = |name: &str| event.text(name).map(str::to_owned);
        let heard = &mut self.heard;
        (heard.online, heard.at) = (online, at);
        let freq = event.fields.get("freq").and_then(|value| value.as_f64());
        heard.heartbeat_seconds = freq.or(heard.heartbeat_seconds);
        let active = int("active").and_then(|active| i32::try_from(active).ok());
        heard.active = active.or(heard.active);
        heard.processed = int("processed").or(heard.processed);
        heard.pid = int("pid").or(heard.pid);
        if let Some(load) = event.fields.get("loadavg").and_then(|load| load.as_list()) {
            let load: Vec<f64> = load.iter().filter_map(|load| load.as_f64()).collect();
            heard.load_average = load.try_into().ok().or(heard.load_average);
        }
        heard.software = text("sw_ident").or(heard.software.take());
        heard.software_version = text("sw_ver").or(heard.software_version.take());
        heard.system = text("sw_sys").or(heard.system.take());
        if let Some(software) = &heard.software {
            self.software.clone_from(software);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, software: &str) -> Event {
        let json = format!(
            r#"{{"hostname": "w@h", "freq": 2.0, "active": 3, "sw_ident": "{software}", "timestamp": 7.0, "type": "{kind}"}}"#
        );
        Event::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_worker_comes_is_silent_and_is_gone() {
        let (mut roster, start) = (Roster::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        roster.hear(&event("worker-online", "py-celery"), at(0));
        let news = roster.news(at(1));
        assert_eq!(
            (news.len(), news[0].online, news[0].active),
            (1, true, Some(3))
        );
        assert_eq!(roster.strangers(at(3)), ["w@h"]);
        assert!(roster.news(at(3)).is_empty());
        let news = roster.news(at(5));
        assert_eq!((news.len(), news[0].online), (1, false));
        assert!(roster.strangers(at(5)).is_empty());
        roster.hear(&event("worker-heartbeat", "py-celery"), at(6));
        assert!(roster.news(at(6))[0].online);
        roster.hear(&event("worker-offline", "py-celery"), at(7));
        assert!(!roster.news(at(7))[0].online);
    }

    #[test]
    fn who_tells_the_journal_is_known_by_its_lease_or_its_word() {
        let (mut roster, now) = (Roster::default(), Instant::now());
        assert_eq!(roster.tells_the_journal("w@h"), None);
        roster.hear(&event("worker-online", OURS), now);
        assert_eq!(roster.tells_the_journal("w@h"), Some(true));
        // One of Celery's takes its name.
        roster.hear(&event("worker-online", "py-celery"), now);
        assert_eq!(roster.tells_the_journal("w@h"), Some(false));
        let peers = [("silent@h".to_owned(), vec!["q".to_owned()])];
        roster.hold_leases(peers.into_iter(), Utc::now(), now);
        assert_eq!(roster.tells_the_journal("silent@h"), Some(true));
        roster.is_a_stranger("other@h", Utc::now(), now);
        assert_eq!(roster.tells_the_journal("other@h"), Some(false));
        assert_eq!(roster.strangers(now), ["other@h", "w@h"]);
    }
}
