//! The front door of a process that is no member yet: it waits to found a cluster or to be admitted, or
//! opens what it keeps.
//!
//! It is alive and not ready, says what it waits for, tells its metrics, and refuses everything else as
//! something that another replica may do. If it was started to be founded by a request, that one
//! request founds the cluster; whoever asks a second time is refused.
//!
//! Not here: founding (`node`), which `run` does when it is called.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use client::api::cluster::{
    BootstrapAnswer, BootstrapRequest, ClusterStatus, Readiness, ReadinessCheck, Verdict,
};
use client::api::error::{ErrorCode, Problem};
use client::api::paths;
use client::types::{ClusterId, Generation, ReplicaId, Term, Timestamp};
use http::{Method, Request, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::body::BodyRoom;
use super::health::Asked;
use super::problem::ApiError;
use super::reception::Reception;
use super::{HttpOptions, access, dashboard, extract, health, told};
use crate::metrics::Metrics;
use crate::world::{Clock, World};

/// The most voters that may be expected.
const VOTERS_MAX: u32 = 9;
/// When to try again here; elsewhere, at once.
const RETRY: Duration = Duration::from_secs(1);

/// Bytes of all bodies that are being taken in at once: they are all small.
const BODIES_BYTES_MAX: usize = 4 << 20;

/// Somebody asks this process to found a cluster.
#[derive(Debug)]
pub struct BootstrapCall {
    /// What was asked for.
    pub request: BootstrapRequest,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<BootstrapAnswer, Box<Problem>>>,
}

/// How far a process is that serves nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It looks at its folder.
    Starting,
    /// Its folder is empty, and it was not told how to begin.
    Unfounded,
    /// It asked to join, and nobody has admitted it.
    Joining,
    /// It is a replica and opens what it keeps.
    Opening {
        /// Its cluster.
        cluster: ClusterId,
        /// Which history of it.
        generation: Generation,
        /// Which replica it is.
        replica: ReplicaId,
    },
    /// It is a replica that lost something, and repairs it before it takes part in anything.
    Repairing {
        /// Its cluster.
        cluster: ClusterId,
        /// Which history of it.
        generation: Generation,
        /// Which replica it is.
        replica: ReplicaId,
        /// What is repaired, and what that waits for.
        repair: String,
    },
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Unfounded => f.write_str("waiting to be told to found a cluster"),
            Self::Joining => f.write_str("waiting to join"),
            Self::Opening { replica, .. } => write!(f, "opening replica {replica}"),
            Self::Repairing { replica, repair, .. } => {
                write!(f, "repairing replica {replica}: {repair}")
            }
        }
    }
}

/// The front door before there is a node. A clone is the same.
#[derive(Clone)]
pub struct WaitingFront {
    shared: Arc<WaitingParts>,
}

struct WaitingParts {
    reception: Reception,
    metrics: Metrics,
    clock: Clock,
    bodies: BodyRoom,
    small_body_bytes_max: usize,
    standing: Mutex<Standing>,
    founding: Option<mpsc::Sender<BootstrapCall>>,
}

impl WaitingFront {
    /// A door that waits; with `founding`, a request may found the cluster.
    pub fn new(
        options: HttpOptions,
        metrics: Metrics,
        world: &World,
        founding: Option<mpsc::Sender<BootstrapCall>>,
    ) -> Self {
        let shared = WaitingParts {
            reception: Reception::new("waiting", metrics.clone(), world),
            metrics,
            clock: world.clock.clone(),
            bodies: BodyRoom::new(BODIES_BYTES_MAX, world.clock.clone()),
            small_body_bytes_max: options.small_body_bytes_max,
            standing: Mutex::new(Standing::Starting),
            founding,
        };
        Self { shared: Arc::new(shared) }
    }

    /// From now on says this of the process.
    pub fn say(&self, standing: Standing) {
        *self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        self.shared.reception.receive(request, |request| self.dispatch(request)).await
    }

    async fn dispatch(&self, request: Request<Body>) -> (&'static str, Response) {
        let (route, result) = self.route(request).await;
        (route, result.unwrap_or_else(IntoResponse::into_response))
    }

