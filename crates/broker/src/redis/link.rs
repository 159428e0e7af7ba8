//! One logical connection: it is made when first needed, and made again after it was lost.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, Script, ServerErrorKind, Value,
    aio::MultiplexedConnection,
};

use super::servers::{Choice, Servers};
use crate::{Error, backoff};

/// A request that may be sent again when its answer was lost: the caller made it so.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'a> {
    /// One command.
    One(&'a Cmd),
    /// Several in one round trip; the answer is an array.
    Many(&'a Pipeline),
    /// An `EVALSHA` of this script, which is loaded when the server does not have it.
    Script(&'a Script, &'a Cmd),
}

/// For how long a request is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until the time allowed for connecting is over.
    Bounded,
    /// Until the broker answers.
    Endless,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    servers: Arc<Servers>,
    /// What the connection is for, in the log.
    purpose: &'static str,
    response: Option<Duration>,
    current: Mutex<Option<Current>>,
    /// One connects at a time; what the last attempt met.
    connecting: tokio::sync::Mutex<Option<RedisError>>,
    failures: AtomicU64,
    connections: AtomicU64,
    complained: AtomicBool,
}

#[derive(Clone)]
struct Current {
    number: u64,
    server: Choice,
    since: Instant,
    connection: MultiplexedConnection,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current")
            .field("number", &self.number)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// The answer, and the connection it came over.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// Since when that connection stands; a new one begins a new count.
    pub(crate) since: Instant,
}

impl Link {
    pub(crate) fn new(servers: &Arc<Servers>, purpose: &'static str) -> Self {
        Self::with_timeout(servers, purpose, Some(servers.response_timeout))
    }

    /// A link whose answers may take as long as given; `None` for ever.
    pub(crate) fn with_timeout(
        servers: &Arc<Servers>,
        purpose: &'static str,
        response: Option<Duration>,
    ) -> Self {
        Self {
            servers: Arc::clone(servers),
            purpose,
            response,
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(None),
            failures: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            complained: AtomicBool::new(false),
        }
    }

    /// Sends a request until it is answered, or patience ends.
    pub(crate) async fn send(
        &self,
        request: Request<'_>,
        patience: Patience,
    ) -> Result<Value, Error> {
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            let error = match self.attempt(request).await {
                Ok(answer) => return Ok(answer.value),
                Err(error) => error,
            };
            let error = self.classify(error);
            let wait = backoff::delay(attempt, fastrand::f64());
            let give_up = patience == Patience::Bounded
                && began.elapsed() + wait >= self.servers.connect_timeout;
            if !error.is_transient() || give_up {
                return Err(error);
            }
            if !self.complained.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    purpose = self.purpose,
                    address = self.servers.address(),
                    error = &error as &dyn std::error::Error,
                    "the broker does not answer, trying again"
                );
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Sends a request once.
    pub(crate) async fn attempt(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let mut current = self.connection().await.map_err(Failure::Connecting)?;
        let answered = match request {
            Request::One(cmd) => current
                .connection
                .send_packed_command(cmd)
                .await
                .and_then(Value::extract_error),
            Request::Many(pipeline) => run_pipeline(&mut current.connection, pipeline).await,
            Request::Script(script, cmd) => run_script(&mut current.connection, script, cmd).await,
        };
        match answered {
            Ok(value) => {
                if self.complained.load(Ordering::Relaxed)
                    && self.complained.swap(false, Ordering::Relaxed)
                {
                    tracing::info!(
                        purpose = self.purpose,
                        address = self.servers.address(),
                        "the broker answers again"
                    );
                }
                Ok(Answer {
                    value,
                    since: current.since,
                })
            }
            Err(error) => {
                if ends_connection(&error) {
                    self.drop_connection(current.number);
                    self.servers.ended(current.server, &error);
                }
                Err(Failure::Answer(error))
            }
        }
    }

