//! One call: send it, follow the leader, try again as the error allows, and say truthfully what
//! came of it.
//!
//! An attempt is repeated only if its error is retryable, and then only if it certainly did nothing
//! or if the call is safe to repeat. Leader hints of answers are followed; a replica that cannot be
//! reached is left alone for a while, whoever names it.
//!
//! Every attempt has a name, which the service takes over into its diagnostics, and a trace: a span for the
//! call, an event for each attempt, neither with anything of a body.
//!
//! Not here: what is asked (`admin`, `log`), who there is to ask (`endpoints`), how long to wait
//! (`retry`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, FROM, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, redirect};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::endpoints::{Endpoints, Members};
use super::error::{Error, Failure, Outcome, is_passing_status};
use super::layers::{self, HttpService, LayerError, Layers};
use super::retry::{RetryBudget, RetryPolicy, moment};
use super::scout::{Scout, locked};
use crate::api::cluster::ClusterStatus;
use crate::api::error::{Problem, SideEffects};
use crate::api::{header, media};
use crate::types::{LogName, ReplicaAddr};

/// How long a connection is kept for further use: shorter than any replica keeps it, so that none is
/// closed at the moment of its use.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest part of a body that is not understood which an error shows.
const SHOWN_BODY_MAX: usize = 200;

/// What a call does to the service, and so when it may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing.
    None,
    /// It changes something, once, however often it arrives.
    Repeatable,
    /// It changes something each time it arrives.
    Once,
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// The leader if it is known, because it saves a hop.
    Leader,
    /// Whoever answers.
    Anyone,
}

/// One call, to be sent as often as it takes.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What is asked for, in the words of the method that does it.
    operation: &'static str,
    /// Of which log.
    log: Option<LogName>,
    method: Method,
    /// Path and query.
    target: String,
    headers: HeaderMap,
    body: Bytes,
    effect: Effect,
    aim: Aim,
    /// How long the service itself may wait before it answers.
    wait: Duration,
    attempts_max: u32,
    /// Until when it may be tried; by default as long as the policy says.
    until: Option<Instant>,
}

impl Call {
    pub(super) fn read(operation: &'static str, target: impl Into<String>) -> Self {
        Self {
            operation,
            log: None,
            method: Method::GET,
            target: target.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            effect: Effect::None,
            aim: Aim::Anyone,
            wait: Duration::ZERO,
            attempts_max: u32::MAX,
            until: None,
        }
    }

    pub(super) fn change(
        operation: &'static str,
        method: Method,
        target: impl Into<String>,
        effect: Effect,
    ) -> Self {
        Self { method, effect, aim: Aim::Leader, ..Self::read(operation, target) }
    }

    /// The same, about this log.
    pub(super) fn about(mut self, log: &LogName) -> Self {
        self.log = Some(log.clone());
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::usage(format!("header {name} cannot carry its value")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    pub(super) fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }

    pub(super) fn json(self, body: &impl serde::Serialize) -> Self {
        self.body(media::JSON, serde_json::to_vec(body).expect("a body of the contract is JSON"))
    }

    /// The same, tried only once whatever the policy says.
    pub(super) const fn once(mut self) -> Self {
        self.attempts_max = 1;
        self
    }

    pub(super) const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    pub(super) const fn until(mut self, until: Instant) -> Self {
        self.until = Some(until);
        self
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    effect: Effect,
}

impl Answer {
    /// What cannot be understood of this answer leaves the outcome open, unless nothing changed.
    pub(super) fn misunderstood(&self, reason: impl Into<String>) -> Error {
        let outcome = if self.effect == Effect::None { Outcome::NotDone } else { Outcome::Unknown };
        Error::protocol(reason, outcome)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.misunderstood(error.to_string()))
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn needed<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, Error> {
        self.parsed(name).ok_or_else(|| self.misunderstood(format!("header {name} is missing")))
    }
}

/// Settings of a [`Transport`].
#[derive(Clone, Debug)]
pub(super) struct TransportOptions {
    pub(super) seeds: Vec<ReplicaAddr>,
    pub(super) connect_timeout: Duration,
    pub(super) attempt_timeout: Duration,
    pub(super) retry: RetryPolicy,
    /// Whether leader hints are followed.
    pub(super) leader: LeaderHints,
    /// On whose behalf everything is asked, if that is said.
    pub(super) author: Option<HeaderValue>,
    /// What every request passes.
    pub(super) layers: Layers,
    /// What is trusted beside the roots of the system.
    #[cfg(feature = "tls")]
    pub(super) roots: super::tls::Roots,
}

/// Whether leader hints are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaderHints {
    Followed,
    Ignored,
}

/// One attempt of a call.
#[derive(Debug)]
struct Attempt {
    /// Who is asked.
    endpoint: ReplicaAddr,
    /// Not beyond this moment.
    until: Instant,
    /// How it is named in the diagnostics of whoever is asked.
    request_id: HeaderValue,
}

/// How an attempt is made.
type Make<T> = for<'a> fn(&'a Transport, &'a Call, &'a Attempt) -> BoxFuture<'a, Result<T, Failed>>;

