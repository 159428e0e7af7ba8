//! What `#[lovage::task]` writes for each task: a call, argument by argument.

use serde::Serialize;

use super::{Canvas, CanvasError};
use crate::{
    composed,
    signature::Signature,
    value::{Map, Value},
};

/// A call of a task whose parameters the macro knows. Not for use by hand: it changes with the macro.
#[derive(Debug)]
pub struct Call(Result<Signature, CanvasError>);

impl Call {
    /// A call of the task of that name.
    #[must_use]
    pub fn of(task: &str) -> Self {
        Self(Ok(Signature::new(task, Vec::new(), Map::new())))
    }

    /// The next argument.
    #[must_use]
    pub fn arg<A: Serialize>(mut self, value: &A) -> Self {
        if let Ok(signature) = &mut self.0 {
            match encoded(signature, value) {
                Ok(value) => signature.args.push(value),
                Err(error) => self.0 = Err(error),
            }
        }
        self
    }

    /// The call as a canvas.
    pub fn canvas<T, G>(self) -> Canvas<T, G> {
        Canvas::new(self.0)
    }

    /// The call as a canvas that takes nothing more.
    pub fn immutable<T, G>(self) -> Canvas<T, G> {
        Canvas::new(self.0.map(|mut signature| {
            signature.immutable = true;
            signature
        }))
    }

    /// One run for each item, by `celery.map` or `celery.starmap`.
    pub fn mapped<T, G, A: Serialize>(
        self,
        name: &str,
        items: impl IntoIterator<Item = A>,
    ) -> Canvas<T, G> {
        Canvas::new(self.with_items(items, |task, items| composed::mapped(name, task, items)))
    }

    /// One run for each list of arguments, `size` of them to a task.
    pub fn chunked<T, G, A: Serialize>(
        self,
        items: impl IntoIterator<Item = A>,
        size: usize,
    ) -> Canvas<T, G> {
        Canvas::new(self.with_items(items, |task, items| composed::chunked(task, &items, size)))
    }

    fn with_items<A: Serialize>(
        self,
        items: impl IntoIterator<Item = A>,
        build: impl FnOnce(&Signature, Vec<Value>) -> Signature,
    ) -> Result<Signature, CanvasError> {
        let task = self.0?;
        let items = items.into_iter().map(|item| encoded(&task, &item));
        Ok(build(&task, items.collect::<Result<_, _>>()?))
    }
}

/// A value as the wire has it.
pub(super) fn encoded<A: Serialize + ?Sized>(
    of: &Signature,
    value: &A,
) -> Result<Value, CanvasError> {
    Value::from_serialize(value).map_err(|source| CanvasError::Encode {
        task: of.task.as_str().to_owned(),
        source,
    })
}
