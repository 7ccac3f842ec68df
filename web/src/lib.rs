//! The dashboard: HTML over a port, which is the trait [`Backend`].
//!
//! Every page is a complete document rendered here, works without script, and carries one strict
//! content policy. Whatever comes from elsewhere is shown as text.
//!
//! Not here: how the answers are got (the server implements [`Backend`]), and the API for programs.

mod asked;
mod assets;
mod backend;
mod bodies;
mod charts;
mod error;
mod fields;
mod format;
mod frame;
mod grade;
mod headers;
mod live;
mod pages;
mod replica;
mod viewer;

use axum::Router;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use client::api::cluster::ClusterStatus;

pub use backend::{Answer, Backend, Beat, Beats, LogTarget};
pub use headers::CONTENT_POLICY;
pub use viewer::{Viewer, ViewerName};

/// All pages and assets. Addresses that none of them has are left to whoever mounts the router, who may
/// answer with [`not_found`].
pub fn router<B: Backend>(backend: B) -> Router {
    let pages = Router::new()
        .route("/", get(pages::overview::show::<B>))
        .route("/performance", get(pages::performance::show::<B>))
        .merge(pages::of_members())
        .merge(pages::of_logs())
        .route("/assets/{name}", get(assets::serve::<B>))
        .with_state(backend.clone());
    pages
        .clone()
        .merge(live::streams(backend, pages))
        .layer(middleware::map_response(async |response| headers::set_all(response)))
}

/// The page for an address that has none.
pub async fn not_found<B: Backend>(backend: &B) -> Response {
    headers::set_all(error::not_found(backend).await)
}

/// The page of a process that serves nothing yet: what it waits for, and what an operator can do about it.
pub fn waiting(status: &ClusterStatus, advice: &[&str]) -> Response {
    headers::set_all(pages::waiting::page(status, advice))
}

/// The embedded file at this path, if there is one.
pub fn asset(path: &str) -> Option<Response> {
    assets::at(path).map(headers::set_all)
}
