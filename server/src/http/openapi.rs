//! The document of these routes, as the contract writes it.
//!
//! Not here: what stands in it (`client::api::openapi`), and that as a page (`web`).

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::response::Response;
use client::api::media;
use client::api::openapi::document;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};

use super::extract;
use super::problem::ApiError;

/// The document, written once.
static WRITTEN: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(document()).expect("the document is plain JSON").into());

/// GET on the document.
pub(super) async fn show(request: Request<Body>) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let mut response = Response::new(Body::from(WRITTEN.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media::JSON));
    Ok(response)
}
