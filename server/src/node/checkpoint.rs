//! Checkpoints: when to make one, who attests it, and when it is certified.
//!
//! The leader makes one when enough was written or enough time has passed, and only if there was work
//! since the last one; or because somebody asks. Then it asks every member for the digest of its state
//! there, until a majority of every set of voters has told the same: that is certified by a command,
//! and each replica compares its own when it applies it. Nothing of this is kept but in the machine: a
//! new leader asks again.
//!
//! Not here: the digests themselves (`storage::state`), and what the journal lets go for it (`purge`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::api::checkpoints::{CertificateInfo, CheckpointInfo, SnapshotContent, SnapshotInfo};
use client::types::{CheckpointLabel, Digest, EntryIndex, ReplicaId};
use futures_util::future::join_all;
use migrations::latest::MembershipRow;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::Node;
use super::error::{CheckpointError, Rejection};
use crate::machine::{
    CertifyCheckpoint, Checkpoint, MakeCheckpoint, ReleaseCheckpoint, is_majority,
};
use crate::storage::state::{Attestation, Kept, StateManifest};
use crate::world::Instant;

/// How often the leader looks.
const TICK: Duration = Duration::from_millis(200);
/// How long whoever asks for a checkpoint is kept waiting for its certificate.
const CERTIFIED_WITHIN: Duration = Duration::from_secs(5);

/// What a leader remembers between two looks.
#[derive(Default)]
struct Course {
    /// When this leader made one last, and how many bytes had been applied by then.
    last: Option<(Instant, u64)>,
    /// The newest one whose differing digests were told.
    told: Option<EntryIndex>,
    /// Those that will have no certificate: everybody has said all it can.
    uncertain: BTreeSet<EntryIndex>,
}

/// Wakes the leader's look.
#[derive(Debug, Default)]
pub(super) struct CheckpointWish(Notify);

impl CheckpointWish {
    /// Somebody waits for a certificate.
    pub(super) fn wake(&self) {
        self.0.notify_one();
    }
}

/// Makes checkpoints and has them certified, while this replica leads.
pub(super) async fn look_after_checkpoints(node: Node) {
    let mut leadership = node.core.leadership.clone();
    loop {
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        let mut course = Course::default();
        while leadership.borrow().here {
            node.certify_open(&mut course).await;
            if node.is_checkpoint_due(&course)
                && let Err(reason) = node.propose_checkpoint(None, &mut course).await
            {
                debug!(%reason, "no checkpoint made");
            }
            let woken = node.core.checkpoint_wish.0.notified();
            node.core.world.clock.within(TICK, woken).await.ok();
        }
    }
}

impl Node {
    /// The checkpoints that this replica knows of, oldest first.
    pub fn checkpoints(&self) -> Vec<CheckpointInfo> {
        (self.core.probes.checkpoints)().iter().map(shown_checkpoint).collect()
    }

    /// Makes a checkpoint, and waits a moment for its certificate. Without a label, a newer one may stand for it.
    pub async fn make_checkpoint(
        &self,
        label: Option<CheckpointLabel>,
    ) -> Result<CheckpointInfo, CheckpointError> {
        let is_labelled = label.is_some();
        let made = self.propose_checkpoint(label, &mut Course::default()).await?;
        self.core.checkpoint_wish.wake();
        let clock = &self.core.world.clock;
        let deadline = clock.after(CERTIFIED_WITHIN);
        let mut applied = self.core.applied.clone();
        loop {
            let all = (self.core.probes.checkpoints)();
            // Without a label, a newer one that overtook it is as good.
            let newer = all.iter().find(|checkpoint| {
                !is_labelled && checkpoint.entry.index > made && checkpoint.certificate.is_some()
            });
            let found = all.iter().find(|checkpoint| checkpoint.entry.index == made);
            let found = newer.or(found);
            let found = found.ok_or(CheckpointError::Refused(Rejection::UnknownCheckpoint))?;
            let is_over = clock.now() >= deadline || self.is_stopping();
            if found.certificate.is_some() || is_over {
                return Ok(shown_checkpoint(found));
            }
            clock.until(deadline, applied.changed()).await.ok();
        }
    }

