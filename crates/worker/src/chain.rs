//! Composed signatures taken apart: the steps of a chain, and whatever of a workflow will never run.

use std::collections::VecDeque;

use lovage_protocol::{Signature, SignatureError, TaskId, Value};

/// What of a chain's own options concerns its last step, as `celery/canvas.py` hands it on.
const OF_THE_LAST: [&str; 5] = ["task_id", "group_id", "group_index", "chord", "reply_to"];

/// An option that is there; null is Celery's "not given".
pub(crate) fn given<'a>(of: &'a Signature, option: &str) -> Option<&'a Value> {
    of.options.get(option).filter(|value| !value.is_null())
}

/// The signatures in a list option; those that are none are left out.
pub(crate) fn listed(of: &Signature, option: &str) -> Vec<Signature> {
    let values = match given(of, option) {
        Some(Value::List(values)) => values.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let signatures = values.into_iter().map(Signature::from_value);
    signatures.filter_map(Result::ok).collect()
}

/// The members of a chain or group signature, in `kwargs.tasks`.
pub(crate) fn subtasks(of: &Signature) -> Result<Vec<Signature>, SignatureError> {
    of.kwargs
        .get("tasks")
        .map_or_else(|| Ok(Vec::new()), Signature::list_from_value)
}

/// The first step of a signature that may be a chain, and what follows it, reversed as on the wire; `rest` comes after
/// the chain's own steps. `None`: a chain without steps.
pub(crate) fn unchain(
    step: &Signature,
    mut rest: Vec<Signature>,
) -> Result<Option<(Signature, Vec<Signature>)>, SignatureError> {
    if step.subtask_type.as_deref() != Some("chain") {
        return Ok(Some((step.clone(), rest)));
    }
    let mut steps = steps_of(step)?;
    let Some(first) = steps.pop_front() else {
        return Ok(None);
    };
    rest.extend(steps.into_iter().rev());
    unchain(&first, rest)
}

/// The steps of a chain with the chain's own options where they belong: error callbacks to every step, callbacks and the
/// identity to the last.
fn steps_of(chain: &Signature) -> Result<VecDeque<Signature>, SignatureError> {
    let mut steps = subtasks(chain)?;
    for step in &mut steps {
        link(step, "link_error", chain);
    }
    if let Some(first) = steps.first_mut() {
        first.immutable |= chain.immutable;
    }
    if let Some(last) = steps.last_mut() {
        link(last, "link", chain);
        for name in OF_THE_LAST {
            if let Some(value) = given(chain, name)
                && given(last, name).is_none()
            {
                last.options.insert(name.to_owned(), value.clone());
            }
        }
    }
    Ok(steps.into())
}

/// Adds the chain's links to a step's own, each once.
fn link(step: &mut Signature, option: &str, chain: &Signature) {
    let more = listed(chain, option);
    if more.is_empty() {
        return;
    }
    let mut links = listed(step, option);
    for one in more {
        if !links.contains(&one) {
            links.push(one);
        }
    }
    let links = links.iter().map(Signature::to_value).collect();
    step.options.insert(option.to_owned(), Value::List(links));
}

/// The id under which a signature's result is found: its own, or that of a chain's last step.
pub(crate) fn result_id(of: &Signature) -> Option<TaskId> {
    if let Some(id) = given(of, "task_id").and_then(Value::as_str) {
        return Some(TaskId::from(id));
    }
    match of.subtask_type.as_deref() {
        Some("chain") => result_id(subtasks(of).ok()?.last()?),
        _ => None,
    }
}

/// The members of a chord's header, and its body as it goes along with them: `rest`, reversed as on the wire, follows it.
pub(crate) fn chord_parts(
    chord: &Signature,
    group: &TaskId,
    mut rest: Vec<Signature>,
) -> Result<(Vec<Signature>, Signature), SignatureError> {
    let part = |name: &str| chord.kwargs.get(name).cloned().unwrap_or(Value::Null);
    let mut members = match part("header") {
        header @ (Value::List(_) | Value::Null) => Signature::list_from_value(&header)?,
        group => subtasks(&Signature::from_value(group)?)?,
    };
    for member in &mut members {
        member.immutable |= chord.immutable;
    }
    let mut body = Signature::from_value(part("body"))?;
    link(&mut body, "link", chord);
    link(&mut body, "link_error", chord);
    rest.extend(listed(&body, "chain"));
    if !rest.is_empty() {
        let rest = rest.iter().map(Signature::to_value).collect();
        body.options.insert("chain".to_owned(), Value::List(rest));
    }
    body.options
        .insert("group_id".to_owned(), group.as_str().into());
    Ok((members, body))
}

/// Every step that will not run when these do not, each once: a chain's and a group's members, and a chord's body, whose
/// result later steps wait for (`celery/backends/base.py`, `_fail_chain`).
pub(crate) fn never_run(steps: Vec<Signature>) -> Vec<Signature> {
    let mut waiting = VecDeque::from(steps);
    let mut found = Vec::new();
    while let Some(step) = waiting.pop_front() {
        match step.subtask_type.as_deref() {
            Some("chain") => waiting.extend(steps_of(&step).unwrap_or_default()),
            Some("group") => waiting.extend(subtasks(&step).unwrap_or_default()),
            Some("chord") => {
                let body = step.kwargs.get("body").cloned();
                waiting.extend(body.and_then(|body| Signature::from_value(body).ok()));
            }
            _ => {}
        }
        waiting.extend(listed(&step, "chain"));
        found.push(step);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(json: &str) -> Signature {
        Signature::from_value(Value::from_json(json.as_bytes()).unwrap()).unwrap()
    }

    fn names(steps: &[Signature]) -> Vec<&str> {
        steps.iter().map(|step| step.task.as_str()).collect()
    }

    #[test]
    fn a_chain_inside_a_chain_is_spliced_and_hands_its_options_on() {
        let chain = signature(
            r#"{"task": "celery.chain", "subtask_type": "chain",
                "options": {"task_id": "last", "link_error": [{"task": "oops"}], "link": {"task": "then"}, "chord": null},
                "kwargs": {"tasks": [
                    {"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [{"task": "a"}, {"task": "b"}]}},
                    {"task": "c", "options": {"task_id": null, "link_error": [{"task": "oops"}]}}]}}"#,
        );
        let (first, rest) = unchain(&chain, vec![signature(r#"{"task": "z"}"#)])
            .unwrap()
            .unwrap();
        assert_eq!(first.task, "a");
        assert_eq!(names(&rest), ["z", "c", "b"], "reversed");
        for step in [&first, &rest[1], &rest[2]] {
            assert_eq!(
                names(&listed(step, "link_error")),
                ["oops"],
                "{}",
                step.task
            );
        }
        assert_eq!(given(&rest[1], "task_id"), Some(&Value::from("last")));
        assert_eq!(names(&listed(&rest[1], "link")), ["then"]);
        assert_eq!(given(&rest[1], "chord"), None);
    }

    #[test]
    fn a_chord_that_is_never_begun_takes_its_body_and_what_follows_with_it() {
        let chord = signature(
            r#"{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [{"task": "h"}],
                "body": {"task": "body", "options": {"chain": [{"task": "after"}]}}}}"#,
        );
        let found = never_run(vec![chord]);
        assert_eq!(names(&found), ["celery.chord", "body", "after"]);
    }

    #[test]
    fn a_chain_without_steps_is_nothing() {
        let empty = signature(r#"{"task": "celery.chain", "subtask_type": "chain"}"#);
        assert_eq!(unchain(&empty, Vec::new()), Ok(None));
    }
}
