//! Bodies are read whole before anything looks at them, and only so far; what no database can hold is refused here.

use bytes::Bytes;
use poem::{Body, Request, error::ReadBodyError, http::header};

use crate::problem::{Code, Problem};

/// The same request with its body in memory, and the body, which is shared; refused when it weighs more than `limit` bytes.
pub(crate) async fn limited(
    mut request: Request,
    limit: usize,
) -> Result<(Request, Bytes), Problem> {
    let too_large = || {
        let detail = format!("a body may weigh {limit} bytes here (LOVAGE_API_MAX_BODY)");
        Problem::new(Code::TooLarge, detail)
    };
    let announced = request
        .header(header::CONTENT_LENGTH)
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large());
    }
    let body = request.take_body();
    let bytes = match body.into_bytes_limit(limit).await {
        Ok(bytes) => bytes,
        // A request without a body.
        Err(ReadBodyError::BodyHasBeenTaken) => {
            refuse_nul(&request, &[])?;
            return Ok((request, Bytes::new()));
        }
        Err(ReadBodyError::PayloadTooLarge) => return Err(too_large()),
        Err(error) => {
            let detail = format!("the body cannot be read: {error}");
            return Err(Problem::new(Code::Malformed, detail));
        }
    };
    refuse_nul(&request, &bytes)?;
    request.set_body(Body::from_bytes(bytes.clone()));
    Ok((request, bytes))
}

/// Where arguments of tasks travel, which may hold anything that JSON can.
const SENDING: [&str; 3] = ["/api/v1/tasks", "/api/v1/task-batches", "/api/v1/workflows"];

/// No name, id or text to look for has a NUL in it, and PostgreSQL has no text that has. Health and numbers look for nothing, and
/// are told whatever is asked beside them.
fn refuse_nul(request: &Request, body: &[u8]) -> Result<(), Problem> {
    let uri = request.uri();
    if !uri.path().starts_with("/api/") {
        return Ok(());
    }
    let sends = SENDING.iter().any(|path| uri.path().starts_with(path));
    let in_body = || body.windows(6).any(|part| part == br"\u0000");
    let in_query = uri.query().is_some_and(|query| query.contains("%00"));
    if uri.path().contains("%00") || in_query || (!sends && in_body()) {
        return Err(Problem::invalid("there is a NUL character in it"));
    }
    Ok(())
}
