//! The settings that this replica runs with.
//!
//! Each replica answers for itself; nothing is carried to the leader.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};

use super::problem::ApiError;
use super::{Api, extract, told};

/// GET on settings.
pub(super) async fn show(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let mut response = told::json(StatusCode::OK, &api.node.settings());
    told::tell_not_to_keep(response.headers_mut());
    Ok(response)
}
