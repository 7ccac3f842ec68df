//! A backend that answers from a struct, and requests to the pages over it.
//!
//! Each field is one answer; what was asked to be changed is written down in words. What no test needs
//! is not canned: it answers that the replica serves no cluster.

#![allow(clippy::result_large_err, reason = "answers are what the contract says")]

use std::sync::{Arc, Mutex};

use axum::body::Body;
use client::api::audit::{AuditReport, ScrubReport};
use client::api::checkpoints::{CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotList};
use client::api::cluster::{ClusterStatus, Lag, ReplicaStatus, Role, SyncLatency, Verdict};
use client::api::conditions::Conditions;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::{
    Dropped, EffectQuery, ListQuery, LogDescription, LogList, Sealed, Settings, SettingsPatch,
};
use client::api::performance::{LatencySummary, Performance, PerformancePoint, Step};
use client::api::reading::{Consistency, ReadQuery};
use client::api::records::{Appended, ReadAnswer};
use client::api::settings::SettingList;
use client::types::{
    Batch, ClusterId, EntryIndex, Epoch, IdempotencyKey, LogName, Position, ReplicaAddr, ReplicaId,
    Term, Timestamp,
};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body_util::BodyExt;
use quorate_web::{Backend, LogTarget, router};
use tower::ServiceExt;

/// What stands behind the pages.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) status: Result<ClusterStatus, Problem>,
    pub(crate) logs: Result<LogList, Problem>,
    pub(crate) log: Result<LogDescription, Problem>,
    pub(crate) records: Result<ReadAnswer, Problem>,
    /// Asked for what was acknowledged, it refuses with this.
    pub(crate) not_fresh: Option<Problem>,
    /// What every change of a log is answered with, unless it succeeds.
    pub(crate) refusal: Option<Problem>,
    pub(crate) appended: Result<Appended, Problem>,
    pub(crate) dropped: Result<Dropped, Problem>,
    pub(crate) sealed: Result<Sealed, Problem>,
    pub(crate) checkpoints: Result<CheckpointList, Problem>,
    pub(crate) snapshots: Result<SnapshotList, Problem>,
    pub(crate) audit: Result<AuditReport, Problem>,
    pub(crate) scrub: Result<ScrubReport, Problem>,
    pub(crate) settings: Result<SettingList, Problem>,
    /// What was asked to be done, in order.
    pub(crate) done: Arc<Mutex<Vec<String>>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            status: Ok(status()),
            logs: nothing(),
            log: nothing(),
            records: nothing(),
            not_fresh: None,
            refusal: None,
            appended: nothing(),
            dropped: nothing(),
            sealed: nothing(),
            checkpoints: nothing(),
            snapshots: nothing(),
            audit: nothing(),
            scrub: nothing(),
            settings: nothing(),
            done: Arc::default(),
        }
    }
}

fn nothing<T>() -> Result<T, Problem> {
    Err(Problem::new(ErrorCode::NotMember))
}

impl Fake {
    /// What was asked to be done so far.
    pub(crate) fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    fn note<T>(&self, what: String, answer: Result<T, Problem>) -> Result<T, Problem> {
        self.done.lock().unwrap().push(what);
        match &self.refusal {
            Some(problem) => Err(problem.clone()),
            None => answer,
        }
    }

