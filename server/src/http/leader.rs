//! Requests that only a leader can serve, or one replica: done here, or carried there, or sent there.
//!
//! Every replica takes every request. One that does not lead carries it to the leader and hands the
//! answer back. It is carried again only if it was certainly not accepted, for as long as an election
//! takes; and a request that was carried once is never carried further, so that two replicas that take
//! each other for the leader do not play ball with it.
//!
//! Not here: who leads, and the connections to the others (`node`).

use std::convert::Infallible;
use std::future::Future;

use axum::body::{Body, Bytes};
use axum::response::Response;
use client::api::error::{Actual, ErrorCode, Problem};
use client::api::header;
use client::types::ReplicaAddr;
use futures_util::StreamExt as _;
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::Api;
use super::extract;
use super::problem::{ApiError, ELSEWHERE_AFTER};
use crate::node::{ForwardedBody, Route};
use crate::world::Instant;

/// The pause before a request is tried again that was certainly not accepted.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// How long one replica may take to answer that is asked itself.
const AT_ONCE: std::time::Duration = std::time::Duration::from_secs(1);

impl Api {
    /// Has a request served by the leader: by `here` if that is this replica.
    pub(super) async fn at_leader<H, F>(
        &self,
        parts: &Parts,
        body: &Bytes,
        here: H,
    ) -> Result<Response, ApiError>
    where
        H: Fn() -> F,
        F: Future<Output = Result<Response, ApiError>>,
    {
        let mut give_up: Option<Instant> = None;
        loop {
            let route = self.node.route_awaited().await;
            let leads = route == Route::Here;
            let result = match route {
                Route::Here => here().await,
                // Boxed: a request that is served here does not take the room of one that is carried.
                Route::There { front, .. } => Box::pin(self.at_other(&front, parts, body)).await,
                Route::Nowhere { retry_after } => {
                    return Err(ApiError::new(ErrorCode::NoLeader).retry_after(retry_after));
                }
            };
            let error = match result {
                Err(error) if error.is_elsewhere() && !is_carried(parts) => error,
                done => return done,
            };
            // Nothing happened anywhere: look again who leads, until an election has had its time.
            let clock = &self.world.clock;
            let wait = self.node.options().election_wait;
            let give_up = *give_up.get_or_insert_with(|| clock.after(wait));
            if clock.now() >= give_up || (leads && self.node.is_stopping()) {
                return Err(error);
            }
            clock.sleep(RETRY_PAUSE).await;
        }
    }

    async fn at_other(
        &self,
        front: &ReplicaAddr,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Response, ApiError> {
        if is_carried(parts) {
            let actual = Actual { leader: Some(front.clone()), ..Actual::default() };
            return Err(ApiError::because(ErrorCode::NoLeader, "another replica leads by now")
                .retry_after(ELSEWHERE_AFTER)
                .actual(actual));
        }
        if extract::prefers_redirect(&parts.headers) {
            return redirect(front, parts);
        }
        let began = self.world.clock.now();
        let answer = self.node.forward(front, parts, body.clone()).await;
        let result = if answer.is_ok() { "ok" } else { "failed" };
        self.metrics.forwarded(result, self.world.clock.since(began));
        let answer = answer?;
        match refused_for_now(&answer) {
            Some(problem) => Err(ApiError::of(problem).elsewhere()),
            None => Ok(answer.map(|body| self.carried(body))),
        }
    }
}

impl Api {
    /// Has a request served by the replica with this front door, whoever leads: at once, for a page waits.
    pub(super) async fn at_replica(
        &self,
        front: &ReplicaAddr,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        let answer = self.node.forward_within(AT_ONCE, front, parts, body).await?;
        Ok(answer.map(|body| self.carried(body)))
    }

    /// What another replica answers, handed on; events until this replica stops.
    fn carried(&self, body: ForwardedBody) -> Body {
        match body {
            ForwardedBody::Whole(bytes) => Body::from(bytes),
            ForwardedBody::Events(events) => {
                let node = self.node.clone();
                let events = events.take_until(Box::pin(async move { node.stopping().await }));
                Body::from_stream(events.map(Ok::<_, Infallible>))
            }
        }
    }
}

/// Whether another replica has carried this request here.
pub(super) fn is_carried(parts: &Parts) -> bool {
    parts.headers.contains_key(header::FORWARDED)
}

/// The problem of a replica that does not lead after all, or leads no longer: certainly nothing done.
fn refused_for_now(answer: &Response<ForwardedBody>) -> Option<Problem> {
    let ForwardedBody::Whole(body) = answer.body() else { return None };
    if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let is_for_now = matches!(
        problem.code,
        ErrorCode::NoLeader | ErrorCode::NoQuorum | ErrorCode::Stopping | ErrorCode::NotMember
    );
    is_for_now.then_some(problem)
}

fn redirect(front: &ReplicaAddr, parts: &Parts) -> Result<Response, ApiError> {
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let location = format!("{}{path}", front.as_str().trim_end_matches('/'));
    let location = HeaderValue::from_str(&location).map_err(|_| {
        ApiError::because(ErrorCode::Internal, "the leader's address is no address")
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