    /// The snapshots that this replica keeps, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>, CheckpointError> {
        let kept = self.kept().await?;
        let all = (self.core.probes.checkpoints)();
        let known = |kept: &Kept| all.iter().find(|known| known.entry.index == kept.checkpoint);
        Ok(kept.iter().filter_map(|kept| Some(shown_snapshot(kept, known(kept)?, None))).collect())
    }

    /// One of them, with what is in it.
    pub async fn snapshot(&self, checkpoint: EntryIndex) -> Result<SnapshotInfo, CheckpointError> {
        const UNKNOWN: CheckpointError = CheckpointError::Refused(Rejection::UnknownCheckpoint);
        let kept = self.kept().await?;
        let kept = kept.into_iter().find(|kept| kept.checkpoint == checkpoint).ok_or(UNKNOWN)?;
        let all = (self.core.probes.checkpoints)();
        let known = all.iter().find(|known| known.entry.index == checkpoint).ok_or(UNKNOWN)?;
        let state = self.core.state.clone();
        let manifest = self.core.tasks.blocking(move || state.kept_manifest(checkpoint)).await;
        let manifest = manifest.map_err(|_failed| CheckpointError::Disk)?;
        let manifest = manifest.map_err(|_damaged| CheckpointError::Disk)?.ok_or(UNKNOWN)?;
        Ok(shown_snapshot(&kept, known, Some(content(&manifest))))
    }

    /// Keeps a checkpoint and its snapshots no longer than the service itself needs them.
    pub async fn release_checkpoint(&self, checkpoint: EntryIndex) -> Result<(), CheckpointError> {
        let release = ReleaseCheckpoint { stamp: self.stamp(), checkpoint };
        self.propose(release).await?.map_err(CheckpointError::Refused)
    }

    async fn kept(&self) -> Result<Vec<Kept>, CheckpointError> {
        let state = self.core.state.clone();
        let kept = self.core.tasks.blocking(move || state.kept()).await;
        kept.map_err(|_failed| CheckpointError::Disk)?.map_err(|_broken| CheckpointError::Disk)
    }

    /// Whether enough was written, or enough time has passed, since the last checkpoint.
    fn is_checkpoint_due(&self, course: &Course) -> bool {
        let core = &*self.core;
        let newest = (core.probes.checkpoints)().pop();
        let made_at = newest.as_ref().map(|newest| newest.entry.index);
        // Whoever has taken its state anew is not back before another one is compared, work or not.
        if made_at.is_some() && core.renewed_at() >= made_at {
            return true;
        }
        if core.state.worked() <= made_at {
            return false;
        }
        let interval = core.options.checkpoint_interval;
        let Some((at, bytes)) = course.last else {
            // Made by another leader, or never: its stamp is all there is.
            let made = newest.map_or(0, |newest| newest.made.as_millis());
            let elapsed = self.stamp().as_millis().saturating_sub(made);
            return Duration::from_millis(elapsed) >= interval;
        };
        core.world.clock.since(at) >= interval
            || core.state.published_bytes().saturating_sub(bytes) >= core.options.checkpoint_bytes
    }

    async fn propose_checkpoint(
        &self,
        label: Option<CheckpointLabel>,
        course: &mut Course,
    ) -> Result<EntryIndex, CheckpointError> {
        let core = &*self.core;
        let bytes = core.state.published_bytes();
        let command = MakeCheckpoint { stamp: self.stamp(), label };
        let made = self.propose(command).await?;
        course.last = Some((core.world.clock.now(), bytes));
        made.map_err(CheckpointError::Refused)
    }

    /// Certifies the newest checkpoint, and those with a label that were overtaken before they were.
    async fn certify_open(&self, course: &mut Course) {
        let all = (self.core.probes.checkpoints)();
        let Some(newest) = all.last().map(|newest| newest.entry.index) else { return };
        let open = all.iter().filter(|checkpoint| {
            let is_wanted = checkpoint.is_pinned || checkpoint.entry.index == newest;
            is_wanted && checkpoint.certificate.is_none()
        });
        let open: Vec<EntryIndex> = open.map(|checkpoint| checkpoint.entry.index).collect();
        course.uncertain.retain(|checkpoint| open.contains(checkpoint));
        for checkpoint in open {
            if !course.uncertain.contains(&checkpoint) {
                self.certify(checkpoint, course).await;
            }
        }
    }

    /// Asks who attests a checkpoint, and certifies it if a majority tells the same.
    async fn certify(&self, checkpoint: EntryIndex, course: &mut Course) {
        let core = &*self.core;
        let membership = core.membership.borrow().row.clone();
        let attested = self.attestations(&membership, checkpoint).await;
        let by_digest = group(&attested);
        if by_digest.len() > 1 && course.told != Some(checkpoint) {
            course.told = Some(checkpoint);
            warn!(%checkpoint, digests = ?by_digest, "replicas differ at a checkpoint");
        }
        let agreed = by_digest.into_iter().find(|(_, by)| {
            let by: Vec<u64> = by.iter().map(|replica| replica.get()).collect();
            is_majority(&membership, &by)
        });
        let Some((digest, attested_by)) = agreed else {
            if attested.values().all(|told| *told != Attestation::NotYet) {
                course.uncertain.insert(checkpoint);
            }
            return;
        };
        let stamp = self.stamp();
        let certify = CertifyCheckpoint { stamp, checkpoint, digest, attested_by };
        match core.proposer.propose(certify, core.options.command_deadline).await {
            Ok(Ok(_)) => debug!(%checkpoint, "checkpoint certified"),
            Ok(Err(reason)) => debug!(%checkpoint, %reason, "checkpoint not certified"),
            Err(reason) => debug!(%checkpoint, %reason, "checkpoint not certified"),
        }
    }

    /// What every member says of its state at a checkpoint.
    pub(super) async fn attestations(
        &self,
        membership: &MembershipRow,
        checkpoint: EntryIndex,
    ) -> BTreeMap<ReplicaId, Attestation> {
        let ourselves = self.replica();
        let members = membership.nodes.keys().filter_map(|id| ReplicaId::new(*id));
        let asked = members.map(async |replica| {
            let told = if replica == ourselves {
                let applied = *self.core.applied.borrow();
                Some(self.core.state.attestation(checkpoint, applied))
            } else {
                self.core.peers.attestation(replica, checkpoint).await.ok()
            };
            (replica, told.unwrap_or(Attestation::NotYet))
        });
        join_all(asked).await.into_iter().collect()
    }
}

