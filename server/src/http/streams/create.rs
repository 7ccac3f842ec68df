//! Creating a stream: a log with its first messages, open or closed at once.
//!
//! One that is there already is left as it is. It has to be what was asked for in the protocol's eyes: of this
//! content type, with this lifetime, closed or not; whatever else is set on a log is not the protocol's.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use client::api::error::ErrorCode;
use client::api::logs::{LogDescription, Settings};
use client::api::media;
use client::api::reading::{Consistency, ReadFrom};
use client::types::{Batch, LogName, LogSettings, Position};
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};

use super::asked::{self, Lifetime};
use super::messages::{self, Form};
use super::offset::Place;
use super::{append, header};
use crate::http::extract::{self, InPath};
use crate::http::leader::is_carried;
use crate::http::problem::ApiError;
use crate::http::{Api, author, told};
use crate::node::error::{ChangeLogError, ReadError, Rejection};
use crate::node::{Ensured, LogTarget, Node, ReadRequest, Route, Start};

/// PUT: makes sure that there is such a stream.
pub(super) async fn create(
    State(api): State<Api>,
    InPath(name): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let name = asked::stream_name(&name)?;
    extract::no_conditions_but(&[], &parts.headers)?;
    if parts.headers.contains_key(header::FORKED_FROM) {
        return Err(ApiError::parameter(header::FORKED_FROM, "streams are not forked here"));
    }
    let wish = Wish {
        content_type: asked::content_type(&parts.headers)?.map(str::to_owned),
        lifetime: Lifetime::of(&parts.headers)?,
        is_closed: asked::closes(&parts.headers),
        name,
    };
    let taken = append::take_in(&api, &parts.headers, wish.content_type.as_deref(), body).await?;
    let node = api.node.on_behalf_of(author::of(&parts.headers, &parts.extensions));
    let here = || wish.here(&api, &node, &taken.bytes);
    let is_carried_on = !is_carried(&parts) && node.route() != Route::Here;
    let is_new_here = is_carried_on && wish.found(&node).await?.is_none();
    let answered = super::at_leader_once(&api, &parts, &taken.bytes, here).await?;
    let (mut answer, is_repeated) = answered;
    // An attempt of which nothing was heard has made it: it was not there before, and holds what it was to hold.
    let is_found = is_repeated && is_new_here && answer.status() == StatusCode::OK;
    if is_found && wish.is_as_made(&api, &taken.bytes).await.unwrap_or(false) {
        *answer.status_mut() = StatusCode::CREATED;
    }
    Ok(located(&parts, answer))
}

/// The stream that is wished for.
struct Wish {
    name: LogName,
    content_type: Option<String>,
    lifetime: Lifetime,
    is_closed: bool,
}

impl Wish {
    async fn here(&self, api: &Api, node: &Node, body: &Bytes) -> Result<Response, ApiError> {
        let form = Form::of(self.content_type.as_deref());
        let batch = messages::taken(api, form, body).await?;
        if let Some(log) = self.found(node).await? {
            return self.compared(node, &log);
        }
        let made = node.create_log(self.name.clone(), self.settings(), batch, self.is_closed);
        match made.await {
            Ok(Ensured { log, is_new: true }) => Ok(described(node, StatusCode::CREATED, &log)),
            // Somebody else was faster.
            Ok(Ensured { log, is_new: false }) => self.compared(node, &log),
            Err(ChangeLogError::Refused(Rejection::SettingsDiffer { .. })) => {
                match self.found(node).await? {
                    Some(log) => self.compared(node, &log),
                    None => Err(ApiError::new(ErrorCode::LogDiffers)),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the stream holds what it was to begin with, and nothing else.
    async fn is_as_made(&self, api: &Api, body: &Bytes) -> Result<bool, ApiError> {
        let form = Form::of(self.content_type.as_deref());
        let batch = messages::taken(api, form, body).await?;
        let made: Vec<_> = batch.iter().flat_map(Batch::records).map(|made| made.body).collect();
        let request = ReadRequest {
            log: self.name.clone().into(),
            start: Start::From(ReadFrom::First),
            records_max: None,
            bytes_max: None,
            consistency: Consistency::Linearizable,
            wait: None,
        };
        let found = api.node.read(request).await?;
        let is_all = found.next == found.tail && found.first == Position::ZERO;
        Ok(is_all && found.records.iter().map(|record| &record.body).eq(&made))
    }

    /// The stream, if it is there.
    async fn found(&self, node: &Node) -> Result<Option<LogDescription>, ApiError> {
        let target = LogTarget::from(self.name.clone());
        match node.describe_log(&target, Consistency::Linearizable).await {
            Ok(found) => Ok(Some(found.answer)),
            Err(ReadError::UnknownLog { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn settings(&self) -> LogSettings {
        let Lifetime { ttl, expires_at } = self.lifetime;
        // What nothing is said of is any bytes.
        let said = self.content_type.clone();
        let content_type = said.filter(|said| !said.eq_ignore_ascii_case(media::BYTES));
        LogSettings { content_type, ttl, expires_at, ..LogSettings::default() }
    }

    /// The answer if the stream is there already.
    fn compared(&self, node: &Node, log: &LogDescription) -> Result<Response, ApiError> {
        let (wished, found) = (Settings::from(&self.settings()), &log.settings);
        let content_types = (wished.content_type.as_deref(), found.content_type.as_deref());
        let is_same = messages::is_same_type(content_types.0, content_types.1)
            && (wished.ttl_ms, wished.expires_at) == (found.ttl_ms, found.expires_at)
            && self.is_closed == log.sealed;
        if is_same {
            Ok(described(node, StatusCode::OK, log))
        } else {
            Err(ApiError::new(ErrorCode::LogDiffers))
        }
    }
}

/// What a stream is like, in the headers of an answer.
pub(super) fn described(node: &Node, status: StatusCode, log: &LogDescription) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = log.settings.content_type.as_deref().unwrap_or(media::BYTES);
    told::tell_text(headers, CONTENT_TYPE.as_str(), content_type);
    let place = Place { generation: node.generation(), log_id: log.log_id };
    header::tell_next(headers, place, log.tail);
    header::tell_if(headers, header::CLOSED, log.sealed);
    if let Some(ttl) = log.settings.ttl_ms {
        headers.insert(header::TTL, ttl.div_ceil(1_000).into());
    }
    if let Some(expires_at) = log.settings.expires_at {
        told::tell_text(headers, header::EXPIRES_AT, &expires_at.to_string());
    }
    told::tell_not_to_keep(headers);
    response
}

/// The answer with the address of a new stream, as it was asked for.
fn located(parts: &Parts, mut response: Response) -> Response {
    if response.status() == StatusCode::CREATED {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
        let path = parts.uri.path();
        let location = host.map_or_else(|| path.to_owned(), |host| format!("http://{host}{path}"));
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    response
}
