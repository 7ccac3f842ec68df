//! What the dashboard asks of whoever stands behind it.
//!
//! Answers are the contract's own types, so a page shows what a program would be told. The server
//! answers by the very calls its API makes; tests answer from a struct.
//!
//! Not here: how an answer looks (`pages`).

use std::future::Future;

use client::api::audit::{AuditReport, ScrubReport};
use client::api::checkpoints::{CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotList};
use client::api::cluster::ClusterStatus;
use client::api::conditions::Conditions;
use client::api::error::Problem;
use client::api::logs::{
    Dropped, EffectQuery, ListQuery, LogDescription, LogList, Sealed, Settings, SettingsPatch,
};
use client::api::performance::{Performance, Step};
use client::api::reading::{Consistency, ReadQuery};
use client::api::records::{Appended, ReadAnswer};
use client::api::settings::SettingList;
use client::types::{Batch, EntryIndex, IdempotencyKey, LogId, LogName, Position};

/// The dashboard's one window on the world.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The cluster as this replica sees it.
    fn status(&self) -> impl Future<Output = Result<ClusterStatus, Problem>> + Send;

    /// What this replica did lately.
    fn performance(&self, step: Step) -> impl Future<Output = Result<Performance, Problem>> + Send;

    /// Logs by name.
    fn logs(&self, query: ListQuery) -> impl Future<Output = Result<LogList, Problem>> + Send;

    /// One log.
    fn log(
        &self,
        log: LogName,
        consistency: Consistency,
    ) -> impl Future<Output = Result<LogDescription, Problem>> + Send;

    /// Makes sure that there is such a log, with exactly these settings.
    fn create_log(
        &self,
        log: LogName,
        settings: Settings,
    ) -> impl Future<Output = Result<LogDescription, Problem>> + Send;

    /// Changes settings of this very log.
    fn change_settings(
        &self,
        log: LogTarget,
        patch: SettingsPatch,
    ) -> impl Future<Output = Result<LogDescription, Problem>> + Send;

    /// Drops the records of this very log before a position, or tells what that would drop.
    fn trim(
        &self,
        log: LogTarget,
        to: Position,
        effect: EffectQuery,
    ) -> impl Future<Output = Result<Dropped, Problem>> + Send;

    /// Ends this very log.
    fn seal(&self, log: LogTarget) -> impl Future<Output = Result<Sealed, Problem>> + Send;

    /// Deletes this very log.
    fn delete_log(&self, log: LogTarget) -> impl Future<Output = Result<Dropped, Problem>> + Send;

    /// Records of a log.
    fn read(
        &self,
        log: LogName,
        query: ReadQuery,
    ) -> impl Future<Output = Result<ReadAnswer, Problem>> + Send;

    /// Appends under conditions.
    fn append(
        &self,
        log: LogName,
        conditions: Conditions,
        batch: Batch,
    ) -> impl Future<Output = Result<Appended, Problem>> + Send;

    /// A key that nobody has used: what makes a form safe to be sent twice.
    fn fresh_key(&self) -> IdempotencyKey;

    /// The checkpoints that are remembered.
    fn checkpoints(&self) -> impl Future<Output = Result<CheckpointList, Problem>> + Send;

    /// Makes a checkpoint, and waits until it is certified.
    fn make_checkpoint(
        &self,
        request: CheckpointRequest,
    ) -> impl Future<Output = Result<CheckpointInfo, Problem>> + Send;

    /// The snapshots that this replica keeps.
    fn snapshots(&self) -> impl Future<Output = Result<SnapshotList, Problem>> + Send;

    /// Keeps a snapshot no longer than the service needs it.
    fn release(&self, checkpoint: EntryIndex) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Whether the replicas hold the same.
    fn audit(&self) -> impl Future<Output = Result<AuditReport, Problem>> + Send;

    /// How far this replica is with reading all that it keeps again.
    fn scrub(&self) -> impl Future<Output = Result<ScrubReport, Problem>> + Send;

    /// Begins to do so now.
    fn scrub_now(&self) -> impl Future<Output = Result<ScrubReport, Problem>> + Send;

    /// What this replica was told to do, and by whom.
    fn settings(&self) -> impl Future<Output = Result<SettingList, Problem>> + Send;
}

/// A log as a page showed it: its name, and which log of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// Its name.
    pub name: LogName,
    /// Which log of that name; any if none is named.
    pub id: Option<LogId>,
}
