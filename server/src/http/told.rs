//! What an answer tells in its headers.
//!
//! Positions, freshness and places to go on from stand in headers, because a body in NDJSON or frames
//! has no room for them; JSON answers carry the same, so that a caller need not care.
//!
//! Not here: what every answer carries, whoever made it (the front).

use std::hash::{DefaultHasher, Hasher};

use axum::body::Body;
use axum::response::Response;
use client::api::header;
use client::api::logs::LogDescription;
use client::api::media;
use client::api::reading::Consistency;
use client::api::resume::ResumeToken;
use client::types::{LogId, Position};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::extract;
use super::problem::ApiError;
use crate::node::AsOf;

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("bodies of the contract are plain JSON");
    json_bytes(status, body)
}

/// An answer in JSON that is written already.
pub(super) fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media::JSON));
    response
}

/// An answer of server-sent events.
pub(super) fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media::EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // Between here and the caller nothing may wait for more to come.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An answer without a body.
pub(super) fn nothing() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Tells how fresh an answer is.
pub(super) fn tell_as_of(headers: &mut HeaderMap, as_of: &AsOf, consistency: Consistency) {
    headers.insert(header::EPOCH, as_of.epoch.get().into());
    headers.insert(header::SERVED_BY, as_of.served_by.get().into());
    let is_local = consistency == Consistency::Local;
    let millis = |age: std::time::Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let told = header::AsOf {
        entry: as_of.applied.unwrap_or_default(),
        age_ms: as_of.age.filter(|_| is_local).map(millis),
        lag: as_of.lag_entries.filter(|_| is_local),
    };
    tell_text(headers, header::AS_OF, &told.to_string());
}

/// Tells a position.
pub(super) fn tell_position(headers: &mut HeaderMap, name: &'static str, position: Position) {
    headers.insert(name, position.get().into());
}

/// Tells that nothing comes behind the tail, if that is so.
pub(super) fn tell_sealed(headers: &mut HeaderMap, is_sealed: bool) {
    if is_sealed {
        headers.insert(header::SEALED, HeaderValue::from_static("true"));
    }
}

/// Tells which log it was.
pub(super) fn tell_log(headers: &mut HeaderMap, log: LogId) {
    headers.insert(header::LOG_ID, log.get().into());
}

/// Tells the tag of a log as it was described: its tail, which an append can be bound to, and whatever
/// else was said of it.
pub(super) fn tell_tag_of_log(headers: &mut HeaderMap, tail: &ResumeToken, said: &LogDescription) {
    let said = serde_json::to_vec(said).expect("bodies of the contract are plain JSON");
    let mut hasher = DefaultHasher::new();
    hasher.write(&said);
    tell_text(headers, ETAG.as_str(), &format!("\"{tail}.{:016x}\"", hasher.finish()));
}

/// Tells the tag of a read: weak, because all its forms have the same.
pub(super) fn tell_tag_of_read(headers: &mut HeaderMap, from: Position, next: &ResumeToken) {
    tell_text(headers, ETAG.as_str(), &format!("W/\"{next}.{from}\""));
}

/// Tells the tag of one record, which is the same for ever.
pub(super) fn tell_tag_of_record(headers: &mut HeaderMap, record: &ResumeToken) {
    tell_text(headers, ETAG.as_str(), &format!("\"record.{record}\""));
}

/// Tells the tag of a cursor: where it is.
pub(super) fn tell_tag_of_cursor(headers: &mut HeaderMap, position: Position) {
    tell_text(headers, ETAG.as_str(), &format!("\"{position}\""));
}

/// The answer; without its body if the caller has it already, because it named its tag.
pub(super) fn unless_known(asked: &HeaderMap, response: Response) -> Result<Response, ApiError> {
    let Some(known) = extract::text(asked, header::IF_NONE_MATCH)? else { return Ok(response) };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(opaque);
    let is_known = known == "*" || known.split(',').any(|known| Some(opaque(known)) == tag);
    if !is_known {
        return Ok(response);
    }
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    for name in [CONTENT_TYPE, CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    Ok(Response::from_parts(parts, Body::empty()))
}

/// Tells how many names or records an answer holds at most.
pub(super) fn tell_limit(headers: &mut HeaderMap, limit: usize) {
    headers.insert(header::LIMIT, limit.into());
}

/// Tells a text, if it can stand in a header at all.
pub(super) fn tell_text(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Says that the answer is of this moment and is not to be kept.
pub(super) fn tell_not_to_keep(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
