//! Durable Streams: the open HTTP protocol for streams, on the same logs.
//!
//! A stream is a log, and one of its messages is a record; so what is written here is read, followed and shown
//! everywhere else, and the other way round. Nothing is decided here: an append is an append of the node, with
//! the protocol's words for what came of it.
//!
//! ```text
//! PUT     create        POST  append, close     GET  catch up, long poll, events
//! DELETE  delete        HEAD  metadata          OPTIONS  what a page would have to ask for
//! ```
//!
//! A browser lets no page of another origin read an answer from here, because none is named as allowed; a page of
//! another site cannot change anything either (`access`). What a stream holds is never run as a page.
//!
//! Not here: forks, subscriptions, and what the native API has beyond the protocol (`records`, `logs`).

mod append;
mod asked;
mod create;
mod cursor;
mod header;
mod live;
mod messages;
mod offset;
mod read;

use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, put};
use client::api::error::ErrorCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, HeaderName,
};
use http::request::Parts;
use http::{HeaderValue, Request};

use super::change::Change;
use super::extract::InPath;
use super::leader::is_carried;
use super::problem::ApiError;
use super::{Api, told};

/// The pause before a request is repeated of which nobody knows what came of it.
const REPEAT_PAUSE: Duration = Duration::from_millis(20);
/// Who may embed an answer: pages of this very origin.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Everything that a stream takes.
pub(super) fn methods() -> MethodRouter<Api> {
    put(create::create)
        .post(append::append)
        .get(read::read)
        .head(read::metadata)
        .delete(delete)
        .options(preflight)
        .layer(axum::middleware::map_response(guarded))
}

/// Puts on every answer what keeps a page of another origin from embedding it.
async fn guarded(mut response: Response) -> Response {
    let own = HeaderValue::from_static("same-origin");
    response.headers_mut().insert(RESOURCE_POLICY, own);
    response
}

/// DELETE: drops a stream with all that is in it.
async fn delete(
    State(api): State<Api>,
    InPath(name): InPath<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let name = asked::stream_name(&name)?;
    let (change, log) = Change::of_log(&api, name.as_str(), request).await?;
    change
        .at_leader(|| async {
            change.node().delete_log(log.clone()).await?;
            Ok(told::nothing())
        })
        .await
}

/// Has a request served by the leader, and again if nobody knows what came of it: only what is done once however often
/// it is asked for. Clients of the protocol do not repeat by themselves. Tells whether it was asked for again.
async fn at_leader_once<H, F>(
    api: &Api,
    parts: &Parts,
    body: &Bytes,
    here: H,
) -> Result<(Response, bool), ApiError>
where
    H: Fn() -> F,
    F: Future<Output = Result<Response, ApiError>>,
{
    let clock = &api.world.clock;
    let give_up = clock.after(api.node.options().election_wait);
    let mut is_repeated = false;
    loop {
        let answered = api.at_leader(parts, body, &here).await;
        let status = match &answered {
            Ok(answer) => answer.status().as_u16(),
            Err(error) => error.problem().code.status(),
        };
        // That a later attempt was refused for the moment says nothing of the one before.
        let is_moment = status == 429 || status >= 500;
        let is_unknown = status == 504 || (is_repeated && is_moment);
        if !is_unknown {
            return answered.map(|answer| (answer, is_repeated));
        }
        if is_carried(parts) || clock.now() >= give_up {
            return Err(ApiError::new(ErrorCode::OutcomeUnknown));
        }
        is_repeated = true;
        clock.sleep(REPEAT_PAUSE).await;
    }
}

/// OPTIONS: the methods and headers of the protocol. No origin is named, so a browser asks in vain for another one.
async fn preflight(InPath(name): InPath<String>) -> Result<Response, ApiError> {
    asked::stream_name(&name)?;
    let mut response = told::nothing();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(header::METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(header::ASKED));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    Ok(response)
}
