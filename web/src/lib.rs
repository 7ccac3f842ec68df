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
mod format;
mod frame;
mod grade;
mod headers;
mod pages;

use axum::Router;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;

pub use backend::{Backend, LogTarget};
pub use headers::CONTENT_POLICY;

/// All pages and assets. Addresses that none of them has are left to whoever mounts the router, who may
/// answer with [`not_found`].
pub fn router<B: Backend>(backend: B) -> Router {
    Router::new()
        .route("/", get(pages::overview::show::<B>))
        .route("/performance", get(pages::performance::show::<B>))
        .merge(pages::of_logs())
        .route("/assets/{name}", get(assets::serve::<B>))
        .with_state(backend)
        .layer(middleware::map_response(headers::protect))
}

/// The page for an address that has none.
pub async fn not_found<B: Backend>(backend: &B) -> Response {
    headers::protect(error::not_found(backend).await).await
}
