//! What a browser asks for, taken out of its address and its forms, and checked.
//!
//! Whatever makes no sense is answered by a page that says so, with the true status. A form is small:
//! what is longer than its limit is refused before it is looked at.
//!
//! Not here: what a form is about (`pages`).

use axum::extract::{self, Form, FromRequest, FromRequestParts, Path, Request};
use axum::response::Response;
use client::api::error::{ErrorCode, Problem};
use client::api::reading::Consistency;
use client::types::{LogId, LogName};
use http::StatusCode;
use http::header::HOST;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::backend::Backend;
use crate::error;

/// Where a program finds this replica by default.
const DOOR: &str = "127.0.0.1:7001";

/// The log in an address.
pub(crate) struct Named(pub(crate) LogName);

impl<B: Backend> FromRequestParts<B> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, backend: &B) -> Result<Self, Response> {
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, backend).await;
        let text = path.ok().and_then(|Path(parts)| parts.into_iter().next());
        match LogName::new(&text.map(|(_, log)| log).unwrap_or_default()) {
            Ok(log) => Ok(Self(log)),
            Err(wrong) => {
                let problem = Problem::new(ErrorCode::InvalidLogName);
                Err(error::of_problem(backend, &problem.with_detail(wrong.to_string())).await)
            }
        }
    }
}

/// What an address asks for behind its question mark.
pub(crate) struct Query<T>(pub(crate) T);

impl<B: Backend, T: DeserializeOwned + Send> FromRequestParts<B> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, backend: &B) -> Result<Self, Response> {
        match extract::Query::<T>::from_request_parts(parts, backend).await {
            Ok(extract::Query(asked)) => Ok(Self(asked)),
            Err(refused) => {
                let problem = Problem::new(ErrorCode::InvalidParameter);
                let problem = problem.with_detail(refused.body_text());
                Err(error::of_problem(backend, &problem).await)
            }
        }
    }
}

/// The fields of a form.
pub(crate) struct Sent<T>(pub(crate) T);

impl<B: Backend, T: DeserializeOwned + Send> FromRequest<B> for Sent<T> {
    type Rejection = Response;

    async fn from_request(request: Request, backend: &B) -> Result<Self, Response> {
        match Form::<T>::from_request(request, backend).await {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(refused) => {
                let title = match refused.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => "The form holds too much",
                    _ => "The form cannot be understood",
                };
                Err(error::page(backend, refused.status(), title, &refused.body_text()).await)
            }
        }
    }
}

/// Where the browser reached this replica: `host:port`, to be shown in commands.
pub(crate) struct Door(String);

impl<B: Backend> FromRequestParts<B> for Door {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &B) -> Result<Self, Response> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let is_plain = |host: &&str| {
            host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte))
        };
        Ok(Self(host.filter(is_plain).unwrap_or(DOOR).to_owned()))
    }
}

impl Door {
    /// The beginning of an address of the API.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0)
    }

    /// The beginning of a command, which names this replica unless it is found by default.
    pub(crate) fn command(&self) -> String {
        if self.0 == DOOR {
            "quorate".to_owned()
        } else {
            format!("quorate --endpoint http://{}", self.0)
        }
    }
}

/// An answer, and why it may be out of date.
pub(crate) struct Seen<T> {
    pub(crate) answer: T,
    /// What kept this replica from showing everything that was acknowledged.
    pub(crate) stale: Option<Box<Problem>>,
}

/// What was acknowledged; if nobody can tell, what this replica has.
pub(crate) async fn freshest<T, F>(ask: impl Fn(Consistency) -> F) -> Result<Seen<T>, Box<Problem>>
where
    F: Future<Output = Result<T, Problem>>,
{
    match ask(Consistency::Linearizable).await {
        Ok(answer) => Ok(Seen { answer, stale: None }),
        Err(problem) if is_about_freshness(&problem) => match ask(Consistency::Local).await {
            Ok(answer) => Ok(Seen { answer, stale: Some(Box::new(problem)) }),
            Err(other) => Err(Box::new(other)),
        },
        Err(problem) => Err(Box::new(problem)),
    }
}

fn is_about_freshness(problem: &Problem) -> bool {
    let codes = [ErrorCode::NoLeader, ErrorCode::NoQuorum, ErrorCode::ReplicaBehind];
    codes.contains(&problem.code)
}

/// Which log a form was made for.
pub(crate) fn log_id(field: &str) -> Option<LogId> {
    field.parse().ok()
}
