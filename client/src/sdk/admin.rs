//! [`Admin`]: what concerns the cluster as a whole.
//!
//! Some of it is asked of the leader, wherever it is; what one replica tells of itself (`transfers`, `snapshots`,
//! `scrub`, `performance`) is told by whoever answers: a [`Client::single`] asks one in particular.
//!
//! Not here: changes of the membership (`changes`), and what is done with one log (`log`).

use bytes::Bytes;
use futures_util::stream;
use reqwest::Method;

use super::client::Client;
use super::error::Error;
use super::kinds::{CheckpointError, TransferError};
use super::transport::{Answer, Call, Effect, Stream};
use crate::api::activity::{ActivityList, ActivityQuery};
use crate::api::audit::{AuditReport, ScrubReport};
use crate::api::checkpoints::{
    ArchiveQuery, CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotInfo, SnapshotList,
};
use crate::api::cluster::{BootstrapAnswer, BootstrapRequest, ClusterStatus};
use crate::api::paths;
use crate::api::performance::{Performance, PerformanceQuery, Step};
use crate::api::transfers::{TransferChange, TransferInfo, TransferList};
use crate::types::{CheckpointLabel, EntryIndex};

/// The cluster as a whole: `client.admin()`. Cheap to clone.
///
/// ```no_run
/// # async fn run(quorate: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::api::activity::ActivityQuery;
/// use quorate_client::api::audit::AuditReport;
/// use quorate_client::api::performance::Step;
///
/// let admin = quorate.admin();
/// println!("{}", admin.status().await?.verdict.sentence);
/// if admin.is_ready().await? {
///     println!("{:?}", admin.performance(Step::Second).await?);
/// }
/// for done in admin.activity(&ActivityQuery::default()).await?.activity {
///     println!("{done:?}");
/// }
/// let same: AuditReport = admin.audit().await?;
/// println!("{same:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(super) const fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        self.client.send(call).await
    }

    pub(super) async fn open(&self, call: &Call) -> Result<Stream, Error> {
        self.client.open(call).await
    }

    /// The cluster as the replica that answers sees it.
    pub async fn status(&self) -> Result<ClusterStatus, Error> {
        self.send(&Call::read("status", paths::CLUSTER)).await?.json()
    }

    /// Whether the replica that answers can serve now.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        match self.send(&Call::read("is_ready", paths::READY).once()).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(503) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the process that is asked the first replica of a new cluster. A second time is refused with
    /// `already_bootstrapped`.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::Client;
    /// use quorate_client::api::cluster::BootstrapRequest;
    ///
    /// let first = Client::single("http://127.0.0.1:7001".parse()?)?;
    /// first.admin().bootstrap(&BootstrapRequest::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bootstrap(&self, request: &BootstrapRequest) -> Result<BootstrapAnswer, Error> {
        let call = Call::change("bootstrap", Method::POST, paths::BOOTSTRAP, Effect::Once);
        self.send(&call.json(request)).await?.json()
    }

    /// What the replica that answers did lately, and how long it took.
    pub async fn performance(&self, step: Step) -> Result<Performance, Error> {
        let query = PerformanceQuery { step }.to_query();
        let call = Call::read("performance", format!("{}?{query}", paths::PERFORMANCE));
        self.send(&call).await?.json()
    }

    /// One page of who did what, newest first.
    pub async fn activity(&self, query: &ActivityQuery) -> Result<ActivityList, Error> {
        let target = format!("{}?{}", paths::ACTIVITY, query.to_query());
        self.send(&Call::read("activity", target)).await?.json()
    }

    /// State transfers of the replica that answers, newest first.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// for transfer in admin.transfers().await? {
    ///     println!("{} {:?}", transfer.id, transfer.stage);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transfers(&self) -> Result<Vec<TransferInfo>, TransferError> {
        let answer = self.send(&Call::read("transfers", paths::TRANSFERS)).await?;
        Ok(answer.json::<TransferList>()?.transfers)
    }

    /// Holds a transfer, lets it go on, or limits how fast it goes. Asked of the replica that receives it.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::api::transfers::TransferChange;
    ///
    /// let held = TransferChange { paused: Some(true), ..TransferChange::default() };
    /// admin.turn_transfer("4-17", &held).await?;
    /// let slow = TransferChange { paused: Some(false), bytes_per_second: Some(Some(1 << 20)) };
    /// admin.turn_transfer("4-17", &slow).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn turn_transfer(
        &self,
        id: &str,
        change: &TransferChange,
    ) -> Result<TransferInfo, TransferError> {
        let target = paths::transfer(id);
        let call = Call::change("turn_transfer", Method::PATCH, target, Effect::Repeatable);
        Ok(self.send(&call.json(change)).await?.json()?)
    }

    /// The checkpoints that are remembered, oldest first.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, CheckpointError> {
        let answer = self.send(&Call::read("checkpoints", paths::CHECKPOINTS)).await?;
        Ok(answer.json::<CheckpointList>()?.checkpoints)
    }

    /// Makes a checkpoint. It comes back certified, unless that takes more than some seconds. With a
    /// label it is kept until it is released. Not repeated if its outcome is unknown: it would make
    /// two.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::types::CheckpointLabel;
    ///
    /// let label = CheckpointLabel::new("before-the-move")?;
    /// let made = admin.make_checkpoint(Some(label)).await?;
    /// for kept in admin.checkpoints().await? {
    ///     println!("{} made {}, label {:?}", kept.checkpoint, kept.made, kept.label);
    /// }
    /// admin.release_snapshot(made.checkpoint).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn make_checkpoint(
        &self,
        label: Option<CheckpointLabel>,
    ) -> Result<CheckpointInfo, CheckpointError> {
        let call = Call::change("make_checkpoint", Method::POST, paths::CHECKPOINTS, Effect::Once);
        Ok(self.send(&call.json(&CheckpointRequest { label })).await?.json()?)
    }

    /// The snapshots that the replica which answers keeps, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>, CheckpointError> {
        let answer = self.send(&Call::read("snapshots", paths::SNAPSHOTS)).await?;
        Ok(answer.json::<SnapshotList>()?.snapshots)
    }

    /// One of them, with what is in it.
    pub async fn snapshot(&self, checkpoint: EntryIndex) -> Result<SnapshotInfo, CheckpointError> {
        Ok(self.send(&Call::read("snapshot", paths::snapshot(checkpoint))).await?.json()?)
    }

    /// Keeps a checkpoint and its snapshots no longer than the service itself needs them.
    pub async fn release_snapshot(&self, checkpoint: EntryIndex) -> Result<(), CheckpointError> {
        let target = paths::snapshot(checkpoint);
        let call = Call::change("release_snapshot", Method::DELETE, target, Effect::Once);
        self.send(&call).await?;
        Ok(())
    }

    /// A backup of a snapshot, of all logs or of some: a file, piece by piece. It breaks off with an
    /// error if records are trimmed before they were sent, or if no piece comes within the time of an attempt.
    pub async fn archive(
        &self,
        checkpoint: EntryIndex,
        query: &ArchiveQuery,
    ) -> Result<Archive, CheckpointError> {
        let target = format!("{}?{}", paths::archive(checkpoint), query.to_query());
        Ok(Archive { stream: self.open(&Call::read("archive", target)).await? })
    }

    /// Whether the replicas hold the same, as far as the leader has compared them.
    pub async fn audit(&self) -> Result<AuditReport, CheckpointError> {
        Ok(self.send(&Call::read("audit", paths::AUDIT)).await?.json()?)
    }

    /// How far the replica that answers is with reading all again that it keeps.
    pub async fn scrub_report(&self) -> Result<ScrubReport, CheckpointError> {
        Ok(self.send(&Call::read("scrub_report", paths::SCRUB)).await?.json()?)
    }

    /// Has the replica that answers begin with that now.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{:?}", admin.scrub().await?);
    /// println!("{:?}", admin.scrub_report().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn scrub(&self) -> Result<ScrubReport, CheckpointError> {
        let call = Call::change("scrub", Method::POST, paths::SCRUB, Effect::Repeatable);
        Ok(self.send(&call).await?.json()?)
    }
}

