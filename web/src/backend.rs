//! What the dashboard asks of whoever stands behind it.
//!
//! Answers are the contract's own types, so a page shows what a program would be told. The server
//! answers by the very calls its API makes; tests answer from a struct.
//!
//! Not here: how an answer looks (`pages`).

use std::future::Future;

use client::api::activity::{ActivityList, ActivityQuery};
use client::api::audit::{AuditReport, ScrubReport};
use client::api::changes::{Change, ChangeList, ChangeRequest, ChangesQuery};
use client::api::checkpoints::{CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotList};
use client::api::cluster::ClusterStatus;
use client::api::conditions::Conditions;
use client::api::error::Problem;
use client::api::logs::{
    Dropped, EffectQuery, ListQuery, LogDescription, LogList, Sealed, Settings, SettingsPatch,
};
use client::api::performance::{Performance, Step};
use client::api::plans::{Plan, Wish};
use client::api::reading::{Consistency, ReadQuery};
use client::api::records::{Appended, ReadAnswer};
use client::api::settings::SettingList;
use client::api::transfers::{TransferChange, TransferInfo, TransferList};
use client::types::{
    Batch, ChangeId, EntryIndex, Epoch, IdempotencyKey, LogId, LogName, Position, ReplicaId,
};

use crate::viewer::Viewer;

/// What a question comes to: an answer of the contract, or its problem.
pub type Answer<T> = Result<T, Problem>;

/// The dashboard's one window on the world.
pub trait Backend: Clone + Send + Sync + 'static {
    /// What tells when to look again.
    type Beats: Beats;

    /// The same, where whatever is done is done on behalf of this viewer.
    #[must_use]
    fn on_behalf_of(&self, viewer: Viewer) -> Self;

    /// The beats from now on. They may cost something as long as they are held.
    fn beats(&self) -> Self::Beats;

    /// The cluster as this replica sees it.
    fn status(&self) -> impl Future<Output = Answer<ClusterStatus>> + Send;

    /// What a replica did lately: this one, if none is named.
    fn performance(
        &self,
        of: Option<ReplicaId>,
        step: Step,
    ) -> impl Future<Output = Answer<Performance>> + Send;

    /// Who did what, newest first.
    fn activity(&self, query: ActivityQuery) -> impl Future<Output = Answer<ActivityList>> + Send;

    /// Logs by name.
    fn logs(&self, query: ListQuery) -> impl Future<Output = Answer<LogList>> + Send;

    /// One log.
    fn log(
        &self,
        log: LogName,
        consistency: Consistency,
    ) -> impl Future<Output = Answer<LogDescription>> + Send;

    /// Makes sure that there is such a log, with exactly these settings.
    fn create_log(
        &self,
        log: LogName,
        settings: Settings,
    ) -> impl Future<Output = Answer<LogDescription>> + Send;

    /// Changes settings of this very log.
    fn change_settings(
        &self,
        log: LogTarget,
        patch: SettingsPatch,
    ) -> impl Future<Output = Answer<LogDescription>> + Send;

    /// Drops the records of this very log before a position, or tells what that would drop.
    fn trim(
        &self,
        log: LogTarget,
        to: Position,
        effect: EffectQuery,
    ) -> impl Future<Output = Answer<Dropped>> + Send;

    /// Ends this very log.
    fn seal(&self, log: LogTarget) -> impl Future<Output = Answer<Sealed>> + Send;

    /// Deletes this very log.
    fn delete_log(&self, log: LogTarget) -> impl Future<Output = Answer<Dropped>> + Send;

    /// Records of a log.
    fn read(
        &self,
        log: LogName,
        query: ReadQuery,
    ) -> impl Future<Output = Answer<ReadAnswer>> + Send;

    /// Appends under conditions.
    fn append(
        &self,
        log: LogName,
        conditions: Conditions,
        batch: Batch,
    ) -> impl Future<Output = Answer<Appended>> + Send;

    /// A key that nobody has used: what makes a form safe to be sent twice.
    fn fresh_key(&self) -> IdempotencyKey;

    /// The checkpoints that are remembered.
    fn checkpoints(&self) -> impl Future<Output = Answer<CheckpointList>> + Send;

    /// Makes a checkpoint, and waits until it is certified.
    fn make_checkpoint(
        &self,
        request: CheckpointRequest,
    ) -> impl Future<Output = Answer<CheckpointInfo>> + Send;

    /// The snapshots that this replica keeps.
    fn snapshots(&self) -> impl Future<Output = Answer<SnapshotList>> + Send;

    /// Keeps a snapshot no longer than the service needs it.
    fn release(&self, checkpoint: EntryIndex) -> impl Future<Output = Answer<()>> + Send;

    /// Whether the replicas hold the same.
    fn audit(&self) -> impl Future<Output = Answer<AuditReport>> + Send;

    /// How far this replica is with reading all that it keeps again.
    fn scrub(&self) -> impl Future<Output = Answer<ScrubReport>> + Send;

    /// Begins to do so now.
    fn scrub_now(&self) -> impl Future<Output = Answer<ScrubReport>> + Send;

    /// What this replica was told to do, and by whom.
    fn settings(&self) -> impl Future<Output = Answer<SettingList>> + Send;

    /// What a wish would mean, as the leader sees it.
    fn plan(&self, wish: &Wish) -> impl Future<Output = Answer<Plan>> + Send;

    /// Begins a change that was planned for this epoch.
    fn begin_change(
        &self,
        request: &ChangeRequest,
        epoch: Epoch,
    ) -> impl Future<Output = Answer<Change>> + Send;

    /// Gives a change up, as long as it is not decided.
    fn cancel_change(&self, change: ChangeId) -> impl Future<Output = Answer<Change>> + Send;

    /// One change, as the leader knows it: with what it waits for.
    fn change(&self, change: ChangeId) -> impl Future<Output = Answer<Change>> + Send;

    /// The changes, newest first, as far as this replica knows.
    fn changes(&self, query: ChangesQuery) -> impl Future<Output = Answer<ChangeList>> + Send;

    /// The transfers that a replica takes part in, as it tells itself.
    fn transfers(&self, of: ReplicaId) -> impl Future<Output = Answer<TransferList>> + Send;

    /// Changes how fast a transfer goes that a replica receives; or holds it, or lets it go on.
    fn turn_transfer(
        &self,
        of: ReplicaId,
        transfer: &str,
        change: TransferChange,
    ) -> impl Future<Output = Answer<TransferInfo>> + Send;
}

/// When it is time to look again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Grows with every beat, and is the same for everybody.
    pub number: u64,
    /// Grows with every beat that comes because something has changed that an operator wants to see at once.
    pub stirs: u64,
}

/// Beats, one after the other.
pub trait Beats: Send + 'static {
    /// The present one at first, then waits for the next one; beats that were missed are skipped. None: no more come.
    /// Nothing is lost by dropping the future.
    fn next(&mut self) -> impl Future<Output = Option<Beat>> + Send;
}

/// A log as a page showed it: its name, and which log of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// Its name.
    pub name: LogName,
    /// Which log of that name; any if none is named.
    pub id: Option<LogId>,
}
