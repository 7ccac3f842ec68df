//! Whole logs: ensure, settings, describe, list, delete, trim, seal, fence, cursors.
//!
//! A change goes to the leader and answers with the log as it is afterwards. What deletes can be asked
//! for its effect first, with `dry_run=true`. A look is answered by any replica.
//!
//! Not here: records (`records`), and what a change means (`node`).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::error::{Actual, ErrorCode};
use client::api::header;
use client::api::logs::{
    CursorBody, CursorsQuery, EffectQuery, FenceBody, ListQuery, LogDescription, NoBody, Settings,
    SettingsPatch, TrimRequest,
};
use client::api::paths;
use client::api::reading::LookQuery;
use client::api::resume::ResumeToken;
use client::types::{CursorName, LogName, LogSettings};
use http::header::LINK;
use http::{HeaderValue, Request, StatusCode};
use serde::Serialize;

use super::change::Change;
use super::extract::InPath;
use super::problem::ApiError;
use super::{Api, extract, told};
use crate::node::{Ensured, ListRequest, Seen};

/// PUT: makes sure that there is such a log, with exactly these settings.
pub(super) async fn ensure(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (change, log) = Change::of_log(&api, &log, request).await?;
    let settings: Settings = change.json_or_default()?;
    check(&settings)?;
    change
        .at_leader(|| async {
            let settings = LogSettings::from(settings.clone());
            if log.id.is_some() {
                let found = api.node.confirm_log(&log, &settings).await?;
                return Ok(described(&api, StatusCode::OK, &found));
            }
            let Ensured { log, is_new } =
                change.node().ensure_log(log.name.clone(), settings).await?;
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            Ok(described(&api, status, &log))
        })
        .await
}

/// PATCH: changes some settings.
pub(super) async fn change_settings(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (change, log) = Change::of_log(&api, &log, request).await?;
    let patch: SettingsPatch = change.json()?;
    check(&Settings::from(&patch.clone().apply(&LogSettings::default())))?;
    change
        .at_leader(|| async {
            let log = change.node().change_settings(log.clone(), patch.clone()).await?;
            Ok(described(&api, StatusCode::OK, &log))
        })
        .await
}

/// GET: a log as it is.
pub(super) async fn describe(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let LookQuery { consistency } = extract::query(request.uri())?;
    let log = extract::decoded_log_name(&log)?;
    let log = extract::target(log, request.headers(), extract::OF_A_LOOK)?;
    let found = api.node.describe_log(&log, consistency).await?;
    let mut response = described(&api, StatusCode::OK, &found.answer);
    told::tell_as_of(response.headers_mut(), &found.as_of, consistency);
    told::unless_known(request.headers(), response)
}

/// GET on all logs.
pub(super) async fn list(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_conditions_but(&[], request.headers())?;
    let query: ListQuery = extract::query(request.uri())?;
    let ListQuery { prefix, after, limit, consistency } = query.clone();
    let asked = ListRequest { prefix: prefix.unwrap_or_default(), after, limit, consistency };
    let found = api.node.list_logs(asked).await?;
    let next = found.answer.next.as_ref().map(LogName::as_str);
    Ok(listed(&api, &found, query, paths::LOGS, next))
}

/// DELETE: drops a log with all its records.
pub(super) async fn delete(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let EffectQuery { dry_run } = extract::query(request.uri())?;
    let (change, log) = Change::of_log(&api, &log, request).await?;
    change
        .at_leader(|| async {
            let dropped = if dry_run {
                api.node.preview_delete(&log).await?
            } else {
                change.node().delete_log(log.clone()).await?
            };
            Ok(told::json(StatusCode::OK, &dropped))
        })
        .await
}

/// POST on trim: drops the oldest records.
pub(super) async fn trim(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let EffectQuery { dry_run } = extract::query(request.uri())?;
    let (change, log) = Change::of_log(&api, &log, request).await?;
    let TrimRequest { to } = change.json()?;
    change
        .at_leader(|| async {
            let dropped = if dry_run {
                api.node.preview_trim(&log, to).await?
            } else {
                change.node().trim(log.clone(), to).await?
            };
            Ok(told::json(StatusCode::OK, &dropped))
        })
        .await
}

/// POST on seal: ends a log.
pub(super) async fn seal(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (change, log) = Change::of_log(&api, &log, request).await?;
    let NoBody {} = change.json_or_default()?;
    change
        .at_leader(|| async {
            Ok(told::json(StatusCode::OK, &change.node().seal(log.clone()).await?))
        })
        .await
}

/// PUT on the fence: sets it, or takes it away.
pub(super) async fn set_fence(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (change, log) = Change::of_log(&api, &log, request).await?;
    let wish: FenceBody = change.json()?;
    change
        .at_leader(|| async {
            api.node.set_fence(log.clone(), wish.fence.clone()).await?;
            Ok(told::json(StatusCode::OK, &wish))
        })
        .await
}

