//! Gives every part of a canvas its identity before anything of it is sent: ids, and for those whose results are counted
//! somewhere, where (`celery/canvas.py`, `freeze` and `prepare_steps`).

use std::collections::VecDeque;

use lovage_protocol::{
    Signature, SignatureError, TaskId, Value,
    composed::{chord, chord_parts, given, group, link, listed, set_subtasks, subtasks},
};

/// What of a composed signature's options says who it is and where it belongs; the rest says how its tasks are sent.
pub(super) const SEAT: [&str; 8] = [
    "task_id",
    "group_id",
    "group_index",
    "chord",
    "link",
    "link_error",
    "root_id",
    "parent_id",
];

/// Whose id a result is found under, and where it is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat {
    pub(super) id: Option<String>,
    pub(super) group: Option<String>,
    pub(super) index: Option<i64>,
    /// The body that waits for it.
    pub(super) chord: Option<Value>,
}

impl Seat {
    /// The seat that a signature's own options name, else this one.
    fn or_own(&self, of: &Signature) -> Self {
        let text = |name| given(of, name).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: text("task_id").or_else(|| self.id.clone()),
            group: text("group_id").or_else(|| self.group.clone()),
            index: self
                .index
                .or_else(|| given(of, "group_index").and_then(Value::as_i64)),
            chord: self.chord.clone().or_else(|| given(of, "chord").cloned()),
        }
    }
}

/// Freezes canvases for one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Freezer<'a> {
    /// Where the results of tasks go that name no other place, for `rpc://`.
    pub(super) reply_to: &'a str,
}

impl Freezer<'_> {
    /// Freezes a signature in place, with what is `parent` to its first task; gives the reference by which its result is found.
    pub(super) fn freeze(
        &self,
        of: &mut Signature,
        seat: &Seat,
        parent: Value,
    ) -> Result<Value, SignatureError> {
        match of.subtask_type.as_deref() {
            Some("chain") => self.freeze_chain(of, seat, parent),
            Some("group") => self.freeze_group(of, seat, parent),
            Some("chord") => self.freeze_chord(of, seat, parent),
            _ => Ok(self.freeze_task(of, seat, parent)),
        }
    }

    fn freeze_task(&self, of: &mut Signature, seat: &Seat, parent: Value) -> Value {
        let seat = seat.or_own(of);
        let id = seat.id.unwrap_or_else(|| TaskId::new().as_str().to_owned());
        let has_address = of.options.contains_key("reply_to");
        let mut set = |name: &str, value: Value| of.options.insert(name.to_owned(), value);
        set("task_id", id.as_str().into());
        if !has_address {
            set("reply_to", self.reply_to.into());
        }
        if let Some(group) = seat.group {
            set("group_id", group.into());
        }
        if let Some(index) = seat.index {
            set("group_index", index.into());
        }
        if let Some(chord) = seat.chord {
            set("chord", chord);
        }
        reference(&id, parent, Value::Null)
    }

    fn freeze_chain(
        &self,
        of: &mut Signature,
        seat: &Seat,
        parent: Value,
    ) -> Result<Value, SignatureError> {
        let seat = seat.or_own(of);
        let mut steps = steps(of)?;
        let last = steps.len().saturating_sub(1);
        let mut result = parent;
        for (index, step) in steps.iter_mut().enumerate() {
            let own = if index == last {
                seat.clone()
            } else {
                Seat::default()
            };
            result = self.freeze(step, &own, result)?;
        }
        set_subtasks(of, &steps);
        if let Some(id) = id_of(&result) {
            of.options.insert("task_id".to_owned(), id.into());
        }
        Ok(result)
    }

    fn freeze_group(
        &self,
        of: &mut Signature,
        seat: &Seat,
        parent: Value,
    ) -> Result<Value, SignatureError> {
        // A group's own id is never the one that its place has for a task.
        let id = given(of, "task_id").and_then(Value::as_str);
        let id = id.map_or_else(|| TaskId::new().as_str().to_owned(), str::to_owned);
        let seat = seat.or_own(of);
        let mut members = flat(subtasks(of)?)?;
        let mut references = Vec::with_capacity(members.len());
        for (index, member) in (0_i64..).zip(&mut members) {
            let own = Seat {
                id: None,
                group: Some(seat.group.clone().unwrap_or_else(|| id.clone())),
                index: Some(index),
                chord: seat.chord.clone(),
            };
            references.push(self.freeze(member, &own, Value::Null)?);
        }
        set_subtasks(of, &members);
        of.options.insert("task_id".to_owned(), id.as_str().into());
        Ok(reference(&id, parent, Value::List(references)))
    }

    fn freeze_chord(
        &self,
        of: &mut Signature,
        seat: &Seat,
        parent: Value,
    ) -> Result<Value, SignatureError> {
        let seat = Seat {
            id: given(of, "task_id")
                .and_then(Value::as_str)
                .map(str::to_owned)
                .or_else(|| seat.id.clone()),
            ..seat.or_own(of)
        };
        let (header, mut body) = chord_parts(of)?;
        let mut header_group = group(header.members);
        if let Some(id) = header.id {
            header_group.options.insert("task_id".to_owned(), id.into());
        }
        let header = self.freeze(&mut header_group, &Seat::default(), parent)?;
        // Their group is named when the chord is sent, by whoever sends it.
        let mut members = subtasks(&header_group)?;
        for member in &mut members {
            if member.subtask_type.is_none() {
                member.options.shift_remove("group_id");
            }
        }
        set_subtasks(&mut header_group, &members);
        let result = self.freeze(&mut body, &seat, header)?;
        of.kwargs
            .insert("header".to_owned(), header_group.to_value());
        of.kwargs.insert("body".to_owned(), body.to_value());
        // A Python worker that sends it takes this for the header's id, and not the one inside of the header.
        if given(of, "task_id").is_none()
            && let Some(id) = given(&header_group, "task_id")
        {
            of.options.insert("task_id".to_owned(), id.clone());
        }
        Ok(result)
    }
}

