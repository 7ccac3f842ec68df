//! The dashboard's window on this replica: the very calls that the API makes.
//!
//! A page shows what a program would be told, and can do what a program can: every question goes through
//! the routes of the API, which carry it to the leader where that has to answer. Nothing is kept here.
//!
//! Not here: pages (`web`).

use axum::Router;
use axum::body::Body;
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use client::api::activity::{ActivityList, ActivityQuery};
use client::api::audit::{AuditReport, ScrubReport};
use client::api::changes::{Change, ChangeList, ChangeRequest, ChangesQuery};
use client::api::checkpoints::{CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotList};
use client::api::cluster::ClusterStatus;
use client::api::conditions::Conditions;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::{
    Dropped, EffectQuery, ListQuery, LogDescription, LogList, Sealed, Settings, SettingsPatch,
    TrimRequest,
};
use client::api::performance::{Performance, PerformanceQuery, Step};
use client::api::plans::{Plan, Wish};
use client::api::reading::{Consistency, ReadQuery};
use client::api::records::{Appended, ReadAnswer, batch_to_json};
use client::api::settings::SettingList;
use client::api::transfers::{TransferChange, TransferInfo, TransferList};
use client::api::{header, media, paths};
use client::types::{
    Batch, ChangeId, EntryIndex, Epoch, IdempotencyKey, LogName, Position, ReplicaId,
};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, FROM, HeaderMap};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;
use web::{Answer, Backend, Beat, Beats, LogTarget, Viewer, ViewerName};

use super::Api;
use super::problem::{self, ApiError};
use crate::node;
use crate::world::Caller;

/// Who acts from a page and has said no name.
const NAMELESS: &str = "somebody (dashboard)";

/// This replica, as the dashboard sees it.
#[derive(Clone)]
pub(super) struct Window {
    api: Api,
    /// The routes of the API.
    routes: Router,
    /// Who looks, if anything is done on somebody's behalf.
    viewer: Option<Viewer>,
}

impl Window {
    /// A window on this replica, through these routes of its API.
    pub(super) fn new(api: Api, routes: Router) -> Self {
        Self { api, routes, viewer: None }
    }

    /// The dashboard's pages.
    pub(super) fn pages(&self) -> Router {
        web::router(self.clone()).layer(map_request(async |mut request: Request<Body>| {
            let caller = request.extensions().get().map(|Caller(address)| *address);
            request.extensions_mut().insert(Viewer { address: caller, ..Viewer::default() });
            request
        }))
    }

    /// The answer for an address that nothing has: a page for whoever reads pages.
    pub(super) async fn nothing_at(&self, request: Request<Body>) -> Response {
        if is_for_a_person(request.headers()) {
            return web::not_found(self).await;
        }
        ApiError::new(ErrorCode::UnknownRoute).into_response()
    }

    /// Asks the API, and takes its answer as the contract has it.
    async fn ask<T: DeserializeOwned>(&self, request: Request<Body>) -> Answer<T> {
        read(self.answer(request).await).await
    }

    /// Asks the API for something that is answered with nothing.
    async fn tell(&self, request: Request<Body>) -> Answer<()> {
        succeeded(self.answer(request).await).await.map(drop)
    }

    /// The question, asked by whoever looks, if anything is done on somebody's behalf.
    fn signed(&self, request: Request<Body>) -> Request<Body> {
        match &self.viewer {
            Some(viewer) => by(viewer, request),
            None => request,
        }
    }

    /// Asks the API of one replica, whoever leads.
    async fn ask_at<T: DeserializeOwned>(
        &self,
        replica: ReplicaId,
        request: Request<Body>,
    ) -> Answer<T> {
        let status = self.api.node.status_here();
        if status.this_replica == Some(replica) {
            return self.ask(request).await;
        }
        let Some(other) = status.replicas.into_iter().find(|other| other.id == replica) else {
            return Err(Problem::new(ErrorCode::UnknownReplica));
        };
        let (parts, body) = self.signed(request).into_parts();
        let body = body.collect().await.map_err(|_broken_off| unreadable())?.to_bytes();
        let answer = Box::pin(self.api.at_replica(&other.addr, &parts, body)).await;
        read(answer.unwrap_or_else(IntoResponse::into_response)).await
    }

