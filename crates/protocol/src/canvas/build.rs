//! Putting canvases together.

use std::ops::BitOr;

use serde::Serialize;

use super::{
    AnyEach, AnyOne, Beside, Both, Canvas, CanvasError, Each, Follows, Immutable, IntoCanvas,
    Member, One, Untyped, call::encoded,
};
use crate::{
    composed,
    ids::TaskName,
    signature::Signature,
    value::{Map, Value},
};

/// A task known by its name only, such as a Python one: `signature("proj.add").args((2, 3))`.
///
/// It may begin a workflow and follow anything; its arguments come after the result of what it follows.
pub fn signature(task: impl Into<TaskName>) -> Canvas<Untyped, AnyOne> {
    Canvas::new(Ok(Signature::new(task, Vec::new(), Map::new())))
}

impl<G> Canvas<Untyped, G> {
    /// All positional arguments: a tuple, a list, anything that serialises as one.
    pub fn args(self, args: impl Serialize) -> Self {
        self.change(|signature| match encoded(signature, &args)? {
            Value::List(args) => {
                signature.args = args;
                Ok(())
            }
            other => Err(CanvasError::Invalid {
                task: signature.task.as_str().to_owned(),
                problem: format!("args is {}, expected a list or a tuple", other.kind()),
            }),
        })
    }

    /// One keyword argument more.
    pub fn kwarg(self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.change(|signature| {
            let value = encoded(signature, &value)?;
            signature.kwargs.insert(name.into(), value);
            Ok(())
        })
    }
}

impl<T> Canvas<T, AnyOne> {
    /// The same task, its result a `R` (trusted here, checked where it is read).
    pub fn returning<R>(self) -> Canvas<T, One<R>> {
        self.retyped()
    }

    /// A task by name, run for each item of a list in one process, one after the other: Celery's `task.map(it)`.
    pub fn map<I: Serialize>(
        self,
        items: impl IntoIterator<Item = I>,
    ) -> Canvas<Immutable, AnyOne> {
        self.mapped("celery.map", items)
    }

    /// As [`Canvas::map`], each item the list of all arguments: Celery's `task.starmap(it)`.
    pub fn starmap<I: Serialize>(
        self,
        items: impl IntoIterator<Item = I>,
    ) -> Canvas<Immutable, AnyOne> {
        self.mapped("celery.starmap", items)
    }

    /// As [`Canvas::starmap`], in a group of pieces with `size` items each: Celery's `task.chunks(it, n).group()`.
    pub fn chunks<I: Serialize>(
        self,
        items: impl IntoIterator<Item = I>,
        size: usize,
    ) -> Canvas<Immutable, AnyEach> {
        let call = self.signature.and_then(|task| {
            let items = listed(&task, items)?;
            Ok(composed::chunked(&task, &items, size))
        });
        Canvas::new(call)
    }

    fn mapped<I: Serialize>(
        self,
        name: &str,
        items: impl IntoIterator<Item = I>,
    ) -> Canvas<Immutable, AnyOne> {
        let call = self.signature.and_then(|task| {
            let items = listed(&task, items)?;
            Ok(composed::mapped(name, &task, items))
        });
        Canvas::new(call)
    }
}

fn listed<I: Serialize>(
    task: &Signature,
    items: impl IntoIterator<Item = I>,
) -> Result<Vec<Value>, CanvasError> {
    let items = items.into_iter().map(|item| encoded(task, &item));
    items.collect()
}

impl<T, R> Canvas<T, One<R>> {
    /// The same task, its result of an unknown type: it fits before every task and beside every member of a group.
    pub fn untyped(self) -> Canvas<T, AnyOne> {
        self.retyped()
    }
}

impl<T, R> Canvas<T, Each<R>> {
    /// The same group, its results of unknown types.
    pub fn untyped(self) -> Canvas<T, AnyEach> {
        self.retyped()
    }
}

impl<T, G> Canvas<T, G> {
    /// A further step: it is called with this one's result. Also written `this | step` and `chain![this, step]`.
    ///
    /// After a group it is the body of a chord with the group as its header, whatever the number of members: where Celery
    /// takes a group of one inside a chain for its member, a typed body still gets its list.
    pub fn then<S>(self, step: S) -> Canvas<T, S::Gives>
    where
        S: IntoCanvas,
        S::Takes: Follows<G>,
    {
        let both = self
            .signature
            .and_then(|before| Ok((before, step.into_canvas().signature?)));
        Canvas::new(both.and_then(|(before, step)| joined(&before, step)))
    }

    /// Begins a group with this member; see [`group!`](crate::group).
    #[doc(hidden)]
    pub fn grouped(self) -> Canvas<T, G::Alone>
    where
        G: Member,
    {
        Canvas::new(self.signature.map(|one| composed::group([one])))
    }

