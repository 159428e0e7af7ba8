//! Queues in memory: a list per priority step.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use lovage_protocol::QueueName;

use crate::{envelope, priority::Steps};

/// All queues. A list's front is popped next.
#[derive(Debug)]
pub(super) struct Lists {
    steps: Steps,
    lists: HashMap<(QueueName, u8), VecDeque<Bytes>>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            steps: Steps::new(&[0, 3, 6, 9]),
            lists: HashMap::new(),
        }
    }
}

impl Lists {
    fn list(&mut self, queue: &QueueName, priority: i64) -> &mut VecDeque<Bytes> {
        self.lists
            .entry((queue.clone(), self.steps.of(priority)))
            .or_default()
    }

    /// Behind all others of its priority.
    pub(super) fn push_back(&mut self, queue: &QueueName, priority: i64, payload: Bytes) {
        self.list(queue, priority).push_back(payload);
    }

    /// Behind all others of the priority that the message itself names.
    pub(super) fn requeue(&mut self, queue: &QueueName, payload: Bytes) {
        self.push_back(queue, envelope::priority(&payload), payload);
    }

    /// Before all others of the priority that the message itself names.
    pub(super) fn restore(&mut self, queue: &QueueName, payload: Bytes) {
        self.list(queue, envelope::priority(&payload))
            .push_front(payload);
    }

    /// Takes up to `most`, the first step first; within a step the queues share fairly, or the first is emptied first.
    pub(super) fn take(
        &mut self,
        turn: &[QueueName],
        fair: bool,
        most: usize,
    ) -> Vec<(QueueName, Bytes)> {
        let mut taken = Vec::new();
        for step in self.steps.all().to_vec() {
            let mut open: Vec<&QueueName> = turn.iter().collect();
            while !open.is_empty() && taken.len() < most {
                let quota = if fair {
                    (most - taken.len()).div_ceil(open.len())
                } else {
                    most
                };
                open.retain(|queue| {
                    let Some(list) = self.lists.get_mut(&((*queue).clone(), step)) else {
                        return false;
                    };
                    let want = quota.min(most - taken.len());
                    let got = want.min(list.len());
                    taken.extend(list.drain(..got).map(|payload| ((*queue).clone(), payload)));
                    got == want && want > 0
                });
            }
        }
        taken
    }

    /// Everything, queue by queue, those next in line first.
    pub(super) fn all(&self) -> Vec<(QueueName, Bytes)> {
        let mut lists: Vec<_> = self.lists.iter().collect();
        lists.sort_by_key(|(key, _)| *key);
        let queued = lists.into_iter().flat_map(|((queue, _), list)| {
            list.iter()
                .map(move |payload| (queue.clone(), payload.clone()))
        });
        queued.collect()
    }

    /// Whether anything is served before a message of this priority that is sent now.
    pub(super) fn has_ahead(&self, queue: &QueueName, priority: i64) -> bool {
        let own = self.steps.of(priority);
        let mut lists = self.lists.iter();
        lists.any(|((name, step), list)| name == queue && *step <= own && !list.is_empty())
    }

    pub(super) fn depth(&self, queue: &QueueName) -> u64 {
        let lengths = self
            .lists
            .iter()
            .filter(|((name, _), _)| name == queue)
            .map(|(_, list)| list.len());
        lengths
            .map(|length| u64::try_from(length).expect("a length fits into 64 bits"))
            .sum()
    }

    /// How many wait at each step.
    pub(super) fn depth_by_priority(&self, queue: &QueueName) -> Vec<(u8, u64)> {
        let depth = |step: u8| {
            let list = self.lists.get(&(queue.clone(), step));
            let length = list.map_or(0, VecDeque::len);
            u64::try_from(length).expect("a length fits into 64 bits")
        };
        let steps = self.steps.all().iter();
        steps.map(|step| (*step, depth(*step))).collect()
    }

    /// Those served next.
    pub(super) fn peek(&self, queue: &QueueName, most: usize) -> Vec<Bytes> {
        let steps = self.steps.all().iter();
        let lists = steps.filter_map(|step| self.lists.get(&(queue.clone(), *step)));
        lists.flatten().take(most).cloned().collect()
    }

    /// Takes everything of one queue, priorities aside.
    pub(super) fn empty(&mut self, queue: &QueueName) -> Vec<Bytes> {
        let all = [queue.clone()];
        self.take(&all, false, usize::MAX)
            .into_iter()
            .map(|(_, payload)| payload)
            .collect()
    }

    pub(super) fn purge(&mut self, queue: &QueueName) -> u64 {
        let depth = self.depth(queue);
        self.lists.retain(|(name, _), _| name != queue);
        depth
    }
}
