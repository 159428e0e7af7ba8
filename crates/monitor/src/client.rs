//! Asking: one request, one answer.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// More than any role has to tell.
const MOST_BYTES: usize = 16 << 20;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens there.
    #[error("nobody answers at {address}")]
    Away {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("no answer from {address} within {} s", .limit.as_secs_f64())]
    Slow {
        /// Where.
        address: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
    /// What answers speaks no HTTP, or stopped in the middle.
    #[error("no good answer from {address}")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads a path of the server at an address: its status code and its body.
///
/// # Errors
/// When there is no answer in time.
pub async fn ask(
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<(u16, String), AskError> {
    timeout(limit, exchange(address, path))
        .await
        .unwrap_or(Err(AskError::Slow { address, limit }))
}

async fn exchange(address: SocketAddr, path: &str) -> Result<(u16, String), AskError> {
    let broken =
        |source: Box<dyn std::error::Error + Send + Sync>| AskError::Broken { address, source };
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| AskError::Away { address, source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(error.into()))?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MOST_BYTES)
            .collect()
            .await?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok((status, text))
    };
    tokio::pin!(answered, connection);
    let mut open = true;
    loop {
        tokio::select! {
            answer = &mut answered => return answer.map_err(broken),
            // It drives the answer; what is wrong with it the answer tells.
            _ended = &mut connection, if open => open = false,
        }
    }
}
