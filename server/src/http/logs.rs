//! Whole logs: ensure, settings, describe, list, delete, trim, seal, fence, cursors.
//!
//! A change goes to the leader and answers with the log as it is afterwards. What deletes can be asked
//! for its effect first, with `dry_run=true`. A look is answered by any replica.
//!
//! Not here: records (`records`), and what a change means (`node`).

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use client::api::error::{Actual, ErrorCode};
use client::api::header;
use client::api::logs::{
    CursorBody, EffectQuery, FenceBody, ListQuery, LogDescription, Settings, SettingsPatch,
    TrimRequest,
};
use client::api::paths;
use client::api::reading::Consistency;
use client::api::resume::ResumeToken;
use client::types::{LogName, LogSettings};
use http::header::LINK;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::extract::InPath;
use super::problem::ApiError;
use super::{Api, extract, told};
use crate::node::{Ensured, ListRequest, LogTarget};

/// A request to change something: its head, and its small body.
struct Change<'a> {
    api: &'a Api,
    parts: Parts,
    body: Bytes,
    log: LogTarget,
    /// Given back when the change is done.
    _room: super::body::TakenIn,
}

impl<'a> Change<'a> {
    /// Takes the request in, with a body no longer than settings can be.
    async fn take(api: &'a Api, log: &str, request: Request<Body>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let taken =
            api.bodies.take_in(&parts.headers, body, api.options.small_body_bytes_max).await?;
        let log = target(log, &parts)?;
        Ok(Self { api, parts, body: taken.bytes.clone(), log, _room: taken })
    }

    /// Has it served by the leader.
    async fn at_leader<F>(&self, here: impl Fn() -> F) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Response, ApiError>>,
    {
        self.api.at_leader(&self.parts, &self.body, here).await
    }
}

/// The log of a change; the router has decoded its name.
fn target(log: &str, parts: &Parts) -> Result<LogTarget, ApiError> {
    let name = log_name(log)?;
    let id = extract::log_id(&parts.headers)?;
    Ok(LogTarget { name, id })
}

fn log_name(log: &str) -> Result<LogName, ApiError> {
    LogName::new(log)
        .map_err(|error| ApiError::because(ErrorCode::InvalidLogName, error.to_string()))
}

