//! Pages that show the document. Everything that they need is in them: nothing is fetched from elsewhere.

use poem::{IntoResponse, Response, http::header, web::Html};
use serde_json::Value;

/// The pages run a script of their own and make blobs and styles as they go; they may talk to this server alone.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; \
                      img-src 'self' data:; font-src data:; worker-src blob:; connect-src 'self'; frame-ancestors 'none'";

/// A page that was made for the static part of the document, showing the whole.
pub(crate) fn showing(page: &str, static_part: &str, document: &Value) -> String {
    // A text in the document must not end the script that it stands in.
    let whole = document.to_string().replace("</", "<\\/");
    page.replace(static_part, &whole)
}

/// The response with a page.
pub(crate) fn response(page: &str) -> Response {
    Html(page.to_owned())
        .with_header(header::CONTENT_SECURITY_POLICY, POLICY)
        .into_response()
}