/// The steps of a chain in their order, as they run one after the other: chains inside are spliced, groups of one are their
/// member, groups that something follows become chords, and what a chord's body begins goes on as steps. The chain's own links
/// are where they belong: error callbacks at every step, callbacks at the last.
pub(super) fn steps(of: &mut Signature) -> Result<Vec<Signature>, SignatureError> {
    let mut waiting = VecDeque::from(subtasks(of)?);
    let mut steps: Vec<Signature> = Vec::with_capacity(waiting.len());
    while let Some(step) = waiting.pop_front() {
        match step.subtask_type.as_deref() {
            Some("chain") => splice(step, &mut waiting)?,
            Some("group") => {
                let mut members = subtasks(&step)?;
                if members.len() == 1 {
                    waiting.extend(members.pop());
                    waiting.rotate_right(1);
                } else if !members.is_empty() || (waiting.is_empty() && steps.is_empty()) {
                    steps.push(step);
                }
            }
            Some("chord") => steps.push(unroll_body(step, &mut waiting)?),
            _ => steps.push(step),
        }
    }
    let mut steps = upgraded(steps)?;
    let (links, errors) = (listed(of, "link"), listed(of, "link_error"));
    if let Some(last) = steps.last_mut() {
        link(last, "link", &links)?;
    }
    for step in &mut steps {
        link(step, "link_error", &errors)?;
    }
    if let Some(first) = steps.first_mut() {
        first.immutable |= of.immutable;
    }
    Ok(steps)
}

/// Puts the steps of a chain at the head of those that wait, with the chain's own options where they belong.
fn splice(mut inner: Signature, waiting: &mut VecDeque<Signature>) -> Result<(), SignatureError> {
    let mut inner_steps = steps(&mut inner)?;
    if let Some(last) = inner_steps.last_mut() {
        for name in ["task_id", "group_id", "group_index", "chord", "reply_to"] {
            if let Some(value) = given(&inner, name)
                && given(last, name).is_none()
                && last.subtask_type.as_deref() != Some("group")
            {
                last.options.insert(name.to_owned(), value.clone());
            }
        }
    }
    for step in inner_steps.into_iter().rev() {
        waiting.push_front(step);
    }
    Ok(())
}

