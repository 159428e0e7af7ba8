//! Whatever poem refuses, told as one of our problems.

use poem::{
    Error, Response,
    error::{
        MethodNotAllowedError, NotFoundError, ParseQueryError, ParseTypedHeaderError, ReadBodyError,
    },
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::error::{
    ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError,
};

use crate::problem::{Code, Problem};

/// The response to a request that ended in an error. `allowed` are the methods that its path has, and `fault` looks for what is
/// wrong with its body.
pub(crate) fn response(
    error: Error,
    request_id: &str,
    allowed: Option<&str>,
    fault: impl FnOnce() -> Option<String>,
) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let problem = problem(&error, fault);
    let mut response = problem.response(request_id);
    if problem.code() == Code::MethodNotAllowed
        && let Some(allowed) = allowed.and_then(|methods| HeaderValue::from_str(methods).ok())
    {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn problem(error: &Error, fault: impl FnOnce() -> Option<String>) -> Problem {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return problem.clone();
    }
    if error.is::<NotFoundError>() {
        return Problem::not_found("there is nothing at this path; /openapi.json names every one");
    }
    if error.is::<MethodNotAllowedError>() {
        return Problem::new(
            Code::MethodNotAllowed,
            "the path is there, but not with this method; see the header Allow",
        );
    }
    if let Some(error) = error.downcast_ref::<ParseRequestPayloadError>() {
        return body_problem(&error.reason, fault);
    }
    if let Some(error) = error.downcast_ref::<ParseParamError>() {
        return Problem::invalid(format!("the parameter {}: {}", error.name, error.reason));
    }
    if let Some(error) = error.downcast_ref::<ParsePathError>() {
        return Problem::invalid(format!("{} in the path: {}", error.name, error.reason));
    }
    if let Some(error) = error.downcast_ref::<ContentTypeError>() {
        let given = match error {
            ContentTypeError::NotSupported { content_type } => {
                format!("the body comes as {content_type}")
            }
            ContentTypeError::ExpectContentType => "nothing says what the body is".to_owned(),
        };
        let detail = format!(
            "{given}; send the Content-Type that /openapi.json has for this operation, mostly application/json"
        );
        return Problem::new(Code::UnsupportedType, detail);
    }
    if error.is::<ReadBodyError>()
        || error.is::<ParseQueryError>()
        || error.is::<ParseTypedHeaderError>()
        || error.is::<poem::error::ParsePathError>()
    {
        return Problem::new(Code::Malformed, error.to_string());
    }
    match error.status() {
        StatusCode::BAD_REQUEST => Problem::new(Code::Malformed, error.to_string()),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(Code::UnsupportedType, error.to_string())
        }
        StatusCode::FORBIDDEN => Problem::new(Code::Forbidden, error.to_string()),
        _ => {
            tracing::error!(%error, "a request failed in a way that nobody has foreseen");
            Problem::new(
                Code::Internal,
                "the request could not be answered; the log tells why under this request id",
            )
        }
    }
}

/// A body that is no JSON cannot be read; one that is JSON can be read and is wrong. Its schema knows in which field.
fn body_problem(reason: &str, fault: impl FnOnce() -> Option<String>) -> Problem {
    // serde_json ends its own messages with the place; what poem-openapi says of fields has none.
    let is_json_error = reason.rsplit_once(" at line ").is_some_and(|(_, place)| {
        place
            .chars()
            .all(|c| c.is_ascii_digit() || " column".contains(c))
    });
    if is_json_error {
        Problem::new(Code::Malformed, format!("the body is no JSON: {reason}"))
    } else {
        let told = fault();
        let told = told.as_deref().unwrap_or(reason);
        Problem::invalid(match told.starts_with("the body ") {
            true => told.to_owned(),
            false => format!("the body: {told}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_are_no_json_and_bodies_that_are_wrong_are_told_apart() {
        let check =
            |reason: &str, code: Code| assert_eq!(body_problem(reason, || None).code(), code);
        check("expected value at line 1 column 2", Code::Malformed);
        check(
            "failed to parse \"SendTask\": unknown field `qeue`.",
            Code::Invalid,
        );
    }

    #[test]
    fn the_schema_knows_better_what_is_wrong() {
        let told = body_problem("Expected input type", || Some("x is missing".to_owned()));
        assert_eq!(told.detail(), "the body: x is missing");
    }

    #[test]
    fn what_is_not_foreseen_tells_nothing_of_the_inside() {
        let error = Error::from_string("the password is hunter2", StatusCode::BAD_GATEWAY);
        let problem = problem(&error, || None);
        assert_eq!(problem.code(), Code::Internal);
        assert!(!problem.detail().contains("hunter2"));
    }
}
