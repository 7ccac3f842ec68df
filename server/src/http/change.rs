//! A request that changes something: taken in, read, done by the leader, answered.
//!
//! Its body is small. What it says beyond that is looked at before anything is done: a condition that
//! has no meaning for it is refused.
//!
//! Not here: appends (`records`), and what a change means (`node`).

use std::future::Future;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::Request;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::body::TakenIn;
use super::problem::ApiError;
use super::{Api, author, extract};
use crate::node::{LogTarget, Node};

/// A request to change something: its head, and its small body.
pub(super) struct Change<'a> {
    api: &'a Api,
    parts: Parts,
    body: Bytes,
    /// Given back when the change is done.
    _room: TakenIn,
}

impl<'a> Change<'a> {
    /// Takes in a request that concerns the cluster.
    pub(super) async fn take(api: &'a Api, request: Request<Body>) -> Result<Self, ApiError> {
        Self::take_if(api, &[], request).await
    }

    /// The same, with these conditions, which the caller looks at.
    pub(super) async fn take_if(
        api: &'a Api,
        conditions: &[&str],
        request: Request<Body>,
    ) -> Result<Self, ApiError> {
        extract::no_conditions_but(conditions, request.headers())?;
        Self::take_body(api, request).await
    }

    /// Takes in a request that concerns a log, whose name axum has decoded.
    pub(super) async fn of_log(
        api: &'a Api,
        log: &str,
        request: Request<Body>,
    ) -> Result<(Self, LogTarget), ApiError> {
        Self::of_log_if(api, log, extract::OF_A_CHANGE, request).await
    }

    /// The same for a cursor of it, which may be expected somewhere.
    pub(super) async fn of_cursor(
        api: &'a Api,
        log: &str,
        request: Request<Body>,
    ) -> Result<(Self, LogTarget), ApiError> {
        Self::of_log_if(api, log, extract::OF_A_CURSOR, request).await
    }

    async fn of_log_if(
        api: &'a Api,
        log: &str,
        conditions: &[&str],
        request: Request<Body>,
    ) -> Result<(Self, LogTarget), ApiError> {
        let name = extract::decoded_log_name(log)?;
        let log = extract::target(name, request.headers(), conditions)?;
        Ok((Self::take_body(api, request).await?, log))
    }

    async fn take_body(api: &'a Api, request: Request<Body>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let limit = api.options.small_body_bytes_max;
        let taken = api.bodies.take_in(&parts.headers, body, limit).await?;
        Ok(Self { api, parts, body: taken.bytes.clone(), _room: taken })
    }

    /// The node, for whoever makes the request.
    pub(super) fn node(&self) -> Node {
        self.api.node.on_behalf_of(author::of(&self.parts.headers, &self.parts.extensions))
    }

    /// The body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        extract::json(&self.parts.headers, &self.body)
    }

    /// The body; nothing stands for the default.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, ApiError> {
        extract::json_or_default(&self.parts.headers, &self.body)
    }

    /// Has it done by the leader: by `here` if that is this replica.
    pub(super) async fn at_leader<F>(&self, here: impl Fn() -> F) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Response, ApiError>>,
    {
        self.api.at_leader(&self.parts, &self.body, here).await
    }
}