/// A chord whose body is a chain that a task leads goes on as a chord and steps: each task of a header carries the body along,
/// which would else be all that is left of the chain.
fn unroll_body(
    mut step: Signature,
    waiting: &mut VecDeque<Signature>,
) -> Result<Signature, SignatureError> {
    let (_, mut body) = chord_parts(&step)?;
    if body.subtask_type.as_deref() != Some("chain") {
        return Ok(step);
    }
    let leads = subtasks(&body)?
        .first()
        .and_then(|first| first.subtask_type.clone());
    if matches!(leads.as_deref(), Some("group" | "chain")) {
        return Ok(step);
    }
    let mut inner = VecDeque::from(steps(&mut body)?);
    let Some(mut first) = inner.pop_front() else {
        return Ok(step);
    };
    for (name, value) in &body.options {
        if !SEAT.contains(&name.as_str()) {
            first.options.insert(name.clone(), value.clone());
        }
    }
    // What the chain's last task was to be is no longer what the chord ends with.
    if let Some(last) = inner.back_mut() {
        for name in ["task_id", "group_id", "group_index", "chord"] {
            for from in [&body, &step] {
                if let Some(value) = given(from, name)
                    && given(last, name).is_none()
                    && last.subtask_type.as_deref() != Some("group")
                {
                    last.options.insert(name.to_owned(), value.clone());
                }
            }
        }
        step.options.retain(|name, _| {
            !["task_id", "group_id", "group_index", "chord"].contains(&name.as_str())
        });
    }
    step.kwargs.insert("body".to_owned(), first.to_value());
    for one in inner.into_iter().rev() {
        waiting.push_front(one);
    }
    Ok(step)
}

/// A group that something follows is the header of a chord.
fn upgraded(steps: Vec<Signature>) -> Result<Vec<Signature>, SignatureError> {
    let mut done: Vec<Signature> = Vec::with_capacity(steps.len());
    for step in steps.into_iter().rev() {
        match done.pop() {
            Some(next) if step.subtask_type.as_deref() == Some("group") => {
                done.push(followed(&step, &next)?);
            }
            next => {
                done.extend(next);
                done.push(step);
            }
        }
    }
    done.reverse();
    Ok(done)
}

/// The chord of a group and what follows it.
pub(super) fn followed(step: &Signature, next: &Signature) -> Result<Signature, SignatureError> {
    let mut upgraded = chord(subtasks(step)?, next);
    let mut header = group(subtasks(step)?);
    header.options.clone_from(&step.options);
    upgraded
        .kwargs
        .insert("header".to_owned(), header.to_value());
    Ok(upgraded)
}

/// The members of groups inside groups, and no chains without steps.
pub(super) fn flat(members: Vec<Signature>) -> Result<Vec<Signature>, SignatureError> {
    let mut found = Vec::with_capacity(members.len());
    for member in members {
        match member.subtask_type.as_deref() {
            Some("group") => found.extend(flat(subtasks(&member)?)?),
            Some("chain") if subtasks(&member)?.is_empty() => {}
            _ => found.push(member),
        }
    }
    Ok(found)
}

/// What comes after a group in a chain, reversed as on the wire: the group as a chord with the first of them as its body.
pub(super) fn upgrade(
    step: &Signature,
    rest: &mut Vec<Signature>,
) -> Result<Option<Signature>, SignatureError> {
    rest.pop().map(|next| followed(step, &next)).transpose()
}

/// `[[id, parent], children]`.
pub(super) fn reference(id: &str, parent: Value, children: Value) -> Value {
    Value::List(vec![Value::List(vec![id.into(), parent]), children])
}

/// The id in a reference.
pub(super) fn id_of(reference: &Value) -> Option<String> {
    let own = reference.as_list()?.first()?.as_list()?;
    own.first()?.as_str().map(str::to_owned)
}

