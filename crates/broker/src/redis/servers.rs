//! The servers of the fail-over list, and how to connect to them.

use std::{sync::Arc, time::Duration};

use lovage_settings::{BrokerSettings, RedisAddress, RedisUrl};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    RedisError,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::sync::watch;

use crate::Error;

/// How long an answer may take when `socket_timeout` does not say. Generous: a server may be busy with a large key.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection over which nothing comes (a subscription, a wait for messages) asks after so long whether the other end
/// is still there, and after three more such questions that nobody answers it counts as lost.
const QUIET: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// One server of the list.
#[derive(Debug)]
struct Server {
    client: Client,
    address: String,
    database: i64,
}

/// The server in use, as an ever growing number; its place in the list is the remainder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice(usize);

/// The fail-over list. All connections of a broker share one of these, so that they agree on the server in use.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Server>,
    current: watch::Sender<Choice>,
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
            current: watch::Sender::new(Choice(0)),
            connect_timeout: settings
                .options
                .socket_connect_timeout
                .unwrap_or(settings.connect_timeout),
            response_timeout: settings.options.socket_timeout.unwrap_or(RESPONSE_TIMEOUT),
        }))
    }

    fn pick(&self) -> (Choice, &Server) {
        let choice = *self.current.borrow();
        (choice, &self.list[self.place(choice)])
    }

    fn place(&self, Choice(number): Choice) -> usize {
        number % self.list.len()
    }

    /// Moves on to the next server, unless somebody else has done so since this one was chosen.
    pub(crate) fn give_up(&self, choice: Choice) {
        self.current.send_if_modified(|current| {
            let ours = *current == choice;
            if ours {
                *current = Choice(choice.0.wrapping_add(1));
            }
            ours
        });
    }

    /// Whether a connection to the server chosen then is one to the server in use.
    pub(crate) fn in_use(&self, choice: Choice) -> bool {
        self.place(choice) == self.place(*self.current.borrow())
    }

    /// Returns when another server than now is in use.
    pub(crate) async fn moved(&self) {
        let mut current = self.current.subscribe();
        let now = *current.borrow_and_update();
        // The other end lives as long as this value: there is no error.
        let _ = current
            .wait_for(|choice| self.place(*choice) != self.place(now))
            .await;
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
    ) -> Result<(Choice, MultiplexedConnection), RedisError> {
        let (choice, server) = self.pick();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(response);
        let connected = server
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        connected
            .map(|connection| (choice, connection))
            .inspect_err(|_| self.give_up(choice))
    }

    /// Opens a connection for subscriptions.
    pub(crate) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        let (choice, server) = self.pick();
        match tokio::time::timeout(self.connect_timeout, server.client.get_async_pubsub()).await {
            Ok(connected) => connected.inspect_err(|_| self.give_up(choice)),
            Err(_) => {
                self.give_up(choice);
                Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
            }
        }
    }

    /// Opens a blocking connection, every operation of which is bounded by `timeout`.
    pub(crate) fn connect_blocking(
        &self,
        timeout: Duration,
    ) -> Result<(Choice, redis::Connection), RedisError> {
        let (choice, server) = self.pick();
        let connected = server
            .client
            .get_connection_with_timeout(timeout)
            .and_then(|connection| {
                connection.set_read_timeout(Some(timeout))?;
                connection.set_write_timeout(Some(timeout))?;
                Ok((choice, connection))
            });
        connected.inspect_err(|_| self.give_up(choice))
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
        let keepalive = TcpKeepalive::new()
            .with_time(QUIET)
            .with_interval(ASK_AGAIN)
            .with_retries(3);
        let info = address
            .into_connection_info()
            .map_err(refused)?
            .set_redis_settings(info)
            .set_tcp_settings(
                TcpSettings::default()
                    .set_nodelay(true)
                    .set_keepalive(keepalive),
            );
        let client = Client::open(info).map_err(refused)?;
        Ok(Self {
            client,
            address: shown,
            database: url.database,
        })
    }
}
