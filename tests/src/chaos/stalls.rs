//! A worker that begins nothing for a while although messages wait for it has stalled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::crew::{Deed, Life, What};
use super::ledger::{Run, now};
use super::load::QUEUE;

/// Who begins nothing for so long has stalled.
pub const STALL: Duration = Duration::from_secs(5);
/// How often is looked whether messages wait.
const EVERY: Duration = Duration::from_millis(50);
/// An answer that takes longer comes from a server that was away.
const PROMPT: Duration = Duration::from_millis(500);

/// A time, from and to, see [`now`].
type Span = (u64, u64);

/// Looks at the queue until it ends, on a thread of its own.
#[derive(Debug)]
pub struct Watch {
    spans: Arc<Mutex<Vec<Span>>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Begins to look.
    pub fn begin(client: redis::Client) -> Self {
        let watch = Self {
            spans: Arc::default(),
            stop: Arc::default(),
        };
        let (spans, stop) = (Arc::clone(&watch.spans), Arc::clone(&watch.stop));
        thread::spawn(move || {
            let (mut connection, mut open) = (None, false);
            while !stop.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let depth = depth(&client, &mut connection);
                let waits = depth.is_some_and(|depth| depth > 0) && asked.elapsed() < PROMPT;
                if waits {
                    let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
                    let at = now();
                    match spans.last_mut() {
                        Some(last) if open => last.1 = at,
                        _ => spans.push((at, at)),
                    }
                }
                open = waits;
                thread::sleep(EVERY);
            }
        });
        watch
    }

    /// The times in which messages waited all along, and Redis answered.
    pub fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn depth(client: &redis::Client, kept: &mut Option<redis::Connection>) -> Option<usize> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => client.get_connection().ok()?,
    };
    let depth = redis::cmd("LLEN").arg(QUEUE).query(&mut connection).ok();
    if depth.is_some() {
        *kept = Some(connection);
    }
    depth
}

/// The workers that stood still, each with its longest time.
pub fn stalled(
    spans: &[Span],
    lives: &[Life],
    runs: &[Run],
    deeds: &[Deed],
) -> Vec<(String, Duration)> {
    let longest = lives
        .iter()
        .map(|life| (life.worker.clone(), longest(spans, life, runs, deeds)));
    longest.filter(|(_, time)| *time >= STALL).collect()
}

/// The longest time in which messages waited, and the worker lived and moved, and began nothing.
fn longest(spans: &[Span], life: &Life, runs: &[Run], deeds: &[Deed]) -> Duration {
    let own = runs.iter().filter(|run| run.worker == life.worker);
    let begins: Vec<u64> = own.map(|run| run.began).collect();
    // Whoever was stopped has to find its way back, and is looked at from there.
    let stops = deeds
        .iter()
        .filter(|deed| deed.worker == life.worker && deed.what == What::Stopped);
    let stops: Vec<Span> = stops.map(|deed| (deed.from, deed.to)).collect();
    let mut longest = 0;
    for (from, to) in spans {
        let (mut last, to) = ((*from).max(life.ready), (*to).min(life.end));
        let mut marks: Vec<Span> = begins.iter().map(|begin| (*begin, *begin)).collect();
        marks.extend(&stops);
        marks.sort_unstable();
        for (from, until) in marks {
            if until <= last || from >= to {
                continue;
            }
            longest = longest.max(from.saturating_sub(last));
            last = last.max(until);
        }
        longest = longest.max(to.saturating_sub(last));
    }
    Duration::from_micros(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn life() -> Life {
        Life {
            worker: "w1".into(),
            ready: 10 * SECOND,
            end: 100 * SECOND,
        }
    }

    fn runs(begins: &[u64]) -> Vec<Run> {
        let run = |begin: &u64| Run {
            id: "a".into(),
            attempt: 0,
            worker: "w1".into(),
            began: begin * SECOND,
            ended: None,
        };
        begins.iter().map(run).collect()
    }

    fn seconds(spans: &[Span], begins: &[u64], stopped: Option<Span>) -> u64 {
        let spans: Vec<Span> = spans
            .iter()
            .map(|(from, to)| (from * SECOND, to * SECOND))
            .collect();
        let deeds: Vec<Deed> = stopped
            .map(|(from, to)| Deed {
                worker: "w1".into(),
                what: What::Stopped,
                from: from * SECOND,
                to: to * SECOND,
            })
            .into_iter()
            .collect();
        longest(&spans, &life(), &runs(begins), &deeds).as_secs()
    }

    #[test]
    fn who_begins_nothing_while_messages_wait_stands_still() {
        assert_eq!(seconds(&[(0, 50)], &[12, 14, 30, 49], None), 19);
        assert_eq!(seconds(&[(0, 18), (26, 50)], &[12, 14, 30, 49], None), 19);
        assert_eq!(seconds(&[(0, 18), (29, 31)], &[12, 14, 30, 49], None), 4);
        assert_eq!(seconds(&[(0, 16)], &[], None), 6, "also who never began");
        assert_eq!(
            seconds(&[(0, 9), (101, 120)], &[], None),
            0,
            "it did not live"
        );
    }

    #[test]
    fn who_was_stopped_did_not_stand_still_by_itself() {
        assert_eq!(seconds(&[(10, 40)], &[12], Some((13, 37))), 3);
    }
}
