//! What is not to be run: this worker's copy of the broker's revocations, and how it is kept fresh.
//!
//! The copy is read before the first message is taken, again whenever somebody revokes, and every few seconds in case a
//! broadcast was missed. What is new is applied at once: to messages that wait in this worker, to delayed ones, which
//! come back to their queues to be met there, and to running tasks that are to be terminated.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lovage_broker::{Recorded, Target};
use lovage_protocol::{DecodeOptions, Headers, Message, TaskId, Value};

/// So far back is read again each time: the broker's clock may step, and a worker may have died between delaying a
/// message and learning that it is revoked.
pub(crate) const OVERLAP: f64 = 60.0;

/// This worker's copy.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// Most workers never have anything to look up.
    any: AtomicBool,
    known: RwLock<Known>,
    /// Whoever learns and applies what is new.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// What was learnt at once.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct News {
    /// Tasks that were not known to be revoked.
    pub(crate) ids: Vec<TaskId>,
    /// Tasks that were revoked lately, whether known or not.
    pub(crate) recent: Vec<TaskId>,
    /// Names of stamps of which a value was not known to be revoked.
    pub(crate) stamps: Vec<String>,
    /// What is to be ended though it runs, by which signal.
    pub(crate) terminated: Vec<(Target, String)>,
}

#[derive(Debug)]
struct Known {
    life: f64,
    /// By the broker's clock, when each was revoked.
    ids: HashMap<TaskId, f64>,
    /// By name, then by the value as JSON.
    stamps: HashMap<String, HashMap<String, f64>>,
    /// Terminations that were passed on, with the broker's time.
    terminated: HashSet<(String, u64)>,
    read_to: f64,
}

