//! Publishing once what several may hand over.

use std::collections::{HashMap, HashSet};

use super::state::State;
use crate::{Publish, Relay, Relayed};

/// What is known of one scope.
#[derive(Debug, Default)]
struct Scope {
    fence: i64,
    marks: HashSet<String>,
}

/// What was published once, by scope.
#[derive(Debug, Default)]
pub(super) struct Relays(HashMap<String, Scope>);

impl State {
    /// Publishes what was not published before; gives what it was, for those who only listen.
    pub(super) fn relay<'r>(&mut self, relay: &'r Relay) -> (Relayed, Vec<&'r Publish>) {
        let scope = self.relays.0.entry(relay.scope.clone()).or_default();
        if relay.fence < scope.fence {
            return (Relayed::Superseded { by: scope.fence }, Vec::new());
        }
        scope.fence = relay.fence;
        for mark in &relay.forget {
            scope.marks.remove(mark);
        }
        let fresh: Vec<&Publish> = relay
            .messages
            .iter()
            .filter(|(mark, _)| scope.marks.insert(mark.clone()))
            .map(|(_, publish)| publish)
            .collect();
        for publish in &fresh {
            self.publish(publish);
        }
        let published = u64::try_from(fresh.len()).unwrap_or(u64::MAX);
        (Relayed::Done { published }, fresh)
    }
}