/// Sends calls.
#[derive(Debug)]
pub(super) struct Transport {
    /// Makes requests.
    http: reqwest::Client,
    /// Sends them.
    way_out: HttpService,
    options: TransportOptions,
    budget: RetryBudget,
    names: Names,
    endpoints: Arc<Mutex<Endpoints>>,
    scout: Scout,
}

impl Transport {
    pub(super) fn new(options: TransportOptions) -> Result<Self, Error> {
        if options.seeds.is_empty() {
            return Err(Error::usage("a client needs the address of at least one replica"));
        }
        let http = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .build()
            .map_err(|error| Error::of(Failure::Transport(error.into()), Outcome::NotDone))?;
        let plain = layers::plain(http.clone());
        let secret = options.seeds.iter().find(|seed| seed.is_encrypted());
        let both = secret.map_or(Ok(plain.clone()), |secret| with_tls(plain, secret, &options))?;
        let way_out = options.layers.around(both);
        let budget = RetryBudget::new(&options.retry);
        let endpoints = Arc::new(Mutex::new(Endpoints::new(options.seeds.clone())));
        let names = Names::new();
        let limit = options.attempt_timeout;
        let scout = Scout::new(http.clone(), way_out.clone(), limit, Arc::clone(&endpoints));
        Ok(Self { http, way_out, options, budget, names, endpoints, scout })
    }

    pub(super) const fn retry(&self) -> &RetryPolicy {
        &self.options.retry
    }

    /// Takes over who the members are, as a replica told.
    pub(super) fn learn(&self, status: &ClusterStatus) {
        if let Some(members) = Members::of(status) {
            self.endpoints().learn(members);
            self.scout.try_out();
        }
    }

