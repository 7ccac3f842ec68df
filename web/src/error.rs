//! Pages for what went wrong, with the true status.
//!
//! A page that cannot show what was asked for says so in words and keeps the navigation. What the
//! service said is shown as text, whatever it contains.
//!
//! Not here: problem documents for programs (`client::api`).

use askama::Template;
use axum::response::Response;
use client::api::error::Problem;
use http::StatusCode;

use crate::backend::Backend;
use crate::format;
use crate::frame::{self, Frame, Section};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    title: &'a str,
    detail: &'a str,
}

/// A page that says what went wrong.
pub(crate) async fn page<B: Backend>(
    backend: &B,
    status: StatusCode,
    title: &str,
    detail: &str,
) -> Response {
    let known = Frame::now(backend, Section::Overview).await;
    let frame = known.map_or_else(|_problem| Frame::unknown(), Frame::elsewhere);
    frame::page(status, &ErrorPage { frame, title, detail })
}

/// The page of a problem.
pub(crate) async fn of_problem<B: Backend>(backend: &B, problem: &Problem) -> Response {
    let status = status(Some(problem));
    let detail = format::visible(problem.detail.as_deref().unwrap_or(""));
    page(backend, status, &problem.title, &detail).await
}

/// The status of a page that was made in spite of a problem, or without one.
pub(crate) fn status(problem: Option<&Problem>) -> StatusCode {
    let status = |problem: &Problem| {
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    };
    problem.map_or(StatusCode::OK, status)
}

/// The page for an address that has none.
pub(crate) async fn not_found<B: Backend>(backend: &B) -> Response {
    let detail = "The address may be mistyped or outdated.";
    page(backend, StatusCode::NOT_FOUND, "There is no such page", detail).await
}