    async fn answer(&self, request: Request<Body>) -> Response {
        let request = self.signed(request);
        // Boxed: who asks for a page does not take the room of all routes.
        let answer = Box::pin(self.routes.clone().oneshot(request)).await;
        answer.unwrap_or_else(|never| match never {})
    }
}

/// What an answer of the API says.
async fn read<T: DeserializeOwned>(answer: Response) -> Answer<T> {
    let bytes = succeeded(answer).await?.into_body().collect().await;
    let bytes = bytes.map_err(|_broken_off| unreadable())?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|_other| unreadable())
}

/// The answer, if it is none that refuses.
async fn succeeded(mut answer: Response) -> Answer<Response> {
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

/// The same question, asked by whoever looks at the page.
fn by(viewer: &Viewer, mut question: Request<Body>) -> Request<Body> {
    if let Some(address) = viewer.address {
        question.extensions_mut().insert(Caller(address));
    }
    let name = viewer.name.as_ref().map_or(NAMELESS, ViewerName::as_str);
    let name = HeaderValue::from_str(name).expect("a name was checked to be plain ASCII");
    question.headers_mut().insert(FROM, name);
    question
}

fn unreadable() -> Problem {
    Problem::new(ErrorCode::Internal).with_detail("an answer of the service could not be read")
}

/// The answer of a process that serves nothing yet, if whoever asks would rather read a page; with what an operator can do.
pub(super) fn while_waiting(
    request: &Request<Body>,
    status: &ClusterStatus,
    advice: &[&str],
) -> Option<Response> {
    let is_page = is_for_a_person(request.headers());
    let path = request.uri().path();
    web::asset(path).or_else(|| is_page.then(|| web::waiting(status, advice)))
}

/// Whether whoever asks would rather read a page than a document.
fn is_for_a_person(headers: &HeaderMap) -> bool {
    let wanted = headers.get(ACCEPT).and_then(|wanted| wanted.to_str().ok());
    wanted.is_some_and(|wanted| wanted.contains("text/html"))
}

impl Beats for node::Beats {
    async fn next(&mut self) -> Option<Beat> {
        let beat = Self::next(self).await?;
        Some(Beat { number: beat.number, stirs: beat.stirs })
    }
}

impl Backend for Window {
    type Beats = node::Beats;

    fn on_behalf_of(&self, viewer: Viewer) -> Self {
        Self { viewer: Some(viewer), ..self.clone() }
    }

    fn beats(&self) -> node::Beats {
        self.api.node.beats()
    }

    async fn status(&self) -> Answer<ClusterStatus> {
        Ok(self.api.node.status().await)
    }

    async fn plan(&self, wish: &Wish) -> Answer<Plan> {
        self.ask(with_json(question(Method::POST, paths::PLANS), wish)).await
    }

    async fn begin_change(&self, request: &ChangeRequest, epoch: Epoch) -> Answer<Change> {
        let asked = with_json(question(Method::POST, paths::CHANGES), request);
        let asked = with_header(asked, header::IF_MATCH, &epoch.to_string());
        self.ask(asked).await
    }

    async fn cancel_change(&self, change: ChangeId) -> Answer<Change> {
        self.ask(question(Method::DELETE, &paths::change(change))).await
    }

    async fn change(&self, change: ChangeId) -> Answer<Change> {
        self.ask(get(&paths::change(change))).await
    }

    async fn changes(&self, query: ChangesQuery) -> Answer<ChangeList> {
        let path = format!("{}?{}", paths::CHANGES, query.to_query());
        self.ask(get(&path)).await
    }

    async fn transfers(&self, of: ReplicaId) -> Answer<TransferList> {
        self.ask_at(of, get(paths::TRANSFERS)).await
    }

    async fn turn_transfer(
        &self,
        of: ReplicaId,
        transfer: &str,
        change: TransferChange,
    ) -> Answer<TransferInfo> {
        let question = question(Method::PATCH, &paths::transfer(transfer));
        self.ask_at(of, with_json(question, &change)).await
    }

    async fn performance(&self, of: Option<ReplicaId>, step: Step) -> Answer<Performance> {
        match of {
            None => Ok(self.api.node.performance(step)),
            Some(of) => {
                let query = PerformanceQuery { step }.to_query();
                self.ask_at(of, get(&format!("{}?{query}", paths::PERFORMANCE))).await
            }
        }
    }

    async fn activity(&self, query: ActivityQuery) -> Answer<ActivityList> {
        self.ask(get(&format!("{}?{}", paths::ACTIVITY, query.to_query()))).await
    }

    async fn logs(&self, query: ListQuery) -> Answer<LogList> {
        self.ask(get(&format!("{}?{}", paths::LOGS, query.to_query()))).await
    }

    async fn log(&self, log: LogName, consistency: Consistency) -> Answer<LogDescription> {
        self.ask(get(&format!("{}?consistency={consistency}", paths::log(&log)))).await
    }

    async fn create_log(&self, log: LogName, settings: Settings) -> Answer<LogDescription> {
        self.ask(with_json(question(Method::PUT, &paths::log(&log)), &settings)).await
    }

    async fn change_settings(
        &self,
        log: LogTarget,
        patch: SettingsPatch,
    ) -> Answer<LogDescription> {
        self.ask(with_json(about(&log, Method::PATCH, &paths::log(&log.name)), &patch)).await
    }

    async fn trim(&self, log: LogTarget, to: Position, effect: EffectQuery) -> Answer<Dropped> {
        let path = format!("{}?dry_run={}", paths::trim(&log.name), effect.dry_run);
        self.ask(with_json(about(&log, Method::POST, &path), &TrimRequest { to })).await
    }

    async fn seal(&self, log: LogTarget) -> Answer<Sealed> {
        self.ask(about(&log, Method::POST, &paths::seal(&log.name))).await
    }

    async fn delete_log(&self, log: LogTarget) -> Answer<Dropped> {
        self.ask(about(&log, Method::DELETE, &paths::log(&log.name))).await
    }

    async fn read(&self, log: LogName, query: ReadQuery) -> Answer<ReadAnswer> {
        self.ask(get(&format!("{}?{}", paths::records(&log), query.to_query()))).await
    }

    async fn append(&self, log: LogName, conditions: Conditions, batch: Batch) -> Answer<Appended> {
        let call = with_body(question(Method::POST, &paths::records(&log)), batch_to_json(&batch));
        let conditions = conditions.to_headers();
        let call =
            conditions.iter().fold(call, |call, (name, value)| with_header(call, name, value));
        self.ask(call).await
    }

    fn fresh_key(&self) -> IdempotencyKey {
        let chance = &self.api.world.chance;
        let key = format!("page-{:016x}{:016x}", chance.next_u64(), chance.next_u64());
        IdempotencyKey::new(&key).expect("letters and digits are a key")
    }

    async fn checkpoints(&self) -> Answer<CheckpointList> {
        self.ask(get(paths::CHECKPOINTS)).await
    }

    async fn make_checkpoint(&self, request: CheckpointRequest) -> Answer<CheckpointInfo> {
        self.ask(with_json(question(Method::POST, paths::CHECKPOINTS), &request)).await
    }

    async fn snapshots(&self) -> Answer<SnapshotList> {
        self.ask(get(paths::SNAPSHOTS)).await
    }

    async fn release(&self, checkpoint: EntryIndex) -> Answer<()> {
        self.tell(question(Method::DELETE, &paths::snapshot(checkpoint))).await
    }

    async fn audit(&self) -> Answer<AuditReport> {
        self.ask(get(paths::AUDIT)).await
    }

    async fn scrub(&self) -> Answer<ScrubReport> {
        self.ask(get(paths::SCRUB)).await
    }

    async fn settings(&self) -> Answer<SettingList> {
        self.ask(get(paths::SETTINGS)).await
    }

    async fn scrub_now(&self) -> Answer<ScrubReport> {
        self.ask(question(Method::POST, paths::SCRUB)).await
    }
}
