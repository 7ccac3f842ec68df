//! The reference: every route of the API, and every error code with what to do about it.
//!
//! Both are made of the contract itself, so they cannot say anything else than what the service does.
//!
//! Not here: the bodies of requests and answers.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use client::api::error::ErrorCode;
use client::api::paths::{ROUTES, Route};
use http::StatusCode;

use crate::asked::Door;
use crate::backend::Backend;
use crate::error;
use crate::frame::{self, Frame, Section};

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference {
    frame: Frame,
    routes: &'static [Route],
    codes: &'static [ErrorCode],
    url: String,
}

/// All routes and all codes.
pub(crate) async fn show<B: Backend>(State(backend): State<B>, door: Door) -> Response {
    let frame = Frame::now_or_unknown(&backend, Section::Reference).await;
    let page = Reference { frame, routes: ROUTES, codes: ErrorCode::ALL, url: door.url() };
    frame::page(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "error_code.html")]
struct ErrorCodePage {
    frame: Frame,
    code: ErrorCode,
}

/// One code.
pub(crate) async fn show_code<B: Backend>(
    State(backend): State<B>,
    Path(code): Path<String>,
) -> Response {
    let Some(code) = ErrorCode::ALL.iter().copied().find(|known| known.as_str() == code) else {
        return error::not_found(&backend).await;
    };
    let frame = Frame::now_or_unknown(&backend, Section::Reference).await;
    frame::page(StatusCode::OK, &ErrorCodePage { frame, code })
}
