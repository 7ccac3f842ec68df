//! The dashboard's window on this replica: the very calls that the API makes.
//!
//! A page shows what a program would be told, and can do what a program can: every question goes through
//! the routes of the API, which carry it to the leader where that has to answer. Nothing is kept here.
//!
//! Not here: pages (`web`).

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use client::api::audit::{AuditReport, ScrubReport};
use client::api::checkpoints::{CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotList};
use client::api::cluster::ClusterStatus;
use client::api::conditions::Conditions;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::{
    Dropped, EffectQuery, ListQuery, LogDescription, LogList, Sealed, Settings, SettingsPatch,
    TrimRequest,
};
use client::api::performance::{Performance, Step};
use client::api::reading::{Consistency, ReadQuery};
use client::api::records::{Appended, ReadAnswer, batch_to_json};
use client::api::settings::SettingList;
use client::api::{header, media, paths};
use client::types::{Batch, EntryIndex, IdempotencyKey, LogName, Position};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;
use web::{Backend, LogTarget};

use super::problem::{self, ApiError};
use crate::node::Node;
use crate::world::Chance;

/// This replica, as the dashboard sees it.
#[derive(Clone)]
pub(super) struct Window {
    node: Node,
    /// The routes of the API.
    api: Router,
    chance: Chance,
}

impl Window {
    /// A window on this node, through these routes.
    pub(super) fn new(node: Node, api: Router, chance: Chance) -> Self {
        Self { node, api, chance }
    }

    /// The dashboard's pages.
    pub(super) fn pages(&self) -> Router {
        web::router(self.clone())
    }

    /// The answer for an address that nothing has: a page for whoever reads pages.
    pub(super) async fn nothing_at(&self, request: Request<Body>) -> Response {
        if is_for_a_person(request.headers()) {
            return web::not_found(self).await;
        }
        ApiError::new(ErrorCode::UnknownRoute).into_response()
    }

    /// Asks the API, and takes its answer as the contract has it.
    async fn ask<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, Problem> {
        let answer = self.answer(request).await?;
        let bytes = answer.into_body().collect().await.map_err(|_broken_off| unreadable())?;
        serde_json::from_slice(&bytes.to_bytes()).map_err(|_other| unreadable())
    }

    /// Asks the API for something that is answered with nothing.
    async fn tell(&self, request: Request<Body>) -> Result<(), Problem> {
        self.answer(request).await.map(|_nothing| ())
    }

    /// Asks the API; whatever is no success is a problem.
    async fn answer(&self, request: Request<Body>) -> Result<Response, Problem> {
        // Boxed: who asks for a page does not take the room of all routes.
        let answer = Box::pin(self.api.clone().oneshot(request)).await;
        let mut answer = answer.unwrap_or_else(|never| match never {});
        if let Some(problem) = problem::take(&mut answer) {
            return Err(problem);
        }
        if answer.status().is_success() || answer.status().is_redirection() {
            return Ok(answer);
        }
        // Another replica refused it: its problem is in the body.
        let bytes = answer.into_body().collect().await.map_err(|_broken_off| unreadable())?;
        Err(serde_json::from_slice(&bytes.to_bytes()).unwrap_or_else(|_other| unreadable()))
    }
}

/// A question without a body.
fn question(method: Method, path: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("paths of the contract are paths");
    request
}

fn get(path: &str) -> Request<Body> {
    question(Method::GET, path)
}

/// A question about this very log, if the page says which.
fn about(log: &LogTarget, method: Method, path: &str) -> Request<Body> {
    let question = question(method, path);
    match log.id {
        Some(id) => with_header(question, header::LOG_ID, &id.to_string()),
        None => question,
    }
}

fn with_json(question: Request<Body>, body: &impl Serialize) -> Request<Body> {
    with_body(question, serde_json::to_vec(body).expect("a body of the contract is JSON"))
}

/// The same question with a body that is JSON already.
fn with_body(mut question: Request<Body>, body: Vec<u8>) -> Request<Body> {
    let headers = question.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media::JSON));
    headers.insert(CONTENT_LENGTH, body.len().into());
    *question.body_mut() = Body::from(body);
    question
}

fn with_header(mut question: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    let value = HeaderValue::from_str(value).expect("a condition of the contract is plain text");
    question.headers_mut().insert(name, value);
    question
}

