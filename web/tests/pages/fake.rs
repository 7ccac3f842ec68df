//! A backend that answers from a struct, and requests to the pages over it.
//!
//! Each field is one answer; what was asked to be changed is written down in words. What no test needs
//! is not canned: it answers that the replica serves no cluster.

#![allow(clippy::result_large_err, reason = "answers are what the contract says")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use client::api::activity::{Activity, ActivityList, ActivityQuery};
use client::api::audit::{AuditReport, ScrubReport};
use client::api::changes::{Change, ChangeList, ChangeRequest, ChangesQuery};
use client::api::checkpoints::{CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotList};
use client::api::cluster::{ClusterStatus, Joiner, Lag, ReplicaStatus, Role, SyncLatency, Verdict};
use client::api::conditions::Conditions;
use client::api::error::{ErrorCode, Problem};
use client::api::logs::{
    Dropped, EffectQuery, ListQuery, LogDescription, LogList, Sealed, Settings, SettingsPatch,
};
use client::api::performance::{LatencySummary, Performance, PerformancePoint, Step};
use client::api::plans::{Plan, Wish};
use client::api::reading::{Consistency, ReadFrom, ReadQuery};
use client::api::records::{Appended, ReadAnswer, RecordJson};
use client::api::settings::SettingList;
use client::api::transfers::{TransferChange, TransferInfo, TransferList};
use client::types::{
    Batch, ChangeId, ClusterId, EntryIndex, Epoch, Headers, IdempotencyKey, LogId, LogName,
    Position, Record, ReplicaAddr, ReplicaId, Term, Timestamp, Zone,
};
use http::header::{CONTENT_TYPE, COOKIE};
use http::{Request, Response};
use http_body_util::BodyExt;
use quorate_web::{Answer, Backend, Beat, Beats, LogTarget, Viewer, router};
use tokio::sync::watch;
use tower::ServiceExt;

/// What stands at a position of a log that holds more than a test writes down.
pub(crate) type BodyAt = fn(u64) -> String;

/// What stands behind the pages.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) status: Answer<ClusterStatus>,
    pub(crate) logs: Answer<LogList>,
    pub(crate) log: Answer<LogDescription>,
    pub(crate) records: Answer<ReadAnswer>,
    /// The tail of a log that holds more, and what is at each position.
    pub(crate) many: Option<(Position, BodyAt)>,
    /// Asked for what was acknowledged, it refuses with this.
    pub(crate) not_fresh: Option<Problem>,
    /// What every change of a log is answered with, unless it succeeds.
    pub(crate) refusal: Option<Problem>,
    pub(crate) settings: Answer<SettingList>,
    pub(crate) appended: Answer<Appended>,
    pub(crate) dropped: Answer<Dropped>,
    pub(crate) sealed: Answer<Sealed>,
    pub(crate) checkpoints: Answer<CheckpointList>,
    pub(crate) snapshots: Answer<SnapshotList>,
    pub(crate) audit: Answer<AuditReport>,
    pub(crate) scrub: Answer<ScrubReport>,
    pub(crate) plan: Answer<Plan>,
    pub(crate) begun: Answer<Change>,
    pub(crate) cancelled: Answer<Change>,
    pub(crate) changes: Vec<Change>,
    /// With the replica that tells of each.
    pub(crate) transfers: Vec<(ReplicaId, TransferInfo)>,
    /// Whether it tells what it did.
    pub(crate) performance: Answer<()>,
    /// Newest first.
    pub(crate) activity: Vec<Activity>,
    /// Whoever it answers.
    pub(crate) viewer: Viewer,
    pub(crate) beats: Arc<watch::Sender<Beat>>,
    /// How often it was asked for the status.
    pub(crate) looks: Arc<AtomicUsize>,
    /// What was begun, and for which epoch.
    pub(crate) asked: Arc<Mutex<Vec<(ChangeRequest, Epoch, Viewer)>>>,
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
            many: None,
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
            plan: Err(Problem::new(ErrorCode::UnknownJoiner)),
            begun: Err(Problem::new(ErrorCode::PlanBlocked)),
            cancelled: Err(Problem::new(ErrorCode::ChangeIsJoint)),
            changes: Vec::new(),
            transfers: Vec::new(),
            performance: Ok(()),
            activity: Vec::new(),
            viewer: Viewer::default(),
            beats: Arc::default(),
            looks: Arc::default(),
            asked: Arc::default(),
            done: Arc::default(),
        }
    }
}

fn nothing<T>() -> Answer<T> {
    Err(Problem::new(ErrorCode::NotMember))
}

impl Fake {
    /// What was asked to be done so far.
    pub(crate) fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }

    fn note<T>(&self, what: String, answer: Answer<T>) -> Answer<T> {
        let name = self.viewer.name.as_ref().map(|name| format!(" by {}", name.as_str()));
        self.done.lock().unwrap().push(what + &name.unwrap_or_default());
        match &self.refusal {
            Some(problem) => Err(problem.clone()),
            None => answer,
        }
    }

    fn fresh(&self, consistency: Consistency) -> Answer<()> {
        match &self.not_fresh {
            Some(problem) if consistency.is_default() => Err(problem.clone()),
            Some(_) | None => Ok(()),
        }
    }
}