    /// Sorts a driver's error into one of ours.
    pub(crate) fn classify(&self, failure: Failure) -> Error {
        let address = self.servers.address();
        match failure {
            Failure::Connecting(error) if is_final(&error) => Error::Refused {
                source: error.into(),
            },
            Failure::Connecting(error) => Error::Unreachable {
                address,
                source: error.into(),
            },
            Failure::Answer(error) if may_pass(&error) => Error::Unready {
                address,
                source: error.into(),
            },
            Failure::Answer(error) if ends_connection(&error) => Error::Interrupted {
                address,
                source: error.into(),
            },
            Failure::Answer(error) => Error::Refused {
                source: error.into(),
            },
        }
    }

    async fn connection(&self) -> Result<Current, RedisError> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let failures = self.failures.load(Ordering::Relaxed);
        let mut last = self.connecting.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        // Whoever stood in line while an attempt failed has the answer too: a hundred of them must not try in turn.
        if self.failures.load(Ordering::Relaxed) != failures
            && let Some(error) = &*last
        {
            return Err(error.clone());
        }
        let (server, connection) = match self.servers.connect(self.response).await {
            Ok(connected) => connected,
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                *last = Some(error.clone());
                return Err(error);
            }
        };
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let current = Current {
            number,
            server,
            since: Instant::now(),
            connection,
        };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current.clone());
        Ok(current)
    }

    /// The connection, unless it is one to a server that the others have left.
    fn current(&self) -> Option<Current> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|current| !self.servers.in_use(current.server));
        current.clone()
    }

    fn drop_connection(&self, number: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|current| current.number == number)
        {
            *current = None;
        }
    }
}

/// A request that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection could be made: nothing was sent.
    Connecting(RedisError),
    /// It was sent, and this came back, or nothing did.
    Answer(RedisError),
}

async fn run_pipeline(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
) -> Result<Value, RedisError> {
    if !pipeline.is_transaction() {
        let values = connection
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await?;
        return Value::Array(values).extract_error();
    }
    // MULTI and each QUEUED are passed over; what counts is the answer of EXEC.
    let answers = connection
        .send_packed_commands(pipeline, pipeline.len() + 1, 1)
        .await?;
    answers
        .into_iter()
        .next()
        .unwrap_or_default()
        .extract_error()
}

async fn run_script(
    connection: &mut MultiplexedConnection,
    script: &Script,
    cmd: &Cmd,
) -> Result<Value, RedisError> {
    let answered = connection
        .send_packed_command(cmd)
        .await
        .and_then(Value::extract_error);
    match answered {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            script.load_async(connection).await?;
            connection
                .send_packed_command(cmd)
                .await
                .and_then(Value::extract_error)
        }
        answered => answered,
    }
}

/// The connection is of no more use.
fn ends_connection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse)
        || error.is_unrecoverable_error()
        || demoted(error)
}

/// The server has become a replica.
pub(crate) fn demoted(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    ) || within_script(error, &["READONLY"])
}

/// Redis 6 puts the error of a command inside a script into a text of its own.
fn within_script(error: &RedisError, codes: &[&str]) -> bool {
    let detail = error.detail().unwrap_or_default();
    codes
        .iter()
        .any(|code| detail.contains(&format!(": -{code} ")))
}

/// The server answered, and says that it will do better later.
fn may_pass(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain) => true,
        _ if error
            .detail()
            .is_some_and(|detail| detail.starts_with("max number of clients")) =>
        {
            true
        }
        _ => {
            matches!(
                error.code(),
                Some("OOM" | "BUSY" | "MISCONF" | "NOREPLICAS" | "UNBLOCKED")
            ) || within_script(error, &["READONLY", "OOM", "MISCONF", "NOREPLICAS"])
        }
    }
}

/// A refusal while connecting that no waiting mends: credentials, or a database number that does not exist.
fn is_final(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => true,
        ErrorKind::Server(_) | ErrorKind::Extension => !may_pass(error) && !error.is_io_error(),
        _ => false,
    }
}