/// A backup on its way. Only a file that came to its end is one.
///
/// ```no_run
/// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write as _;
/// use quorate_client::api::checkpoints::ArchiveQuery;
///
/// let newest = admin.snapshots().await?.pop().ok_or("nothing is kept yet")?;
/// println!("{:?}", admin.snapshot(newest.checkpoint).await?);
/// let mut archive = admin.archive(newest.checkpoint, &ArchiveQuery::default()).await?;
/// let mut file = std::fs::File::create("orders.quorate")?;
/// while let Some(piece) = archive.next().await? {
///     file.write_all(&piece)?;
/// }
/// file.sync_all()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Archive {
    stream: Stream,
}

impl Archive {
    /// The next bytes of the file; nothing after the last.
    ///
    /// Safe to cancel: what has come is kept for the next call.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CheckpointError> {
        Ok(self.stream.next().await?)
    }

    /// The pieces as a stream. It ends after an error.
    ///
    /// ```no_run
    /// # async fn run(archive: quorate_client::Archive) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::TryStreamExt as _;
    ///
    /// let pieces: Vec<_> = archive.into_stream().try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stream(
        self,
    ) -> impl futures_util::Stream<Item = Result<Bytes, CheckpointError>> + Send {
        stream::unfold(Some(self), |archive| async {
            let mut archive = archive?;
            match archive.next().await.transpose()? {
                Ok(piece) => Some((Ok(piece), Some(archive))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}
