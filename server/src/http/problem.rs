//! The error of a request, and how it becomes an answer.
//!
//! What goes wrong anywhere below travels as an [`ApiError`]. It becomes a response without a body that
//! carries the problem along; the front fills in what only it knows, the name of the request and of its
//! trace, and writes the document. So every error of every route looks the same.
//!
//! Not here: which error of the node is which code (`error`).

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use client::api::error::{Actual, ErrorCode, Problem};
use client::api::{header, media};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};

/// When to try again, if whoever refused could not say: what these codes tell of passes soon.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// The same, if another replica serves the request by now: a caller who knows one need not wait.
pub(super) const ELSEWHERE_AFTER: Duration = Duration::from_millis(10);

/// What went wrong with a request.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    problem: Box<Problem>,
    is_elsewhere: bool,
}

impl ApiError {
    /// This code, without more to say.
    pub(super) fn new(code: ErrorCode) -> Self {
        Self::of(Problem::new(code))
    }

    /// This code, and what happened this time.
    pub(super) fn because(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code).detail(detail)
    }

    /// A parameter, header or part of the path that makes no sense.
    pub(super) fn parameter(name: &str, wrong: impl std::fmt::Display) -> Self {
        Self::because(ErrorCode::InvalidParameter, format!("{name}: {wrong}"))
    }

    /// A problem as another replica or another part of the service put it.
    pub(super) fn of(problem: Problem) -> Self {
        let is_told = problem.retry_after_ms.is_some() || !matches!(problem.status, 429 | 503);
        let is_elsewhere = problem.code == ErrorCode::Stopping;
        let after = if is_elsewhere { ELSEWHERE_AFTER } else { RETRY_AFTER };
        let error = Self { problem: Box::new(problem), is_elsewhere: false };
        if is_told { error } else { error.retry_after(after) }
    }

    pub(super) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.problem.detail = Some(detail.into().into_owned());
        self
    }

    pub(super) fn actual(mut self, actual: Actual) -> Self {
        self.problem.actual = actual;
        self
    }

    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.problem.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The same under a more telling code, if it has this one.
    pub(super) fn instead_of(self, code: ErrorCode, better: ErrorCode) -> Self {
        if self.problem.code != code || better == code {
            return self;
        }
        Self::new(better).actual(self.problem.actual)
    }

    /// Certainly not done here, because another replica leads: worth trying there.
    pub(super) fn elsewhere(mut self) -> Self {
        self.is_elsewhere = true;
        self
    }

    /// Whether another replica should be asked.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// The problem as it is now.
    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The problem, without what the front adds.
    pub(super) fn into_problem(self) -> Problem {
        *self.problem
    }
}

/// A problem on its way to the front, in the extensions of a response.
#[derive(Clone, Debug)]
struct Pending(Box<Problem>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(&self.problem);
        response.extensions_mut().insert(Pending(self.problem));
        response
    }
}

/// Takes the problem that is on its way, if there is one.
pub(super) fn take(response: &mut Response) -> Option<Problem> {
    response.extensions_mut().remove().map(|Pending(problem)| *problem)
}

/// What only the front knows of a request.
pub(super) struct Naming<'a> {
    pub(super) request_id: &'a HeaderValue,
    pub(super) trace_id: Option<&'a str>,
}

/// Writes the document of a problem that is on its way, if there is one.
pub(super) fn finish(response: &mut Response, naming: &Naming<'_>) {
    let Some(Pending(mut problem)) = response.extensions_mut().remove() else { return };
    problem.request_id = naming.request_id.to_str().ok().map(str::to_owned);
    problem.trace_id = naming.trace_id.map(str::to_owned);
    let document = serde_json::to_vec(&problem).expect("a problem document is plain JSON");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media::PROBLEM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tell_when_to_retry(headers, problem.retry_after_ms);
    // A route counted the empty body that the error stood for until now.
    headers.remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(document);
}

/// Says in whole seconds, rounded up, when another try makes sense.
fn tell_when_to_retry(headers: &mut HeaderMap, after_ms: Option<u64>) {
    if let Some(after_ms) = after_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after_ms.div_ceil(1_000)));
    }
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn document(error: ApiError) -> (Response, serde_json::Value) {
        let mut response = error.into_response();
        let request_id = HeaderValue::from_static("r-1");
        finish(&mut response, &Naming { request_id: &request_id, trace_id: None });
        let body = std::mem::take(response.body_mut()).collect().await.unwrap().to_bytes();
        (response, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn every_code_becomes_a_document_with_its_three_answers() {
        for code in ErrorCode::ALL {
            let (response, document) = document(ApiError::new(*code)).await;
            assert_eq!(response.status().as_u16(), code.status(), "{code}");
            assert_eq!(response.headers()[CONTENT_TYPE], media::PROBLEM, "{code}");
            assert_eq!(document["code"], code.as_str());
            assert_eq!(document["status"], code.status());
            assert_eq!(document["retryable"], code.is_retryable());
            let is_told = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(is_told, matches!(code.status(), 429 | 503), "{code}");
            let nothing = if code.has_no_side_effects() { "none" } else { "possible" };
            assert_eq!(document["side_effects"], nothing, "{code}");
            assert_eq!(document["request_id"], "r-1");
        }
    }

    #[tokio::test]
    async fn a_wait_is_told_in_milliseconds_and_in_whole_seconds() {
        let error = ApiError::new(ErrorCode::Overloaded).retry_after(Duration::from_millis(1_200));
        let (response, document) = document(error).await;
        assert_eq!(document["retry_after_ms"], 1_200);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
