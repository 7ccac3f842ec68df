//! A snapshot is a manifest: that of the newest checkpoint which is certified to be what it is here.
//!
//! The journal is purged only up to such a checkpoint, so entries go on from there, and a state that
//! differs is never handed on. As long as there is none, a snapshot is the state itself: flushed, then
//! read back. So it is after a state was installed, until the first checkpoint behind that is certified:
//! the journal does not go on from older ones. What a manifest says is durable before it is returned,
//! since openraft lets the journal go up to it.

use std::io;

use client::types::EntryIndex;

use super::types::{Snapshot, SnapshotMeta, StoredMembership, log_id, membership};
use crate::storage::StorageError;
use crate::storage::journal::Journal;
use crate::storage::state::{State, StateManifest};
use crate::world::tasks;

/// Builds one snapshot, beside the appliers.
pub struct SnapshotBuilder {
    state: State,
    journal: Journal,
}

impl SnapshotBuilder {
    pub(super) fn new(state: State, journal: Journal) -> Self {
        Self { state, journal }
    }

    pub(super) async fn build(&self) -> io::Result<Snapshot> {
        let state = self.state.clone();
        if state.newest_confirmed_index().is_none_or(|index| Some(index) < purged(&self.journal)) {
            tasks::blocking(move || state.flush_now().map_err(io::Error::other)).await?;
        }
        let current = current_snapshot(&self.state, &self.journal).await?;
        Ok(current.unwrap_or(Snapshot { meta: SnapshotMeta::default(), snapshot: None }))
    }
}

/// The manifest of the newest confirmed checkpoint, or at whatever redb holds now; none while it holds
/// nothing.
pub(super) async fn current_snapshot(
    state: &State,
    journal: &Journal,
) -> io::Result<Option<Snapshot>> {
    let (state, from) = (state.clone(), purged(journal));
    let manifest = tasks::blocking(move || {
        let confirmed = match state.newest_confirmed(from) {
            // One that is damaged is no reason not to go on: the state itself is there.
            Err(StorageError::Damaged { .. }) => None,
            confirmed => confirmed.map_err(io::Error::other)?,
        };
        confirmed.map_or_else(|| state.manifest().map_err(io::Error::other), |it| Ok(Some(it)))
    });
    let manifest = manifest.await?;
    Ok(manifest.map(|manifest| Snapshot { meta: meta(&manifest), snapshot: Some(manifest) }))
}

fn purged(journal: &Journal) -> Option<EntryIndex> {
    journal.purged().map(|id| id.index)
}

/// What openraft is told of a manifest.
pub(super) fn meta(manifest: &StateManifest) -> SnapshotMeta {
    let last_membership =
        manifest.membership().map_or_else(StoredMembership::default, |(id, row)| {
            StoredMembership::new(Some(log_id(&id)), membership(row))
        });
    SnapshotMeta { last_log_id: Some(log_id(&manifest.applied())), last_membership }
}