fn unreadable() -> Problem {
    Problem::new(ErrorCode::Internal).with_detail("an answer of the service could not be read")
}

/// Whether whoever asks would rather read a page than a document.
fn is_for_a_person(headers: &HeaderMap) -> bool {
    let wanted = headers.get(ACCEPT).and_then(|wanted| wanted.to_str().ok());
    wanted.is_some_and(|wanted| wanted.contains("text/html"))
}

impl Backend for Window {
    async fn status(&self) -> Result<ClusterStatus, Problem> {
        Ok(self.node.status().await)
    }

    async fn performance(&self, step: Step) -> Result<Performance, Problem> {
        Ok(self.node.performance(step))
    }

    async fn logs(&self, query: ListQuery) -> Result<LogList, Problem> {
        self.ask(get(&format!("{}?{}", paths::LOGS, query.to_query()))).await
    }

    async fn log(&self, log: LogName, consistency: Consistency) -> Result<LogDescription, Problem> {
        self.ask(get(&format!("{}?consistency={consistency}", paths::log(&log)))).await
    }

    async fn create_log(
        &self,
        log: LogName,
        settings: Settings,
    ) -> Result<LogDescription, Problem> {
        self.ask(with_json(question(Method::PUT, &paths::log(&log)), &settings)).await
    }

    async fn change_settings(
        &self,
        log: LogTarget,
        patch: SettingsPatch,
    ) -> Result<LogDescription, Problem> {
        self.ask(with_json(about(&log, Method::PATCH, &paths::log(&log.name)), &patch)).await
    }

    async fn trim(
        &self,
        log: LogTarget,
        to: Position,
        effect: EffectQuery,
    ) -> Result<Dropped, Problem> {
        let path = format!("{}?dry_run={}", paths::trim(&log.name), effect.dry_run);
        self.ask(with_json(about(&log, Method::POST, &path), &TrimRequest { to })).await
    }

    async fn seal(&self, log: LogTarget) -> Result<Sealed, Problem> {
        self.ask(about(&log, Method::POST, &paths::seal(&log.name))).await
    }

    async fn delete_log(&self, log: LogTarget) -> Result<Dropped, Problem> {
        self.ask(about(&log, Method::DELETE, &paths::log(&log.name))).await
    }

    async fn read(&self, log: LogName, query: ReadQuery) -> Result<ReadAnswer, Problem> {
        self.ask(get(&format!("{}?{}", paths::records(&log), query.to_query()))).await
    }

    async fn append(
        &self,
        log: LogName,
        conditions: Conditions,
        batch: Batch,
    ) -> Result<Appended, Problem> {
        let call = with_body(question(Method::POST, &paths::records(&log)), batch_to_json(&batch));
        let conditions = conditions.to_headers();
        let call =
            conditions.iter().fold(call, |call, (name, value)| with_header(call, name, value));
        self.ask(call).await
    }

    fn fresh_key(&self) -> IdempotencyKey {
        let chance = &self.chance;
        let key = format!("page-{:016x}{:016x}", chance.next_u64(), chance.next_u64());
        IdempotencyKey::new(&key).expect("letters and digits are a key")
    }

    async fn checkpoints(&self) -> Result<CheckpointList, Problem> {
        self.ask(get(paths::CHECKPOINTS)).await
    }

    async fn make_checkpoint(&self, request: CheckpointRequest) -> Result<CheckpointInfo, Problem> {
        self.ask(with_json(question(Method::POST, paths::CHECKPOINTS), &request)).await
    }

    async fn snapshots(&self) -> Result<SnapshotList, Problem> {
        self.ask(get(paths::SNAPSHOTS)).await
    }

    async fn release(&self, checkpoint: EntryIndex) -> Result<(), Problem> {
        self.tell(question(Method::DELETE, &paths::snapshot(checkpoint))).await
    }

    async fn audit(&self) -> Result<AuditReport, Problem> {
        self.ask(get(paths::AUDIT)).await
    }

    async fn scrub(&self) -> Result<ScrubReport, Problem> {
        self.ask(get(paths::SCRUB)).await
    }

    async fn settings(&self) -> Result<SettingList, Problem> {
        self.ask(get(paths::SETTINGS)).await
    }

    async fn scrub_now(&self) -> Result<ScrubReport, Problem> {
        self.ask(question(Method::POST, paths::SCRUB)).await
    }
}
