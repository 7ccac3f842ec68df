//! The dashboard's window on this replica: the very calls that the API makes.
//!
//! A page shows what a program would be told, and can do what a program can: every question goes through
//! the routes of the API, which carry it to the leader where that has to answer. Nothing is kept here.
//!
//! Not here: pages (`web`).

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use client::api::cluster::ClusterStatus;
use client::api::error::{ErrorCode, Problem};
use client::api::performance::{Performance, Step};
use http::header::{ACCEPT, HeaderMap};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tower::ServiceExt;
use web::Backend;

use super::problem::{self, ApiError};
use crate::node::Node;

/// This replica, as the dashboard sees it.
#[derive(Clone)]
pub(super) struct Window {
    node: Node,
    /// The routes of the API.
    api: Router,
}

impl Window {
    /// A window on this node, through these routes.
    pub(super) fn new(node: Node, api: Router) -> Self {
        Self { node, api }
    }

    /// The dashboard's pages.
    pub(super) fn pages(&self) -> Router {
        web::router(self.clone())
    }

    /// The answer for an address that nothing has: a page for whoever reads pages.
    pub(super) async fn nothing_at(&self, request: Request<Body>) -> Response {
        if is_for_a_person(request.headers()) {
            return web::not_found(self).await;
        }
        ApiError::new(ErrorCode::UnknownRoute).into_response()
    }

    /// Asks the API, and takes its answer as the contract has it.
    #[expect(dead_code, reason = "the pages that ask come one by one")]
    async fn ask<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, Problem> {
        let answer = self.answer(request).await?;
        let bytes = answer.into_body().collect().await.map_err(|_broken_off| unreadable())?;
        serde_json::from_slice(&bytes.to_bytes()).map_err(|_other| unreadable())
    }

    /// Asks the API; whatever is no success is a problem.
    async fn answer(&self, request: Request<Body>) -> Result<Response, Problem> {
        let answer = self.api.clone().oneshot(request).await;
        let mut answer = answer.unwrap_or_else(|never| match never {});
        if let Some(problem) = problem::take(&mut answer) {
            return Err(problem);
        }
        if answer.status().is_success() || answer.status().is_redirection() {
            return Ok(answer);
        }
        // Another replica refused it: its problem is in the body.
        let bytes = answer.into_body().collect().await.map_err(|_broken_off| unreadable())?;
        Err(serde_json::from_slice(&bytes.to_bytes()).unwrap_or_else(|_other| unreadable()))
    }
}

/// A question without a body.
#[expect(dead_code, reason = "the pages that ask come one by one")]
fn question(method: Method, path: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("paths of the contract are paths");
    request
}

fn unreadable() -> Problem {
    Problem::new(ErrorCode::Internal).with_detail("an answer of the service could not be read")
}

/// Whether whoever asks would rather read a page than a document.
fn is_for_a_person(headers: &HeaderMap) -> bool {
    let wanted = headers.get(ACCEPT).and_then(|wanted| wanted.to_str().ok());
    wanted.is_some_and(|wanted| wanted.contains("text/html"))
}

impl Backend for Window {
    async fn status(&self) -> Result<ClusterStatus, Problem> {
        Ok(self.node.status().await)
    }

    async fn performance(&self, step: Step) -> Result<Performance, Problem> {
        Ok(self.node.performance(step))
    }
}
