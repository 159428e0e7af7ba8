//! Typed canvases: tasks, chains, groups and chords that are put together only where their types fit.
//!
//! A [`Canvas`] is a signature of the wire (what Celery calls a signature, `celery/canvas.py`) with two types that exist at
//! compile time only: what it still **takes** and what it **gives**.
//!
//! | takes | means | made by |
//! |---|---|---|
//! | [`Complete`] | it has all its arguments; a result before them would be one too many | `add::s(2, 3)` |
//! | [`First<P>`](First) | its first argument is missing, a `P`: the result of what it follows | `add::partial(3)` |
//! | [`FirstOfAny`] | the same, and its task takes any value | `echo::partial()` of `fn echo(it: Value)` |
//! | [`Immutable`] | it has its arguments and ignores what comes | `add::si(2, 3)`, [`Canvas::immutable`] |
//! | [`Untyped`] | nobody knows: a task known by its name | [`signature`] |
//!
//! | gives | means |
//! |---|---|
//! | [`One<T>`](One) | one result, a `T` |
//! | [`Each<T>`](Each) | the results of a group, which a task after it takes as `Vec<T>` |
//! | [`AnyOne`], [`AnyEach`], [`Any`] | the same of unknown types; taken by every task |
//!
//! What begins a workflow [`Starts`] it, every further step [`Follows`] the one before, and a result [`Feeds`] a parameter:
//! three traits, and a step that does not fit is an error at the step, in words about tasks. `#[lovage::task]` writes `s`,
//! `si`, `partial`, `map`, `starmap` and `chunks` for every task, with the parameters of its function. On the wire nothing of
//! this is left: a canvas of Python tasks by name and one of typed tasks are the same messages.
//!
//! What cannot be written (an argument that has no JSON form) is an error where the canvas is used, not where it is built, so
//! that building reads as in Python.
//!
//! ```
//! use lovage_protocol::canvas::{One, chord, signature};
//! use lovage_protocol::{chain, group};
//!
//! // Tasks by name, as of a Python worker; those of `#[lovage::task]` bring their types along.
//! let add = |x: i64, y: i64| signature("proj.add").args((x, y)).returning::<i64>();
//! let total = chord(group![add(1, 1), add(2, 2)], signature("proj.sum").returning::<i64>());
//! let whole = chain![total, signature("proj.report").queue("reports")];
//! assert_eq!(whole.to_signature()?.subtask_type.as_deref(), Some("chain"));
//! # Ok::<(), lovage_protocol::canvas::CanvasError>(())
//! ```

mod build;
mod call;
mod kind;
mod options;

use std::{fmt, marker::PhantomData};

pub use build::{IntoHeader, chord, group_of, signature};
#[doc(hidden)]
pub use call::Call;
pub use kind::{
    Any, AnyEach, AnyOne, Beside, Both, Complete, Each, Feeds, First, FirstOfAny, Follows,
    Immutable, Member, One, Single, Starts, Untyped,
};

use crate::{Signature, SignatureError, value::EncodeError};

/// Why a canvas cannot be what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CanvasError {
    /// An argument, an option or a stamp has no JSON form.
    #[error("the arguments of {task} cannot be encoded")]
    Encode {
        /// The task's name.
        task: String,
        /// Which part, and why.
        #[source]
        source: EncodeError,
    },
    /// It cannot be put together like this.
    #[error("{task}: {problem}")]
    Invalid {
        /// The task's name, or `celery.chain` and the like.
        task: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl CanvasError {
    fn damaged(of: &Signature, error: &SignatureError) -> Self {
        Self::Invalid {
            task: of.task.as_str().to_owned(),
            problem: error.to_string(),
        }
    }
}

/// A task, chain, group or chord to be sent, with what it takes and what it gives; see the [module](self).
#[must_use = "a canvas is data: it runs once it is sent, `client.apply_async(canvas)`"]
pub struct Canvas<Takes, Gives> {
    signature: Result<Signature, CanvasError>,
    types: PhantomData<fn(Takes) -> Gives>,
}

impl<T, G> Clone for Canvas<T, G> {
    fn clone(&self) -> Self {
        Self::new(self.signature.clone())
    }
}

impl<T, G> fmt::Debug for Canvas<T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Canvas").field(&self.signature).finish()
    }
}

impl<T, G> Canvas<T, G> {
    fn new(signature: Result<Signature, CanvasError>) -> Self {
        Self {
            signature,
            types: PhantomData,
        }
    }

    /// The signature of the wire.
    ///
    /// # Errors
    /// The first part of it that could not be written.
    pub fn into_signature(self) -> Result<Signature, CanvasError> {
        self.signature
    }

    /// As [`Canvas::into_signature`], of a canvas that is kept.
    ///
    /// # Errors
    /// As [`Canvas::into_signature`].
    pub fn to_signature(&self) -> Result<Signature, CanvasError> {
        self.signature.clone()
    }

    /// The same canvas with other types, which nobody checks.
    fn retyped<U, H>(self) -> Canvas<U, H> {
        Canvas::new(self.signature)
    }

    fn change(
        mut self,
        change: impl FnOnce(&mut Signature) -> Result<(), CanvasError>,
    ) -> Canvas<T, G> {
        if let Ok(signature) = &mut self.signature
            && let Err(error) = change(signature)
        {
            self.signature = Err(error);
        }
        self
    }
}

/// What can be part of a canvas: a canvas, or a plain [`Signature`] of the wire, whose types nobody knows.
pub trait IntoCanvas {
    /// What it takes.
    type Takes;
    /// What it gives.
    type Gives;

    /// The canvas.
    fn into_canvas(self) -> Canvas<Self::Takes, Self::Gives>;
}

impl<T, G> IntoCanvas for Canvas<T, G> {
    type Takes = T;
    type Gives = G;

    fn into_canvas(self) -> Self {
        self
    }
}

impl IntoCanvas for Signature {
    type Takes = Untyped;
    type Gives = Any;

    fn into_canvas(self) -> Canvas<Untyped, Any> {
        Canvas::new(Ok(self))
    }
}

impl IntoCanvas for &Signature {
    type Takes = Untyped;
    type Gives = Any;

    fn into_canvas(self) -> Canvas<Untyped, Any> {
        self.clone().into_canvas()
    }
}
