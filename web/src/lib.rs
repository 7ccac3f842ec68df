//! The dashboard: HTML over a port, which is the trait [`Backend`].
//!
//! Every page is a complete document rendered here, works without script, and carries one strict
//! content policy. Whatever comes from elsewhere is shown as text.
//!
//! Not here: how the answers are got (the server implements [`Backend`]), and the API for programs.

mod assets;
mod backend;
mod error;
mod format;
mod headers;
mod pages;

use axum::Router;
use axum::middleware;
use axum::routing::get;

pub use backend::Backend;
pub use headers::CONTENT_POLICY;

/// All pages and assets. Addresses that none of them has are left to whoever mounts the router.
pub fn router<B: Backend>(backend: B) -> Router {
    Router::new()
        .route("/", get(pages::overview::show::<B>))
        .with_state(backend)
        .route("/assets/{name}", get(assets::serve))
        .layer(middleware::map_response(headers::protect))
}