/// GET on all cursors of a log.
pub(super) async fn list_cursors(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let name = extract::decoded_log_name(&log)?;
    let log = extract::target(name, request.headers(), extract::OF_A_CHANGE)?;
    let CursorsQuery { after, limit, consistency } = extract::query(request.uri())?;
    let found = api.node.list_cursors(&log, after.as_ref(), limit, consistency).await?;
    let query = ListQuery { limit, consistency, ..ListQuery::default() };
    let next = found.answer.next.as_ref().map(CursorName::as_str);
    Ok(listed(&api, &found, query, &paths::cursors(&log.name), next))
}

/// GET on one cursor.
pub(super) async fn cursor(
    State(api): State<Api>,
    InPath((log, name)): InPath<(String, String)>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let log = extract::decoded_log_name(&log)?;
    let log = extract::target(log, request.headers(), extract::OF_A_CHANGE)?;
    let name = extract::cursor_name(&name)?;
    let LookQuery { consistency } = extract::query(request.uri())?;
    let found = api.node.cursor(&log, &name, consistency).await?;
    let cursor = found.answer.ok_or_else(|| ApiError::new(ErrorCode::UnknownCursor))?;
    let mut response = told::json(StatusCode::OK, &cursor);
    told::tell_tag_of_cursor(response.headers_mut(), cursor.position);
    told::tell_as_of(response.headers_mut(), &found.as_of, consistency);
    Ok(response)
}

/// PUT on one cursor.
pub(super) async fn set_cursor(
    State(api): State<Api>,
    InPath((log, name)): InPath<(String, String)>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let expected = extract::expected_cursor(request.headers())?;
    let (change, log) = Change::of_cursor(&api, &log, request).await?;
    let name = extract::cursor_name(&name)?;
    let CursorBody { position } = change.json()?;
    change
        .at_leader(|| async {
            let set = api.node.set_cursor(log.clone(), name.clone(), expected, position);
            let mut response = told::json(StatusCode::OK, &set.await?);
            told::tell_tag_of_cursor(response.headers_mut(), position);
            Ok(response)
        })
        .await
}

/// DELETE on one cursor.
pub(super) async fn delete_cursor(
    State(api): State<Api>,
    InPath((log, name)): InPath<(String, String)>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let (change, log) = Change::of_log(&api, &log, request).await?;
    let name = extract::cursor_name(&name)?;
    change
        .at_leader(|| async {
            let was_known = api.node.delete_cursor(log.clone(), name.clone()).await?;
            was_known.then(told::nothing).ok_or_else(|| ApiError::new(ErrorCode::UnknownCursor))
        })
        .await
}

/// A log, with its tail as a tag that an append can be bound to.
fn described(api: &Api, status: StatusCode, log: &LogDescription) -> Response {
    let mut response = told::json(status, log);
    let headers = response.headers_mut();
    told::tell_log(headers, log.log_id);
    told::tell_position(headers, header::FIRST, log.first);
    told::tell_position(headers, header::TAIL, log.tail);
    told::tell_sealed(headers, log.sealed);
    let generation = api.node.generation();
    let tail = ResumeToken { generation, log_id: log.log_id, next: log.tail };
    told::tell_tag_of_log(headers, &tail, log);
    told::tell_not_to_keep(headers);
    response
}

/// Refuses settings that no log can have.
fn check(settings: &Settings) -> Result<(), ApiError> {
    if let Some(text) = &settings.content_type {
        let is_header = HeaderValue::from_str(text).is_ok() && text.len() <= 255;
        if !is_header || !text.contains('/') {
            return Err(ApiError::because(ErrorCode::InvalidBody, "content_type is no media type"));
        }
    }
    if settings.record_bytes_max == Some(0) {
        let actual = Actual { limit: Some(0), ..Actual::default() };
        return Err(
            ApiError::because(ErrorCode::InvalidBody, "record_bytes_max is zero").actual(actual)
        );
    }
    if settings.ttl_ms == Some(0) {
        return Err(ApiError::because(ErrorCode::InvalidBody, "ttl_ms is zero"));
    }
    Ok(())
}

/// A page of a list, with the most names that it may hold, and where the next page is.
fn listed<T: Serialize>(
    api: &Api,
    found: &Seen<T>,
    query: ListQuery,
    path: &str,
    next: Option<&str>,
) -> Response {
    let mut response = told::json(StatusCode::OK, &found.answer);
    let headers = response.headers_mut();
    told::tell_as_of(headers, &found.as_of, query.consistency);
    let limit = api.node.list_limit(query.limit);
    told::tell_limit(headers, limit);
    if let Some(next) = next {
        let (after, limit) = (Some(next.to_owned()), u32::try_from(limit).ok());
        let next = ListQuery { after, limit, ..query }.to_query();
        told::tell_text(headers, LINK.as_str(), &format!("<{path}?{next}>; rel=\"next\""));
    }
    response
}
