//! One server: where it is, how one logs in, how a connection to it is encrypted.

use std::{fs, io, path::Path, sync::Once, time::Duration};

use lovage_settings::{RedisAddress, RedisTls, RedisUrl, Secret};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Connection, ConnectionAddr, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

/// A connection over which nothing comes (a subscription, a wait for messages) asks after so long whether the other end
/// is still there, and after three more such questions that nobody answers it counts as lost.
const QUIET: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A server that can be connected to.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    pub(super) address: String,
    pub(super) database: i64,
    encrypted: bool,
}

/// What a server wants to know of whoever connects.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a Secret>,
    pub(super) database: i64,
}

impl Server {
    /// The server of a URL that names one.
    pub(super) fn new(url: &RedisUrl) -> Result<Self, RedisError> {
        match &url.address {
            RedisAddress::Tcp { host, port } => {
                Self::at(host, *port, url.tls.as_ref(), Login::of(url))
            }
            RedisAddress::Unix(path) => {
                let address = ConnectionAddr::Unix(path.clone());
                Self::open(address, url.address.label(), Login::of(url))
            }
            RedisAddress::Sentinel(_) => Err(refused("sentinels name the server", String::new())),
        }
    }

    /// The server at a host and port.
    pub(super) fn at(
        host: &str,
        port: u16,
        tls: Option<&RedisTls>,
        login: Login<'_>,
    ) -> Result<Self, RedisError> {
        let shown = format!("{host}:{port}");
        match tls {
            None => Self::open(ConnectionAddr::Tcp(host.to_owned(), port), shown, login),
            Some(tls) => Self::encrypted(host, port, tls, login),
        }
    }

    fn encrypted(
        host: &str,
        port: u16,
        tls: &RedisTls,
        login: Login<'_>,
    ) -> Result<Self, RedisError> {
        choose_provider();
        let shown = format!("{host}:{port}");
        let address = ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: !tls.verifies(),
            tls_params: None,
        };
        let certificates = TlsCertificates {
            client_tls: match &tls.certfile {
                Some(certificate) => Some(ClientTlsConfig {
                    client_cert: read("ssl_certfile", certificate)?,
                    client_key: match &tls.keyfile {
                        Some(key) => read("ssl_keyfile", key)?,
                        None => read("ssl_certfile", certificate)?,
                    },
                }),
                None => None,
            },
            root_cert: match &tls.ca_certs {
                Some(authorities) => Some(read("ssl_ca_certs", authorities)?),
                None => None,
            },
        };
        let info = address.into_connection_info()?.set_tcp_settings(tcp());
        let built = Client::build_with_tls(info, certificates).map_err(|error| {
            refused(
                "the certificates of an encrypted connection cannot be used",
                error.to_string(),
            )
        })?;
        let mut address = built.get_connection_info().addr().clone();
        address.set_danger_accept_invalid_hostnames(!tls.checks_hostname());
        let mut server = Self::open(address, shown, login)?;
        server.encrypted = true;
        Ok(server)
    }

    fn open(address: ConnectionAddr, shown: String, login: Login<'_>) -> Result<Self, RedisError> {
        let info = address
            .into_connection_info()?
            .set_redis_settings(login.info())
            .set_tcp_settings(tcp());
        Ok(Self {
            client: Client::open(info)?,
            address: shown,
            database: login.database,
            encrypted: false,
        })
    }

    /// A connection for commands; each answer may take as long as `response` says.
    pub(super) async fn connect(
        &self,
        timeout: Duration,
        response: Option<Duration>,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(response);
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.explain(error))
    }

    /// A connection for subscriptions.
    pub(super) async fn subscriber(&self, timeout: Duration) -> Result<PubSub, RedisError> {
        match tokio::time::timeout(timeout, self.client.get_async_pubsub()).await {
            Ok(connected) => connected.map_err(|error| self.explain(error)),
            Err(_) => Err(self.explain(io::Error::from(io::ErrorKind::TimedOut).into())),
        }
    }

    /// A blocking connection, every operation of which is bounded by `timeout`.
    pub(super) fn connect_blocking(&self, timeout: Duration) -> Result<Connection, RedisError> {
        let connection = self
            .client
            .get_connection_with_timeout(timeout)
            .map_err(|error| self.explain(error))?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(connection)
    }

    /// Says of an encrypted connection what it failed of. What a certificate was refused for no waiting mends; such an
    /// error is not one of the network any more.
    fn explain(&self, error: RedisError) -> RedisError {
        if !self.encrypted {
            return error;
        }
        let text = chain(&error);
        if text.contains("invalid peer certificate") {
            refused("the server's certificate is not accepted", text)
        } else if text.contains("received fatal alert") {
            refused(
                "the server refuses our side of an encrypted connection",
                text,
            )
        } else if text.contains("received corrupt message") {
            refused("the server does not speak TLS", text)
        } else if error.is_timeout() {
            let text =
                "no answer to the greeting of an encrypted connection; does the port speak TLS?";
            io::Error::new(io::ErrorKind::TimedOut, text).into()
        } else {
            error
        }
    }
}

impl<'a> Login<'a> {
    /// What a URL says of it.
    pub(super) fn of(url: &'a RedisUrl) -> Self {
        Self {
            username: url.username.as_deref(),
            password: url.password.as_ref(),
            database: url.database,
        }
    }

    fn info(self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default().set_db(self.database);
        if let Some(username) = self.username {
            info = info.set_username(username);
        }
        if let Some(password) = self.password {
            info = info.set_password(password.expose());
        }
        info
    }
}

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(QUIET)
        .with_interval(ASK_AGAIN)
        .with_retries(3);
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
}

/// rustls wants one provider named when another crate of the program has brought a second.
fn choose_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Refused only when the program has chosen one already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn read(parameter: &str, path: &Path) -> Result<Vec<u8>, RedisError> {
    fs::read(path).map_err(|error| {
        refused(
            "a file of an encrypted connection cannot be read",
            format!("{parameter} {}: {error}", path.display()),
        )
    })
}

fn refused(what: &'static str, detail: String) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, what, detail))
}

/// An error with its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
