//! Reading a stream: what there is from an offset on, at once or as soon as there is something.
//!
//! Every read is linearizable, so whoever has appended through one replica reads it through any other. A part that
//! ends before the end of the stream never changes and may be kept; one at the end has to be asked for again, and
//! its tag tells whether anything came, or the stream was closed.
//!
//! Not here: events (`live`).

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use client::api::error::ErrorCode;
use client::api::media;
use client::api::reading::{Consistency, ReadFrom};
use client::types::LogName;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    IF_NONE_MATCH,
};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode, Uri};

use super::asked::{self, Asked, Live};
use super::messages::{self, Form};
use super::offset::{Offset, Place};
use super::{create, cursor, header, live};
use crate::http::extract::InPath;
use crate::http::problem::ApiError;
use crate::http::records::RECORD_POLICY;
use crate::http::{Api, told};
use crate::node::error::{ChangeLogError, ReadError};
use crate::node::{LogTarget, ReadAnswer, ReadRequest, Start};

/// How long a long poll waits, if the configuration allows as much.
const POLL_MAX: Duration = Duration::from_secs(20);
/// Of a part that never changes: whoever asked may keep it, and show it while it asks again.
const KEPT: &str = "private, max-age=60, stale-while-revalidate=300";
/// Of a part to which something may be added.
const ASKED_AGAIN: &str = "private, no-cache";

/// GET: catches up, waits, or follows.
pub(super) async fn read(
    State(api): State<Api>,
    InPath(name): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let name = asked::stream_name(&name)?;
    let asked = Asked::of(request.uri())?;
    let (parts, _) = request.into_parts();
    used(&api, &name, &parts).await?;
    match asked.live {
        Live::Events => live::start(&api, name, asked).await,
        Live::Poll => poll(&api, name, asked).await,
        Live::No if asked.offset == Offset::Now => now(&api, name).await,
        Live::No => {
            let found = page(&api, name, asked, None).await?;
            told::unless_known(&parts.headers, caught_up(asked, found))
        }
    }
}

/// Begins the time to live of a stream again, if it has one of which enough has passed. Only the leader can do that:
/// it gets the shortest read that there is.
async fn used(api: &Api, name: &LogName, parts: &Parts) -> Result<(), ApiError> {
    let log = LogTarget::from(name.clone());
    if api.node.renew_log(&log).await.is_ok() {
        return Ok(());
    }
    let mut shortest = parts.clone();
    shortest.uri = Uri::try_from(format!("{}?offset=now", parts.uri.path()))
        .map_err(|_| ApiError::new(ErrorCode::Internal))?;
    shortest.headers.remove(IF_NONE_MATCH);
    // Nobody is to be sent elsewhere for it.
    shortest.headers.remove(client::api::header::PREFER);
    let here = || async {
        match api.node.renew_log(&log).await {
            // Whether it is there is told by the read.
            Ok(()) | Err(ChangeLogError::Refused(_)) => Ok(told::nothing()),
            Err(error) => Err(error.into()),
        }
    };
    super::at_leader_once(api, &shortest, &Bytes::new(), here).await.map(drop)
}

/// HEAD: what the stream is like. Looking is not using it.
pub(super) async fn metadata(
    State(api): State<Api>,
    InPath(name): InPath<String>,
) -> Result<Response, ApiError> {
    let log = LogTarget::from(asked::stream_name(&name)?);
    let found = api.node.describe_log(&log, Consistency::Linearizable).await?;
    let mut response = create::described(&api.node, StatusCode::OK, &found.answer);
    told::tell_as_of(response.headers_mut(), &found.as_of, Consistency::Linearizable);
    Ok(response)
}

/// The end of the stream, and nothing that lies before it.
async fn now(api: &Api, name: LogName) -> Result<Response, ApiError> {
    let log = LogTarget::from(name);
    let found = api.node.describe_log(&log, Consistency::Linearizable).await?;
    let mut response = create::described(&api.node, StatusCode::OK, &found.answer);
    told::tell_as_of(response.headers_mut(), &found.as_of, Consistency::Linearizable);
    header::tell_if(response.headers_mut(), header::UP_TO_DATE, true);
    guard(response.headers_mut());
    let form = Form::of(found.answer.settings.content_type.as_deref());
    *response.body_mut() = messages::body(form, Vec::new());
    Ok(response)
}

async fn poll(api: &Api, name: LogName, asked: Asked) -> Result<Response, ApiError> {
    let found = page(api, name, asked, Some(POLL_MAX)).await?;
    let is_closed = found.is_sealed && found.next == found.tail;
    let has_news = !found.records.is_empty();
    let mut response = caught_up(asked, found);
    let headers = response.headers_mut();
    if !is_closed {
        headers.insert(header::CURSOR, cursor::cursor(&api.world, asked.cursor).into());
    }
    if !has_news {
        told::tell_not_to_keep(headers);
        for name in [CONTENT_TYPE, CONTENT_DISPOSITION, ETAG] {
            headers.remove(name);
        }
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

async fn page(
    api: &Api,
    name: LogName,
    asked: Asked,
    wait: Option<Duration>,
) -> Result<ReadAnswer, ApiError> {
    let request = ReadRequest {
        log: name.into(),
        start: start(asked.offset),
        records_max: None,
        bytes_max: None,
        consistency: Consistency::Linearizable,
        wait,
    };
    api.node.read(request).await.map_err(refused)
}

/// Where a read of the node begins.
pub(super) fn start(offset: Offset) -> Start {
    match offset {
        Offset::First => Start::From(ReadFrom::First),
        Offset::Now => Start::From(ReadFrom::Tail),
        Offset::At(token) => Start::Resume(token),
    }
}

/// Why there is nothing to read, in the protocol's statuses.
pub(super) fn refused(error: ReadError) -> ApiError {
    if let ReadError::OtherHistory | ReadError::IdDiffers { .. } = error {
        return ApiError::new(ErrorCode::StreamReplaced);
    }
    if let ReadError::BeyondTail { .. } = error {
        return ApiError::parameter("offset", "beyond the end");
    }
    error.into()
}

fn caught_up(asked: Asked, found: ReadAnswer) -> Response {
    let place = Place::from(&found.token);
    let is_up_to_date = found.next == found.tail;
    let is_closed = is_up_to_date && found.is_sealed;
    let from = found.records.first().map_or(found.next, |record| record.position);
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let content_type = found.settings.content_type.as_deref();
    told::tell_text(headers, CONTENT_TYPE.as_str(), content_type.unwrap_or(media::BYTES));
    guard(headers);
    told::tell_as_of(headers, &found.as_of, Consistency::Linearizable);
    header::tell_next(headers, place, found.next);
    header::tell_if(headers, header::UP_TO_DATE, is_up_to_date);
    header::tell_if(headers, header::CLOSED, is_closed);
    let mark = if is_closed { ".closed" } else { "" };
    let tag = format!("\"{}.{}{mark}\"", place.offset(from), found.next);
    told::tell_text(headers, ETAG.as_str(), &tag);
    // Where the beginning is moves when a log is trimmed.
    let is_fixed = !is_up_to_date && matches!(asked.offset, Offset::At(_));
    let keep = HeaderValue::from_static(if is_fixed { KEPT } else { ASKED_AGAIN });
    headers.insert(CACHE_CONTROL, keep);
    *response.body_mut() = messages::body(Form::of(content_type), found.records);
    response
}

/// Whatever is in a stream, a browser keeps it as a file and runs nothing of it.
pub(super) fn guard(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(RECORD_POLICY));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
}
