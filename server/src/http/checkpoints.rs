//! Checkpoints, the snapshots kept of them, and the audit.
//!
//! Checkpoints are the same on every replica, as far as it has applied them; a snapshot is what the
//! replica that answers keeps. Making and releasing is the leader's to do, and the audit is its to tell.
//!
//! Not here: what a checkpoint is, and when one is made (`node`).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::checkpoints::{ArchiveQuery, CheckpointList, CheckpointRequest, SnapshotList};
use client::api::error::ErrorCode;
use client::api::logs::EffectQuery;
use client::api::media;
use client::types::{EntryIndex, parse_number};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};

use super::change::Change;
use super::extract::InPath;
use super::problem::ApiError;
use super::{Api, extract, told};
use crate::node::ArchiveRequest;
use crate::node::error::BackupError;

/// GET on the checkpoints.
pub(super) async fn list(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let checkpoints = api.node.checkpoints();
    Ok(fresh(told::json(StatusCode::OK, &CheckpointList { checkpoints })))
}

/// POST on the checkpoints: makes one.
pub(super) async fn make(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let change = Change::take(&api, request).await?;
    let CheckpointRequest { label } = change.json_or_default()?;
    change
        .at_leader(|| async {
            let made = change.node().make_checkpoint(label.clone()).await?;
            Ok(told::json(StatusCode::CREATED, &made))
        })
        .await
}

/// GET on the snapshots.
pub(super) async fn snapshots(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let snapshots = api.node.snapshots().await?;
    Ok(fresh(told::json(StatusCode::OK, &SnapshotList { snapshots })))
}

/// GET on one snapshot.
pub(super) async fn snapshot(
    State(api): State<Api>,
    InPath(checkpoint): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let snapshot = api.node.snapshot(entry(&checkpoint)?).await?;
    Ok(fresh(told::json(StatusCode::OK, &snapshot)))
}

/// GET on the archive of one snapshot: a backup, streamed. It breaks off if it cannot be finished.
pub(super) async fn archive(
    State(api): State<Api>,
    InPath(checkpoint): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let ArchiveQuery { log, since } = extract::query(request.uri())?;
    let checkpoint = entry(&checkpoint)?;
    let archive = api.node.archive(checkpoint, ArchiveRequest { logs: log, since }).await?;
    let body = stream::try_unfold(archive, |mut archive| async move {
        let next = archive.next().await?;
        Ok::<_, BackupError>(next.map(|bytes| (bytes, archive)))
    });
    let mut response = fresh(Response::new(Body::from_stream(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media::BACKUP));
    let name = format!("attachment; filename=\"{checkpoint}.quorate\"");
    told::tell_text(headers, CONTENT_DISPOSITION.as_str(), &name);
    Ok(response)
}

/// DELETE on one snapshot: it is kept no longer than the service needs it.
pub(super) async fn release(
    State(api): State<Api>,
    InPath(checkpoint): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let EffectQuery { dry_run } = extract::query(request.uri())?;
    let checkpoint = entry(&checkpoint)?;
    let change = Change::take(&api, request).await?;
    change
        .at_leader(|| async {
            if dry_run {
                let snapshot = api.node.snapshot(checkpoint).await?;
                return Ok(told::json(StatusCode::OK, &snapshot));
            }
            change.node().release_checkpoint(checkpoint).await?;
            Ok(told::nothing())
        })
        .await
}

/// GET on the audit.
pub(super) async fn audit(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (parts, _) = request.into_parts();
    api.at_leader(&parts, &axum::body::Bytes::new(), || async {
        Ok(fresh(told::json(StatusCode::OK, &api.node.audit_report())))
    })
    .await
}

/// GET on the scrub of this replica.
pub(super) async fn scrub_report(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    Ok(fresh(told::json(StatusCode::OK, &api.node.scrub_report())))
}

/// POST on the scrub of this replica: begins now.
pub(super) async fn scrub(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    // It has no body; whatever comes is taken in like any other.
    Change::take(&api, request).await?;
    Ok(fresh(told::json(StatusCode::ACCEPTED, &api.node.scrub_now())))
}

fn fresh(mut response: Response) -> Response {
    told::tell_not_to_keep(response.headers_mut());
    response
}

/// The entry that a path names.
fn entry(text: &str) -> Result<EntryIndex, ApiError> {
    let number = parse_number(text).map_err(|error| {
        ApiError::because(ErrorCode::InvalidParameter, format!("checkpoint: {error}"))
    })?;
    Ok(EntryIndex::new(number))
}
