//! Chains, groups and chords as signatures: put together, taken apart, linked and stamped (`celery/canvas.py`).

use crate::{
    signature::{Signature, SignatureError},
    value::{Map, Value},
};

/// An option that is there; null is Celery's "not given".
pub fn given<'a>(of: &'a Signature, option: &str) -> Option<&'a Value> {
    of.options.get(option).filter(|value| !value.is_null())
}

/// The signatures in a list option; those that are none are left out.
pub fn listed(of: &Signature, option: &str) -> Vec<Signature> {
    let values = match given(of, option) {
        Some(Value::List(values)) => values.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let signatures = values.into_iter().map(Signature::from_value);
    signatures.filter_map(Result::ok).collect()
}

/// Sets a list option.
pub fn set_listed(of: &mut Signature, option: &str, signatures: &[Signature]) {
    let values = signatures.iter().map(Signature::to_value).collect();
    of.options.insert(option.to_owned(), Value::List(values));
}

/// The members of a chain or group signature, in `kwargs.tasks`.
///
/// # Errors
/// When something else stands there.
pub fn subtasks(of: &Signature) -> Result<Vec<Signature>, SignatureError> {
    of.kwargs
        .get("tasks")
        .map_or_else(|| Ok(Vec::new()), Signature::list_from_value)
}

/// The header and the body of a chord. A header is a list of signatures, or one group.
///
/// # Errors
/// When something else stands there.
pub fn chord_parts(of: &Signature) -> Result<(Header, Signature), SignatureError> {
    let part = |name: &str| of.kwargs.get(name).cloned().unwrap_or(Value::Null);
    let own_id = given(of, "task_id").and_then(Value::as_str);
    let header = match part("header") {
        header @ (Value::List(_) | Value::Null) => Header {
            id: own_id.map(str::to_owned),
            members: Signature::list_from_value(&header)?,
        },
        one => {
            let one = Signature::from_value(one)?;
            if one.subtask_type.as_deref() == Some("group") {
                let id = given(&one, "task_id").and_then(Value::as_str).or(own_id);
                Header {
                    id: id.map(str::to_owned),
                    members: subtasks(&one)?,
                }
            } else {
                Header {
                    id: own_id.map(str::to_owned),
                    members: vec![one],
                }
            }
        }
    };
    Ok((header, Signature::from_value(part("body"))?))
}

/// The header of a chord.
#[derive(Debug, Clone)]
pub struct Header {
    /// The id of the group that it is.
    pub id: Option<String>,
    /// The tasks in it.
    pub members: Vec<Signature>,
}

/// Adds callbacks or error callbacks to a signature's own, each once; those of a group belong to its members (its callbacks to
/// the first, which cannot know the others' results), those of a chord to its body (`celery/canvas.py`, `link`, `link_error`).
///
/// # Errors
/// When a part of it is no signature.
pub fn link(to: &mut Signature, option: &str, more: &[Signature]) -> Result<(), SignatureError> {
    if more.is_empty() {
        return Ok(());
    }
    match to.subtask_type.as_deref() {
        Some("group") => {
            let mut members = subtasks(to)?;
            if option == "link" {
                let immutable: Vec<Signature> = more.iter().cloned().map(fixed).collect();
                if let Some(first) = members.first_mut() {
                    link(first, option, &immutable)?;
                }
            } else {
                for member in &mut members {
                    link(member, option, more)?;
                }
            }
            set_subtasks(to, &members);
        }
        Some("chord") => {
            let (_, mut body) = chord_parts(to)?;
            link(&mut body, option, more)?;
            to.kwargs.insert("body".to_owned(), body.to_value());
        }
        _ => {
            let mut links = listed(to, option);
            for one in more {
                if !links.contains(one) {
                    links.push(one.clone());
                }
            }
            set_listed(to, option, &links);
        }
    }
    Ok(())
}

/// Lets a signature take nothing more than it has: of a group and of a chord's header it is each member that says so
/// (`celery/canvas.py`, `set_immutable`).
///
/// # Errors
/// When a part of it is no signature.
pub fn set_immutable(of: &mut Signature) -> Result<(), SignatureError> {
    match of.subtask_type.as_deref() {
        Some("group") => {
            let mut members = subtasks(of)?;
            members.iter_mut().try_for_each(set_immutable)?;
            set_subtasks(of, &members);
        }
        Some("chord") => {
            let mut members = chord_parts(of)?.0.members;
            members.iter_mut().try_for_each(set_immutable)?;
            set_header(of, &members);
        }
        _ => of.immutable = true,
    }
    Ok(())
}

/// Stamps a signature, its links and its parts; the body of a chord is left out, as Celery leaves it (`celery/canvas.py`,
/// `stamp`). A stamp that is there already is replaced, a list of stamps gets what it had at its end.
///
/// # Errors
/// When a part of it is no signature.
pub fn stamp(of: &mut Signature, stamps: &Map) -> Result<(), SignatureError> {
    for option in ["link", "link_error"] {
        let mut links = listed(of, option);
        if !links.is_empty() {
            links.iter_mut().try_for_each(|link| stamp(link, stamps))?;
            set_listed(of, option, &links);
        }
    }
    match of.subtask_type.as_deref() {
        Some("chain" | "group") => {
            let mut parts = subtasks(of)?;
            parts.iter_mut().try_for_each(|part| stamp(part, stamps))?;
            set_subtasks(of, &parts);
        }
        Some("chord") => {
            let mut members = chord_parts(of)?.0.members;
            members.iter_mut().try_for_each(|one| stamp(one, stamps))?;
            set_header(of, &members);
        }
        _ => stamp_task(of, stamps),
    }
    Ok(())
}

fn stamp_task(of: &mut Signature, stamps: &Map) {
    let before = given(of, "stamped_headers").and_then(Value::as_list);
    let mut names: Vec<Value> = stamps.keys().map(|name| name.as_str().into()).collect();
    for name in before.unwrap_or_default() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    of.options
        .insert("stamped_headers".to_owned(), Value::List(names));
    for (name, stamp) in stamps {
        let mut stamp = stamp.clone();
        if let (Value::List(new), Some(Value::List(old))) = (&mut stamp, of.options.get(name)) {
            new.extend(old.iter().cloned());
        }
        of.options.insert(name.clone(), stamp);
    }
}

fn set_header(of: &mut Signature, members: &[Signature]) {
    let list = members.iter().map(Signature::to_value).collect();
    let header = match of.kwargs.get("header") {
        Some(Value::Map(group)) => {
            let mut group = group.clone();
            if let Some(Value::Map(kwargs)) = group.get_mut("kwargs") {
                kwargs.insert("tasks".to_owned(), Value::List(list));
            }
            Value::Map(group)
        }
        _ => Value::List(list),
    };
    of.kwargs.insert("header".to_owned(), header);
}

fn fixed(mut signature: Signature) -> Signature {
    signature.immutable = true;
    signature
}

/// Sets the members of a chain or group signature.
pub fn set_subtasks(of: &mut Signature, tasks: &[Signature]) {
    let tasks = tasks.iter().map(Signature::to_value).collect();
    of.kwargs.insert("tasks".to_owned(), Value::List(tasks));
}

/// A signature of one of Celery's composed kinds.
fn composed(kind: &str, kwargs: Map) -> Signature {
    let mut signature = Signature::new(format!("celery.{kind}"), Vec::new(), kwargs);
    signature.subtask_type = Some(kind.to_owned());
    signature
}

fn list(of: impl IntoIterator<Item = Signature>) -> Value {
    Value::List(of.into_iter().map(|one| one.to_value()).collect())
}

/// Tasks one after the other, each called with the result of the one before.
pub fn chain(steps: impl IntoIterator<Item = Signature>) -> Signature {
    composed("chain", Map::from_iter([("tasks".to_owned(), list(steps))]))
}

/// Tasks side by side.
pub fn group(members: impl IntoIterator<Item = Signature>) -> Signature {
    composed(
        "group",
        Map::from_iter([("tasks".to_owned(), list(members))]),
    )
}

/// A task that is called with the list of results of others, once all of them have succeeded.
pub fn chord(header: impl IntoIterator<Item = Signature>, body: &Signature) -> Signature {
    let kwargs = [
        ("kwargs".to_owned(), Value::Map(Map::new())),
        ("header".to_owned(), list(header)),
        ("body".to_owned(), body.to_value()),
    ];
    composed("chord", Map::from_iter(kwargs))
}

/// How many tasks end a signature: so many parts a chord waits for when it stands in its header (`_chord._descend`).
///
/// # Errors
/// When a part of it is no signature.
pub fn leaves(of: &Signature) -> Result<usize, SignatureError> {
    Ok(match of.subtask_type.as_deref() {
        Some("group") => {
            let mut sum = 0;
            for member in subtasks(of)? {
                sum += leaves(&member)?;
            }
            sum
        }
        Some("chain") => {
            for step in subtasks(of)?.iter().rev() {
                let found = leaves(step)?;
                if found > 0 {
                    return Ok(found);
                }
            }
            0
        }
        Some("chord") => leaves(&chord_parts(of)?.1)?,
        _ => 1,
    })
}

/// A task run for each item of a list, one after the other in one process, for the list of results: `celery.map` gives an
/// item as the only argument, `celery.starmap` as the list of all of them (`celery/canvas.py`, `xmap` and `xstarmap`).
pub fn mapped(name: &str, task: &Signature, items: Vec<Value>) -> Signature {
    let kwargs = [
        ("task".to_owned(), task.to_value()),
        ("it".to_owned(), Value::List(items)),
    ];
    let mut mapped = Signature::new(name, Vec::new(), Map::from_iter(kwargs));
    mapped.immutable = true;
    mapped
}

/// A group that runs a task for each list of arguments, in pieces of `size` to a `celery.starmap` each (`celery/canvas.py`,
/// `chunks`). A size of 0 counts as 1.
pub fn chunked(task: &Signature, items: &[Value], size: usize) -> Signature {
    let pieces = items.chunks(size.max(1));
    group(pieces.map(|piece| mapped("celery.starmap", task, piece.to_vec())))
}