    /// Sends a call until it succeeds, is refused for good, or may not be repeated.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        self.repeat(call, |this, call, attempt| Box::pin(this.attempt(call, attempt))).await
    }

    /// The same for an answer that is taken piece by piece, each within the time of an attempt.
    pub(super) async fn open(&self, call: &Call) -> Result<Stream, Error> {
        self.repeat(call, |this, call, attempt| Box::pin(this.begin(call, attempt))).await
    }

    async fn repeat<T>(&self, call: &Call, make: Make<T>) -> Result<T, Error> {
        let log = call.log.as_ref().map(tracing::field::display);
        let span = tracing::debug_span!("quorate call", operation = call.operation, log);
        self.repeat_untold(call, make).instrument(span).await
    }

    async fn repeat_untold<T>(&self, call: &Call, make: Make<T>) -> Result<T, Error> {
        let patience = self.options.retry.deadline.saturating_add(call.wait);
        let by_policy = || moment(Instant::now(), patience);
        let until = call.until.unwrap_or_else(by_policy);
        let (mut attempts, mut outcome) = (0, Outcome::NotDone);
        loop {
            attempts += 1;
            let endpoint = self.endpoints().choose(call.aim);
            let attempt = Attempt { endpoint, until, request_id: self.names.next() };
            let (endpoint, request_id, begun) =
                (&attempt.endpoint, &attempt.request_id, Instant::now());
            let failed = match make(self, call, &attempt).await {
                Ok(answer) => {
                    let elapsed = begun.elapsed();
                    tracing::debug!(attempt = attempts, %endpoint, ?request_id, ?elapsed, "answered");
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            if failed.may_have_happened && call.effect != Effect::None {
                outcome = Outcome::Unknown;
            }
            let delay = self.delay(&failed, call, attempts, until);
            tracing::debug!(
                attempt = attempts,
                %endpoint,
                ?request_id,
                elapsed = ?begun.elapsed(),
                failure = failed.failure.word(),
                ?outcome,
                again_in = ?delay,
                "failed"
            );
            self.scout.try_out();
            let Some(delay) = delay else {
                // Whoever was not reached does not know it by its name.
                let named = || attempt.request_id.to_str().ok().map(str::to_owned);
                let given = failed.may_have_happened.then(named).flatten();
                let request_id = failed.request_id.or(given);
                let endpoint = Some(attempt.endpoint);
                return Err(Error {
                    attempts,
                    endpoint,
                    request_id,
                    ..Error::of(failed.failure, outcome)
                });
            };
            sleep(delay).await;
        }
    }

    /// How long to wait before another attempt, if there may be one.
    fn delay(
        &self,
        failed: &Failed,
        call: &Call,
        attempts: u32,
        until: Instant,
    ) -> Option<Duration> {
        let is_safe = call.effect != Effect::Once || !failed.may_have_happened;
        let attempts_max = call.attempts_max.min(self.options.retry.attempts_max);
        if !failed.is_retryable || !is_safe || attempts >= attempts_max {
            return None;
        }
        let backoff = self.options.retry.wait(attempts, failed.retry_after);
        let left = until.saturating_duration_since(Instant::now());
        if backoff >= left {
            return None;
        }
        let delay = backoff.max(self.budget.take());
        (delay < left).then_some(delay)
    }

    async fn attempt(&self, call: &Call, attempt: &Attempt) -> Result<Answer, Failed> {
        let endpoint = &attempt.endpoint;
        let limit = self.options.attempt_timeout.saturating_add(call.wait).min(attempt.left());
        let by = Instant::now() + limit;
        let sent = send(self.way_out.clone(), self.request(call, attempt), limit).await;
        let response = sent.inspect_err(|_| self.endpoints().leave(endpoint))?;
        let response = self.accepted(response, endpoint, by).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = self.body(response, endpoint, by).await?;
        Ok(Answer { status, headers, body, effect: call.effect })
    }

    async fn begin(&self, call: &Call, attempt: &Attempt) -> Result<Stream, Failed> {
        let endpoint = &attempt.endpoint;
        let patience = self.options.attempt_timeout;
        let limit = patience.min(attempt.left());
        let by = Instant::now() + limit;
        let sent = send(self.way_out.clone(), self.request(call, attempt), limit).await;
        let response = sent.inspect_err(|_| self.endpoints().leave(endpoint))?;
        Ok(Stream { response: self.accepted(response, endpoint, by).await?, patience })
    }

    fn request(&self, call: &Call, attempt: &Attempt) -> reqwest::RequestBuilder {
        self.http
            .request(call.method.clone(), format!("{}{}", attempt.endpoint, call.target))
            .headers(call.headers.clone())
            .headers(self.options.author.iter().map(|author| (FROM, author.clone())).collect())
            .header(header::REQUEST_ID, attempt.request_id.clone())
            .body(call.body.clone())
    }

    /// An answer that says that it went well; of another one, what it says.
    async fn accepted(
        &self,
        response: reqwest::Response,
        endpoint: &ReplicaAddr,
        by: Instant,
    ) -> Result<reqwest::Response, Failed> {
        self.follow_hints(response.headers(), endpoint);
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = self.body(response, endpoint, by).await?;
        let failed = Failed::answered(status, &headers, &body);
        if failed.is_retryable {
            self.endpoints().turn_from(endpoint);
        }
        Err(failed)
    }

    /// The whole body, which has to be there by this moment.
    async fn body(
        &self,
        response: reqwest::Response,
        endpoint: &ReplicaAddr,
        by: Instant,
    ) -> Result<Bytes, Failed> {
        let headers = response.headers().clone();
        let read = match timeout_at(by, response.bytes()).await {
            Ok(read) => read.map_err(|error| Failed::unread(error, &headers)),
            Err(_elapsed) => Err(Failed { request_id: named(&headers), ..Failed::timed_out() }),
        };
        read.inspect_err(|_| self.endpoints().leave(endpoint))
    }

    fn follow_hints(&self, headers: &HeaderMap, endpoint: &ReplicaAddr) {
        if self.options.leader == LeaderHints::Ignored {
            return;
        }
        let epoch = header_text(headers, header::EPOCH).and_then(|epoch| epoch.parse().ok());
        let mut endpoints = self.endpoints();
        let hint = header_text(headers, header::LEADER);
        let has_untried = hint.is_some_and(|hint| endpoints.hint(hint));
        let has_others = endpoints.answered(endpoint, epoch);
        drop(endpoints);
        if has_others {
            self.scout.ask_for_members(endpoint);
        }
        if has_untried {
            self.scout.try_out();
        }
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        locked(&self.endpoints)
    }
}

impl Attempt {
    /// How much time is left for it.
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Names for attempts, which no other client has.
#[derive(Debug)]
struct Names {
    prefix: u64,
    next: AtomicU64,
}

impl Names {
    fn new() -> Self {
        // Without chance they still differ within the client.
        Self { prefix: getrandom::u64().unwrap_or_default(), next: AtomicU64::new(1) }
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("sdk-{:016x}-{number}", self.prefix))
            .expect("letters and digits are plain ASCII")
    }
}

/// A way out that is also one for encrypted connections, as this address wants.
#[cfg(feature = "tls")]
fn with_tls(
    plain: HttpService,
    _wanted: &ReplicaAddr,
    options: &TransportOptions,
) -> Result<HttpService, Error> {
    super::tls::client(options.roots.clone(), options.connect_timeout, IDLE_MAX)
        .map(|encrypted| layers::by_scheme(encrypted, plain))
        .map_err(|error| Error::of(Failure::Transport(error), Outcome::NotDone))
}

#[cfg(not(feature = "tls"))]
fn with_tls(
    _plain: HttpService,
    wanted: &ReplicaAddr,
    _options: &TransportOptions,
) -> Result<HttpService, Error> {
    Err(Error::of(Failure::NoTls(wanted.clone()), Outcome::NotDone))
}

/// Sends a request, layers included, within that time.
pub(super) async fn send(
    way_out: HttpService,
    request: reqwest::RequestBuilder,
    limit: Duration,
) -> Result<reqwest::Response, Failed> {
    let request = request.build().map_err(Failed::unsent)?;
    match timeout(limit, way_out.oneshot(request)).await {
        Ok(sent) => sent.map_err(Failed::by_layers),
        Err(_elapsed) => Err(Failed::timed_out()),
    }
}

/// A good answer that is taken piece by piece.
#[derive(Debug)]
pub(super) struct Stream {
    response: reqwest::Response,
    patience: Duration,
}

impl Stream {
    /// The next piece; nothing after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match timeout(self.patience, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(Error::of(Failure::Transport(error.into()), Outcome::NotDone)),
            Err(_elapsed) => Err(Error::of(Failure::TimedOut, Outcome::NotDone)),
        }
    }
}

