//! Alive, ready, and metrics.
//!
//! Alive means that the process answers. Ready means that it can do what it is asked for now, and names
//! each check that failed. Metrics come in the format that is asked for.
//!
//! Not here: what readiness depends on (`node`), and what is measured (`metrics`).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use client::api::cluster::{Readiness, ReadinessQuery, ReadyFor};
use client::api::media;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Request, StatusCode};

use super::media::weight_of;
use super::problem::ApiError;
use super::{Api, extract, told};
use crate::metrics::Metrics;
use crate::node::Purpose;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether the process answers.
pub(super) async fn live() -> Response {
    words(StatusCode::OK, "alive\n".to_owned())
}

/// Whether it can serve now; with `?for=append`, whether appends through it can succeed.
pub(super) async fn ready(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let asked = Asked::of(&request)?;
    Ok(asked.answer(&api.node.readiness(asked.purpose)))
}

/// What a question for readiness asks for.
pub(super) struct Asked {
    purpose: Purpose,
    is_verbose: bool,
}

impl Asked {
    /// Reads the question.
    pub(super) fn of(request: &Request<Body>) -> Result<Self, ApiError> {
        let ReadinessQuery { verbose, purpose } = extract::query(request.uri())?;
        let purpose = match purpose {
            None => Purpose::Serve,
            Some(ReadyFor::Append) => Purpose::Append,
        };
        let is_verbose = verbose.is_some_and(|text| !matches!(text.as_str(), "false" | "0"));
        Ok(Self { purpose, is_verbose })
    }

    /// Answers it: in one word and what failed, or check by check.
    pub(super) fn answer(&self, readiness: &Readiness) -> Response {
        let status =
            if readiness.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if self.is_verbose {
            return told::json(status, readiness);
        }
        if readiness.is_ready {
            return words(status, "ready\n".to_owned());
        }
        let mut text = "not ready\n".to_owned();
        for check in readiness.checks.iter().filter(|check| !check.is_passed) {
            text.extend([check.name.as_str(), ": not so: ", check.detail.as_str(), "\n"]);
        }
        words(status, text)
    }
}

/// All metrics.
pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Response {
    exposition(&api.metrics, &headers)
}

/// All metrics in the format that is asked for.
pub(super) fn exposition(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let weight = weight_of(headers, "application/openmetrics-text");
    let is_preferred = weight > 0 && weight >= weight_of(headers, "text/plain");
    let (media_type, text) = if is_preferred {
        (OPEN_METRICS, metrics.encode_open_metrics())
    } else {
        (PROMETHEUS, metrics.encode_prometheus())
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// An answer in plain words.
pub(super) fn words(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media::TEXT));
    told::tell_not_to_keep(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn metrics_come_in_the_format_that_is_liked_best() {
        for (accept, media_type) in [
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.2",
                OPEN_METRICS,
            ),
            ("application/openmetrics-text", OPEN_METRICS),
            ("application/openmetrics-text; q=0, text/plain", PROMETHEUS),
            ("application/openmetrics-text;Q=0.1, text/plain;q=0.9", PROMETHEUS),
            ("application/openmetrics-textual", PROMETHEUS),
            ("*/*", PROMETHEUS),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            let response = exposition(&Metrics::new(), &headers);
            assert_eq!(response.headers()[CONTENT_TYPE], media_type, "{accept}");
        }
    }
}