impl Revoked {
    /// Knows of nothing yet; remembers for as long as `life`.
    pub(crate) fn new(life: Duration) -> Self {
        let known = Known {
            life: life.as_secs_f64(),
            ids: HashMap::new(),
            stamps: HashMap::new(),
            terminated: HashSet::new(),
            read_to: 0.0,
        };
        Self {
            any: AtomicBool::new(false),
            known: RwLock::new(known),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the task with these headers is not to be run.
    pub(crate) fn has(&self, headers: &Headers) -> bool {
        self.any.load(Ordering::Acquire) && self.known().has(headers)
    }

    /// As [`Self::has`], for a message as it came.
    pub(crate) fn has_raw(&self, raw: &[u8], decode: &DecodeOptions) -> bool {
        self.any.load(Ordering::Acquire)
            && Message::parse_with(raw, decode).is_ok_and(|message| self.has(&message.headers))
    }

    /// Whether the task of this id is revoked by its id.
    pub(crate) fn has_id(&self, id: &TaskId) -> bool {
        self.any.load(Ordering::Acquire) && self.known().ids.contains_key(id)
    }

    /// The ids of revoked tasks, the oldest first.
    pub(crate) fn ids(&self) -> Vec<TaskId> {
        let known = self.known();
        let mut ids: Vec<(&TaskId, &f64)> = known.ids.iter().collect();
        ids.sort_by(|a, b| a.1.total_cmp(b.1));
        ids.into_iter().map(|(id, _)| id.clone()).collect()
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From when on the broker is to be asked.
    pub(crate) fn since(&self) -> f64 {
        self.known().read_to - OVERLAP
    }

    /// Takes in what the broker told.
    pub(crate) fn learn(&self, recorded: Recorded) -> News {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let news = known.learn(recorded);
        let any = !known.ids.is_empty() || !known.stamps.is_empty();
        drop(known);
        self.any.store(any, Ordering::Release);
        news
    }
}

impl Known {
    fn has(&self, headers: &Headers) -> bool {
        self.ids.contains_key(&headers.id)
            || !self.stamps.is_empty()
                && stamps(headers).any(|(name, value)| {
                    let values = self.stamps.get(name);
                    values.is_some_and(|values| values.contains_key(&value.to_json()))
                })
    }

    fn learn(&mut self, recorded: Recorded) -> News {
        let Recorded {
            now,
            revoked,
            terminated,
        } = recorded;
        let mut news = News::default();
        let oldest = now - self.life;
        for (target, at) in revoked.into_iter().filter(|(_, at)| *at >= oldest) {
            match target {
                Target::Task(id) => {
                    if self.ids.insert(id.clone(), at).is_none() {
                        news.ids.push(id.clone());
                    }
                    news.recent.push(id);
                }
                Target::Stamp { header, value } => {
                    let values = self.stamps.entry(header.clone()).or_default();
                    if values.insert(value.to_json(), at).is_none()
                        && !news.stamps.contains(&header)
                    {
                        news.stamps.push(header);
                    }
                }
                // A kind that this version does not know is none of its business.
                _ => {}
            }
        }
        self.ids.retain(|_, at| *at >= oldest);
        self.stamps.retain(|_, values| {
            values.retain(|_, at| *at >= oldest);
            !values.is_empty()
        });
        let mut passed_on = HashSet::new();
        for (target, signal, at) in terminated {
            let mark = (format!("{signal} {target:?}"), at.to_bits());
            if !self.terminated.contains(&mark) {
                news.terminated.push((target, signal));
            }
            passed_on.insert(mark);
        }
        self.terminated = passed_on;
        self.read_to = now;
        news
    }
}

impl News {
    /// Whether a message may be concerned that was not before.
    pub(crate) fn concerns_messages(&self) -> bool {
        !self.ids.is_empty() || !self.stamps.is_empty()
    }
}

/// Whether the target means the task with these headers.
pub(crate) fn carries(headers: &Headers, target: &Target) -> bool {
    match target {
        Target::Task(id) => headers.id == *id,
        Target::Stamp { header, value } => {
            stamps(headers).any(|(name, own)| name == header && own == value)
        }
        _ => false,
    }
}

/// Each stamp with its value; one that has a list of values comes once for each (`celery/worker/request.py`, `revoked`).
fn stamps(headers: &Headers) -> impl Iterator<Item = (&str, &Value)> {
    let names = headers.stamped_headers.iter().flatten();
    names.flat_map(|name| {
        let value = headers.stamps.get(name);
        let values = match value {
            Some(Value::List(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => &[],
        };
        values.iter().map(move |value| (name.as_str(), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, at: f64) -> (Target, f64) {
        (Target::Task(id.into()), at)
    }

    fn stamp(value: &str, at: f64) -> (Target, f64) {
        let header = "customer".to_owned();
        let value = value.into();
        (Target::Stamp { header, value }, at)
    }

    fn headers(id: &str, stamped: Option<Value>) -> Headers {
        let mut headers = Headers::new("t".into(), TaskId::from(id));
        if let Some(value) = stamped {
            headers.stamped_headers = Some(vec!["customer".to_owned()]);
            headers.stamps.insert("customer".to_owned(), value);
        }
        headers
    }

    fn recorded(now: f64, revoked: Vec<(Target, f64)>) -> Recorded {
        Recorded {
            now,
            revoked,
            terminated: Vec::new(),
        }
    }

    #[test]
    fn ids_and_stamps_are_known_for_their_life() {
        let revoked = Revoked::new(Duration::from_secs(100));
        assert!(!revoked.has(&headers("1", None)));
        let news = revoked.learn(recorded(
            1000.0,
            vec![task("1", 950.0), stamp("acme", 990.0), task("old", 899.0)],
        ));
        assert_eq!(
            (news.ids.as_slice(), news.stamps.as_slice()),
            (&[TaskId::from("1")][..], &["customer".to_owned()][..])
        );
        assert!(revoked.has(&headers("1", None)));
        assert!(!revoked.has(&headers("old", None)));
        assert!(revoked.has(&headers("2", Some("acme".into()))));
        let several = Value::List(vec!["other".into(), "acme".into()]);
        assert!(revoked.has(&headers("2", Some(several))));
        assert!(!revoked.has(&headers("2", Some("acm".into()))));
        revoked.learn(recorded(1051.0, vec![]));
        assert!(!revoked.has(&headers("1", None)), "its time is over");
        assert!(revoked.has(&headers("2", Some("acme".into()))));
        revoked.learn(recorded(1091.0, vec![]));
        assert!(!revoked.any.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_read_twice_is_news_once() {
        let revoked = Revoked::new(Duration::from_secs(100));
        let target = Target::Task("1".into());
        let told = Recorded {
            terminated: vec![(target.clone(), "SIGTERM".to_owned(), 995.0)],
            ..recorded(1000.0, vec![task("1", 995.0)])
        };
        let first = revoked.learn(told.clone());
        assert_eq!(first.terminated, [(target, "SIGTERM".to_owned())]);
        assert!(first.concerns_messages());
        let again = revoked.learn(told);
        assert!(!again.concerns_messages() && again.terminated.is_empty());
        assert_eq!(again.recent, [TaskId::from("1")]);
        assert!(revoked.since() < 995.0);
    }

    #[test]
    fn a_stamp_counts_only_when_it_is_declared() {
        let mut undeclared = headers("1", Some("acme".into()));
        let (target, _) = stamp("acme", 0.0);
        assert!(carries(&undeclared, &target));
        undeclared.stamped_headers = None;
        assert!(!carries(&undeclared, &target));
    }
}
