//! Backups that continue each other: each is of a later state of the same cluster, and repeats no records that the ones
//! before it hold.
//!
//! Not here: what is inside one (`examine`).

use std::collections::BTreeMap;

use client::types::{ClusterId, Digest, EntryIndex, Timestamp};
use migrations::latest::backup::{BackupHead, StateName};
use migrations::latest::values::CatalogRow;

use super::examine::{Examined, Examiner};
use crate::machine::TILE_WIDTH;
use crate::storage::state::StateManifest;

/// What one file holds, which was whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The cluster it is of.
    pub cluster: ClusterId,
    /// The checkpoint: the index of its entry.
    pub checkpoint: EntryIndex,
    /// The certified digest of the state.
    pub digest: Digest,
    /// When the checkpoint was made, by the group's clock.
    pub made: Timestamp,
    /// How many replicas attested it.
    pub attested_by: usize,
    /// The checkpoint of the backup that it continues.
    pub base: Option<EntryIndex>,
    /// Whether only some logs were chosen.
    pub is_partial: bool,
    /// Logs in it.
    pub logs: u64,
    /// Records in it.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What the files so far hold.
#[derive(Debug, Default)]
pub struct Chain {
    last: Option<Known>,
    manifest: Option<StateManifest>,
}

/// What is known of the files before one.
#[derive(Debug, Clone)]
pub(super) struct Known {
    head: BackupHead,
    /// By log: the first position that is in one of them, and the log as it was in the last.
    logs: BTreeMap<u64, (u64, CatalogRow)>,
}

impl Chain {
    /// Examines the file that comes next.
    pub fn next(&self) -> Examiner {
        Examiner::behind(self.last.clone())
    }

    /// Adds that file.
    pub fn add(&mut self, found: Examined) -> Verified {
        let Examined { head, manifest, begins, bytes } = found;
        let mut logs = BTreeMap::new();
        let mut rows = manifest.rows().logs.iter();
        for (log, from) in &begins {
            let row = rows.find(|(id, _)| id == log).map(|(_, row)| row.clone());
            let row = row.expect("a log that was examined is in the manifest");
            let needed = row.trim / TILE_WIDTH * TILE_WIDTH;
            let before = self.last.as_ref().and_then(|last| last.logs.get(log));
            let first = before.filter(|_| *from > needed).map_or(*from, |(first, _)| *first);
            logs.insert(*log, (first, row));
        }
        let verified = Verified {
            cluster: ClusterId::new(head.cluster),
            checkpoint: EntryIndex::new(head.state.entry.index),
            digest: Digest::new(head.state.digest),
            made: Timestamp::new(head.stamp),
            attested_by: head.attested_by.len(),
            base: head.base.map(|base| EntryIndex::new(base.entry.index)),
            is_partial: head.logs.is_some(),
            logs: u64::try_from(logs.len()).expect("a count in memory fits 64 bits"),
            records: head.records,
            record_bytes: head.record_bytes,
            bytes,
        };
        self.last = Some(Known { head, logs });
        self.manifest = Some(manifest);
        verified
    }

    /// Of the last file: what it is of, and the state without its records.
    pub(super) fn into_newest(self) -> Option<(BackupHead, StateManifest)> {
        Some((self.last?.head, self.manifest?))
    }
}

impl Known {
    pub(super) const fn checkpoint(&self) -> u64 {
        self.head.state.entry.index
    }

    /// Whether the last of them is of this state.
    pub(super) fn is(&self, base: &StateName) -> bool {
        self.head.state == *base
    }

    /// Whether they are of the same cluster.
    pub(super) fn is_of(&self, head: &BackupHead) -> bool {
        self.head.cluster == head.cluster && self.head.generation == head.generation
    }

    /// Checks that a log goes on where it ended: from `from` on, it is in the next file. Says how many tiles it had, and
    /// the hashes of its frontier over them.
    pub(super) fn check(
        &self,
        log: u64,
        row: &CatalogRow,
        from: u64,
    ) -> Result<Option<(u64, Vec<Digest>)>, String> {
        let needed = row.trim / TILE_WIDTH * TILE_WIDTH;
        let Some((first, before)) = self.logs.get(&log) else {
            let is_whole = from == needed;
            return if is_whole {
                Ok(None)
            } else {
                Err(format!("log {} is not in the backup that it continues", row.name))
            };
        };
        let is_covered = from == needed || (*first <= needed && from <= before.tail);
        let is_grown =
            before.tail <= row.tail && (before.tail < row.tail || before.frontier == row.frontier);
        if !is_covered || !is_grown {
            return Err(format!("log {} does not go on where it ended before", row.name));
        }
        let complete = before.tail / TILE_WIDTH;
        let trees = usize::try_from(complete.count_ones()).expect("at most 64 trees");
        let hashes = before.frontier.iter().take(trees).map(|hash| Digest::new(*hash));
        Ok((complete > 0).then(|| (complete, hashes.collect())))
    }
}
