//! The running task, as its own code can reach it: identity, progress, sending.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, Utc};
use lovage_client::Client;
use lovage_protocol::{
    Embed, Map, Message, QueueName, Signature, State, TaskId, TaskMeta, Value,
    canvas::{CanvasError, IntoCanvas, Starts},
};
use lovage_results::ResultStore;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{announce::Announcer, signal::Signal, soft_limit::SoftLimit};

tokio::task_local! {
    pub(crate) static CURRENT: Context;
}

/// The task that runs here, if one does. Not visible from a task spawned by the task's own code: pass the context on.
pub fn current() -> Option<Context> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The running task. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    message: Arc<Message>,
    queue: QueueName,
    node: Arc<str>,
    results: Arc<dyn ResultStore>,
    client: Client,
    over: AtomicBool,
    /// Made when the task asks for it: most never do.
    soft_limit: OnceLock<CancellationToken>,
    signal: Mutex<Option<Signal>>,
    children: Arc<Mutex<Vec<Value>>>,
    /// What joins the chord that it belongs to, and whether it belongs to one.
    added: Mutex<Vec<Signature>>,
    in_chord: bool,
    outlet: Outlet,
}

/// Whether a message belongs to a chord.
pub(crate) fn in_chord(embed: &Embed) -> bool {
    matches!(embed.chord(), Ok(Some(_)))
}

/// Where goes what a running task tells.
#[derive(Debug, Clone)]
pub(crate) enum Outlet {
    /// This process sends events.
    Events(Announcer),
    /// The process that this one is a child of does.
    Parent(mpsc::UnboundedSender<Told>),
}

/// What a running task tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    /// An event of its own.
    Event {
        /// Such as `task-checkpoint`.
        kind: String,
        fields: Map,
    },
    /// A state of its own that was stored.
    State {
        state: String,
        /// What was stored with it.
        meta: Value,
    },
}