/// Who told which digest, in the order of ids.
fn group(attested: &BTreeMap<ReplicaId, Attestation>) -> BTreeMap<Digest, Vec<ReplicaId>> {
    let mut by_digest: BTreeMap<Digest, Vec<ReplicaId>> = BTreeMap::new();
    for (replica, told) in attested {
        if let Attestation::Digest(digest) = told {
            by_digest.entry(*digest).or_default().push(*replica);
        }
    }
    by_digest
}

fn shown_checkpoint(checkpoint: &Checkpoint) -> CheckpointInfo {
    let certificate = checkpoint.certificate.as_ref();
    CheckpointInfo {
        checkpoint: checkpoint.entry.index,
        term: checkpoint.entry.term,
        made: checkpoint.made,
        label: checkpoint.label.clone(),
        is_pinned: checkpoint.is_pinned,
        certificate: certificate.map(|certificate| CertificateInfo {
            digest: certificate.digest,
            attested_by: certificate.attested_by.clone(),
            certified: certificate.certified,
            entry: certificate.entry,
        }),
        lets_go: certificate.map(|_| checkpoint.entry.index),
    }
}

fn shown_snapshot(
    kept: &Kept,
    checkpoint: &Checkpoint,
    content: Option<SnapshotContent>,
) -> SnapshotInfo {
    let certified = checkpoint.certificate.as_ref().map(|certificate| certificate.digest);
    SnapshotInfo {
        checkpoint: kept.checkpoint,
        digest: kept.digest,
        is_certified: certified == Some(kept.digest),
        label: checkpoint.label.clone(),
        is_pinned: checkpoint.is_pinned,
        manifest_bytes: kept.bytes,
        content,
    }
}

fn content(manifest: &StateManifest) -> SnapshotContent {
    let rows = manifest.rows();
    let count = |count: usize| u64::try_from(count).expect("a count in memory fits 64 bits");
    SnapshotContent {
        logs: count(rows.logs.len()),
        records: rows.logs.iter().map(|(_, log)| log.tail - log.trim).sum(),
        bytes: rows.logs.iter().map(|(_, log)| log.bytes_at_tail - log.bytes_at_trim).sum(),
        producers: count(rows.producers.len()),
        cursors: count(rows.cursors.len()),
        keys: count(rows.keys.len()),
    }
}
