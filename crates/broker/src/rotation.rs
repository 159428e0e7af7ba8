//! In which order queues are asked.

use lovage_protocol::QueueName;
use lovage_settings::QueueOrder;

/// The consumed queues, and which of them comes first next time.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    queues: Vec<QueueName>,
    next: usize,
    order: QueueOrder,
}

impl Rotation {
    /// Takes the queues in the order given, each once.
    pub(crate) fn new(queues: Vec<QueueName>, order: QueueOrder) -> Self {
        let mut unique: Vec<QueueName> = Vec::with_capacity(queues.len());
        for queue in queues {
            if !unique.contains(&queue) {
                unique.push(queue);
            }
        }
        if order == QueueOrder::Sorted {
            unique.sort_unstable();
        }
        Self {
            queues: unique,
            next: 0,
            order,
        }
    }

    /// The order for one fetch; with round robin, the next one begins one queue later.
    pub(crate) fn turn(&mut self) -> Vec<QueueName> {
        let mut queues = self.queues.clone();
        if self.is_fair() && !queues.is_empty() {
            queues.rotate_left(self.next % self.queues.len());
            self.next = (self.next + 1) % self.queues.len();
        }
        queues
    }

    pub(crate) fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    pub(crate) fn order(&self) -> QueueOrder {
        self.order
    }

    /// Whether queues share what is wanted; otherwise the first is emptied first.
    pub(crate) fn is_fair(&self) -> bool {
        self.order == QueueOrder::RoundRobin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(order: QueueOrder) -> Vec<String> {
        let queues = ["b", "a", "c", "a"]
            .iter()
            .map(|name| QueueName::parse(name).unwrap())
            .collect();
        let mut rotation = Rotation::new(queues, order);
        (0..4)
            .map(|_| rotation.turn().iter().map(QueueName::as_str).collect())
            .collect()
    }

    #[test]
    fn only_round_robin_rotates() {
        assert_eq!(turns(QueueOrder::RoundRobin), ["bac", "acb", "cba", "bac"]);
        assert_eq!(turns(QueueOrder::Priority), ["bac"; 4]);
        assert_eq!(turns(QueueOrder::Sorted), ["abc"; 4]);
    }
}
