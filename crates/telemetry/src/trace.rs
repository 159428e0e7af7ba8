//! The trace that goes on here: where code runs in it, and what it hands on.

use std::future::Future;

use futures::future::Either;
use opentelemetry::{
    Context, ContextGuard,
    trace::{FutureExt, TraceContextExt},
};

use crate::{carrier, traces};

/// A place in a trace, or none: most processes trace nothing. Cloning shares it.
///
/// It does not follow into a task that code spawns; run that [within](Trace::within) it.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Context>);

/// Spans that what is sent next comes from besides; carried in the context.
pub(crate) struct Links(pub(crate) Vec<String>);

impl Trace {
    /// Whether spans go anywhere.
    pub fn is_on() -> bool {
        traces::tracer().is_some()
    }

    /// Where this code runs.
    pub fn current() -> Self {
        Self(Self::is_on().then(Context::current))
    }

    /// Where another process has come to, by what its [`parent`](Self::parent) gave; an empty text is nowhere.
    pub fn remote(parent: &str) -> Self {
        let parent = Self::is_on()
            .then(|| carrier::read_parent(parent))
            .flatten();
        Self(parent.map(|parent| Context::new().with_remote_span_context(parent)))
    }

    pub(crate) fn at(context: Context) -> Self {
        Self(Some(context))
    }

    /// The span as the text of a W3C `traceparent`, for another process or for a result.
    pub fn parent(&self) -> Option<String> {
        carrier::parent_text(self.0.as_ref()?)
    }

    /// The id of the trace, 32 hexadecimal digits.
    pub fn id(&self) -> Option<String> {
        let span = self.0.as_ref()?.span().span_context().clone();
        span.is_valid().then(|| span.trace_id().to_string())
    }

    /// The same place, where what is sent is linked to these spans besides, each given by its [`parent`](Self::parent).
    #[must_use]
    pub fn linked(self, links: Vec<String>) -> Self {
        match self.0 {
            Some(context) if !links.is_empty() => Self(Some(context.with_value(Links(links)))),
            context => Self(context),
        }
    }

    /// Runs a future here, wherever it is polled.
    pub fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
    }

    /// Runs code here.
    pub fn in_scope<T>(&self, code: impl FnOnce() -> T) -> T {
        let _entered: Option<ContextGuard> = self.0.clone().map(Context::attach);
        code()
    }

    pub(crate) fn context(&self) -> Option<&Context> {
        self.0.as_ref()
    }
}
