//! Events that are written and not yet sent: gathered into lists, within bounds of rate and number.

use std::{collections::VecDeque, time::Instant};

use lovage_protocol::event::{EventText, MULTI, Origin};

/// A list of so many events is full, or of so many bytes: receivers read a list as a whole.
const LIST_EVENTS: usize = 200;
const LIST_BYTES: usize = 128 << 10;

/// One message that will be sent.
#[derive(Debug)]
pub(crate) struct Letter {
    /// JSON; of a list, without its end.
    text: String,
    /// Where it goes.
    pub(crate) routing_key: String,
    /// How many events are in it.
    pub(crate) events: usize,
    list: bool,
}

impl Letter {
    /// The body, complete.
    pub(crate) fn body(&self) -> String {
        let end = if self.list { "]" } else { "" };
        format!("{}{end}", self.text)
    }

    fn takes_more(&self) -> bool {
        self.list && self.events < LIST_EVENTS && self.text.len() < LIST_BYTES
    }
}

/// How much is kept and passed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// So many events wait at most.
    pub(crate) waiting: usize,
    /// So many are taken in a second.
    pub(crate) rate: Option<u32>,
}

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct Buffer {
    bounds: Bounds,
    letters: VecDeque<Letter>,
    events: usize,
    /// How many more may come now, when there is a rate.
    allowance: f64,
    filled: Instant,
}

impl Buffer {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            letters: VecDeque::new(),
            events: 0,
            allowance: bounds.rate.map_or(0.0, f64::from),
            filled: Instant::now(),
        }
    }

    /// Whether one more may come; if not it is lost.
    pub(crate) fn admits(&mut self) -> bool {
        if self.events >= self.bounds.waiting {
            return false;
        }
        let Some(rate) = self.bounds.rate.map(f64::from) else {
            return true;
        };
        let now = Instant::now();
        let fresh = now.duration_since(self.filled).as_secs_f64() * rate;
        self.filled = now;
        self.allowance = (self.allowance + fresh).min(rate);
        let admits = self.allowance >= 1.0;
        if admits {
            self.allowance -= 1.0;
        }
        admits
    }

    /// Adds an event to the list of task events. True: whoever sends has to be told.
    pub(crate) fn add(
        &mut self,
        origin: &Origin,
        clock: i64,
        write: impl FnOnce(EventText<'_>),
    ) -> bool {
        if !self.letters.back().is_some_and(Letter::takes_more) {
            self.letters.push_back(Letter {
                text: "[".to_owned(),
                routing_key: MULTI.to_owned(),
                events: 0,
                list: true,
            });
        }
        if let Some(letter) = self.letters.back_mut() {
            if letter.events > 0 {
                letter.text.push_str(", ");
            }
            write(EventText::begin(&mut letter.text, origin, clock));
            letter.events += 1;
        }
        self.count_one()
    }

    /// Adds an event that goes alone.
    pub(crate) fn add_alone(
        &mut self,
        origin: &Origin,
        clock: i64,
        routing_key: String,
        write: impl FnOnce(EventText<'_>),
    ) -> bool {
        let mut text = String::new();
        write(EventText::begin(&mut text, origin, clock));
        self.letters.push_back(Letter {
            text,
            routing_key,
            events: 1,
            list: false,
        });
        self.count_one()
    }

    fn count_one(&mut self) -> bool {
        self.events += 1;
        self.events == 1
    }

    /// Takes the oldest letters out.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Letter> {
        let count = most.min(self.letters.len());
        let taken: Vec<Letter> = self.letters.drain(..count).collect();
        self.events -= taken.iter().map(|letter| letter.events).sum::<usize>();
        taken
    }

    /// Puts what could not be sent back to the front.
    pub(crate) fn put_back(&mut self, letters: Vec<Letter>) {
        self.events += letters.iter().map(|letter| letter.events).sum::<usize>();
        for letter in letters.into_iter().rev() {
            self.letters.push_front(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            hostname: "w@h".to_owned(),
            pid: 1,
            utcoffset: 0.0,
        }
    }

    fn buffer(waiting: usize, rate: Option<u32>) -> Buffer {
        Buffer::new(Bounds { waiting, rate })
    }

    fn add(buffer: &mut Buffer, clock: i64) -> bool {
        buffer.add(&origin(), clock, |event| event.end(0.0, "task-started"))
    }

    #[test]
    fn task_events_go_in_lists_and_others_alone_in_the_order_they_came() {
        let mut buffer = buffer(10_000, None);
        assert!(add(&mut buffer, 1), "whoever sends is told of the first");
        for clock in 2..=250 {
            assert!(!add(&mut buffer, clock));
        }
        buffer.add_alone(&origin(), 251, "task.step".to_owned(), |event| {
            event.end(0.0, "task-step");
        });
        add(&mut buffer, 252);
        let letters = buffer.take(10);
        let events: Vec<usize> = letters.iter().map(|letter| letter.events).collect();
        assert_eq!(events, [LIST_EVENTS, 50, 1, 1]);
        let body = letters[3].body();
        let list = r#"[{"hostname": "w@h", "utcoffset": 0.0, "pid": 1, "clock": 252, "timestamp": 0.0, "type": "task-started"}]"#;
        assert_eq!(body, list);
        assert!(letters[2].body().starts_with('{') && letters[2].body().ends_with('}'));
        assert!(buffer.letters.is_empty() && add(&mut buffer, 253));
    }

    #[test]
    fn no_more_wait_than_may_and_what_was_taken_makes_room() {
        let mut buffer = buffer(2, None);
        for clock in 1..=2 {
            assert!(buffer.admits());
            add(&mut buffer, clock);
        }
        assert!(!buffer.admits());
        let taken = buffer.take(1);
        assert!(buffer.admits());
        buffer.put_back(taken);
        assert!(!buffer.admits());
    }

    #[test]
    fn no_more_come_in_a_second_than_may() {
        let mut buffer = buffer(10_000, Some(100));
        let admitted = (0..1_000).filter(|_| buffer.admits()).count();
        assert!((100..150).contains(&admitted), "{admitted}");
    }
}
