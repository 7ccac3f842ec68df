//! Records: append, read, and one by its position.
//!
//! An append is the busiest route: its body is taken in within its limit, made a batch once, and its
//! answer is written by hand. A read takes the form that is asked for; asked for events it is a follow.
//! One record is given byte for byte, as a file to be kept and never as a page to be shown.
//!
//! Not here: following (`follow`), forms (`media`), and who serves an append (`leader`).

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use client::api::conditions::Conditions;
use client::api::error::ErrorCode;
use client::api::reading::{Consistency, LookQuery, ReadQuery};
use client::api::resume::ResumeToken;
use client::api::{header, headers_to_ascii, media};
use client::types::{Batch, LogName};
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};

use super::body::announced_length;
use super::extract::InPath;
use super::media::intake::BodyKind;
use super::media::json::{push_number, push_time};
use super::media::{Form, answer};
use super::problem::ApiError;
use super::{Api, extract, follow, told};
use crate::node::{AppendRequest, Appended, LogTarget, ReadRequest, RecordAnswer, Start};

/// Longest body of JSON that is read on the spot, in bytes.
pub(super) const TEXT_AT_ONCE_MAX: usize = 256 << 10;
/// What a record may do in a browser: nothing.
pub(super) const RECORD_POLICY: &str = "default-src 'none'; sandbox";

/// POST on records: appends.
pub(super) async fn append_route(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    // As it stands in the path: decoded once, and not by two rules.
    let part = super::log_of_records(parts.uri.path()).unwrap_or("");
    append(&api, part, &parts, body).await
}

/// Appends to the log whose name stands in the path like this.
pub(super) async fn append(
    api: &Api,
    log: &str,
    parts: &Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let log = extract::log_name(log)?;
    extract::no_query(&parts.uri)?;
    let conditions = extract::conditions(&parts.headers)?;
    let kind = BodyKind::of(&parts.headers)?;
    let (limit, code) = kind.limit(api.node.batch_limits());
    if let Err(refused) = api.node.expect_append(announced_length(&parts.headers)?.unwrap_or(0)) {
        Box::pin(api.bodies.pass_over(&parts.headers, body)).await;
        return Err(refused.into());
    }
    let taken = api.bodies.take_in(&parts.headers, body, limit).await;
    let taken = taken.map_err(|error| error.instead_of(ErrorCode::BodyTooLarge, code))?;
    let append = Append { api, parts, kind, log, conditions };
    api.at_leader(parts, &taken.bytes, || append.here(&taken.bytes)).await
}

/// An append whose head has been understood.
struct Append<'a> {
    api: &'a Api,
    parts: &'a Parts,
    kind: BodyKind,
    log: LogName,
    conditions: Conditions,
}

impl Append<'_> {
    /// The batch in the body. Much text is read beside the tasks: it would keep one of them busy.
    async fn batch(&self, body: &Bytes) -> Result<Batch, ApiError> {
        let (kind, limits) = (self.kind, *self.api.node.batch_limits());
        if !kind.is_text() || body.len() <= TEXT_AT_ONCE_MAX {
            return kind.batch(&self.parts.headers, body.clone(), &limits);
        }
        let (headers, body) = (self.parts.headers.clone(), body.clone());
        let reading = move || kind.batch(&headers, body, &limits);
        let read = Box::pin(self.api.world.tasks.blocking(reading)).await;
        read.map_err(|_failed| ApiError::new(ErrorCode::Internal))?
    }

    async fn here(&self, body: &Bytes) -> Result<Response, ApiError> {
        let batch = self.batch(body).await?;
        let request = AppendRequest::of(self.log.clone(), self.conditions.clone(), batch);
        let appended = self.api.node.append(request).await?;
        Ok(appended_answer(&self.log, &appended))
    }
}

/// The answer to an append, written by hand: `client::api::records::Appended`.
fn appended_answer(log: &LogName, appended: &Appended) -> Response {
    let mut out = Vec::with_capacity(log.as_str().len() + 192);
    // A log name holds nothing that JSON would escape.
    out.extend_from_slice(b"{\"log\":\"");
    out.extend_from_slice(log.as_str().as_bytes());
    out.extend_from_slice(b"\",\"log_id\":");
    push_number(&mut out, appended.log.get());
    out.extend_from_slice(b",\"first\":");
    push_number(&mut out, appended.first.get());
    out.extend_from_slice(b",\"next\":");
    push_number(&mut out, appended.next.get());
    out.extend_from_slice(b",\"tail\":");
    push_number(&mut out, appended.tail.get());
    out.extend_from_slice(b",\"time\":");
    push_time(&mut out, appended.time);
    out.push(b'}');
    let mut response = told::json_bytes(StatusCode::OK, out);
    if appended.replayed {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(header::IDEMPOTENCY_REPLAYED, replayed);
    }
    response
}