/// Whether a reference is one of a group.
pub(super) fn is_group(reference: &Value) -> bool {
    let children = reference.as_list().and_then(|parts| parts.get(1));
    matches!(children, Some(Value::List(_)))
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{
        Map,
        composed::{chain, leaves},
    };

    use super::*;

    const FREEZER: Freezer<'_> = Freezer { reply_to: "here" };

    fn task(name: &str) -> Signature {
        Signature::new(name, Vec::new(), Map::new())
    }

    fn names(steps: &[Signature]) -> Vec<&str> {
        steps.iter().map(|step| step.task.as_str()).collect()
    }

    #[test]
    fn a_chain_inside_a_chain_is_spliced_and_hands_its_options_on() {
        let mut inner = chain([chain([task("a"), task("b")]), task("c")]);
        inner.options.insert("task_id".to_owned(), "last".into());
        link(&mut inner, "link_error", &[task("oops")]).unwrap();
        link(&mut inner, "link", &[task("then")]).unwrap();
        let steps = steps(&mut chain([inner])).unwrap();
        assert_eq!(names(&steps), ["a", "b", "c"]);
        for step in &steps {
            assert_eq!(names(&listed(step, "link_error")), ["oops"]);
        }
        assert_eq!(given(&steps[2], "task_id"), Some(&Value::from("last")));
        assert_eq!(names(&listed(&steps[2], "link")), ["then"]);
        assert_eq!(names(&listed(&steps[0], "link")), [""; 0]);
    }

    #[test]
    fn the_body_of_a_chord_in_a_chain_goes_on_as_steps() {
        let body = chain([task("b"), task("c")]);
        let steps = steps(&mut chain([chord([task("h")], &body), task("d")])).unwrap();
        assert_eq!(names(&steps), ["celery.chord", "c", "d"]);
        let (_, body) = chord_parts(&steps[0]).unwrap();
        assert_eq!(body.task.as_str(), "b");
    }

    #[test]
    fn empty_groups_are_no_steps_but_when_they_are_all_there_is() {
        let whole = [group([]), task("a"), group([]), task("b")];
        assert_eq!(names(&steps(&mut chain(whole)).unwrap()), ["a", "b"]);
        assert_eq!(
            names(&steps(&mut chain([group([])])).unwrap()),
            ["celery.group"]
        );
        assert!(steps(&mut chain([])).unwrap().is_empty());
    }

    #[test]
    fn frozen_twice_it_is_the_same() {
        let header = [task("a"), chain([task("b"), group([task("c"), task("d")])])];
        let mut whole = chain([chord(header, &task("body")), task("last")]);
        let first = FREEZER
            .freeze(&mut whole, &Seat::default(), Value::Null)
            .unwrap();
        let frozen = whole.clone();
        let again = FREEZER
            .freeze(&mut whole, &Seat::default(), Value::Null)
            .unwrap();
        assert_eq!((first, frozen), (again, whole));
    }

    #[test]
    fn a_chord_waits_for_what_ends_each_member() {
        let inner = chord([task("x"), task("y")], &group([task("p"), task("q")]));
        let member = chain([task("a"), inner, chain([])]);
        assert_eq!(leaves(&member).unwrap(), 2);
        assert_eq!(leaves(&group([member, task("b"), group([])])).unwrap(), 3);
        assert_eq!(leaves(&chain([])).unwrap(), 0);
    }

    /// As deep as a message can be nested.
    #[test]
    fn what_a_stranger_nests_is_no_danger_to_the_stack() {
        let mut whole = task("a");
        for level in 0..100 {
            whole = match level % 3 {
                0 => chain([whole]),
                1 => group([whole, task("b")]),
                _ => chord([task("h")], &whole),
            };
        }
        let bytes = whole.to_value().to_json();
        let read = Value::from_json(bytes.as_bytes()).unwrap();
        let mut whole = Signature::from_value(read).unwrap();
        FREEZER
            .freeze(&mut whole, &Seat::default(), Value::Null)
            .unwrap();
    }
}
