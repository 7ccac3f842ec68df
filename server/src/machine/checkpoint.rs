//! Checkpoints: made by one command, certified by another, and let go when enough came after them.
//!
//! A checkpoint names an entry; the state it stands for is the machine right after that entry. What
//! its digest is, each replica computes for itself, and none of them is in the machine until a
//! majority of voters has attested the same: then the certificate carries it. The newest certified
//! one is never let go, because the journal before it is.
//!
//! Not here: who attests and when (`node::checkpoint`), and the digest (`changes`).

use std::collections::BTreeMap;

use client::types::{CheckpointLabel, Digest, EntryId, EntryIndex, ReplicaId, Timestamp};
use migrations::latest::checkpoints::{CertificateRow, CheckpointRow};
use migrations::latest::values::MembershipRow;

use super::load::entry_id;
use super::load::entry_id_row;
use super::outcome::{CheckpointCertified, Rejection};

/// So many certified checkpoints are remembered without a pin.
const CERTIFIED_KEPT: usize = 4;
/// So many that are not certified, newer than the newest certified one.
const UNCERTIFIED_MAX: usize = 16;
/// So many are pinned at most.
pub(super) const PINNED_MAX: usize = 64;

/// A checkpoint, as every replica knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The entry whose state it is.
    pub entry: EntryId,
    /// The machine's clock there.
    pub made: Timestamp,
    /// What an operator called it.
    pub label: Option<CheckpointLabel>,
    /// Whether it is kept until it is released.
    pub is_pinned: bool,
    /// The certificate, once there is one.
    pub certificate: Option<Certificate>,
}

/// A majority's word on what the state was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The digest of the state that they attested.
    pub digest: Digest,
    /// Who attested it, in order.
    pub attested_by: Vec<ReplicaId>,
    /// When it was certified.
    pub certified: Timestamp,
    /// The entry that certified it.
    pub entry: EntryIndex,
}

/// All checkpoints that are remembered, by the index of their entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoints {
    rows: BTreeMap<u64, CheckpointRow>,
}

impl Checkpoints {
    /// Checkpoints as they were kept; nothing if a row is not under its own entry, or its label is none.
    pub(super) fn load(rows: Vec<(u64, CheckpointRow)>) -> Option<Self> {
        let is_possible = |(index, row): &(u64, CheckpointRow)| {
            let label = row.label.as_deref().map(CheckpointLabel::new).transpose();
            let certificate =
                row.certificate.iter().flat_map(|certificate| &certificate.attested_by);
            row.entry.index == *index
                && label.is_ok()
                && certificate.copied().all(|replica| ReplicaId::new(replica).is_some())
        };
        rows.iter().all(is_possible).then(|| Self { rows: rows.into_iter().collect() })
    }