/// GET on records: a read, a long poll, or a follow.
pub(super) async fn read_route(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let log = extract::log_name(super::log_of_records(parts.uri.path()).unwrap_or(""))?;
    let asked: ReadQuery = extract::query(&parts.uri)?;
    let form = Form::accepted(&parts.headers)?;
    if form == Form::Events {
        let log = extract::target(log, &parts.headers, extract::OF_A_CHANGE)?;
        return follow::start(&api, log, asked, extract::last_event(&parts.headers)?).await;
    }
    let log = extract::target(log, &parts.headers, extract::OF_A_LOOK)?;
    told::unless_known(&parts.headers, read(&api, log, asked, form).await?)
}

async fn read(
    api: &Api,
    log: LogTarget,
    asked: ReadQuery,
    form: Form,
) -> Result<Response, ApiError> {
    let name = log.name.clone();
    let limit = u64::from(api.node.options().read_records_max);
    let limit = asked.limit.map_or(limit, |asked| asked.min(limit));
    let request = ReadRequest {
        log,
        start: Start::From(asked.from),
        records_max: asked.limit,
        bytes_max: asked.max_bytes,
        consistency: asked.consistency,
        wait: asked.wait.filter(|wait| *wait > Duration::ZERO),
    };
    let found = api.node.read(request).await?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    told::tell_as_of(headers, &found.as_of, asked.consistency);
    told::tell_log(headers, found.log);
    told::tell_position(headers, header::FIRST, found.first);
    told::tell_position(headers, header::NEXT, found.next);
    told::tell_position(headers, header::TAIL, found.tail);
    told::tell_sealed(headers, found.is_sealed);
    let from = found.records.first().map_or(found.next, |record| record.position);
    told::tell_tag_of_read(headers, from, &found.token);
    headers.insert(header::LIMIT, limit.into());
    told::tell_not_to_keep(headers);
    *response.body_mut() = answer::body(form, &name, found);
    Ok(response)
}

/// GET on one record.
pub(super) async fn record_route(
    State(api): State<Api>,
    InPath((log, position)): InPath<(String, String)>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (log, headers) = (extract::decoded_log_name(&log)?, request.headers());
    let target = extract::target(log.clone(), headers, extract::OF_A_LOOK)?;
    let position = extract::position(&position)?;
    let LookQuery { consistency } = extract::query(request.uri())?;
    let found = api.node.read_one(target, position, consistency).await?;
    told::unless_known(headers, record_answer(&api, &log, found, consistency))
}

fn record_answer(
    api: &Api,
    log: &LogName,
    found: RecordAnswer,
    consistency: Consistency,
) -> Response {
    let RecordAnswer { log: log_id, content_type, record, as_of } = found;
    let mut response = Response::new(Body::from(record.body));
    let headers = response.headers_mut();
    let content_type = content_type.and_then(|text| HeaderValue::try_from(text).ok());
    let content_type = content_type.unwrap_or(HeaderValue::from_static(media::BYTES));
    headers.insert(CONTENT_TYPE, content_type);
    // Whatever is in a record, a browser keeps it as a file and runs nothing of it.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(RECORD_POLICY));
    let name = log.as_str().replace(['/', ':'], "_");
    let disposition = format!("attachment; filename=\"{name}-{}\"", record.position);
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    told::tell_as_of(headers, &as_of, consistency);
    told::tell_log(headers, log_id);
    told::tell_position(headers, header::POSITION, record.position);
    told::tell_text(headers, header::TIME, &record.time.to_string());
    if !record.headers.is_empty() {
        told::tell_text(headers, header::RECORD_HEADERS, &headers_to_ascii(&record.headers));
    }
    let generation = api.node.generation();
    let place = ResumeToken { generation, log_id, next: record.position };
    told::tell_tag_of_record(headers, &place);
    response
}

#[cfg(test)]
mod tests {
    use client::api::records::Appended as Contract;
    use client::types::{LogId, Position, Timestamp};
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_answer_to_an_append_is_the_contracts() {
        let log = LogName::new("shop/orders:1").unwrap();
        let appended = Appended {
            log: LogId::new(3),
            first: Position::new(u64::MAX - 2),
            next: Position::new(u64::MAX - 1),
            tail: Position::new(u64::MAX),
            time: Timestamp::new(1_764_000_000_123),
            replayed: true,
            sealed: false,
            last_sequence: None,
        };
        let response = appended_answer(&log, &appended);
        assert_eq!(response.headers()[header::IDEMPOTENCY_REPLAYED], "true");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let contract = Contract {
            log,
            log_id: appended.log,
            first: appended.first,
            next: appended.next,
            tail: appended.tail,
            time: appended.time,
            replayed: true,
        };
        assert_eq!(body, serde_json::to_vec(&contract).unwrap());
    }
}