    fn fresh(&self, consistency: Consistency) -> Result<(), Problem> {
        match &self.not_fresh {
            Some(problem) if consistency.is_default() => Err(problem.clone()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Backend for Fake {
    async fn status(&self) -> Result<ClusterStatus, Problem> {
        self.status.clone()
    }

    async fn performance(&self, step: Step) -> Result<Performance, Problem> {
        let summary = LatencySummary { p50_us: 410, p99_us: 2_210, max_us: 9_120 };
        let busy = PerformancePoint {
            appends: 12_400,
            append: Some(summary),
            lag_max: Some(7),
            ..PerformancePoint::default()
        };
        let points = vec![PerformancePoint::default(), busy];
        Ok(Performance { replica: ReplicaId::FIRST, step, until: Timestamp::EPOCH, points })
    }

    async fn logs(&self, query: ListQuery) -> Result<LogList, Problem> {
        self.fresh(query.consistency)?;
        let mut logs = self.logs.clone()?;
        let prefix = query.prefix.unwrap_or_default();
        logs.logs.retain(|log| log.log.as_str().starts_with(&prefix));
        Ok(logs)
    }

    async fn log(&self, _: LogName, consistency: Consistency) -> Result<LogDescription, Problem> {
        self.fresh(consistency)?;
        self.log.clone()
    }

    async fn create_log(
        &self,
        log: LogName,
        settings: Settings,
    ) -> Result<LogDescription, Problem> {
        self.note(format!("create {log} {settings:?}"), self.log.clone())
    }

    async fn change_settings(
        &self,
        log: LogTarget,
        patch: SettingsPatch,
    ) -> Result<LogDescription, Problem> {
        self.note(format!("set {} {:?} {patch:?}", log.name, log.id), self.log.clone())
    }

    async fn trim(
        &self,
        log: LogTarget,
        to: Position,
        effect: EffectQuery,
    ) -> Result<Dropped, Problem> {
        if effect.dry_run {
            return self.dropped.clone();
        }
        self.note(format!("trim {} {:?} to {to}", log.name, log.id), self.dropped.clone())
    }

    async fn seal(&self, log: LogTarget) -> Result<Sealed, Problem> {
        self.note(format!("seal {} {:?}", log.name, log.id), self.sealed.clone())
    }

    async fn delete_log(&self, log: LogTarget) -> Result<Dropped, Problem> {
        self.note(format!("delete {} {:?}", log.name, log.id), self.dropped.clone())
    }

    async fn read(&self, _: LogName, query: ReadQuery) -> Result<ReadAnswer, Problem> {
        self.fresh(query.consistency)?;
        self.records.clone()
    }

    async fn append(
        &self,
        log: LogName,
        conditions: Conditions,
        batch: Batch,
    ) -> Result<Appended, Problem> {
        let records: Vec<_> = batch.records().collect();
        self.note(format!("append {log} {conditions:?} {records:?}"), self.appended.clone())
    }

    fn fresh_key(&self) -> IdempotencyKey {
        IdempotencyKey::new("fresh-key").unwrap()
    }

    async fn checkpoints(&self) -> Result<CheckpointList, Problem> {
        self.checkpoints.clone()
    }

    async fn make_checkpoint(&self, request: CheckpointRequest) -> Result<CheckpointInfo, Problem> {
        let made = self.checkpoints.clone().map(|mut list| list.checkpoints.remove(0));
        self.note(format!("checkpoint {:?}", request.label), made)
    }

    async fn snapshots(&self) -> Result<SnapshotList, Problem> {
        self.snapshots.clone()
    }

    async fn release(&self, checkpoint: EntryIndex) -> Result<(), Problem> {
        self.note(format!("release {checkpoint}"), Ok(()))
    }

    async fn audit(&self) -> Result<AuditReport, Problem> {
        self.audit.clone()
    }

    async fn scrub(&self) -> Result<ScrubReport, Problem> {
        self.scrub.clone()
    }

    async fn settings(&self) -> Result<SettingList, Problem> {
        self.settings.clone()
    }

    async fn scrub_now(&self) -> Result<ScrubReport, Problem> {
        self.note("scrub".to_owned(), self.scrub.clone())
    }
}

/// A replica of the cluster below.
pub(crate) fn replica(id: u64, role: Role, is_reachable: bool) -> ReplicaStatus {
    let addr = |port: u64| ReplicaAddr::new(&format!("http://127.0.0.1:{port}")).unwrap();
    ReplicaStatus {
        id: ReplicaId::new(id).unwrap(),
        role,
        is_reachable,
        addr: addr(7000 + id),
        peer_addr: addr(8000 + id),
        zone: "zone-a".into(),
        version: Some("0.1.0".into()),
        start: None,
        tail: None,
        applied: None,
        lag: Some(Lag { entries: 9_412 * (id - 1) }),
        heard_ms_ago: Some(300),
        sync: Some(SyncLatency { p50_us: 120, p99_us: 1_240 }),
        slow_ms: None,
        free_bytes: Some(41_000_000_000),
        damaged_entries: None,
        quarantine: None,
        digest: None,
    }
}

/// Three replicas, of which one does not answer.
pub(crate) fn status() -> ClusterStatus {
    ClusterStatus {
        verdict: Verdict {
            can_append: true,
            tolerance: 1,
            sentence:
                "Taking appends. 3 of 3 replicas vote. You can lose 1 more and keep appending."
                    .into(),
            reasons: Vec::new(),
        },
        cluster: Some(ClusterId::new([7; 16])),
        generation: None,
        epoch: Some(Epoch::new(4_812)),
        term: Term::new(3),
        leader: ReplicaId::new(1),
        this_replica: ReplicaId::new(2),
        expected_voters: 3,
        replicas: vec![
            replica(1, Role::Leader, true),
            replica(2, Role::Follower, true),
            replica(3, Role::Follower, false),
        ],
        joiners: Vec::new(),
        replacement: None,
        as_of: Timestamp::new(0),
    }
}

impl From<ClusterStatus> for Fake {
    fn from(status: ClusterStatus) -> Self {
        Self { status: Ok(status), ..Self::default() }
    }
}

impl From<&Fake> for Fake {
    fn from(fake: &Fake) -> Self {
        fake.clone()
    }
}

/// What a browser gets at this address.
pub(crate) async fn get(fake: impl Into<Fake>, path: &str) -> (Response<()>, String) {
    send(fake.into(), Request::builder().uri(path).body(Body::empty()).unwrap()).await
}

/// What a browser gets for a form that it sends.
pub(crate) async fn post(fake: impl Into<Fake>, path: &str, form: &str) -> (Response<()>, String) {
    let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    send(fake.into(), request.body(Body::from(form.to_owned())).unwrap()).await
}

async fn send(fake: Fake, request: Request<Body>) -> (Response<()>, String) {
    let response = router(fake).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
}
