//! What this replica did lately, and how long it took.
//!
//! Each replica answers for itself; nothing is carried to the leader.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::performance::PerformanceQuery;
use http::{Request, StatusCode};

use super::problem::ApiError;
use super::{Api, extract, told};

/// GET on performance.
pub(super) async fn show(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let PerformanceQuery { step } = extract::query(request.uri())?;
    let mut response = told::json(StatusCode::OK, &api.node.performance(step));
    told::tell_not_to_keep(response.headers_mut());
    Ok(response)
}
