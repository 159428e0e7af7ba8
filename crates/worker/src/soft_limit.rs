//! The soft time limit as a task sees it: something to wait for, or to look at.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{self, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Resolves when the soft time limit of the running task is over; never, when it has none.
///
/// A task that asks for it ([`crate::Context::soft_limit`]) says that it will end by itself: from then on only the hard
/// limit ends it. A task that never asks is ended at its soft limit.
///
/// ```no_run
/// # async fn step() {}
/// # async fn clean_up() {}
/// use celery::task::TaskResult;
/// use lovage_worker::{context, signal};
///
/// async fn long() -> TaskResult<()> {
///     let limit = context::current().expect("it runs in a worker").soft_limit();
///     tokio::select! {
///         () = step() => Ok(()),
///         () = limit => {
///             clean_up().await;
///             Err(signal::soft_limit_exceeded())
///         }
///     }
/// }
/// ```
pub struct SoftLimit {
    token: CancellationToken,
    reached: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl SoftLimit {
    pub(crate) fn new(token: CancellationToken) -> Self {
        let reached = Box::pin(token.clone().cancelled_owned());
        Self { token, reached }
    }

    /// Whether the limit is over, for code that blocks and looks now and then.
    pub fn is_reached(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl Future for SoftLimit {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<()> {
        self.reached.as_mut().poll(context)
    }
}

impl Clone for SoftLimit {
    fn clone(&self) -> Self {
        Self::new(self.token.clone())
    }
}

impl fmt::Debug for SoftLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftLimit")
            .field("reached", &self.is_reached())
            .finish()
    }
}
