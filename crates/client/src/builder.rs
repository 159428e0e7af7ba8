//! One call, option by option.

use std::{fmt, marker::PhantomData, time::Duration};

use futures::future::BoxFuture;
use lovage_protocol::{Embed, QueueName, Signature, TaskId, Value};
use serde::Serialize;

use crate::{
    AsyncResult, Client, Error, Moment, Outgoing,
    composer::{as_args, as_kwargs},
    context::Sending,
};

/// A call about to be sent; awaiting it sends it and gives the handle to its result.
///
/// Nothing fails before that: an option that cannot be is told by the `await`.
#[must_use = "a call is sent when it is awaited"]
pub struct SendBuilder<R> {
    client: Client,
    call: Result<Outgoing, Error>,
    returns: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for SendBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBuilder")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl<R> SendBuilder<R> {
    pub(crate) fn new(client: Client, call: Result<Outgoing, Error>) -> Self {
        Self {
            client,
            call,
            returns: PhantomData,
        }
    }

    pub(crate) fn into_outgoing(self, sending: Option<&Sending>) -> Result<Outgoing, Error> {
        let mut call = self.call?;
        if let Some(sending) = sending {
            sending.apply(&mut call);
        }
        Ok(call)
    }

    fn with(mut self, change: impl FnOnce(&mut Outgoing)) -> Self {
        if let Ok(call) = &mut self.call {
            change(call);
        }
        self
    }

    fn try_with(mut self, change: impl FnOnce(&mut Outgoing) -> Result<(), Error>) -> Self {
        if let Ok(call) = &mut self.call
            && let Err(error) = change(call)
        {
            self.call = Err(error);
        }
        self
    }

    /// All positional arguments: a tuple, a list, anything that serialises as one.
    pub fn args(self, args: impl Serialize) -> Self {
        self.try_with(|call| {
            call.args = as_args(&call.task, encode(call, &args)?)?;
            Ok(())
        })
    }

    /// One positional argument more.
    pub fn arg(self, arg: impl Serialize) -> Self {
        self.try_with(|call| {
            call.args.push(encode(call, &arg)?);
            Ok(())
        })
    }

    /// All keyword arguments: a map, a struct, anything that serialises as one.
    pub fn kwargs(self, kwargs: impl Serialize) -> Self {
        self.try_with(|call| {
            call.kwargs = as_kwargs(&call.task, encode(call, &kwargs)?)?;
            Ok(())
        })
    }

    /// One keyword argument more.
    pub fn kwarg(self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.try_with(|call| {
            let value = encode(call, &value)?;
            call.kwargs.insert(name.into(), value);
            Ok(())
        })
    }

    /// Sends to this queue, whatever the routes say.
    pub fn queue(self, queue: impl AsRef<str>) -> Self {
        self.try_with(|call| {
            let queue = queue.as_ref();
            call.queue = Some(QueueName::parse(queue).map_err(|error| {
                Error::invalid(
                    &call.task,
                    format!("the queue {queue:?} cannot be: {error}"),
                )
            })?);
            Ok(())
        })
    }

    /// Not to be run before so long a time has gone.
    pub fn countdown(self, countdown: Duration) -> Self {
        self.with(|call| call.eta = Some(countdown.into()))
    }

    /// Not to be run before.
    pub fn eta(self, eta: impl Into<Moment>) -> Self {
        self.with(|call| call.eta = Some(eta.into()))
    }

    /// Not to be run after: a time, or a duration from now on. It is then revoked with the reason `expired`.
    pub fn expires(self, expires: impl Into<Moment>) -> Self {
        self.with(|call| call.expires = Some(expires.into()))
    }

    /// Its priority: on Redis 0 is served first and 9 last.
    pub fn priority(self, priority: i64) -> Self {
        self.with(|call| call.priority = Some(priority))
    }

    /// A user header. Names of the protocol are refused.
    pub fn header(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(|call| {
            call.headers.insert(name.into(), value.into());
        })
    }

    /// Whether its result is not to be stored. Not given, the task itself decides.
    pub fn ignore_result(self, ignore: bool) -> Self {
        self.with(|call| call.ignore_result = Some(ignore))
    }

    /// Its id, instead of a new one. A second task with the same id shares the first one's result.
    pub fn task_id(self, id: impl Into<TaskId>) -> Self {
        self.with(|call| call.id = Some(id.into()))
    }

    /// The hard limit: after it the task is ended.
    pub fn time_limit(self, limit: Duration) -> Self {
        self.with(|call| call.time_limit = Some(limit.as_secs_f64()))
    }

    /// The soft limit: after it the task is told to end.
    pub fn soft_time_limit(self, limit: Duration) -> Self {
        self.with(|call| call.soft_time_limit = Some(limit.as_secs_f64()))
    }

    /// A name for people, instead of the task's.
    pub fn shadow(self, name: impl Into<String>) -> Self {
        self.with(|call| call.shadow = Some(name.into()))
    }

    /// Writes the body in this serializer: `json`, `msgpack` or `yaml`. Whoever runs the task must accept it.
    pub fn serializer(self, name: impl Into<String>) -> Self {
        self.with(|call| call.serializer = Some(name.into()))
    }

    /// Compresses the body: `gzip`, `bzip2`, `lzma`, `zstd` or `brotli`.
    pub fn compression(self, method: impl Into<String>) -> Self {
        self.with(|call| call.compression = Some(method.into()))
    }

    /// A task to send after this one succeeded, with its result as first argument. May be given more than once.
    pub fn link(self, callback: Signature) -> Self {
        self.links(callback, Embed::callbacks, Embed::with_callbacks)
    }

    /// A task to send after this one failed, with its id as first argument. May be given more than once.
    pub fn link_error(self, errback: Signature) -> Self {
        self.links(errback, Embed::errbacks, Embed::with_errbacks)
    }

    fn links<E: fmt::Display>(
        self,
        link: Signature,
        present: impl FnOnce(&Embed) -> Result<Vec<Signature>, E>,
        put: impl FnOnce(Embed, &[Signature]) -> Embed,
    ) -> Self {
        self.try_with(|call| {
            let mut links = present(&call.embed)
                .map_err(|error| Error::invalid(&call.task, error.to_string()))?;
            links.push(link);
            call.embed = put(std::mem::take(&mut call.embed), &links);
            Ok(())
        })
    }

    /// The same call, its value read as another type.
    pub fn returning<S>(self) -> SendBuilder<S> {
        SendBuilder::new(self.client, self.call)
    }

    /// The call as plain data.
    ///
    /// # Errors
    /// The first option that could not be.
    pub fn outgoing(self) -> Result<Outgoing, Error> {
        self.call
    }
}

fn encode(call: &Outgoing, value: &impl Serialize) -> Result<Value, Error> {
    Value::from_serialize(value).map_err(|source| Error::Encode {
        task: call.task.as_str().to_owned(),
        source,
    })
}

impl<R: 'static> IntoFuture for SendBuilder<R> {
    type Output = Result<AsyncResult<R>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.client.send_outgoing(self.call?).await })
    }
}
