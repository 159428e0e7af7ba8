//! What goes wrong, as RFC 9457 has it: `application/problem+json`, each with a code that does not change.

use std::fmt;

use poem::{Body, IntoResponse, Response, error::ResponseError, http::StatusCode};
use poem_openapi::{
    ApiResponse, Enum, Object,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ToJSON, Type},
};

/// The content type of every error.
pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// What went wrong, for programs. A code keeps its meaning for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum)]
        #[oai(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text,)* }
            }

            /// The status that it comes with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }
        }
    };
}

codes! {
    /// The request cannot be read at all: no JSON, no such encoding.
    Malformed = "malformed", BAD_REQUEST, "The request cannot be read";
    /// No token or key, or one that does not hold (any more).
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Who is asking is not known";
    /// The e-mail address and the password do not go together, or the user is switched off.
    BadCredentials = "bad-credentials", UNAUTHORIZED, "E-mail address or password is wrong";
    /// The role or the key's scopes do not allow it.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed";
    /// The key may not use this task or this queue.
    OutOfReach = "out-of-reach", FORBIDDEN, "Outside of what the key is for";
    /// There is no such path or thing.
    NotFound = "not-found", NOT_FOUND, "Not found";
    /// No task of this name is registered here.
    UnknownTask = "unknown-task", NOT_FOUND, "No such task is registered";
    /// The path does not have this method; `Allow` names those that it has.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "No such method here";
    /// It was changed meanwhile, or stands in a state in which this cannot be done.
    Conflict = "conflict", CONFLICT, "It stands otherwise";
    /// What is recorded of a task is not enough to run it once more.
    Incomplete = "incomplete", CONFLICT, "Too little is known to do it again";
    /// A unique task of the same arguments waits or runs.
    DuplicateTask = "duplicate-task", CONFLICT, "The task waits or runs already";
    /// A request with the same Idempotency-Key is still being answered.
    InProgress = "in-progress", CONFLICT, "The same request is being answered";
    /// The precondition of If-Match does not hold: somebody has changed it.
    Changed = "changed", PRECONDITION_FAILED, "It was changed by somebody else";
    /// The body weighs more than LOVAGE_API_MAX_BODY.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is of another content type than the ones documented.
    UnsupportedType = "unsupported-type", UNSUPPORTED_MEDIA_TYPE, "The content type is not understood";
    /// A value is not what it should be, or a field is unknown.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "The request is understood and cannot be";
    /// The arguments are not the ones that the task takes.
    WrongArguments = "wrong-arguments", UNPROCESSABLE_ENTITY, "The arguments do not fit the task";
    /// The Idempotency-Key came before with another request.
    KeyReused = "key-reused", UNPROCESSABLE_ENTITY, "The Idempotency-Key was used for another request";
    /// Too many attempts; `Retry-After` says when to try again.
    TooManyAttempts = "too-many-attempts", TOO_MANY_REQUESTS, "Too many attempts";
    /// A fault of the API itself; the log of the same request id tells more.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something is wrong here";
    /// The broker does not answer, or not in time: what was to be sent may have been sent.
    BrokerAway = "broker-away", SERVICE_UNAVAILABLE, "The broker does not answer";
    /// The result store does not answer.
    ResultsAway = "results-away", SERVICE_UNAVAILABLE, "The result store does not answer";
    /// The database does not answer.
    DatabaseAway = "database-away", SERVICE_UNAVAILABLE, "The database does not answer";
}

/// An error as a client gets it.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Problem")]
pub struct ProblemDetails {
    /// A URI for the kind of problem: `urn:lovage:problem:` and the code.
    pub r#type: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// The kind of problem, for programs.
    pub code: Code,
    /// What is wrong here, and what would be right.
    pub detail: String,
    /// The id of the request, as in the header `X-Request-Id`; the log carries it too.
    pub request_id: String,
}

/// What went wrong, on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    /// Seconds until it is worth trying again.
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of a kind, and what is wrong in this case.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// A value is not what it should be.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    /// Something of our own is broken. The cause goes to the log, not to the client.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "a request failed");
        Self::new(
            Code::Internal,
            "the request could not be answered; the log tells why under this request id",
        )
    }

    /// It is worth trying again after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Whether what was asked may have been done all the same, in part or as a whole.
    pub(crate) fn may_have_been_done(&self) -> bool {
        matches!(self.code, Code::BrokerAway | Code::Internal)
    }

    /// What kind of problem it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong in this case.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// As the client gets it.
    pub fn details(&self, request_id: &str) -> ProblemDetails {
        ProblemDetails {
            r#type: format!("urn:lovage:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            code: self.code,
            detail: self.detail.clone(),
            request_id: request_id.to_owned(),
        }
    }

    /// The whole response.
    pub(crate) fn response(&self, request_id: &str) -> Response {
        let details = self.details(request_id).to_json_string();
        let mut response = Response::builder()
            .status(self.code.status())
            .content_type(CONTENT_TYPE);
        if let Some(seconds) = self.retry_after {
            response = response.header("Retry-After", seconds.to_string());
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            response = response.header("WWW-Authenticate", "Bearer");
        }
        response.body(Body::from_string(details))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.code.status()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.response("")
    }
}

/// In the document every operation may answer with every problem; `crate::document` strikes what cannot come.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let mut statuses: Vec<u16> = Code::ALL
            .iter()
            .map(|code| code.status().as_u16())
            .collect();
        statuses.sort_unstable();
        statuses.dedup();
        let response = |status: u16| MetaResponse {
            description: meaning(status),
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: CONTENT_TYPE,
                schema: <Json<ProblemDetails> as Payload>::schema_ref(),
            }],
            headers: Vec::new(),
        };
        MetaResponses {
            responses: statuses.into_iter().map(response).collect(),
        }
    }

    fn register(registry: &mut Registry) {
        ProblemDetails::register(registry);
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request cannot be read.",
        401 => "Who is asking is not known.",
        403 => "The role or the key does not allow it.",
        404 => "There is no such thing.",
        405 => "The path does not have this method.",
        409 => "It stands otherwise than the request takes for granted.",
        412 => "It was changed by somebody else.",
        413 => "The body is too large.",
        415 => "The content type is not understood.",
        422 => "A value is not what it should be, or a field is unknown.",
        429 => "Too many attempts; Retry-After says when to try again.",
        503 => "The broker, the result store or the database does not answer.",
        _ => "Something is wrong here; the log tells why under the same request id.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_written_as_in_the_document() {
        let written: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(written.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.to_json(), Some(code.as_str().into()));
        }
    }

    #[test]
    fn what_is_worth_trying_again_says_when() {
        let response = Problem::new(Code::TooManyAttempts, "wait")
            .retry_after(7)
            .response("r1");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.header("Retry-After"), Some("7"));
        assert_eq!(response.content_type(), Some(CONTENT_TYPE));
    }
}