    async fn route(&self, request: Request<Body>) -> (&'static str, Result<Response, ApiError>) {
        if access::is_cross_site(request.method(), request.uri(), request.headers()) {
            return ("cross_site", Err(super::cross_site()));
        }
        let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            paths::LIVE if is_look => (paths::LIVE, Ok(health::live().await)),
            paths::HEALTH if is_look => (paths::HEALTH, Ok(health::live().await)),
            paths::METRICS if is_look => {
                let metrics = health::exposition(&self.shared.metrics, request.headers());
                (paths::METRICS, Ok(metrics))
            }
            paths::READY if is_look => (paths::READY, self.ready(&request)),
            paths::CLUSTER if is_look => (paths::CLUSTER, self.status(&request)),
            paths::BOOTSTRAP if *request.method() == Method::POST => {
                (paths::BOOTSTRAP, self.bootstrap(request).await)
            }
            _ => {
                let page = is_look.then(|| self.page(&request)).flatten();
                ("other", page.ok_or_else(|| self.refusal()))
            }
        }
    }

    /// What a person is told who looks here, and a browser needs to show it.
    fn page(&self, request: &Request<Body>) -> Option<Response> {
        let advice: &[&str] = match self.standing() {
            Standing::Starting | Standing::Opening { .. } => &["It goes on by itself."],
            Standing::Repairing { .. } => {
                &["It takes what it lost from the other replicas: they have to be there."]
            }
            Standing::Joining => &[
                "It is shown in the dashboard of every replica of the group, among those who wait to join.",
                "From there, or by the command quorate cluster add, it is let in.",
            ],
            Standing::Unfounded => &[
                "Start it with --bootstrap to found a cluster, or with --join and the address of a replica to become one of its group.",
                "POST on /v1/cluster/bootstrap founds a cluster, too.",
            ],
        };
        dashboard::while_waiting(request, &self.cluster(), advice)
    }

    fn standing(&self) -> Standing {
        self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refusal(&self) -> ApiError {
        let why = format!("this process is {}", self.standing());
        ApiError::because(ErrorCode::NotMember, why).retry_after(RETRY)
    }

    fn ready(&self, request: &Request<Body>) -> Result<Response, ApiError> {
        let asked = Asked::of(request)?;
        let standing = self.standing();
        let check = |name: &str, is_passed, detail: String| ReadinessCheck {
            name: name.to_owned(),
            is_passed,
            detail,
        };
        let is_member = matches!(standing, Standing::Opening { .. } | Standing::Repairing { .. });
        let member = "this process belongs to a cluster".to_owned();
        let opened = format!("this process can serve; it is {standing}");
        let checks = vec![check("member", is_member, member), check("opened", false, opened)];
        Ok(asked.answer(&Readiness { is_ready: false, checks }))
    }

    /// What can be said of the cluster: that this process knows nothing of it yet, and why.
    fn status(&self, request: &Request<Body>) -> Result<Response, ApiError> {
        extract::no_query(request.uri())?;
        let mut response = told::json(StatusCode::OK, &self.cluster());
        told::tell_not_to_keep(response.headers_mut());
        Ok(response)
    }

    fn cluster(&self) -> ClusterStatus {
        let standing = self.standing();
        let (cluster, generation, replica) = match standing {
            Standing::Opening { cluster, generation, replica }
            | Standing::Repairing { cluster, generation, replica, .. } => {
                (Some(cluster), Some(generation), Some(replica))
            }
            Standing::Starting | Standing::Unfounded | Standing::Joining => (None, None, None),
        };
        let why = format!("this process is {}", self.standing());
        ClusterStatus {
            verdict: Verdict {
                can_append: false,
                tolerance: 0,
                sentence: format!("Not taking appends here: {why}."),
                reasons: vec![why],
            },
            cluster,
            generation,
            epoch: None,
            term: Term::default(),
            leader: None,
            this_replica: replica,
            expected_voters: 0,
            replicas: Vec::new(),
            joiners: Vec::new(),
            replacement: None,
            as_of: Timestamp::new(self.shared.clock.wall_millis()),
        }
    }

    async fn bootstrap(&self, request: Request<Body>) -> Result<Response, ApiError> {
        extract::no_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let shared = &*self.shared;
        let limit = shared.small_body_bytes_max;
        let taken = shared.bodies.take_in(&parts.headers, body, limit).await?;
        let request: BootstrapRequest = extract::json_or_default(&parts.headers, &taken.bytes)?;
        if request.expect.is_some_and(|voters| !(1..=VOTERS_MAX).contains(&voters)) {
            let wrong = format!("expect: from 1 to {VOTERS_MAX} voters");
            return Err(ApiError::because(ErrorCode::InvalidBody, wrong));
        }
        let Some(founding) = &shared.founding else { return Err(self.refusal()) };
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
    use client::api::header;
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(front: &WaitingFront, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = front.answer(request).await;
        let status = response.status().as_u16();
        assert!(response.headers().contains_key(header::REQUEST_ID), "{method} {path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn json(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap_or_default()
    }

    fn front(founding: Option<mpsc::Sender<BootstrapCall>>) -> WaitingFront {
        let world = World::for_test(1, 1_000);
        WaitingFront::new(HttpOptions::default(), Metrics::new(), &world, founding)
    }

    fn opening() -> Standing {
        Standing::Opening {
            cluster: ClusterId::new([7; 16]),
            generation: Generation { number: 1, random: 2 },
            replica: ReplicaId::new(3).unwrap(),
        }
    }

    fn repairing() -> Standing {
        Standing::Repairing {
            cluster: ClusterId::new([7; 16]),
            generation: Generation { number: 1, random: 2 },
            replica: ReplicaId::new(3).unwrap(),
            repair: "the journal lacks entries 5 to 7".to_owned(),
        }
    }

    #[tokio::test]
    async fn who_waits_is_alive_and_not_ready_and_serves_nothing() {
        let front = front(None);
        assert_eq!(ask(&front, "GET", "/livez", "").await.0, 200);
        assert_eq!(ask(&front, "GET", "/metrics", "").await.0, 200);
        for (method, path) in
            [("GET", "/v1/logs"), ("POST", "/v1/logs/a/records"), ("POST", paths::BOOTSTRAP)]
        {
            let (status, problem) = ask(&front, method, path, "").await;
            let problem = json(&problem);
            assert_eq!((status, &problem["code"]), (503, &"not_member".into()), "{path}");
            assert_eq!(problem["side_effects"], "none");
            assert_eq!(problem["retry_after_ms"], 1_000, "{path}");
        }
    }

    #[tokio::test]
    async fn who_waits_says_what_for() {
        let front = front(None);
        for (standing, words) in [
            (Standing::Starting, "starting"),
            (Standing::Unfounded, "waiting to be told to found a cluster"),
            (Standing::Joining, "waiting to join"),
            (opening(), "opening replica 3"),
            (repairing(), "repairing replica 3: the journal lacks entries 5 to 7"),
        ] {
            front.say(standing.clone());
            let (status, text) = ask(&front, "GET", "/readyz", "").await;
            assert_eq!(status, 503);
            assert!(text.contains(words), "{text}");
            let (status, text) = ask(&front, "GET", "/readyz?verbose", "").await;
            assert_eq!((status, &json(&text)["is_ready"]), (503, &false.into()));
            let (status, text) = ask(&front, "GET", "/v1/cluster", "").await;
            let cluster: ClusterStatus = serde_json::from_str(&text).unwrap();
            assert_eq!(status, 200);
            assert!(!cluster.verdict.can_append);
            assert!(cluster.verdict.sentence.contains(words), "{}", cluster.verdict.sentence);
            assert_eq!(
                cluster.this_replica.is_some(),
                standing == opening() || standing == repairing()
            );
        }
    }

    #[tokio::test]
    async fn a_browser_is_shown_what_this_process_waits_for() {
        let front = front(None);
        front.say(Standing::Joining);
        let look = async |path: &str| {
            let request = Request::get(path).header("accept", "text/html,*/*;q=0.8");
            let response = front.answer(request.body(Body::empty()).unwrap()).await;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        for path in ["/", "/replicas"] {
            let (status, page) = look(path).await;
            assert_eq!(status, 503, "{path}");
            assert!(page.contains("this process is waiting to join"), "{page}");
        }
        let (_, page) = look("/").await;
        let style = page.split('"').find(|part| part.contains(".css")).unwrap();
        assert_eq!(look(style).await.0, 200);
        assert_eq!(json(&look(paths::CLUSTER).await.1)["verdict"]["can_append"], false);
    }

    #[tokio::test]
    async fn a_cluster_is_founded_by_one_request_only() {
        let (calls, mut called) = mpsc::channel::<BootstrapCall>(1);
        let front = front(Some(calls));
        let (status, _) = ask(&front, "POST", paths::BOOTSTRAP, r#"{"expect":0}"#).await;
        assert_eq!(status, 400, "a bad request does not found a cluster");
        let founded = BootstrapAnswer {
            cluster: ClusterId::new([7; 16]),
            generation: Generation { number: 1, random: 2 },
            replica: ReplicaId::new(1).unwrap(),
        };
        let by_run = async {
            let call = called.recv().await.unwrap();
            called.close();
            assert_eq!(call.request.expect, Some(3));
            call.answer.send(Ok(founded)).unwrap();
        };
        let asking = ask(&front, "POST", paths::BOOTSTRAP, r#"{"expect":3}"#);
        let ((status, answer), ()) = tokio::join!(asking, by_run);
        assert_eq!((status, json(&answer)), (201, serde_json::to_value(founded).unwrap()));
        let (status, problem) = ask(&front, "POST", paths::BOOTSTRAP, "").await;
        assert_eq!((status, &json(&problem)["code"]), (409, &"already_bootstrapped".into()));
    }
}