/// Beats that a test gives; without any, none comes after the present one.
#[derive(Debug)]
pub(crate) struct Given(pub(crate) watch::Receiver<Beat>);

impl Given {
    /// Instead of a beat: no more come.
    pub(crate) const LAST: Beat = Beat { number: u64::MAX, stirs: 0 };
}

impl Beats for Given {
    async fn next(&mut self) -> Option<Beat> {
        self.0.changed().await.ok()?;
        let beat = *self.0.borrow_and_update();
        (beat != Self::LAST).then_some(beat)
    }
}

impl Backend for Fake {
    type Beats = Given;

    fn on_behalf_of(&self, viewer: Viewer) -> Self {
        Self { viewer, ..self.clone() }
    }

    fn beats(&self) -> Given {
        let mut beats = self.beats.subscribe();
        beats.mark_changed();
        Given(beats)
    }

    async fn status(&self) -> Answer<ClusterStatus> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.status.clone()
    }

    async fn performance(&self, of: Option<ReplicaId>, step: Step) -> Answer<Performance> {
        let summary = LatencySummary { p50_us: 410, p99_us: 2_210, max_us: 9_120 };
        let busy = PerformancePoint {
            appends: 12_400,
            append: Some(summary),
            lag_max: Some(7),
            ..PerformancePoint::default()
        };
        let points = vec![PerformancePoint::default(), busy];
        self.performance.clone()?;
        Ok(Performance {
            replica: of.unwrap_or(ReplicaId::FIRST),
            step,
            until: Timestamp::EPOCH,
            points,
        })
    }

    async fn activity(&self, query: ActivityQuery) -> Answer<ActivityList> {
        self.fresh(query.consistency)?;
        let is_asked_for = |one: &&Activity| {
            let is_older = query.before.is_none_or(|before| one.position < before);
            is_older && query.kind.is_none_or(|kind| one.act.kind() == kind)
        };
        let max = usize::try_from(query.limit.unwrap_or(100)).unwrap();
        let mut activity: Vec<_> = self.activity.iter().filter(is_asked_for).cloned().collect();
        let next = activity.get(max).map(|_more| activity[max - 1].position);
        activity.truncate(max);
        Ok(ActivityList { activity, next })
    }

    async fn logs(&self, query: ListQuery) -> Answer<LogList> {
        self.fresh(query.consistency)?;
        let mut logs = self.logs.clone()?;
        let prefix = query.prefix.unwrap_or_default();
        logs.logs.retain(|log| log.log.as_str().starts_with(&prefix));
        Ok(logs)
    }

    async fn log(&self, _: LogName, consistency: Consistency) -> Answer<LogDescription> {
        self.fresh(consistency)?;
        self.log.clone()
    }

    async fn create_log(&self, log: LogName, settings: Settings) -> Answer<LogDescription> {
        self.note(format!("create {log} {settings:?}"), self.log.clone())
    }

    async fn change_settings(
        &self,
        log: LogTarget,
        patch: SettingsPatch,
    ) -> Answer<LogDescription> {
        self.note(format!("set {} {:?} {patch:?}", log.name, log.id), self.log.clone())
    }

    async fn trim(&self, log: LogTarget, to: Position, effect: EffectQuery) -> Answer<Dropped> {
        if effect.dry_run {
            return self.dropped.clone();
        }
        self.note(format!("trim {} {:?} to {to}", log.name, log.id), self.dropped.clone())
    }

    async fn seal(&self, log: LogTarget) -> Answer<Sealed> {
        self.note(format!("seal {} {:?}", log.name, log.id), self.sealed.clone())
    }

    async fn delete_log(&self, log: LogTarget) -> Answer<Dropped> {
        self.note(format!("delete {} {:?}", log.name, log.id), self.dropped.clone())
    }

    async fn read(&self, log: LogName, query: ReadQuery) -> Answer<ReadAnswer> {
        self.fresh(query.consistency)?;
        if let (Some((tail, body)), ReadFrom::Position(from)) = (&self.many, query.from) {
            let next = tail.get().min(from.get() + query.limit.unwrap());
            let record = |position| {
                RecordJson(Record {
                    position: Position::new(position),
                    time: Timestamp::EPOCH,
                    headers: Headers::none(),
                    body: body(position).into(),
                })
            };
            return Ok(ReadAnswer {
                log,
                log_id: LogId::new(3),
                first: Position::ZERO,
                next: Position::new(next),
                tail: *tail,
                sealed: false,
                records: (from.get()..next).map(record).collect(),
            });
        }
        self.records.clone()
    }

    async fn append(&self, log: LogName, conditions: Conditions, batch: Batch) -> Answer<Appended> {
        let records: Vec<_> = batch.records().collect();
        self.note(format!("append {log} {conditions:?} {records:?}"), self.appended.clone())
    }

    fn fresh_key(&self) -> IdempotencyKey {
        IdempotencyKey::new("fresh-key").unwrap()
    }

    async fn checkpoints(&self) -> Answer<CheckpointList> {
        self.checkpoints.clone()
    }

    async fn make_checkpoint(&self, request: CheckpointRequest) -> Answer<CheckpointInfo> {
        let made = self.checkpoints.clone().map(|mut list| list.checkpoints.remove(0));
        self.note(format!("checkpoint {:?}", request.label), made)
    }

    async fn snapshots(&self) -> Answer<SnapshotList> {
        self.snapshots.clone()
    }

    async fn release(&self, checkpoint: EntryIndex) -> Answer<()> {
        self.note(format!("release {checkpoint}"), Ok(()))
    }

    async fn audit(&self) -> Answer<AuditReport> {
        self.audit.clone()
    }

    async fn scrub(&self) -> Answer<ScrubReport> {
        self.scrub.clone()
    }

    async fn settings(&self) -> Answer<SettingList> {
        self.settings.clone()
    }

    async fn scrub_now(&self) -> Answer<ScrubReport> {
        self.note("scrub".to_owned(), self.scrub.clone())
    }

    async fn plan(&self, _wish: &Wish) -> Answer<Plan> {
        self.plan.clone()
    }

    async fn begin_change(&self, request: &ChangeRequest, epoch: Epoch) -> Answer<Change> {
        self.asked.lock().unwrap().push((request.clone(), epoch, self.viewer.clone()));
        self.begun.clone()
    }

    async fn cancel_change(&self, _change: ChangeId) -> Answer<Change> {
        self.cancelled.clone()
    }

    async fn change(&self, change: ChangeId) -> Answer<Change> {
        let found = self.changes.iter().find(|known| known.id == change);
        found.cloned().ok_or_else(|| Problem::new(ErrorCode::UnknownChange))
    }

    async fn changes(&self, query: ChangesQuery) -> Answer<ChangeList> {
        let is_older = |change: &&Change| query.before.is_none_or(|before| change.id < before);
        let max = usize::try_from(query.limit.unwrap_or(100)).unwrap();
        let older: Vec<_> = self.changes.iter().filter(is_older).cloned().collect();
        let next = older.get(max).map(|_more| older[max - 1].id);
        Ok(ChangeList { changes: older.into_iter().take(max).collect(), next })
    }

    async fn transfers(&self, of: ReplicaId) -> Answer<TransferList> {
        let known = self.transfers.iter().filter(|(replica, _)| *replica == of);
        Ok(TransferList { transfers: known.map(|(_, transfer)| transfer.clone()).collect() })
    }

    async fn turn_transfer(
        &self,
        of: ReplicaId,
        transfer: &str,
        change: TransferChange,
    ) -> Answer<TransferInfo> {
        let known = self.transfers.iter().find(|(replica, it)| *replica == of && it.id == transfer);
        let turned = known.map(|(_, transfer)| transfer.clone());
        let turned = turned.ok_or_else(|| Problem::new(ErrorCode::UnknownTransfer));
        self.note(format!("turn {transfer} of {of}: {change:?}"), turned)
    }
}

