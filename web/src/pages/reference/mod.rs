//! The reference: every operation of the API and every body, with examples; every error code and what to do about it.
//!
//! All of it is made of the document of the contract, and the codes of the contract itself, so it cannot say anything
//! else than what the service does.
//!
//! Not here: what stands in the document (`client::api::openapi`).

mod bodies;
mod operations;

use std::sync::LazyLock;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use client::api::error::ErrorCode;
use client::api::openapi::document;
use http::StatusCode;

use self::bodies::{Body, Word};
use self::operations::Topic;
use crate::asked::Door;
use crate::backend::Backend;
use crate::error;
use crate::frame::{self, Frame, Section};

/// What the document says, as the page shows it.
struct Shown {
    topics: Vec<Topic>,
    bodies: Vec<Body>,
}

/// Made once: the document stays the same as long as the program does.
static SHOWN: LazyLock<Shown> = LazyLock::new(|| Shown {
    topics: operations::topics(document()),
    bodies: bodies::all(document()),
});

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference {
    frame: Frame,
    shown: &'static Shown,
    codes: &'static [ErrorCode],
    url: String,
}

/// All operations, all bodies and all codes.
pub(crate) async fn show<B: Backend>(State(backend): State<B>, door: Door) -> Response {
    let frame = Frame::now_or_unknown(&backend, Section::Reference).await;
    let page = Reference { frame, shown: &SHOWN, codes: ErrorCode::ALL, url: door.url() };
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
