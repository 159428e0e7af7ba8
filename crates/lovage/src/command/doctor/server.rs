//! The broker's server: whether it may lose what it was given.

use serde_json::json;

use super::finding::Finding;

/// Looks at what the server does when its memory is full; `None`: we are not allowed to ask.
pub(super) fn look(policy: Option<&str>) -> Option<Finding> {
    let policy = policy.filter(|policy| *policy != "noeviction")?;
    Some(Finding {
        check: "eviction",
        subject: "maxmemory-policy".to_owned(),
        text: format!(
            "it is {policy}: when its memory is full the broker deletes messages without a word"
        ),
        remedy:
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
                .to_owned(),
        facts: json!({ "policy": policy }),
        repair: None,
    })
}
