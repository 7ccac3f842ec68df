//! Plans: what a change of the membership would mean, as the leader sees it.
//!
//! Not here: carrying one out.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::plans::Wish;
use http::{Request, StatusCode};

use super::change::Change;
use super::problem::ApiError;
use super::{Api, extract, told};

/// POST on plans: changes nothing.
pub(super) async fn plan(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let asked = Change::take(&api, request).await?;
    let wish: Wish = asked.json()?;
    let planned = asked.at_leader(|| async {
        let mut response = told::json(StatusCode::OK, &api.node.plan(&wish).await?);
        told::tell_not_to_keep(response.headers_mut());
        Ok(response)
    });
    planned.await
}
