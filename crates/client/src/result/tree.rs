//! The tree of results: references on the wire, what a result led to, and a picture of it.

use std::{collections::VecDeque, fmt::Write, sync::Arc, time::Duration};

use lovage_protocol::{TaskId, Value};

use super::{AsyncResult, GroupResult, ResultNode};
use crate::{Client, Error};

impl ResultNode {
    /// Reads a reference of the wire, such as a task that sends a canvas may return; `None` when it is none.
    pub fn from_tuple(client: &Client, reference: &Value) -> Option<Self> {
        node(client, reference)
    }

    /// The reference to it as the wire has it.
    pub fn as_tuple(&self) -> Value {
        match self {
            Self::Task(task) => task.as_tuple(),
            Self::Group(group) => group.as_tuple(),
        }
    }

    /// What it led to: what the task has sent, or the members of the group.
    async fn children(&self) -> Result<Vec<Self>, Error> {
        match self {
            Self::Task(task) => Ok(task.children().await?.unwrap_or_default()),
            Self::Group(group) => Ok(group.children().to_vec()),
        }
    }

    /// Waits for it and for all that it led to, and gives each with its value, what was sent first before what followed
    /// (`celery/result.py`, `collect`).
    ///
    /// # Errors
    /// As [`ResultNode::get`], for the first that fails.
    pub async fn collect(&self, timeout: Duration) -> Result<Vec<(Self, Value)>, Error> {
        let mut waiting = VecDeque::from([self.clone()]);
        let mut found = Vec::new();
        while let Some(node) = waiting.pop_front() {
            let value = node.get(timeout).await?;
            waiting.extend(node.children().await?);
            found.push((node, value));
        }
        Ok(found)
    }

    /// Waits for all that it led to and gives the last value (`celery/result.py`, `get_leaf`).
    ///
    /// # Errors
    /// As [`ResultNode::collect`].
    pub async fn get_leaf(&self, timeout: Duration) -> Result<Value, Error> {
        let mut found = self.collect(timeout).await?;
        Ok(found.pop().map_or(Value::Null, |(_, value)| value))
    }

    /// It and all that it led to so far, as a graph. `intermediate`: what has not ended is a leaf; otherwise it is an error.
    ///
    /// # Errors
    /// [`Error::Incomplete`] for the first that has not ended, and when the result store cannot be read.
    pub async fn build_graph(&self, intermediate: bool) -> Result<DependencyGraph, Error> {
        let mut graph = DependencyGraph {
            nodes: vec![self.clone()],
            edges: Vec::new(),
        };
        let mut place = 0;
        while let Some(node) = graph.nodes.get(place).cloned() {
            if node.ready().await? {
                for child in node.children().await? {
                    graph.edges.push((place, graph.nodes.len()));
                    graph.nodes.push(child);
                }
            } else if !intermediate {
                return Err(Error::Incomplete {
                    id: node.id().clone(),
                });
            }
            place += 1;
        }
        Ok(graph)
    }
}

impl<R> AsyncResult<R> {
    /// The task and all that it led to, as a graph, once all of it has ended; see [`ResultNode::build_graph`].
    ///
    /// # Errors
    /// As [`ResultNode::build_graph`].
    pub async fn graph(&self) -> Result<DependencyGraph, Error> {
        ResultNode::Task(self.clone().returning())
            .build_graph(false)
            .await
    }

    /// As [`ResultNode::collect`].
    ///
    /// # Errors
    /// As [`ResultNode::collect`].
    pub async fn collect(&self, timeout: Duration) -> Result<Vec<(ResultNode, Value)>, Error> {
        ResultNode::Task(self.clone().returning())
            .collect(timeout)
            .await
    }
}

/// Results and what led to what.
#[derive(Debug, Clone)]
pub struct DependencyGraph {
    nodes: Vec<ResultNode>,
    edges: Vec<(usize, usize)>,
}

impl DependencyGraph {
    /// The results, that which was asked first.
    pub fn nodes(&self) -> &[ResultNode] {
        &self.nodes
    }

