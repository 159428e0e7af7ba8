//! A workflow on the screen, and for programs.

use std::fmt::Write;

use anstyle::Style;
use lovage_protocol::State;
use serde_json::{Value, json};

use super::{Node, Tree};
use crate::output::{self, BAD, FAINT, GOOD, NAME, WARNING};

/// A line for each part.
pub(super) fn to_text(tree: &Tree) -> String {
    let order = tree.in_order();
    let mut text = String::new();
    for (place, (depth, id)) in order.iter().enumerate() {
        let Some(node) = tree.nodes.get(*id) else {
            continue;
        };
        if place > 0 {
            text.push('\n');
        }
        let bar = bars(&order, place);
        let id = output::one_line(id);
        let arrow = if *depth == 0 && place > 0 && tree.above(order[place].1).is_some() {
            "→ "
        } else {
            ""
        };
        let _ = write!(text, "{FAINT}{bar}{FAINT:#}{arrow}");
        if node.is_group {
            let _ = write!(
                text,
                "{NAME}group{NAME:#} {id}  {}",
                ended(tree, order[place].1)
            );
            continue;
        }
        if let Some(name) = &node.name {
            let _ = write!(text, "{NAME}{}{NAME:#} ", output::one_line(name));
        }
        let (style, state) = state(node);
        let _ = write!(text, "{id}  {style}{state}{style:#}");
        if let Some(done) = &node.done {
            let _ = write!(text, "  {}", moment(done));
        }
        if let Some(spot) = node.spot {
            let _ = write!(text, "  {FAINT}{spot}{FAINT:#}");
        }
    }
    if tree.cut {
        let _ = write!(text, "\n{FAINT}and more{FAINT:#}");
    }
    text
}

/// The lines that lead to a part: one for each depth at which something is still to come.
fn bars(order: &[(usize, &str)], place: usize) -> String {
    let depth = order[place].0;
    let goes_on = |level: usize| {
        let after = order[place + 1..].iter();
        let next = after.map(|(depth, _)| *depth).find(|depth| *depth <= level);
        next == Some(level)
    };
    let mut bars = String::new();
    for level in 1..=depth {
        bars.push_str(match (level == depth, goes_on(level)) {
            (true, true) => "├─ ",
            (true, false) => "└─ ",
            (false, true) => "│  ",
            (false, false) => "   ",
        });
    }
    bars
}

fn state(node: &Node) -> (Style, &str) {
    let state = node.state.as_ref();
    let style = match state {
        Some(State::Success) => GOOD,
        Some(State::Failure | State::Revoked) => BAD,
        Some(State::Retry) => WARNING,
        Some(State::Pending) | None => FAINT,
        Some(_) => NAME,
    };
    (style, state.map_or("PENDING", State::as_str))
}

/// How many members of a group have ended.
fn ended(tree: &Tree, group: &str) -> String {
    let members = tree
        .nodes
        .iter()
        .filter(|(id, node)| node.group.as_deref() == Some(group) && !tree.follows_group(id));
    let (mut all, mut ended) = (0, 0);
    for (_, member) in members {
        all += 1;
        ended += usize::from(member.state.as_ref().is_some_and(State::is_ready));
    }
    format!("{ended} of {all} known members ended")
}

/// `2026-11-26T18:40:11.123+00:00` in whole seconds.
fn moment(stored: &str) -> String {
    let seconds = stored.split(['.', '+', 'Z']).next().unwrap_or_default();
    output::one_line(&seconds.replace('T', " "))
}

/// All parts in the order in which they are drawn, each with what it hangs from.
pub(super) fn to_json(tree: &Tree) -> Value {
    let part = |(depth, id): (usize, &str)| {
        let node = tree.nodes.get(id)?;
        Some(json!({
            "id": id,
            "kind": if node.is_group { "group" } else { "task" },
            "name": node.name,
            "state": (!node.is_group).then(|| state(node).1),
            "date_done": node.done,
            "where": node.spot,
            "group": node.group,
            "parent_id": node.parent,
            "above": tree.above(id),
            "depth": depth,
        }))
    };
    let parts: Vec<Value> = tree.in_order().into_iter().filter_map(part).collect();
    json!({"parts": parts, "complete": !tree.cut})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_to_what_is_still_to_come() {
        let order = [(0, "a"), (1, "b"), (2, "c"), (2, "d"), (1, "e")];
        let drawn: Vec<String> = (0..order.len()).map(|place| bars(&order, place)).collect();
        assert_eq!(drawn, ["", "├─ ", "│  ├─ ", "│  └─ ", "└─ "]);
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(
            moment("2026-11-26T18:40:11.123456+00:00"),
            "2026-11-26 18:40:11"
        );
    }
}