impl Context {
    pub(crate) fn new(
        message: Arc<Message>,
        queue: QueueName,
        node: Arc<str>,
        results: Arc<dyn ResultStore>,
        client: Client,
        in_chord: bool,
        outlet: Outlet,
    ) -> Self {
        let inner = Inner {
            message,
            queue,
            node,
            results,
            client,
            over: AtomicBool::new(false),
            soft_limit: OnceLock::new(),
            signal: Mutex::new(None),
            children: Arc::default(),
            added: Mutex::default(),
            in_chord,
            outlet,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The task's id.
    pub fn task_id(&self) -> &TaskId {
        &self.inner.message.headers.id
    }

    /// The task's name.
    pub fn name(&self) -> &str {
        self.inner.message.headers.task.as_str()
    }

    /// How often it was run again already; 0 at first.
    pub fn retries(&self) -> u32 {
        self.inner.message.headers.retries
    }

    /// The id of the workflow's first task; its own when it is alone.
    pub fn root_id(&self) -> &TaskId {
        self.inner
            .message
            .headers
            .root_id
            .as_ref()
            .unwrap_or(self.task_id())
    }

    /// The task that sent this one.
    pub fn parent_id(&self) -> Option<&TaskId> {
        self.inner.message.headers.parent_id.as_ref()
    }

    /// The node name of this worker, `worker@host`.
    pub fn hostname(&self) -> &str {
        &self.inner.node
    }

    /// The queue that it was taken from.
    pub fn queue(&self) -> &QueueName {
        &self.inner.queue
    }

    /// The envelope it came in: headers, properties, stamps.
    pub fn message(&self) -> &Message {
        &self.inner.message
    }

    pub(crate) fn results(&self) -> &dyn ResultStore {
        &*self.inner.results
    }

    pub(crate) fn shared_message(&self) -> &Arc<Message> {
        &self.inner.message
    }

    /// Sends tasks; what is sent through it becomes a child of this task.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The time by the worker's clock, which a test moves by hand. A task that asks here can be tested for any day.
    pub fn now(&self) -> DateTime<Utc> {
        self.inner.client.clock().now()
    }

    /// Stores a state of the task's own, such as `PROGRESS`, with any data, for everybody who watches the result. Where task
    /// events are on it is told as an event of its name too (`task-progress`), so that Flower shows it while it holds.
    /// As in Celery this holds for a task that ignores its result too. Once the attempt is over, as when a thread runs on
    /// after its task's time limit, it does nothing: the task's end has been stored.
    ///
    /// # Errors
    /// When the data cannot be written in the results' serializer, or the result store cannot be reached.
    pub async fn update_state(&self, state: &str, meta: impl Serialize) -> Result<(), UpdateError> {
        if self.inner.over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let value = Value::from_serialize(&meta)?;
        if let Some(refused) = self.inner.results.refuses(&value) {
            return Err(refused.into());
        }
        let state: State = state
            .parse()
            .expect("parsing a state never fails: an unknown one is custom");
        let told = matches!(state, State::Custom(_)).then(|| Told::State {
            state: state.to_string(),
            meta: value.clone(),
        });
        self.inner.results.store(&self.meta(state, value)).await?;
        if let Some(told) = told {
            self.tell(told);
        }
        Ok(())
    }

    /// Sends an event of the task's own, such as `task-checkpoint`, with the fields given, for whoever listens to events:
    /// `celery events`, Flower (which takes `CHECKPOINT` for the task's state). It is sent whether task events are on or not
    /// (`celery/app/task.py`, `send_event`), in the background. Once the attempt is over it does nothing.
    ///
    /// # Errors
    /// When the fields are no map with names, or cannot be written as JSON.
    pub fn send_event(&self, kind: &str, fields: impl Serialize) -> Result<(), EventError> {
        if kind.is_empty()
            || kind
                .chars()
                .any(|letter| letter.is_control() || letter == '.')
        {
            return Err(EventError::Kind(kind.to_owned()));
        }
        let fields = match Value::from_serialize(&fields)? {
            Value::Map(fields) => fields,
            Value::Null => Map::new(),
            other => return Err(EventError::Fields(other.kind())),
        };
        if !self.inner.over.load(Ordering::Relaxed) {
            self.tell(Told::Event {
                kind: kind.to_owned(),
                fields,
            });
        }
        Ok(())
    }

    pub(crate) fn tell(&self, told: Told) {
        match &self.inner.outlet {
            Outlet::Events(announcer) => announcer.told(&self.inner.message, &told),
            Outlet::Parent(pipe) => {
                // Nobody reads it when the process is about to end.
                let _ = pipe.send(told);
            }
        }
    }

    /// The soft time limit, to be waited for or looked at. Whoever asks is not ended by it: only the hard limit is left.
    pub fn soft_limit(&self) -> SoftLimit {
        let token = self.inner.soft_limit.get_or_init(CancellationToken::new);
        SoftLimit::new(token.clone())
    }

    /// The soft limit is over. False: the task has never asked for it.
    pub(crate) fn reach_soft_limit(&self) -> bool {
        let token = self.inner.soft_limit.get();
        if let Some(token) = token {
            token.cancel();
        }
        token.is_some()
    }

    pub(crate) fn meta(&self, status: State, result: Value) -> TaskMeta {
        crate::records::meta_at(
            self.now(),
            &self.inner.message,
            status,
            result,
            self.children(),
        )
    }

    /// The attempt has ended, though its code may still run.
    pub(crate) fn end(&self) {
        self.inner.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self, signal: Signal) {
        *self
            .inner
            .signal
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(signal);
    }

    pub(crate) fn take_signal(&self) -> Option<Signal> {
        self.inner
            .signal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Adds a task, or a canvas, to the chord that this one is a member of, in the task's own place of its header: the body waits
    /// for it too (`celery/app/task.py`, `add_to_chord`). It is sent in the step that ends this task, and only if it succeeds;
    /// a message that comes twice adds once.
    ///
    /// # Errors
    /// When the task is no member of a chord, or an argument has no JSON form.
    pub fn add_to_chord<C>(&self, canvas: C) -> Result<(), AddError>
    where
        C: IntoCanvas,
        C::Takes: Starts,
    {
        if !self.inner.in_chord {
            return Err(AddError::NoChord);
        }
        self.add_members(vec![canvas.into_canvas().into_signature()?]);
        Ok(())
    }

    /// What a task of another process has added.
    pub(crate) fn add_members(&self, signatures: Vec<Signature>) {
        let added = &self.inner.added;
        let mut added = added.lock().unwrap_or_else(PoisonError::into_inner);
        added.extend(signatures);
    }

    pub(crate) fn take_added(&self) -> Vec<Signature> {
        let added = &self.inner.added;
        std::mem::take(&mut *added.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn recorder(&self) -> Arc<Mutex<Vec<Value>>> {
        Arc::clone(&self.inner.children)
    }

    /// Tasks that it sent from another process.
    pub(crate) fn add_children(&self, sent: Vec<Value>) {
        let children = &self.inner.children;
        let mut children = children.lock().unwrap_or_else(PoisonError::into_inner);
        children.extend(sent);
    }

    pub(crate) fn children(&self) -> Vec<Value> {
        self.inner
            .children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Why nothing was added to a chord.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The task is no member of a chord.
    #[error("the task is not a member of any chord")]
    NoChord,
    /// What was to be added cannot be written.
    #[error(transparent)]
    Canvas(#[from] CanvasError),
}

/// Why an event was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Its name cannot be one.
    #[error("an event cannot be called {0:?}; expected a name such as task-checkpoint")]
    Kind(String),
    /// Its fields have no names.
    #[error("the fields of an event are {0}, expected a map or a struct")]
    Fields(&'static str),
    /// The fields cannot be written as JSON.
    #[error("the event's fields cannot be encoded")]
    Encode(#[from] lovage_protocol::EncodeError),
}

/// Why a state was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The data cannot be written as JSON.
    #[error("the state's data cannot be encoded")]
    Encode(#[from] lovage_protocol::EncodeError),
    /// The data is of a kind that the results' serializer cannot hold.
    #[error("the state's data cannot be stored")]
    Unwritable(#[from] lovage_protocol::WriteError),
    /// The store did not take it.
    #[error("the state could not be stored")]
    Store(#[from] lovage_results::Error),
}
