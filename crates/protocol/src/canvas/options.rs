//! Options of a canvas, by Celery's names: how it is sent, what follows it, its stamps.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    Canvas, CanvasError, Follows, Immutable, IntoCanvas, One, Single, Starts, call::encoded,
};
use crate::{
    composed,
    time::format_iso,
    value::{Map, Value},
};

impl<T, G> Canvas<T, G> {
    /// Sets any option of Celery's `apply_async` by its name: `set("queue", "hot")`. What is unknown goes into the message's
    /// properties, as Celery has it. Of a chain it holds for the first step, of a group for each member, of a chord for header
    /// and body.
    pub fn set(self, option: impl Into<String>, value: impl Serialize) -> Self {
        self.change(|signature| {
            let value = encoded(signature, &value)?;
            signature.options.insert(option.into(), value);
            Ok(())
        })
    }

    /// Sends to this queue, whatever the routes say.
    pub fn queue(self, queue: impl AsRef<str>) -> Self {
        self.set("queue", queue.as_ref())
    }

    /// Its priority: on Redis 0 is served first and 9 last.
    pub fn priority(self, priority: i64) -> Self {
        self.set("priority", priority)
    }

    /// Not to be run before so long a time has gone since it was sent.
    pub fn countdown(self, countdown: Duration) -> Self {
        self.option("countdown", seconds(countdown))
    }

    /// Not to be run before.
    pub fn eta(self, eta: DateTime<Utc>) -> Self {
        self.option("eta", Value::DateTime(format_iso(eta)))
    }

    /// Not to be run later than so long after it was sent; it is then revoked with the reason `expired`.
    pub fn expires(self, after: Duration) -> Self {
        self.option("expires", seconds(after))
    }

    /// Not to be run after.
    pub fn expires_at(self, at: DateTime<Utc>) -> Self {
        self.option("expires", Value::DateTime(format_iso(at)))
    }

    /// Its id, instead of a new one; of a chain the last step's, of a chord the body's, of a group the group's own.
    pub fn task_id(self, id: impl AsRef<str>) -> Self {
        self.set("task_id", id.as_ref())
    }

    /// Whether its result is not to be stored.
    pub fn ignore_result(self, ignore: bool) -> Self {
        self.set("ignore_result", ignore)
    }

    /// The hard and the soft limit of a run.
    pub fn time_limits(self, hard: Option<Duration>, soft: Option<Duration>) -> Self {
        let set = |canvas: Self, name, limit: Option<Duration>| match limit {
            Some(limit) => canvas.option(name, seconds(limit)),
            None => canvas,
        };
        set(set(self, "time_limit", hard), "soft_time_limit", soft)
    }

    fn option(self, name: &str, value: Value) -> Self {
        self.change(|signature| {
            signature.options.insert(name.to_owned(), value);
            Ok(())
        })
    }

    /// A canvas to be sent when this one has succeeded, with its result. May be given more than once.
    pub fn link<C>(self, callback: C) -> Self
    where
        G: Single,
        C: IntoCanvas,
        C::Takes: Follows<G>,
    {
        self.linked("link", callback)
    }

    /// A canvas to be sent when this one, or any part of it, has failed, with the failed task's id (a text). May be given more
    /// than once.
    pub fn link_error<C>(self, errback: C) -> Self
    where
        C: IntoCanvas,
        C::Takes: Follows<One<String>>,
    {
        self.linked("link_error", errback)
    }

    fn linked<C: IntoCanvas>(self, option: &str, to: C) -> Self {
        self.change(|signature| {
            let to = to.into_canvas().signature?;
            composed::link(signature, option, &[to])
                .map_err(|error| CanvasError::damaged(signature, &error))
        })
    }

    /// Stamps it and its parts: headers under which Celery's tools find and revoke tasks. Of a chord the body stays without,
    /// as in Celery.
    pub fn stamp(self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.change(|signature| {
            let stamps = Map::from_iter([(name.into(), encoded(signature, &value)?)]);
            composed::stamp(signature, &stamps)
                .map_err(|error| CanvasError::damaged(signature, &error))
        })
    }
}

impl<T: Starts, G> Canvas<T, G> {
    /// Ignores the result of what it follows: Celery's `immutable=True`. Of a group and a chord's header each task does, of a
    /// chain the first.
    pub fn immutable(self) -> Canvas<Immutable, G> {
        self.change(|signature| {
            composed::set_immutable(signature)
                .map_err(|error| CanvasError::damaged(signature, &error))
        })
        .retyped()
    }
}

/// Whole seconds as an integer, as a Python producer would write them.
fn seconds(of: Duration) -> Value {
    match (of.subsec_nanos(), i64::try_from(of.as_secs())) {
        (0, Ok(whole)) => Value::Int(whole),
        _ => Value::Float(of.as_secs_f64()),
    }
}