    /// A further member of a group; see [`group!`](crate::group).
    #[doc(hidden)]
    pub fn beside<M>(self, member: M) -> Canvas<Both<T, M::Takes>, G::Gives>
    where
        M: IntoCanvas,
        G: Beside<M::Gives>,
    {
        let both = self
            .signature
            .and_then(|group| Ok((group, member.into_canvas().signature?)));
        Canvas::new(both.and_then(|(mut group, member)| {
            let mut members =
                composed::subtasks(&group).map_err(|error| CanvasError::damaged(&group, &error))?;
            members.push(member);
            composed::set_subtasks(&mut group, &members);
            Ok(group)
        }))
    }
}

impl<T, G, S> BitOr<S> for Canvas<T, G>
where
    S: IntoCanvas,
    S::Takes: Follows<G>,
{
    type Output = Canvas<T, S::Gives>;

    fn bitor(self, step: S) -> Self::Output {
        self.then(step)
    }
}

/// Celery's own rules for `before | step` (`celery/canvas.py`, `_merge_chain_step`): chains are one chain, a group that
/// something follows becomes a chord, and what follows a chord follows its body.
fn joined(before: &Signature, step: Signature) -> Result<Signature, CanvasError> {
    let damaged = |error| CanvasError::damaged(before, &error);
    let mut steps = match before.subtask_type.as_deref() {
        Some("chain") if before.options.is_empty() && !before.immutable => {
            composed::subtasks(before).map_err(damaged)?
        }
        _ => vec![before.clone()],
    };
    let more = match step.subtask_type.as_deref() {
        Some("chain") if step.options.is_empty() && !step.immutable => {
            composed::subtasks(&step).map_err(damaged)?
        }
        _ => vec![step],
    };
    for step in more {
        let Some(last) = steps.last_mut() else {
            steps.push(step);
            continue;
        };
        match (last.subtask_type.as_deref(), step.subtask_type.as_deref()) {
            (_, Some("group")) if composed::subtasks(&step).map_err(damaged)?.is_empty() => {
                return Err(CanvasError::Invalid {
                    task: "celery.chain".to_owned(),
                    problem: "a group without members is a step of it, whose results nobody would give; leave it out"
                        .to_owned(),
                });
            }
            (Some("group"), _) => {
                *last = composed::chord(composed::subtasks(last).map_err(damaged)?, &step);
            }
            (Some("chord"), kind) if kind != Some("chord") => {
                let (_, body) = composed::chord_parts(last).map_err(damaged)?;
                let body = joined(&body, step)?;
                last.kwargs.insert("body".to_owned(), body.to_value());
            }
            _ => steps.push(step),
        }
    }
    Ok(match steps.len() {
        1 => steps.remove(0),
        _ => composed::chain(steps),
    })
}

/// A group of any number of canvases of one kind; [`group!`](crate::group) takes different ones.
pub fn group_of<T, G: Member>(
    members: impl IntoIterator<Item = Canvas<T, G>>,
) -> Canvas<T, G::Alone> {
    let members = members.into_iter().map(|member| member.signature);
    Canvas::new(members.collect::<Result<Vec<_>, _>>().map(composed::group))
}

/// What can be the header of a chord: a group, or a list of canvases.
pub trait IntoHeader {
    /// What its tasks take.
    type Takes;
    /// What the body is given.
    type Gives;

    /// The header as a group.
    fn into_header(self) -> Canvas<Self::Takes, Self::Gives>;
}

impl<T, R> IntoHeader for Canvas<T, Each<R>> {
    type Takes = T;
    type Gives = Each<R>;

    fn into_header(self) -> Self {
        self
    }
}

impl<T> IntoHeader for Canvas<T, AnyEach> {
    type Takes = T;
    type Gives = AnyEach;

    fn into_header(self) -> Self {
        self
    }
}

impl<T, G: Member> IntoHeader for Vec<Canvas<T, G>> {
    type Takes = T;
    type Gives = G::Alone;

    fn into_header(self) -> Canvas<T, G::Alone> {
        group_of(self)
    }
}

impl<T, G: Member, const N: usize> IntoHeader for [Canvas<T, G>; N] {
    type Takes = T;
    type Gives = G::Alone;

    fn into_header(self) -> Canvas<T, G::Alone> {
        group_of(self)
    }
}

/// A task that is called with the list of results of others, once all of them have succeeded.
pub fn chord<H, B>(header: H, body: B) -> Canvas<H::Takes, B::Gives>
where
    H: IntoHeader,
    B: IntoCanvas,
    B::Takes: Follows<H::Gives>,
{
    header.into_header().then(body)
}

/// Tasks one after the other, each called with the result of the one before: `chain![add::s(2, 2), add::partial(4)]`.
///
/// A step that cannot take what the step before it gives does not compile.
#[macro_export]
macro_rules! chain {
    ($first:expr $(, $step:expr)* $(,)?) => {
        $crate::canvas::IntoCanvas::into_canvas($first)$(.then($step))*
    };
}

/// Tasks side by side: `group![add::s(2, 2), add::s(4, 4)]` gives a `Vec` of their results.
///
/// For any number of members of one kind there is [`group_of`].
#[macro_export]
macro_rules! group {
    ($first:expr $(, $member:expr)* $(,)?) => {
        $crate::canvas::IntoCanvas::into_canvas($first).grouped()$(.beside($member))*
    };
}