/// PUT: makes sure that there is such a log, with exactly these settings.
pub(super) async fn ensure(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    extract::no_query(request.uri())?;
    let change = Change::take(&api, &log, request).await?;
    let settings: Settings = extract::json_or_default(&change.parts.headers, &change.body)?;
    check(&settings)?;
    change
        .at_leader(|| async {
            let name = change.log.name.clone();
            let Ensured { log, is_new } =
                api.node.ensure_log(name, settings.clone().into()).await?;
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
    let change = Change::take(&api, &log, request).await?;
    let patch: SettingsPatch = extract::json(&change.parts.headers, &change.body)?;
    check(&Settings::from(&patch.clone().apply(&LogSettings::default())))?;
    change
        .at_leader(|| async {
            let log = api.node.change_settings(change.log.clone(), patch.clone()).await?;
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
    let extract::LookQuery { consistency } = extract::query(request.uri())?;
    let found = api.node.describe_log(&log_name(&log)?, consistency).await?;
    let mut response = described(&api, StatusCode::OK, &found.answer);
    told::tell_as_of(response.headers_mut(), &found.as_of, consistency);
    Ok(response)
}

/// GET on all logs.
pub(super) async fn list(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let ListQuery { prefix, after, limit } = extract::query(request.uri())?;
    let prefix = prefix.unwrap_or_default();
    let consistency = Consistency::Linearizable;
    let asked = ListRequest { prefix: prefix.clone(), after, limit, consistency };
    let found = api.node.list_logs(asked).await?;
    let mut response = told::json(StatusCode::OK, &found.answer);
    told::tell_as_of(response.headers_mut(), &found.as_of, consistency);
    if let Some(next) = &found.answer.next {
        tell_next(&mut response, paths::LOGS, &[("prefix", &prefix), ("after", next.as_str())]);
    }
    Ok(response)
}

/// DELETE: drops a log with all its records.
pub(super) async fn delete(
    State(api): State<Api>,
    InPath(log): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let EffectQuery { dry_run } = extract::query(request.uri())?;
    let change = Change::take(&api, &log, request).await?;
    change
        .at_leader(|| async {
            let dropped = if dry_run {
                api.node.preview_delete(&change.log).await?
            } else {
                api.node.delete_log(change.log.clone()).await?
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
    let change = Change::take(&api, &log, request).await?;
    let TrimRequest { to } = extract::json(&change.parts.headers, &change.body)?;
    change
        .at_leader(|| async {
            let dropped = if dry_run {
                api.node.preview_trim(&change.log, to).await?
            } else {
                api.node.trim(change.log.clone(), to).await?
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
    let change = Change::take(&api, &log, request).await?;
    if !change.body.is_empty() {
        let serde_json::Map { .. } = extract::json(&change.parts.headers, &change.body)?;
    }
    change
        .at_leader(|| async {
            Ok(told::json(StatusCode::OK, &api.node.seal(change.log.clone()).await?))
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
    let change = Change::take(&api, &log, request).await?;
    let wish: FenceBody = extract::json(&change.parts.headers, &change.body)?;
    change
        .at_leader(|| async {
            api.node.set_fence(change.log.clone(), wish.fence.clone()).await?;
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
    let log = log_name(&log)?;
    let ListQuery { prefix, after, limit } = extract::query(request.uri())?;
    if prefix.is_some() {
        return Err(ApiError::parameter("prefix", "cursors are listed without one"));
    }
    let after = after.as_deref().map(extract::cursor_name).transpose()?;
    let consistency = Consistency::Linearizable;
    let found = api.node.list_cursors(&log, after.as_ref(), limit, consistency).await?;
    let mut response = told::json(StatusCode::OK, &found.answer);
    told::tell_as_of(response.headers_mut(), &found.as_of, consistency);
    if let Some(next) = &found.answer.next {
        tell_next(&mut response, &paths::cursors(&log), &[("after", next.as_str())]);
    }
    Ok(response)
}

/// GET on one cursor.
pub(super) async fn cursor(
    State(api): State<Api>,
    InPath((log, name)): InPath<(String, String)>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (log, name) = (log_name(&log)?, extract::cursor_name(&name)?);
    let extract::LookQuery { consistency } = extract::query(request.uri())?;
    let found = api.node.cursor(&log, &name, consistency).await?;
    let cursor = found.answer.ok_or_else(|| ApiError::new(ErrorCode::UnknownCursor))?;
    let mut response = told::json(StatusCode::OK, &cursor);
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
    let change = Change::take(&api, &log, request).await?;
    let name = extract::cursor_name(&name)?;
    let CursorBody { position } = extract::json(&change.parts.headers, &change.body)?;
    change
        .at_leader(|| async {
            let set = api.node.set_cursor(change.log.clone(), name.clone(), position);
            Ok(told::json(StatusCode::OK, &set.await?))
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
    let change = Change::take(&api, &log, request).await?;
    let name = extract::cursor_name(&name)?;
    change
        .at_leader(|| async {
            let was_known = api.node.delete_cursor(change.log.clone(), name.clone()).await?;
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
    told::tell_tag(headers, &ResumeToken { generation, log_id: log.log_id, next: log.tail });
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
    Ok(())
}

/// Tells where the next page is.
fn tell_next(response: &mut Response, path: &str, query: &[(&str, &str)]) {
    let mut link = format!("<{path}");
    let mut between = '?';
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        link.push(between);
        between = '&';
        link.push_str(name);
        link.push('=');
        link.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    link.push_str(">; rel=\"next\"");
    if let Ok(value) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(LINK, value);
    }
}
