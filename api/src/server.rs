//! Listening, and stopping without cutting anybody off.

use std::{net::SocketAddr, sync::Arc};

use lovage_registry::TaskSpec;
use poem::{
    EndpointExt, Route, Server as PoemServer,
    endpoint::BoxEndpoint,
    http::uri::Scheme,
    listener::{Acceptor, TcpAcceptor},
    web::{LocalAddr, RemoteAddr},
};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    document::{self as openapi, bodies::Bodies, pages, paths::Paths},
    edge::{Crossing, Edge},
    operating, routes,
    sending::registered::{BadSchema, Registered},
};

/// Why the API cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address} (LOVAGE_API_BIND)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Serving ended by itself.
    #[error("the HTTP server has ended")]
    Ended(#[source] std::io::Error),
}

/// An API that listens already, and serves once it is run.
pub struct Listening {
    listener: tokio::net::TcpListener,
    address: SocketAddr,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Listening {
    /// Takes the address. Whoever connects from now on is answered once the server runs.
    ///
    /// # Errors
    /// [`ServerError::Bind`].
    pub async fn at(address: SocketAddr) -> Result<Self, ServerError> {
        let bind = |source| ServerError::Bind { address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, address })
    }

    /// Where it listens; the port that was taken when any would do.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Takes connections on which nothing waits for more to send: an event of a stream goes out when it happens.
struct Prompt(TcpAcceptor);

impl Acceptor for Prompt {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> std::io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let accepted = self.0.accept().await?;
        // One that refuses has gone already, which whoever reads from it will find.
        let _ = accepted.0.set_nodelay(true);
        Ok(accepted)
    }
}

/// The whole API.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
}

impl Server {
    /// An API that is not served yet.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Serves until `stop` is cancelled, then finishes what was begun: requests are answered, streams end with a word. What has
    /// not ended after `LOVAGE_API_DRAIN_TIMEOUT` is cut off.
    ///
    /// # Errors
    /// [`ServerError::Ended`].
    pub async fn run(
        self,
        listening: Listening,
        stop: CancellationToken,
    ) -> Result<(), ServerError> {
        let drain = self.app.settings().http.drain_timeout;
        let stopping = self.app.stopping().clone();
        let endpoint = endpoint(&self.app);
        let acceptor = TcpAcceptor::from_tokio(listening.listener).map_err(ServerError::Ended)?;
        let stopped = async move {
            stop.cancelled().await;
            stopping.cancel();
        };
        let listening = tokio::spawn(Arc::clone(&self.app).listen());
        let operating = tokio::spawn(operating::operate(Arc::clone(&self.app)));
        let served = PoemServer::new_with_acceptor(Prompt(acceptor))
            .name("lovage api")
            .run_with_graceful_shutdown(endpoint, stopped, Some(drain))
            .await;
        self.app.stopping().cancel();
        // They end at that; a panic in one has been told of.
        let _ = listening.await;
        let _ = operating.await;
        served.map_err(ServerError::Ended)
    }
}

/// The OpenAPI document of an API with these tasks, as it is served and committed.
///
/// # Errors
/// When a task's parameters have a schema that is none.
pub fn document(specs: Vec<TaskSpec>) -> Result<String, BadSchema> {
    let registered = Registered::new(specs)?;
    let document = openapi::document(&routes::service().spec(), &registered);
    Ok(openapi::text(&document))
}

fn endpoint(app: &Arc<App>) -> BoxEndpoint<'static> {
    let service = routes::service();
    let static_part = service.spec();
    let document = openapi::document(&static_part, app.registered());
    let paths = Arc::new(Paths::of(&document));
    let bodies = Arc::new(Bodies::of(&document));
    let page = |html: String| pages::showing(&html, &static_part, &document);
    let (swagger, redoc) = (page(service.swagger_ui_html()), page(service.redoc_html()));
    let text = openapi::text(&document);
    let routes = Route::new()
        .at("/docs", routes::pages::page(swagger))
        .at("/docs/redoc", routes::pages::page(redoc))
        .at("/password", routes::pages::password())
        .at("/openapi.json", routes::pages::json(text))
        .nest("/", service);
    let edged = routes.with(Edge {
        app: Arc::clone(app),
        paths,
        bodies,
    });
    let origins = app.settings().http.cors_origins.clone();
    if origins.is_empty() {
        return edged.boxed();
    }
    edged.with(Crossing { origins }).boxed()
}
