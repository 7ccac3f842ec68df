//! A process that serves nothing yet: what it waits for, and what an operator can do about that.
//!
//! It asks again by itself, until another page is there.
//!
//! Not here: what it waits for (the server says so).

use askama::Template;
use axum::response::Response;
use client::api::cluster::ClusterStatus;
use http::StatusCode;

use crate::format;
use crate::frame::{self, Frame};

#[derive(Template)]
#[template(path = "waiting.html")]
struct Waiting<'a> {
    frame: Frame,
    sentence: String,
    advice: &'a [&'a str],
}

/// The page. Its status says that nothing is served here now.
pub(crate) fn page(status: &ClusterStatus, advice: &[&str]) -> Response {
    let sentence = format::visible(&status.verdict.sentence);
    let frame = Frame::waiting(status);
    frame::page(StatusCode::SERVICE_UNAVAILABLE, &Waiting { frame, sentence, advice })
}
