//! What is served as it is: the document, and the pages that show it.

use poem::{Endpoint, Response, RouteMethod, endpoint::make_sync};

use crate::document::pages;

/// A page.
pub(crate) fn page(html: String) -> RouteMethod {
    RouteMethod::new().get(make_sync(move |_| pages::response(&html)))
}

/// Where the links of mails lead by which a password is chosen. What stands behind the `#` of its URL no server sees.
pub(crate) fn password() -> RouteMethod {
    page(include_str!("password.html").to_owned())
}

/// JSON.
pub(crate) fn json(text: String) -> RouteMethod {
    RouteMethod::new().get(text_endpoint(text))
}

fn text_endpoint(text: String) -> impl Endpoint<Output = Response> {
    make_sync(move |_| {
        Response::builder()
            .content_type("application/json")
            .body(text.clone())
    })
}
