//! What of a workflow will never run once one of its tasks has failed.

use std::collections::VecDeque;

use lovage_client::canvas::{chord_parts, given, listed, steps, subtasks};
use lovage_protocol::{Signature, TaskId, Value};

/// The id under which a signature's result is found: its own, or that of a chain's last step or a chord's body.
pub(crate) fn result_id(of: &Signature) -> Option<TaskId> {
    // What a frozen chord is named by is its header; its result is its body's.
    if of.subtask_type.as_deref() == Some("chord")
        && let Ok((_, body)) = chord_parts(of)
        && let Some(id) = result_id(&body)
    {
        return Some(id);
    }
    if let Some(id) = given(of, "task_id").and_then(Value::as_str) {
        return Some(TaskId::from(id));
    }
    match of.subtask_type.as_deref() {
        Some("chain") => result_id(subtasks(of).ok()?.last()?),
        _ => None,
    }
}

/// The error callbacks of the task that has a signature's result: a chord's are those of its body, and a group's those of its
/// members too (`celery/backends/base.py`, `_result_errbacks`).
pub(crate) fn result_errbacks(of: &Signature) -> Vec<Signature> {
    let mut found = listed(of, "link_error");
    let inner = match of.subtask_type.as_deref() {
        Some("chord") => chord_parts(of).map(|(_, body)| vec![body]),
        Some("group") => subtasks(of),
        _ => Ok(Vec::new()),
    };
    for one in inner.unwrap_or_default() {
        for errback in result_errbacks(&one) {
            if !found.contains(&errback) {
                found.push(errback);
            }
        }
    }
    found
}

/// Every step that will not run when these do not, each once: a chain's and a group's members, and a chord's body, whose
/// result later steps wait for (`celery/backends/base.py`, `_fail_chain`).
pub(crate) fn never_run(steps_left: Vec<Signature>) -> Vec<Signature> {
    let mut waiting = VecDeque::from(steps_left);
    let mut found = Vec::new();
    while let Some(step) = waiting.pop_front() {
        match step.subtask_type.as_deref() {
            Some("chain") => waiting.extend(steps(&step).unwrap_or_default()),
            Some("group") => waiting.extend(subtasks(&step).unwrap_or_default()),
            Some("chord") => {
                if let Ok((_, mut body)) = chord_parts(&step) {
                    hand_seat_on(&step, &mut body);
                    waiting.push_back(body);
                }
            }
            _ => {}
        }
        waiting.extend(listed(&step, "chain"));
        found.push(step);
    }
    found
}

/// What is counted of a chord is its body.
fn hand_seat_on(chord: &Signature, body: &mut Signature) {
    for name in ["group_id", "group_index", "chord"] {
        if let Some(value) = given(chord, name)
            && given(body, name).is_none()
        {
            body.options.insert(name.to_owned(), value.clone());
        }
    }
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
    fn a_chord_that_is_never_begun_takes_its_body_and_what_follows_with_it() {
        let chord = signature(
            r#"{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [{"task": "h"}],
                "body": {"task": "body", "options": {"chain": [{"task": "after"}]}}}}"#,
        );
        let found = never_run(vec![chord]);
        assert_eq!(names(&found), ["celery.chord", "body", "after"]);
    }

    #[test]
    fn the_body_of_a_chord_inside_a_chord_is_what_the_outer_one_waits_for() {
        let chord = signature(
            r#"{"task": "celery.chord", "subtask_type": "chord", "options": {"chord": {"task": "outer"}, "group_id": "g"},
                "kwargs": {"header": [{"task": "h"}], "body": {"task": "body"}}}"#,
        );
        let found = never_run(vec![chord]);
        let body = found.last().unwrap();
        assert_eq!(body.task.as_str(), "body");
        assert_eq!(given(body, "group_id"), Some(&Value::from("g")));
    }
}
