//! What the dashboard asks of whoever stands behind it.
//!
//! Answers are the contract's own types, so a page shows what a program would be told. The server
//! answers by the very calls its API makes; tests answer from a struct.
//!
//! Not here: how an answer looks (`pages`).

use std::future::Future;

use client::api::cluster::ClusterStatus;
use client::api::error::Problem;
use client::api::performance::{Performance, Step};

/// The dashboard's one window on the world.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The cluster as this replica sees it.
    fn status(&self) -> impl Future<Output = Result<ClusterStatus, Problem>> + Send;

    /// What this replica did lately.
    fn performance(&self, step: Step) -> impl Future<Output = Result<Performance, Problem>> + Send;
}
