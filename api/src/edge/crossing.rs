//! Pages of other origins: those that the settings name may call from a browser, all others are served as if nobody had named any.

use poem::{
    Endpoint, IntoResponse, Middleware, Request, Response, Result,
    error::CorsError,
    http::{HeaderName, Method, header},
    middleware::Cors,
};

use super::{REQUEST_ID, finish, request_id};
use crate::problem::{Code, Problem};

/// Lets pages of these origins call; without any there is nothing to let in.
#[derive(Debug, Clone)]
pub(crate) struct Crossing {
    pub(crate) origins: Vec<String>,
}

impl<E: Endpoint> Middleware<E> for Crossing {
    type Output = Crossed<<Cors as Middleware<E>>::Output>;

    fn transform(&self, inner: E) -> Self::Output {
        Crossed {
            inner: cors(&self.origins).transform(inner),
            origins: self.origins.clone(),
        }
    }
}

/// An endpoint that pages of other origins may call.
pub(crate) struct Crossed<E> {
    inner: E,
    origins: Vec<String>,
}

impl<E: Endpoint> Endpoint for Crossed<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let named = request
            .header(header::ORIGIN)
            .is_some_and(|origin| self.origins.iter().any(|named| named == origin));
        if !named {
            // A page of our own says where it comes from, too. Of others it is the browser that keeps the answer from them.
            request.headers_mut().remove(header::ORIGIN);
        }
        let (id, method) = (request_id(&request), request.method().clone());
        let mut response = match self.inner.call(request).await {
            Ok(response) => response.into_response(),
            Err(error) => match error.downcast_ref::<CorsError>() {
                Some(refused) => Problem::new(
                    Code::Forbidden,
                    format!("a page of another origin may not: {refused}"),
                )
                .response(&id),
                None => return Err(error),
            },
        };
        // What was answered before it came to the edge.
        if !response.headers().contains_key(REQUEST_ID) {
            finish(&mut response, &id, &method);
        }
        Ok(response)
    }
}

/// What such pages may do: everything that a token allows, but without cookies, which there are none of.
fn cors(origins: &[String]) -> Cors {
    let headers = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        HeaderName::from_static("idempotency-key"),
        HeaderName::from_static("last-event-id"),
        HeaderName::from_static(REQUEST_ID),
    ];
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let seen = [
        HeaderName::from_static(REQUEST_ID),
        header::ETAG,
        header::RETRY_AFTER,
    ];
    Cors::new()
        .allow_origins(origins)
        .allow_methods(methods)
        .allow_headers(headers)
        .expose_headers(seen)
        .allow_credentials(false)
}