/// What became of one attempt.
#[derive(Debug)]
pub(super) struct Failed {
    failure: Failure,
    is_retryable: bool,
    may_have_happened: bool,
    retry_after: Duration,
    request_id: Option<String>,
}

impl Failed {
    fn unsent(error: reqwest::Error) -> Self {
        // Without a connection nothing was sent; with one, how far it came is not known.
        let may_have_happened = !(error.is_connect() || error.is_builder());
        let is_retryable = !error.is_builder();
        let is_timeout = error.is_timeout();
        Self {
            failure: if is_timeout { Failure::TimedOut } else { Failure::Transport(error.into()) },
            is_retryable,
            may_have_happened,
            retry_after: Duration::ZERO,
            request_id: None,
        }
    }

    /// What comes back through the layers: an error of the HTTP client, or of one of them.
    fn by_layers(error: LayerError) -> Self {
        #[cfg(feature = "tls")]
        if let Some(broken) = error.downcast_ref::<super::tls::Broken>() {
            let may_have_happened = !broken.is_unsent();
            return Self {
                failure: Failure::Transport(error),
                may_have_happened,
                ..Self::timed_out()
            };
        }
        match error.downcast::<reqwest::Error>() {
            Ok(error) => Self::unsent(*error),
            Err(error) => Self { failure: Failure::Layer(error), ..Self::timed_out() },
        }
    }

    fn timed_out() -> Self {
        Self {
            failure: Failure::TimedOut,
            is_retryable: true,
            may_have_happened: true,
            retry_after: Duration::ZERO,
            request_id: None,
        }
    }

    fn unread(error: reqwest::Error, headers: &HeaderMap) -> Self {
        Self { may_have_happened: true, request_id: named(headers), ..Self::unsent(error) }
    }

    fn answered(status: u16, headers: &HeaderMap, body: &Bytes) -> Self {
        let request_id = named(headers);
        let seconds = header_text(headers, header::RETRY_AFTER).and_then(|text| text.parse().ok());
        let by_header = Duration::from_secs(seconds.unwrap_or(0));
        if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
            return Self {
                is_retryable: problem.retryable,
                may_have_happened: problem.side_effects == SideEffects::Possible,
                retry_after: problem.retry_after_ms.map_or(by_header, Duration::from_millis),
                failure: Failure::Refused(Box::new(problem)),
                request_id,
            };
        }
        let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BODY_MAX)]).into_owned();
        let answers = LaterProblem::read(body).unwrap_or(LaterProblem {
            retryable: is_passing_status(status),
            side_effects: SideEffects::Possible,
        });
        Self {
            is_retryable: answers.retryable,
            may_have_happened: answers.side_effects == SideEffects::Possible,
            retry_after: by_header,
            failure: Failure::Status { status, body: shown, retryable: answers.retryable },
            request_id,
        }
    }
}

/// What is understood of a problem document with a code of a later version.
#[derive(serde::Deserialize)]
struct LaterProblem {
    retryable: bool,
    side_effects: SideEffects,
}

impl LaterProblem {
    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// How the request is named in the diagnostics of whoever answered.
fn named(headers: &HeaderMap) -> Option<String> {
    header_text(headers, header::REQUEST_ID).map(str::to_owned)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
