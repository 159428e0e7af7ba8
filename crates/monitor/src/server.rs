//! Answering: three paths, nothing to write to, and a bound on everything.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::readiness::{Condition, Part, Readiness};

/// What is asked must answer within this time: whoever asks has a time-out too.
const PATIENCE: Duration = Duration::from_secs(3);
/// A connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// So many ask at once; the others wait.
const MOST: usize = 32;
/// The pause after the system had no connection to give.
const PAUSE: Duration = Duration::from_millis(100);

/// The format of the numbers: `OpenMetrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a role is asked for.
#[async_trait]
pub trait Probe: Send + Sync + 'static {
    /// Whether it can do its work.
    async fn readiness(&self) -> Readiness;

    /// Its numbers, as Prometheus reads them.
    async fn metrics(&self) -> String;
}

/// An address that is taken already.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes the address.
    ///
    /// # Errors
    /// When somebody else has it, or this machine has no such address.
    pub async fn at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens; the port that was taken when any would do.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop. What is being answered then is cut off: nobody loses anything by it.
    pub async fn serve(self, probe: Arc<dyn Probe>, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(MOST));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &room) => accepted,
                () = stop.cancelled() => return,
            };
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "a connection was not taken"
                    );
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (probe, stop) = (Arc::clone(&probe), stop.clone());
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(move |request| answer(Arc::clone(&probe), request));
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(IDLE);
                let connection = server.serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    // An error is the asker's, who went away or spoke no HTTP.
                    _ended = connection => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn answer(
    probe: Arc<dyn Probe>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        ));
    }
    Ok(match request.uri().path() {
        "/health/live" | "/health" => json(
            StatusCode::OK,
            &serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}).to_string(),
        ),
        "/health/ready" => {
            let readiness = timeout(PATIENCE, probe.readiness()).await;
            let readiness = readiness.unwrap_or_else(|_| {
                let why = format!("no answer within {} s", PATIENCE.as_secs());
                Readiness::of(vec![Part::bad("role", Condition::Failing, why)])
            });
            let strict = request.uri().query().is_some_and(is_strict);
            let is_ready = match readiness.status {
                Condition::Ok => true,
                Condition::Degraded => !strict,
                Condition::Failing => false,
            };
            let status = if is_ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            // It is made of texts.
            json(
                status,
                &serde_json::to_string(&readiness).unwrap_or_default(),
            )
        }
        "/metrics" => match timeout(PATIENCE, probe.metrics()).await {
            Ok(page) => with_type(StatusCode::OK, CONTENT_TYPE, page),
            Err(_) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the numbers took too long\n",
            ),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /health/live, /health/ready and /metrics\n",
        ),
    })
}

fn is_strict(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| matches!(pair, "strict" | "strict=1" | "strict=true" | "strict=yes"))
}

fn json(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    with_type(status, "application/json", body.to_owned())
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

fn with_type(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{AskError, ask};

    struct Fixed(Condition);

    #[async_trait]
    impl Probe for Fixed {
        async fn readiness(&self) -> Readiness {
            Readiness::of(vec![Part {
                name: "broker".to_owned(),
                status: self.0,
                detail: Some("a word".to_owned()),
            }])
        }

        async fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }
    }

    async fn begin(probe: impl Probe) -> (SocketAddr, CancellationToken) {
        let listening = Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let (address, stop) = (listening.address(), CancellationToken::new());
        tokio::spawn(listening.serve(Arc::new(probe), stop.clone()));
        (address, stop)
    }

    #[tokio::test]
    async fn a_role_is_ready_unless_it_fails_or_one_is_strict() {
        for (condition, strict, ready) in [
            (Condition::Ok, true, true),
            (Condition::Degraded, false, true),
            (Condition::Degraded, true, false),
            (Condition::Failing, false, false),
        ] {
            let (address, stop) = begin(Fixed(condition)).await;
            let path = if strict {
                "/health/ready?strict=1"
            } else {
                "/health/ready"
            };
            let (code, body) = ask(address, path, PATIENCE).await.unwrap();
            assert_eq!(code == 200, ready, "{condition:?} {strict}: {body}");
            let told: Readiness = serde_json::from_str(&body).unwrap();
            assert_eq!(told.status, condition);
            stop.cancel();
        }
    }

    #[tokio::test]
    async fn a_process_that_is_not_ready_lives_all_the_same() {
        let (address, _stop) = begin(Fixed(Condition::Failing)).await;
        assert_eq!(ask(address, "/health/live", PATIENCE).await.unwrap().0, 200);
        assert_eq!(
            ask(address, "/metrics", PATIENCE).await.unwrap().1,
            "# EOF\n"
        );
        assert_eq!(ask(address, "/else", PATIENCE).await.unwrap().0, 404);
    }

    #[tokio::test]
    async fn who_is_stopped_is_not_reached() {
        let (address, stop) = begin(Fixed(Condition::Ok)).await;
        assert_eq!(ask(address, "/health/live", PATIENCE).await.unwrap().0, 200);
        stop.cancel();
        // The port is free once it is not answered at any more.
        loop {
            match ask(address, "/health/live", PATIENCE).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(AskError::Away { .. } | AskError::Broken { .. }) => break,
                Err(other) => panic!("{other}"),
            }
        }
    }
}
