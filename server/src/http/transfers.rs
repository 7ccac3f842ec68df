//! State transfers that this replica takes part in: what they are at, and how fast they may go.
//!
//! Each replica answers for its own; nothing is carried to the leader.
//!
//! Not here: how state is transferred (`peer::transfer`).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::error::ErrorCode;
use client::api::transfers::{TransferChange, TransferInfo, TransferList};
use http::{Request, StatusCode};

use super::change::Change;
use super::extract::InPath;
use super::problem::ApiError;
use super::{Api, extract, told};

/// GET on transfers.
pub(super) async fn list(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let mut response =
        told::json(StatusCode::OK, &TransferList { transfers: api.node.transfers() });
    told::tell_not_to_keep(response.headers_mut());
    Ok(response)
}

/// GET on one transfer.
pub(super) async fn describe(
    State(api): State<Api>,
    InPath(id): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let found = api.node.transfer(&id);
    found.map(|transfer| shown(&transfer)).ok_or_else(|| ApiError::new(ErrorCode::UnknownTransfer))
}

/// PATCH on one transfer: its speed limit, whether it is held.
pub(super) async fn turn(
    State(api): State<Api>,
    InPath(id): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let change: TransferChange = Change::take(&api, request).await?.json()?;
    if change.bytes_per_second == Some(Some(0)) {
        return Err(ApiError::because(ErrorCode::InvalidBody, "bytes_per_second is zero"));
    }
    Ok(shown(&api.node.turn_transfer(&id, change)?))
}

fn shown(transfer: &TransferInfo) -> Response {
    let mut response = told::json(StatusCode::OK, transfer);
    told::tell_not_to_keep(response.headers_mut());
    response
}
