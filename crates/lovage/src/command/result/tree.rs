//! `lovage result --tree`: a workflow as it stands, from its results and from the messages that are still under way.

mod draw;
mod gather;
mod message;

use std::collections::{BTreeMap, BTreeSet};

use lovage_broker::Broker;
use lovage_protocol::{State, TaskId};
use lovage_results::ResultStore;

use crate::{failure::Failure, output};

/// Prints the workflow that a task belongs to.
pub(super) async fn show(
    id: &TaskId,
    results: &dyn ResultStore,
    broker: Option<&dyn Broker>,
    json: bool,
) -> Result<u8, Failure> {
    let tree = gather::gather(id, results, broker).await?;
    if tree.is_unknown(id.as_str()) {
        return Err(Failure::failed(format!(
            "nothing is known of task {}: its result has expired, or there is no such task",
            output::one_line(id.as_str())
        )));
    }
    match json {
        true => output::json(&draw::to_json(&tree))?,
        false => output::line(draw::to_text(&tree))?,
    }
    Ok(0)
}

/// A workflow: its parts by their ids.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    /// There was more than is looked at.
    cut: bool,
}

/// A task or a group.
#[derive(Debug, Default)]
struct Node {
    is_group: bool,
    name: Option<String>,
    /// `None` while nothing is stored.
    state: Option<State>,
    /// When it ended, as it is stored.
    done: Option<String>,
    /// Where its message is, or that it is not sent yet.
    spot: Option<&'static str>,
    group: Option<String>,
    parent: Option<String>,
}

impl Tree {
    fn node(&mut self, id: &str) -> &mut Node {
        self.nodes.entry(id.to_owned()).or_default()
    }

    /// Nothing but its id is there.
    fn is_unknown(&self, id: &str) -> bool {
        self.nodes.len() <= 1
            && self
                .nodes
                .get(id)
                .is_none_or(|node| node.state.is_none() && node.spot.is_none() && !node.is_group)
    }

    /// What a part hangs from: its group, or the task that it follows. The body of a chord still carries the header's group, and
    /// follows one of its members: it hangs from the group too.
    fn above(&self, id: &str) -> Option<&str> {
        let node = self.nodes.get(id)?;
        let group = node.group.as_deref().filter(|group| *group != id);
        let above = group.or(node.parent.as_deref())?;
        self.nodes.contains_key(above).then_some(above)
    }

    /// It was sent when the group had ended.
    fn follows_group(&self, id: &str) -> bool {
        let Some(node) = self.nodes.get(id) else {
            return false;
        };
        let parent = node.parent.as_ref().and_then(|id| self.nodes.get(id));
        node.group.is_some() && parent.is_some_and(|parent| parent.group == node.group)
    }

    /// What hangs from each part, and from nothing. Members of a group come before what follows it; those that have ended come in
    /// the order in which they did.
    fn below(&self) -> BTreeMap<Option<&str>, Vec<&str>> {
        let mut below: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
        for id in self.nodes.keys() {
            below.entry(self.above(id)).or_default().push(id);
        }
        for ids in below.values_mut() {
            ids.sort_by_key(|id| {
                let done = self.nodes.get(*id).and_then(|node| node.done.clone());
                (self.follows_group(id), done.is_none(), done)
            });
        }
        below
    }

    /// All parts, each behind what it hangs from, with its depth. A task that alone follows another stands as deep as that one.
    fn in_order(&self) -> Vec<(usize, &str)> {
        let below = self.below();
        let none = Vec::new();
        let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
        let tops = below.get(&None).unwrap_or(&none);
        let mut waiting: Vec<(usize, &str)> = tops.iter().rev().map(|id| (0, *id)).collect();
        while let Some((depth, id)) = waiting.pop() {
            // Damaged results may name each other.
            if !seen.insert(id) {
                continue;
            }
            order.push((depth, id));
            let children = below.get(&Some(id)).unwrap_or(&none);
            let is_group = self.nodes.get(id).is_some_and(|node| node.is_group);
            let deeper = is_group || children.len() > 1;
            let below = children
                .iter()
                .rev()
                .map(|child| (depth + usize::from(deeper), *child));
            waiting.extend(below);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(parts: &[(&str, Option<&str>, Option<&str>)]) -> Tree {
        let mut tree = Tree::default();
        for (id, parent, group) in parts {
            let node = tree.node(id);
            node.parent = parent.map(str::to_owned);
            node.group = group.map(str::to_owned);
        }
        for (_, _, group) in parts {
            if let Some(group) = group {
                tree.node(group).is_group = true;
            }
        }
        tree
    }

    #[test]
    fn a_chain_goes_straight_on_and_a_group_goes_deeper() {
        let tree = tree(&[
            ("a", None, None),
            ("b", Some("a"), None),
            ("m1", Some("b"), Some("g")),
            ("m2", Some("b"), Some("g")),
            ("body", Some("m1"), Some("g")),
        ]);
        let mut tree = tree;
        tree.node("g").parent = Some("b".to_owned());
        let expected = [
            (0, "a"),
            (0, "b"),
            (0, "g"),
            (1, "m1"),
            (1, "m2"),
            (1, "body"),
        ];
        assert_eq!(tree.in_order(), expected);
    }

    #[test]
    fn tasks_that_name_each_other_are_told_once() {
        let tree = tree(&[
            ("top", None, None),
            ("a", Some("b"), None),
            ("b", Some("a"), None),
        ]);
        assert_eq!(tree.in_order(), [(0, "top")]);
    }
}
