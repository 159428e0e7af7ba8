//! Finds the parts of a workflow, from one of them.

use std::collections::HashSet;

use lovage_broker::Broker;
use lovage_protocol::{TaskId, TaskMeta, Value};
use lovage_results::ResultStore;

use super::{Tree, message::Seen};
use crate::failure::Failure;

/// So many parts are looked at.
const MOST: usize = 5_000;
/// So often the messages are gone through: each time may bring parts from which others are found.
const ROUNDS: usize = 4;

/// Finds the parts.
pub(super) async fn gather(
    id: &TaskId,
    results: &dyn ResultStore,
    broker: Option<&dyn Broker>,
) -> Result<Tree, Failure> {
    let mut tree = Tree::default();
    tree.node(id.as_str());
    let mut loaded = Loaded::default();
    loaded.all(&mut tree, results).await?;
    for _ in 0..ROUNDS {
        let Some(broker) = broker else { break };
        let before = tree.nodes.len();
        under_way(&mut tree, broker).await?;
        loaded.all(&mut tree, results).await?;
        if tree.nodes.len() == before {
            break;
        }
    }
    Ok(tree)
}

/// Adds the messages that belong to what is known.
async fn under_way(tree: &mut Tree, broker: &dyn Broker) -> Result<(), Failure> {
    let survey = broker.survey();
    let mut see = |kept| {
        let Some(seen) = Seen::read(&kept) else {
            return;
        };
        if seen.belongs_to(tree) {
            if tree.nodes.len() >= MOST {
                tree.cut = true;
                return;
            }
            seen.add_to(tree);
        }
    };
    Ok(survey.messages(&mut see).await?)
}

/// What was looked up already.
#[derive(Default)]
struct Loaded {
    tasks: HashSet<String>,
    groups: HashSet<String>,
}

impl Loaded {
    /// Looks up the results of all parts, and of those that they name.
    async fn all(&mut self, tree: &mut Tree, results: &dyn ResultStore) -> Result<(), Failure> {
        loop {
            let (tasks, groups) = self.unknown(tree);
            if tasks.is_empty() && groups.is_empty() {
                return Ok(());
            }
            let mut found: Vec<TaskMeta> = Vec::new();
            let loaded = results.load_many(&tasks).await?;
            found.extend(loaded.into_iter().flatten());
            if !groups.is_empty() {
                found.extend(results.of_groups(&groups).await?);
            }
            for meta in found {
                if tree.nodes.len() >= MOST {
                    tree.cut = true;
                    break;
                }
                add(tree, meta);
            }
        }
    }

    fn unknown(&mut self, tree: &Tree) -> (Vec<TaskId>, HashSet<String>) {
        let (mut tasks, mut groups) = (Vec::new(), HashSet::new());
        for (id, node) in &tree.nodes {
            if node.is_group {
                if self.groups.insert(id.clone()) {
                    groups.insert(id.clone());
                }
            } else if self.tasks.insert(id.clone()) {
                tasks.push(TaskId::from(id.as_str()));
            }
        }
        (tasks, groups)
    }
}

fn add(tree: &mut Tree, meta: TaskMeta) {
    let id = meta.task_id.to_string();
    let node = tree.node(&id);
    let name = meta.extended.and_then(|extended| extended.name);
    node.name = name.or(node.name.take());
    node.state = Some(meta.status);
    node.done = meta.date_done;
    node.spot = None;
    node.parent = meta.parent_id.clone().or(node.parent.take());
    node.group = meta.group_id.clone().or(node.group.take());
    if let Some(parent) = meta.parent_id {
        tree.node(&parent);
    }
    if let Some(group) = meta.group_id {
        tree.node(&group).is_group = true;
    }
    for child in meta.children.unwrap_or_default() {
        refer(tree, &child, &id, None);
    }
}

/// Adds what a reference names: `[[id, parent], null]` a task, `[[id, parent], [references]]` a group.
fn refer(tree: &mut Tree, reference: &Value, parent: &str, group: Option<&str>) {
    let Some([own, members]) = reference.as_list() else {
        return;
    };
    let id = own.as_list().and_then(|own| own.first()?.as_str());
    let Some(id) = id.filter(|id| *id != parent) else {
        return;
    };
    let node = tree.node(id);
    node.parent.get_or_insert_with(|| parent.to_owned());
    if let Some(group) = group {
        node.group.get_or_insert_with(|| group.to_owned());
    }
    if let Some(members) = members.as_list() {
        node.is_group = true;
        for member in members {
            refer(tree, member, parent, Some(id));
        }
    }
}
