//! The HTTP client of the exporter. It blocks, on the thread that gathers the spans and does nothing else.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tracing::{info, warn};
use ureq::Agent;

/// How long one post may take; the exporter's own default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Posts spans, and says in the log when that begins to fail and when it works again.
#[derive(Debug)]
pub(crate) struct Post {
    agent: Agent,
    fails: AtomicBool,
}

impl Post {
    pub(crate) fn new() -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.new_agent(),
            fails: AtomicBool::new(false),
        }
    }

    fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let answer = self.agent.run(Request::from_parts(head, body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        Ok(Response::from_parts(head, body.read_to_vec()?.into()))
    }

    /// One line for each change, however many spans are lost meanwhile.
    fn tell(&self, problem: Option<&str>) {
        let before = self.fails.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !before => {
                warn!(
                    "spans cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT, they are lost: {problem}"
                );
            }
            None if before => info!("spans are sent again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        match self.post(request) {
            Ok(answer) => {
                let status = answer.status();
                let refused = (!status.is_success()).then(|| format!("it answers {status}"));
                self.tell(refused.as_deref());
                Ok(answer)
            }
            Err(error) => {
                self.tell(Some(&error.to_string()));
                Err(Box::new(error))
            }
        }
    }
}
