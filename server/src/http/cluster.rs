//! The cluster: its status, those who wait to join, and the refusal to be founded twice.
//!
//! Any replica tells the status; a process that wants to join asks any replica and is heard by the
//! leader. Both answers are the contract's own types, as the node makes them.
//!
//! Not here: founding a cluster, which needs a process without one (`waiting`).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::cluster::{BootstrapRequest, JoinRequest};
use client::api::error::ErrorCode;
use http::{Request, StatusCode};

use super::change::Change;
use super::leader::is_carried;
use super::problem::ApiError;
use super::{Api, extract, told};

/// GET on the cluster.
pub(super) async fn status(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (parts, _) = request.into_parts();
    // Another replica asks: it wants what is known here, and not to be asked back.
    let status = if is_carried(&parts) { api.node.status_here() } else { api.node.status().await };
    let mut response = told::json(StatusCode::OK, &status);
    told::tell_not_to_keep(response.headers_mut());
    Ok(response)
}

/// POST on bootstrap: this process belongs to a cluster already.
pub(super) async fn bootstrap(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let _: BootstrapRequest = Change::take(&api, request).await?.json_or_default()?;
    Err(ApiError::new(ErrorCode::AlreadyBootstrapped))
}

/// GET on joiners: those who asked the leader lately.
pub(super) async fn joiners(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (parts, _) = request.into_parts();
    api.at_leader(&parts, &axum::body::Bytes::new(), || async {
        Ok(told::json(StatusCode::OK, &api.node.joiners()))
    })
    .await
}

/// POST on joiners: a process asks to join.
pub(super) async fn join(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let change = Change::take(&api, request).await?;
    let wish: JoinRequest = change.json()?;
    change
        .at_leader(|| async {
            Ok(told::json(StatusCode::OK, &api.node.join_asked(wish.clone()).await?))
        })
        .await
}
