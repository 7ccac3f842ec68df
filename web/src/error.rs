//! Pages for what went wrong, with the true status.
//!
//! A page that cannot show what was asked for says so in words and keeps the way back. What the
//! service said is shown as text, whatever it contains.
//!
//! Not here: problem documents for programs (`client::api`).

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    detail: &'a str,
}

/// A page that says what went wrong.
pub(crate) fn page(status: StatusCode, title: &str, detail: &str) -> Response {
    match (ErrorPage { title, detail }).render() {
        Ok(body) => (status, Html(body)).into_response(),
        // Rendering into memory does not fail; if it ever does, the status still tells the truth.
        Err(_) => status.into_response(),
    }
}

/// The page for an address that has none.
pub(crate) fn not_found() -> Response {
    page(StatusCode::NOT_FOUND, "There is no such page", "The address may be mistyped or outdated.")
}
