//! One multiplexed connection that mends itself, with every wait bounded.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lovage_settings::{RedisAddress, RedisUrl};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisError, RetryMethod,
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

/// The way to the servers of one store: the first that answers is used.
pub(super) struct Link {
    servers: Vec<Server>,
    current: Mutex<Option<Connected>>,
    /// Held while connecting, so that a broken connection is mended once and not by every caller.
    connecting: tokio::sync::Mutex<()>,
    made: AtomicU64,
}

struct Server {
    client: Client,
    address: Arc<str>,
}

#[derive(Clone)]
struct Connected {
    connection: MultiplexedConnection,
    address: Arc<str>,
    /// Tells a connection from the one that replaced it.
    number: u64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.servers.iter().map(|server| &server.address))
            .finish()
    }
}

impl Link {
    pub(super) async fn open(urls: &[RedisUrl]) -> Result<Self, Error> {
        let servers = urls
            .iter()
            .map(Server::new)
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Error::Settings(
                "the result store's URL names no server".to_owned(),
            ));
        }
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
                            if !is_passing(&error) {
                                return Err(refused(&connected.address, error));
                            }
                            self.discard(&connected);
                            unreachable(&connected.address, error)
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

    /// A connection of its own for subscriptions, with the address it leads to.
    pub(super) async fn pubsub(&self) -> Result<(PubSub, Arc<str>), Error> {
        let mut last = None;
        for server in &self.servers {
            let attempt = tokio::time::timeout(CONNECT, server.client.get_async_pubsub()).await;
            match attempt {
                Ok(Ok(pubsub)) => return Ok((pubsub, Arc::clone(&server.address))),
                Ok(Err(error)) => last = Some(connect_failure(&server.address, error)),
                Err(elapsed) => last = Some(unreachable(&server.address, elapsed)),
            }
        }
        Err(last.expect("the list of servers is never empty"))
    }

    /// The first server, to name in errors; `open` refuses an empty list.
    pub(super) fn address(&self) -> Arc<str> {
        Arc::clone(&self.servers[0].address)
    }

    async fn connected(&self) -> Result<Connected, Error> {
        if let Some(connected) = self.current() {
            return Ok(connected);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(connected) = self.current() {
            return Ok(connected);
        }
        let mut last = None;
        for server in &self.servers {
            match server.connect().await {
                Ok(connection) => {
                    let connected = Connected {
                        connection,
                        address: Arc::clone(&server.address),
                        number: self.made.fetch_add(1, Ordering::Relaxed),
                    };
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(connected.clone());
                    return Ok(connected);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("the list of servers is never empty"))
    }

    fn current(&self) -> Option<Connected> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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

impl Server {
    fn new(url: &RedisUrl) -> Result<Self, Error> {
        let (address, shown): (_, Arc<str>) = match &url.address {
            RedisAddress::Tcp { host, port } => (
                ConnectionAddr::Tcp(host.clone(), *port),
                format!("{host}:{port}").into(),
            ),
            RedisAddress::Unix(path) => (
                ConnectionAddr::Unix(path.clone()),
                path.to_string_lossy().into(),
            ),
        };
        let mut login = RedisConnectionInfo::default()
            .set_db(url.database)
            .set_skip_set_lib_name();
        if let Some(username) = &url.username {
            login = login.set_username(username);
        }
        if let Some(password) = &url.password {
            login = login.set_password(password.expose());
        }
        let client = address
            .into_connection_info()
            .map(|info| info.set_redis_settings(login))
            .and_then(Client::open)
            .map_err(|error| refused(&shown, error))?;
        Ok(Self {
            client,
            address: shown,
        })
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| connect_failure(&self.address, error))
    }
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