    pub(super) fn row(&self, index: u64) -> Option<&CheckpointRow> {
        self.rows.get(&index)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (u64, &CheckpointRow)> {
        self.rows.iter().map(|(index, row)| (*index, row))
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = Checkpoint> {
        self.rows.values().map(checkpoint)
    }

    /// Makes one at `entry`. The second part of an answer names the rows that changed.
    pub(super) fn make(
        &mut self,
        entry: EntryId,
        stamp: Timestamp,
        label: Option<&CheckpointLabel>,
    ) -> Result<Vec<u64>, Rejection> {
        let pinned = self.rows.values().filter(|row| row.is_pinned).count();
        if label.is_some() && pinned >= PINNED_MAX {
            let max = u64::try_from(PINNED_MAX).expect("a constant fits 64 bits");
            return Err(Rejection::CheckpointsFull { max });
        }
        let index = entry.index.get();
        let row = CheckpointRow {
            entry: entry_id_row(entry),
            stamp: stamp.as_millis(),
            label: label.map(|label| label.as_str().to_owned()),
            is_pinned: label.is_some(),
            certificate: None,
        };
        self.rows.insert(index, row);
        let mut changed = self.let_go();
        changed.push(index);
        Ok(changed)
    }

    /// Certifies one, if these are a majority of every set of voters.
    pub(super) fn certify(
        &mut self,
        checkpoint: u64,
        certificate: CertificateRow,
        membership: Option<&MembershipRow>,
    ) -> Result<(CheckpointCertified, Vec<u64>), Rejection> {
        let row = self.rows.get_mut(&checkpoint).ok_or(Rejection::UnknownCheckpoint)?;
        let told = |is_new| CheckpointCertified {
            checkpoint: EntryIndex::new(checkpoint),
            digest: Digest::new(certificate.digest),
            is_new,
        };
        if let Some(known) = &row.certificate {
            let digest = Digest::new(known.digest);
            let is_same = known.digest == certificate.digest;
            let differs = Rejection::CertifiedOtherwise { digest };
            return if is_same { Ok((told(false), Vec::new())) } else { Err(differs) };
        }
        if !membership.is_some_and(|membership| is_majority(membership, &certificate.attested_by)) {
            return Err(Rejection::NoMajority);
        }
        let told = told(true);
        row.certificate = Some(certificate);
        let mut changed = self.let_go();
        changed.push(checkpoint);
        Ok((told, changed))
    }

    /// Lets one go, or, if the journal begins behind it, as soon as that is possible.
    pub(super) fn release(&mut self, checkpoint: u64) -> Result<Vec<u64>, Rejection> {
        let newest = self.newest_certified();
        let row = self.rows.get_mut(&checkpoint).ok_or(Rejection::UnknownCheckpoint)?;
        row.is_pinned = false;
        if row.certificate.is_some() && newest != Some(checkpoint) {
            self.rows.remove(&checkpoint);
        }
        Ok(vec![checkpoint])
    }

    fn newest_certified(&self) -> Option<u64> {
        self.rows.iter().rev().find(|(_, row)| row.certificate.is_some()).map(|(index, _)| *index)
    }

    /// Forgets what nobody pinned and enough came after. Names the rows that are gone.
    fn let_go(&mut self) -> Vec<u64> {
        let newest = self.newest_certified();
        let (mut certified, mut uncertified) = (0, 0);
        let mut gone = Vec::new();
        for (index, row) in self.rows.iter().rev() {
            let is_kept = if row.certificate.is_some() {
                certified += 1;
                certified <= CERTIFIED_KEPT
            } else {
                uncertified += 1;
                // One that a newer certificate overtook will not be certified any more.
                uncertified <= UNCERTIFIED_MAX && newest.is_none_or(|newest| *index > newest)
            };
            if !is_kept && !row.is_pinned {
                gone.push(*index);
            }
        }
        for index in &gone {
            self.rows.remove(index);
        }
        gone
    }
}

/// Whether these are more than half of every set of voters.
pub fn is_majority(membership: &MembershipRow, replicas: &[u64]) -> bool {
    !membership.configs.is_empty()
        && membership.configs.iter().all(|voters| {
            let attested = replicas.iter().filter(|replica| voters.contains(replica)).count();
            attested * 2 > voters.len()
        })
}

fn checkpoint(row: &CheckpointRow) -> Checkpoint {
    let label = |label: &str| CheckpointLabel::new(label).expect("labels were checked");
    Checkpoint {
        entry: entry_id(row.entry),
        made: Timestamp::new(row.stamp),
        label: row.label.as_deref().map(label),
        is_pinned: row.is_pinned,
        certificate: row.certificate.as_ref().map(|certificate| Certificate {
            digest: Digest::new(certificate.digest),
            attested_by: certificate
                .attested_by
                .iter()
                .filter_map(|id| ReplicaId::new(*id))
                .collect(),
            certified: Timestamp::new(certificate.stamp),
            entry: EntryIndex::new(certificate.entry),
        }),
    }
}
