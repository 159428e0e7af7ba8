//! What every request passes through, from the outside in: its id and log span, headers, limits, errors as problems.

mod crossing;
mod refusal;
mod size;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use lovage_telemetry::Served;
use poem::{
    Endpoint, IntoResponse, Middleware, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method, header},
};
use tracing::Instrument;
use uuid::Uuid;

pub(crate) use self::crossing::Crossing;
use crate::{
    app::App,
    document::{bodies::Bodies, paths::Paths},
};

/// The header that carries a request's id, both ways.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The id of the request that is being answered.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Headers that every response carries.
const SECURITY: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
];

/// What lies between the server and the routes.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) app: Arc<App>,
    pub(crate) paths: Arc<Paths>,
    pub(crate) bodies: Arc<Bodies>,
}

impl<E: Endpoint> Middleware<E> for Edge {
    type Output = Edged<E>;

    fn transform(&self, inner: E) -> Edged<E> {
        Edged {
            inner,
            edge: self.clone(),
        }
    }
}

/// An endpoint behind the edge.
#[derive(Debug)]
pub(crate) struct Edged<E> {
    inner: E,
    edge: Edge,
}

impl<E: Endpoint> Endpoint for Edged<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let id = request_id(&request);
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let route = self.edge.paths.route(&path).unwrap_or("unknown").to_owned();
        // Of a URL only its path goes into the log: queries carry what people search for, and single-use tickets.
        let span = tracing::info_span!("request", request.id = id, http.method = %method, http.path = path);
        request.set_data(RequestId(id.clone()));
        request.set_data(Arc::clone(&self.edge.app));
        request.set_data(Arc::clone(&self.edge.bodies));
        let parent = request.header("traceparent");
        let served = Served::begin(method.as_str(), &route, parent);
        let began = Instant::now();
        let asked = Asked {
            id: &id,
            path: &path,
            route: &route,
            method: &method,
        };
        let answer = self.answer(request, asked);
        let mut response = served.trace().within(answer).instrument(span.clone()).await;
        let elapsed = began.elapsed();
        let status = response.status();
        served.end(status.as_u16());
        self.edge
            .app
            .metrics()
            .answered(&method, &route, status.as_u16(), elapsed);
        span.in_scope(|| {
            tracing::debug!(
                http.status = status.as_u16(),
                elapsed_ms = elapsed.as_millis(),
                "answered"
            );
        });
        finish(&mut response, &id, &method);
        Ok(response)
    }
}

/// What a request is about.
struct Asked<'r> {
    id: &'r str,
    path: &'r str,
    route: &'r str,
    method: &'r Method,
}

impl<E: Endpoint> Edged<E> {
    async fn answer(&self, request: Request, asked: Asked<'_>) -> Response {
        let limit = self.edge.app.settings().http.max_body;
        let mut body = Bytes::new();
        let answered = match size::limited(request, limit).await {
            Ok((request, bytes)) => {
                body = bytes;
                self.inner.call(request).await
            }
            Err(problem) => Err(problem.into()),
        };
        match answered {
            Ok(response) => response.into_response(),
            Err(error) => {
                let fault = || {
                    let bodies = &self.edge.bodies;
                    bodies.fault(asked.method.as_str(), asked.route, &body)
                };
                let allowed = self.edge.paths.allowed(asked.path);
                refusal::response(error, asked.id, allowed.as_deref(), fault)
            }
        }
    }
}

/// The client's own id when it is harmless to repeat and to log, else a new one.
fn request_id(request: &Request) -> String {
    let given = request.header(REQUEST_ID).filter(|id| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    });
    given.map_or_else(|| Uuid::new_v4().simple().to_string(), str::to_owned)
}

fn finish(response: &mut Response, id: &str, method: &Method) {
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    if method == Method::HEAD {
        response.take_body();
    }
}