pub(crate) fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

pub(crate) fn addr(port: u16) -> ReplicaAddr {
    ReplicaAddr::new(&format!("http://127.0.0.1:{port}")).unwrap()
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

/// A process that waits to join.
pub(crate) fn joiner(port: u16) -> Joiner {
    Joiner {
        addr: addr(port),
        peer_addr: addr(port + 1_000),
        zone: Zone::new("zone-c").unwrap(),
        version: "0.1.0".into(),
        free_bytes: Some(412_000_000_000),
        as_learner: false,
        machine_version: None,
        format_version: None,
        clock_ahead_ms: None,
        folder: None,
        reaches: Vec::new(),
        since: Timestamp::new(0),
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

/// The same of a browser that keeps these cookies.
pub(crate) async fn get_with(fake: &Fake, path: &str, cookies: &str) -> (Response<()>, String) {
    let request = Request::get(path).header(COOKIE, cookies).body(Body::empty());
    send(fake.clone(), request.unwrap()).await
}

/// What it gets for a form that it sends.
pub(crate) async fn post_with(
    fake: &Fake,
    path: &str,
    form: &str,
    cookies: &str,
) -> (Response<()>, String) {
    let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = request.header(COOKIE, cookies).body(Body::from(form.to_owned()));
    send(fake.clone(), request.unwrap()).await
}

/// What a browser gets for a form that it sends in this form.
pub(crate) async fn post_as(
    fake: &Fake,
    path: &str,
    media_type: &str,
    form: Vec<u8>,
) -> (Response<()>, String) {
    let request = Request::post(path).header(CONTENT_TYPE, media_type).body(Body::from(form));
    send(fake.clone(), request.unwrap()).await
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
