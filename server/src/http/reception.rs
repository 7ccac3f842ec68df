//! What happens to every request, whichever front answers it.
//!
//! A request gets a name, a panic becomes an answer, and an error becomes a document that carries the
//! name. So a process that waits to belong to a cluster answers as carefully as one that serves.
//!
//! Not here: what is answered (the fronts hand in a function), and what only a replica says of itself.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use client::api::error::ErrorCode;
use client::api::header;
use futures_util::FutureExt;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Method, Request};
use tracing::{debug, error, warn};

use super::problem::{self, ApiError, Naming};
use super::{extract, media};
use crate::metrics::Metrics;
use crate::world::{Clock, World};

/// Names requests and finishes their answers. A clone is the same.
#[derive(Clone)]
pub(super) struct Reception {
    names: Arc<Names>,
    metrics: Metrics,
    clock: Clock,
}

/// What names requests.
struct Names {
    prefix: String,
    next: AtomicU64,
}

impl Reception {
    /// Requests are named after `who` answers them, and no two of any process alike.
    pub(super) fn new(who: &str, metrics: Metrics, world: &World) -> Self {
        let names = Names {
            prefix: format!("{who}-{:08x}-", world.chance.next_u64() >> 32),
            next: AtomicU64::new(0),
        };
        Self { names: Arc::new(names), metrics, clock: world.clock.clone() }
    }

    /// Has a request answered. Every error is a problem document, a panic included.
    pub(super) async fn receive<F>(
        &self,
        mut request: Request<Body>,
        answer: impl FnOnce(Request<Body>) -> F,
    ) -> Response
    where
        F: Future<Output = (&'static str, Response)>,
    {
        let began = self.clock.now();
        let request_id = self.names.name(&mut request);
        let trace_id = extract::trace_id(request.headers()).map(str::to_owned);
        let method = known_method(request.method());
        // In one expression: a future that has a name first is held twice.
        let answered = AssertUnwindSafe(answer(request)).catch_unwind().await;
        let (route, mut response) = answered.unwrap_or_else(|_panic| {
            error!(request_id = ?request_id, "route panicked");
            ("panic", ApiError::new(ErrorCode::Internal).into_response())
        });
        let naming = Naming { request_id: &request_id, trace_id: trace_id.as_deref() };
        problem::finish(&mut response, &naming);
        let (status, elapsed) = (response.status().as_u16(), self.clock.since(began));
        self.metrics.request_answered(route, method, status, elapsed);
        tell_of(&naming, route, method, (status, elapsed));
        let headers = response.headers_mut();
        headers.insert(header::REQUEST_ID, request_id);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

impl Names {
    /// The name of a request: as its caller names it, or a new one, which is then in its headers, too.
    fn name(&self, request: &mut Request<Body>) -> HeaderValue {
        if let Some(given) = request.headers().get(header::REQUEST_ID)
            && (1..=128).contains(&given.len())
            && given.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return given.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut name = Vec::with_capacity(self.prefix.len() + 20);
        name.extend_from_slice(self.prefix.as_bytes());
        media::json::push_number(&mut name, number);
        let name = HeaderValue::from_maybe_shared(bytes::Bytes::from(name))
            .expect("a prefix and digits are plain ASCII");
        request.headers_mut().insert(header::REQUEST_ID, name.clone());
        name
    }
}

/// Tells of an answer. That a process cannot serve at the moment is told by its metrics: while it is so,
/// every request would say it.
fn tell_of(
    naming: &Naming<'_>,
    route: &'static str,
    method: &'static str,
    (status, elapsed): (u16, Duration),
) {
    let Naming { request_id, trace_id } = naming;
    if status >= 500 && status != 503 {
        warn!(?request_id, trace_id, route, method, status, ?elapsed, "request failed");
    } else {
        debug!(?request_id, trace_id, route, method, status, ?elapsed, "request answered");
    }
}

/// A method as a label: whatever a caller invents is one and the same.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: Option<&'static str>) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        if let Some(id) = id {
            request.headers_mut().insert(header::REQUEST_ID, HeaderValue::from_static(id));
        }
        request
    }

    #[tokio::test]
    async fn a_request_keeps_its_own_name_or_gets_one_that_no_other_has() {
        let reception = Reception::new("test", Metrics::new(), &World::for_test(1, 0));
        let id = async |id| {
            let answer = |_| async { ("route", Response::new(Body::empty())) };
            let response = reception.receive(request(id), answer).await;
            response.headers()[header::REQUEST_ID].to_str().unwrap().to_owned()
        };
        assert_eq!(id(Some("mine")).await, "mine");
        let (first, second, spaced) = (id(None).await, id(None).await, id(Some("a b")).await);
        assert!(
            first != second && second != spaced && first != spaced,
            "{first} {second} {spaced}"
        );
    }

    #[tokio::test]
    async fn a_panic_is_answered_as_a_fault_of_the_service() {
        let reception = Reception::new("test", Metrics::new(), &World::for_test(1, 0));
        let answer = |_| async { panic!("a planted bug") };
        let response = reception.receive(request(None), answer).await;
        assert_eq!(response.status().as_u16(), ErrorCode::Internal.status());
    }
}
