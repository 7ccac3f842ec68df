//! The front door of a process that belongs to no cluster yet.
//!
//! It is alive and not ready, tells its metrics, and refuses everything else as something that another
//! replica may do. If it was started to be founded by a request, that one request founds the cluster;
//! whoever asks a second time is refused.
//!
//! Not here: founding (`node`), which `run` does when it is called.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use client::api::cluster::{BootstrapAnswer, BootstrapRequest};
use client::api::error::{ErrorCode, Problem};
use client::api::{header, paths};
use http::{HeaderValue, Method, Request, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::body::BodyRoom;
use super::problem::{self, ApiError, Naming};
use super::{HttpOptions, access, extract, health, told};
use crate::metrics::Metrics;
use crate::world::Clock;

/// Somebody asks this process to found a cluster.
#[derive(Debug)]
pub struct BootstrapCall {
    /// What was asked for.
    pub request: BootstrapRequest,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<BootstrapAnswer, Box<Problem>>>,
}

/// The front door before there is a node. A clone is the same.
#[derive(Clone)]
pub struct WaitingFront {
    shared: Arc<WaitingParts>,
}

struct WaitingParts {
    metrics: Metrics,
    bodies: BodyRoom,
    small_body_bytes_max: usize,
    founding: Option<mpsc::Sender<BootstrapCall>>,
}

impl WaitingFront {
    /// A door that waits; with `founding`, a request may found the cluster.
    pub fn new(
        options: HttpOptions,
        metrics: Metrics,
        founding: Option<mpsc::Sender<BootstrapCall>>,
    ) -> Self {
        let shared = WaitingParts {
            metrics,
            bodies: BodyRoom::new(options.bodies_bytes_max, Clock::real()),
            small_body_bytes_max: options.small_body_bytes_max,
            founding,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let given = request.headers().get(header::REQUEST_ID).cloned();
        let request_id = given.unwrap_or(HeaderValue::from_static("waiting"));
        let result = self.dispatch(request).await;
        let mut response = result.unwrap_or_else(IntoResponse::into_response);
        problem::finish(&mut response, &Naming { request_id: &request_id, trace_id: None });
        response.headers_mut().insert(header::REQUEST_ID, request_id);
        response
    }

    async fn dispatch(&self, request: Request<Body>) -> Result<Response, ApiError> {
        if access::is_cross_site(request.method(), request.uri(), request.headers()) {
            return Err(super::cross_site());
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, paths::LIVE | paths::HEALTH) => Ok(health::live().await),
            (&Method::GET | &Method::HEAD, paths::METRICS) => {
                Ok(health::exposition(&self.shared.metrics, request.headers()))
            }
            (&Method::GET | &Method::HEAD, paths::READY) => Ok(health::words(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready\nmember: not so: this process belongs to a cluster\n".to_owned(),
            )),
            (&Method::POST, paths::BOOTSTRAP) => self.bootstrap(request).await,
            _ => Err(ApiError::new(ErrorCode::NotMember)),
        }
    }

    async fn bootstrap(&self, request: Request<Body>) -> Result<Response, ApiError> {
        extract::no_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let shared = &*self.shared;
        let limit = shared.small_body_bytes_max;
        let taken = shared.bodies.take_in(&parts.headers, body, limit).await?;
        let request = extract::json_or_default(&parts.headers, &taken.bytes)?;
        let Some(founding) = &shared.founding else {
            return Err(ApiError::because(ErrorCode::NotMember, "this process was told to join"));
        };
        let (answer, founded) = oneshot::channel();
        let call = BootstrapCall { request, answer };
        founding.try_send(call).map_err(|_| ApiError::new(ErrorCode::AlreadyBootstrapped))?;
        match founded.await {
            Ok(Ok(founded)) => Ok(told::json(StatusCode::CREATED, &founded)),
            Ok(Err(problem)) => Err(ApiError::of(*problem)),
            // Whoever was to found it went away in the middle.
            Err(_) => Err(ApiError::new(ErrorCode::OutcomeUnknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use client::types::{ClusterId, Generation, ReplicaId};
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(front: &WaitingFront, method: &str, path: &str) -> (u16, serde_json::Value) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = front.answer(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn front(founding: Option<mpsc::Sender<BootstrapCall>>) -> WaitingFront {
        WaitingFront::new(HttpOptions::default(), Metrics::new(), founding)
    }

    #[tokio::test]
    async fn who_waits_is_alive_and_not_ready_and_serves_nothing() {
        let front = front(None);
        assert_eq!(ask(&front, "GET", "/livez").await.0, 200);
        assert_eq!(ask(&front, "GET", "/metrics").await.0, 200);
        assert_eq!(ask(&front, "GET", "/readyz").await.0, 503);
        for (method, path) in
            [("GET", "/v1/logs"), ("POST", "/v1/logs/a/records"), ("POST", paths::BOOTSTRAP)]
        {
            let (status, problem) = ask(&front, method, path).await;
            assert_eq!((status, &problem["code"]), (503, &"not_member".into()), "{path}");
            assert_eq!(problem["side_effects"], "none");
        }
    }

    #[tokio::test]
    async fn a_cluster_is_founded_by_one_request_only() {
        let (calls, mut called) = mpsc::channel::<BootstrapCall>(1);
        let front = front(Some(calls));
        let founded = BootstrapAnswer {
            cluster: ClusterId::new([7; 16]),
            generation: Generation { number: 1, random: 2 },
            replica: ReplicaId::new(1).unwrap(),
        };
        let by_run = async {
            let call = called.recv().await.unwrap();
            called.close();
            call.answer.send(Ok(founded)).unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&front, "POST", paths::BOOTSTRAP), by_run);
        assert_eq!(answer, (201, serde_json::to_value(founded).unwrap()));
        let (status, problem) = ask(&front, "POST", paths::BOOTSTRAP).await;
        assert_eq!((status, &problem["code"]), (409, &"already_bootstrapped".into()));
    }
}