    /// Pairs of places among the nodes: the first has sent the second, or holds it.
    pub fn edges(&self) -> &[(usize, usize)] {
        &self.edges
    }

    /// The graph for Graphviz.
    pub fn to_dot(&self) -> String {
        let mut dot = "digraph results {\n".to_owned();
        for node in &self.nodes {
            let shape = match node {
                ResultNode::Task(_) => "oval",
                ResultNode::Group(_) => "box",
            };
            let id = escaped(node.id());
            // Writing into a text cannot fail.
            let _ = writeln!(dot, "    \"{id}\" [shape={shape}]");
        }
        for (from, to) in &self.edges {
            if let (Some(from), Some(to)) = (self.nodes.get(*from), self.nodes.get(*to)) {
                let (from, to) = (escaped(from.id()), escaped(to.id()));
                let _ = writeln!(dot, "    \"{from}\" -> \"{to}\"");
            }
        }
        dot + "}\n"
    }
}

fn escaped(id: &TaskId) -> String {
    id.as_str().replace('\\', "\\\\").replace('"', "\\\"")
}

/// `[[id, parent], children]`.
pub(super) fn reference(id: &TaskId, parent: Option<&Arc<ResultNode>>, children: Value) -> Value {
    // From the first of the workflow on: a chain may be longer than a stack is deep.
    let parents: Vec<&ResultNode> = ancestors(parent).collect();
    let mut above = Value::Null;
    for parent in parents.into_iter().rev() {
        let children = match parent {
            ResultNode::Task(_) => Value::Null,
            ResultNode::Group(group) => {
                Value::List(group.children().iter().map(ResultNode::as_tuple).collect())
            }
        };
        above = pair(parent.id(), above, children);
    }
    pair(id, above, children)
}

fn pair(id: &TaskId, parent: Value, children: Value) -> Value {
    Value::List(vec![
        Value::List(vec![id.as_str().into(), parent]),
        children,
    ])
}

/// The references in a list; what is none is left out.
pub(super) fn nodes(client: &Client, references: &[Value]) -> Vec<ResultNode> {
    let found = references.iter().map(|reference| node(client, reference));
    found.flatten().collect()
}

/// The result that a reference names (`celery/result.py`, `result_from_tuple`).
pub(super) fn node(client: &Client, reference: &Value) -> Option<ResultNode> {
    let mut parts = vec![split(reference)?];
    while let Some((_, parent, _)) = parts.last()
        && !parent.is_null()
    {
        parts.push(split(parent)?);
    }
    let mut above: Option<Arc<ResultNode>> = None;
    for (id, _, children) in parts.into_iter().rev() {
        let id = TaskId::from(id);
        let one = match children {
            Value::List(members) => ResultNode::Group(GroupResult::new(
                client.clone(),
                id,
                nodes(client, members),
                above,
            )),
            _ => ResultNode::Task(AsyncResult::new(client.clone(), id).with_parent(above)),
        };
        above = Some(Arc::new(one));
    }
    above.map(Arc::unwrap_or_clone)
}

/// Id, parent and children of a reference; an id may stand alone, without its parent.
fn split(reference: &Value) -> Option<(&str, &Value, &Value)> {
    let [own, children] = reference.as_list()? else {
        return None;
    };
    match own {
        Value::Str(id) => Some((id, &Value::Null, children)),
        own => {
            let [id, parent] = own.as_list()? else {
                return None;
            };
            Some((id.as_str()?, parent, children))
        }
    }
}

/// The parents of a result, the nearest first.
pub(super) fn ancestors(parent: Option<&Arc<ResultNode>>) -> impl Iterator<Item = &ResultNode> {
    std::iter::successors(parent, |node| node.shared_parent()).map(|node| &**node)
}

/// The tasks of results in their order, those of groups one by one.
pub(super) fn tasks_of<'a>(nodes: &'a [ResultNode], found: &mut Vec<&'a AsyncResult<Value>>) {
    for node in nodes {
        match node {
            ResultNode::Task(task) => found.push(task),
            ResultNode::Group(group) => tasks_of(group.children(), found),
        }
    }
}
