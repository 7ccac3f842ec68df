//! The dashboard's window on this replica: the very calls that the API makes.
//!
//! A page shows what a program would be told, with the rights of whoever asks. Nothing is kept here.
//!
//! Not here: pages (`web`).

use axum::Router;
use client::api::cluster::ClusterStatus;
use client::api::error::Problem;
use web::Backend;

use crate::node::Node;

/// The dashboard's pages over this node.
pub(super) fn pages(node: Node) -> Router {
    web::router(Window(node))
}

/// This replica, as the dashboard sees it.
#[derive(Clone)]
struct Window(Node);

impl Backend for Window {
    async fn status(&self) -> Result<ClusterStatus, Problem> {
        Ok(self.0.status().await)
    }
}
