//! One multiplexed connection that mends itself, with every wait bounded.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lovage_broker::{Choice, Servers};
use lovage_settings::RedisUrl;
use redis::{
    ErrorKind, FromRedisValue, Pipeline, RedisError, RetryMethod,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::time::Instant;

use crate::Error;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(4);
/// How long the server may take to answer one request.
const ANSWER: Duration = Duration::from_secs(5);
/// For how long a call tries to mend a broken connection before it fails.
const MENDING: Duration = Duration::from_secs(4);

/// The way to the server of one store: the first of a list that answers, or the master that sentinels name.
pub(super) struct Link {
    servers: Arc<Servers>,
    current: Mutex<Option<Connected>>,
    /// Held while connecting, so that a broken connection is mended once and not by every caller.
    connecting: tokio::sync::Mutex<()>,
    made: AtomicU64,
}

#[derive(Clone)]
struct Connected {
    connection: MultiplexedConnection,
    server: Choice,
    /// Tells a connection from the one that replaced it.
    number: u64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.servers.fmt(f)
    }
}

impl Link {
    pub(super) async fn open(urls: &[RedisUrl]) -> Result<Self, Error> {
        let servers = Servers::new(urls, CONNECT, ANSWER).map_err(|error| {
            let address = urls.first().map(|url| url.address.label());
            refused(&address.unwrap_or_default().into(), error)
        })?;
        let link = Self {
            servers,
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            made: AtomicU64::default(),
        };
        link.connected().await?;
        Ok(link)
    }

    /// Runs the commands in one round trip. They must bear to be run twice: after a lost answer they are.
    pub(super) async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        let deadline = Instant::now() + MENDING;
        let mut pause = Duration::from_millis(20);
        loop {
            let failure = match self.connected().await {
                Ok(mut connected) => {
                    match commands.query_async::<T>(&mut connected.connection).await {
                        Ok(answer) => return Ok(answer),
                        Err(error) => {
                            let address = self.address();
                            let passing = is_passing(&error);
                            if !self.servers.ended(connected.server, &error) && !passing {
                                return Err(refused(&address, error));
                            }
                            self.discard(&connected);
                            unreachable(&address, error)
                        }
                    }
                }
                Err(error) => error,
            };
            if !failure.is_transient() || Instant::now() + pause >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// A connection of its own for subscriptions, to the server in use.
    pub(super) async fn pubsub(&self) -> Result<Subscriber, Error> {
        let mut tries = self.servers.count();
        loop {
            tries -= 1;
            let address = self.address();
            match self.servers.subscriber().await {
                Ok((server, pubsub)) => {
                    return Ok(Subscriber {
                        pubsub,
                        server,
                        address: self.address(),
                    });
                }
                Err(error) if tries == 0 => return Err(connect_failure(&address, error)),
                Err(_) => {}
            }
        }
    }

    /// Returns when another server than now is in use.
    pub(super) async fn moved(&self) {
        self.servers.moved().await;
    }

    /// A subscription to the server chosen then ended.
    pub(super) fn lost(&self, server: Choice) {
        self.servers.lost(server);
    }

    /// The server in use, to name in errors.
    pub(super) fn address(&self) -> Arc<str> {
        self.servers.address().into()
    }

    async fn connected(&self) -> Result<Connected, Error> {
        if let Some(connected) = self.current() {
            return Ok(connected);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(connected) = self.current() {
            return Ok(connected);
        }
        let mut tries = self.servers.count();
        loop {
            tries -= 1;
            let address = self.address();
            match self.servers.connect(Some(ANSWER)).await {
                Ok((server, connection)) => {
                    let connected = Connected {
                        connection,
                        server,
                        number: self.made.fetch_add(1, Ordering::Relaxed),
                    };
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(connected.clone());
                    return Ok(connected);
                }
                Err(error) if tries == 0 => return Err(connect_failure(&address, error)),
                Err(_) => {}
            }
        }
    }

    /// The connection, unless it is one to a server that was left.
    fn current(&self) -> Option<Connected> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|connected| !self.servers.in_use(connected.server));
        current.clone()
    }

    fn discard(&self, broken: &Connected) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|now| now.number == broken.number)
        {
            *current = None;
        }
    }
}

/// A connection for subscriptions.
pub(super) struct Subscriber {
    pub(super) pubsub: PubSub,
    pub(super) server: Choice,
    /// Where it leads.
    pub(super) address: Arc<str>,
}

/// Whether another try, perhaps on another connection, can help.
fn is_passing(error: &RedisError) -> bool {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return false;
    }
    error.is_io_error() || !matches!(error.retry_method(), RetryMethod::NoRetry)
}

fn connect_failure(address: &Arc<str>, error: RedisError) -> Error {
    if is_passing(&error) {
        unreachable(address, error)
    } else {
        refused(address, error)
    }
}

pub(super) fn unreachable(
    address: &Arc<str>,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Unreachable {
        address: Arc::clone(address),
        source: Box::new(source),
    }
}

fn refused(address: &Arc<str>, source: RedisError) -> Error {
    Error::Refused {
        address: Arc::clone(address),
        source: Box::new(source),
    }
}
