//! Layers around sending, as Celery's signals `before_task_publish` and `after_task_publish`.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{Error, Outgoing, Prepared};

/// Code around what a client sends. Each method has a default that does nothing.
///
/// It sees every call that goes through its [`Client`](crate::Client), and the callbacks and chain steps that a worker
/// sends with its client; a retry is the message that came and no new call, so it is not seen.
///
/// ```
/// use lovage_client::{Outgoing, PublishLayer};
///
/// /// Marks each call with the tenant that it is for.
/// struct Tenant(String);
///
/// impl PublishLayer for Tenant {
///     fn before_publish(&self, call: &mut Outgoing) -> Result<(), String> {
///         call.headers.insert("tenant".to_owned(), self.0.as_str().into());
///         Ok(())
///     }
/// }
/// ```
pub trait PublishLayer: Send + Sync + 'static {
    /// Before the message is written: may change the call.
    ///
    /// # Errors
    /// What is wrong with the call: it is then not sent, and its sender gets [`Error::Invalid`] with this text.
    fn before_publish(&self, call: &mut Outgoing) -> Result<(), String> {
        let _ = call;
        Ok(())
    }

    /// After the broker took the message, or did not. Not told of callbacks and chain steps: those leave with the end of
    /// the task that they follow.
    fn after_publish(&self, sent: &Prepared, outcome: Result<(), &Error>) {
        let _ = (sent, outcome);
    }
}

/// The layers of a client, the outermost first.
#[derive(Clone, Default)]
pub(crate) struct PublishLayers(Vec<Arc<dyn PublishLayer>>);

impl PublishLayers {
    pub(crate) fn push(&mut self, layer: Arc<dyn PublishLayer>) {
        self.0.push(layer);
    }

    pub(crate) fn before(&self, call: &mut Outgoing) -> Result<(), Error> {
        for layer in &self.0 {
            // A worker sends what follows a task outside of the task, where a panic would keep a message from its end.
            let asked = catch_unwind(AssertUnwindSafe(|| layer.before_publish(call)));
            let asked = asked.unwrap_or_else(|_| Err("a publish layer panicked".to_owned()));
            if let Err(problem) = asked {
                return Err(Error::invalid(&call.task, problem));
            }
        }
        Ok(())
    }

    /// The last first.
    pub(crate) fn after(&self, sent: &[Prepared], outcome: Result<(), &Error>) {
        for layer in self.0.iter().rev() {
            for sent in sent {
                layer.after_publish(sent, outcome);
            }
        }
    }
}

impl fmt::Debug for PublishLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} layers", self.0.len())
    }
}
