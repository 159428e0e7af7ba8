//! The servers of the fail-over list, and how to connect to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lovage_settings::{BrokerSettings, RedisAddress, RedisUrl};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    RedisError,
    aio::{MultiplexedConnection, PubSub},
};

use crate::Error;

/// How long an answer may take when `socket_timeout` does not say. Generous: a server may be busy with a large key.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// One server of the list.
#[derive(Debug)]
struct Server {
    client: Client,
    address: String,
    database: i64,
}

/// The fail-over list. All connections of a broker share one of these, so that they agree on the server in use.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Server>,
    /// The server in use, as an ever growing number; its place in the list is the remainder.
    current: AtomicUsize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
}

impl Servers {
    pub(crate) fn new(urls: &[RedisUrl], settings: &BrokerSettings) -> Result<Arc<Self>, Error> {
        if urls.is_empty() {
            return Err(Error::NotConfigured {
                why: "the list of Redis servers is empty",
            });
        }
        let list = urls.iter().map(Server::new).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            list,
            current: AtomicUsize::new(0),
            connect_timeout: settings
                .options
                .socket_connect_timeout
                .unwrap_or(settings.connect_timeout),
            response_timeout: settings.options.socket_timeout.unwrap_or(RESPONSE_TIMEOUT),
        }))
    }

    fn pick(&self) -> (usize, &Server) {
        let number = self.current.load(Ordering::Relaxed);
        (number, &self.list[number % self.list.len()])
    }

    /// Moves on to the next server, unless somebody else has done so since `number` was picked.
    fn give_up(&self, number: usize) {
        // Losing the race means that the move was made.
        let _ = self.current.compare_exchange(
            number,
            number.wrapping_add(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Moves on because the server in use refuses to serve (a demoted master).
    pub(crate) fn next(&self) {
        self.give_up(self.current.load(Ordering::Relaxed));
    }

    /// The address in use, for messages.
    pub(crate) fn address(&self) -> String {
        self.pick().1.address.clone()
    }

    /// The logical database in use.
    pub(crate) fn database(&self) -> i64 {
        self.pick().1.database
    }

    /// Whether the address belongs to the list.
    pub(crate) fn knows(&self, address: &str) -> bool {
        self.list.iter().any(|server| server.address == address)
    }

    /// Makes one attempt at the server in use; a failure moves on to the next.
    pub(crate) async fn connect(
        &self,
        response: Option<Duration>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let (number, server) = self.pick();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(response);
        let connected = server
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        connected.inspect_err(|_| self.give_up(number))
    }

    /// Opens a connection for subscriptions.
    pub(crate) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        let (number, server) = self.pick();
        match tokio::time::timeout(self.connect_timeout, server.client.get_async_pubsub()).await {
            Ok(connected) => connected.inspect_err(|_| self.give_up(number)),
            Err(_) => {
                self.give_up(number);
                Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
            }
        }
    }

    /// Opens a blocking connection, every operation of which is bounded by `timeout`.
    pub(crate) fn connect_blocking(
        &self,
        timeout: Duration,
    ) -> Result<redis::Connection, RedisError> {
        let (number, server) = self.pick();
        let connected = server
            .client
            .get_connection_with_timeout(timeout)
            .and_then(|connection| {
                connection.set_read_timeout(Some(timeout))?;
                connection.set_write_timeout(Some(timeout))?;
                Ok(connection)
            });
        connected.inspect_err(|_| self.give_up(number))
    }
}

impl Server {
    fn new(url: &RedisUrl) -> Result<Self, Error> {
        let refused = |source: RedisError| Error::Refused {
            source: source.into(),
        };
        let (address, shown) = match &url.address {
            RedisAddress::Tcp { host, port } => (
                ConnectionAddr::Tcp(host.clone(), *port),
                format!("{host}:{port}"),
            ),
            RedisAddress::Unix(path) => (
                ConnectionAddr::Unix(path.clone()),
                path.display().to_string(),
            ),
        };
        let mut info = RedisConnectionInfo::default().set_db(url.database);
        if let Some(username) = &url.username {
            info = info.set_username(username);
        }
        if let Some(password) = &url.password {
            info = info.set_password(password.expose());
        }
        let info = address
            .into_connection_info()
            .map_err(refused)?
            .set_redis_settings(info);
        let client = Client::open(info).map_err(refused)?;
        Ok(Self {
            client,
            address: shown,
            database: url.database,
        })
    }
}
