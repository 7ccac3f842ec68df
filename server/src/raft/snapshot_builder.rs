//! A snapshot is a manifest: flush what is applied and durable, then read it back.
//!
//! What the manifest says is durable before it is returned, since openraft lets the journal go up
//! to it.

use std::io;

use super::types::{Snapshot, SnapshotMeta, StoredMembership, log_id, membership};
use crate::storage::state::{State, StateManifest};
use crate::world::tasks;

/// Builds one snapshot, beside the appliers.
pub struct SnapshotBuilder {
    state: State,
}

impl SnapshotBuilder {
    pub(super) fn new(state: State) -> Self {
        Self { state }
    }

    pub(super) async fn build(&self) -> io::Result<Snapshot> {
        let state = self.state.clone();
        tasks::blocking(move || state.flush_now().map_err(io::Error::other)).await?;
        let current = current_snapshot(&self.state).await?;
        Ok(current.unwrap_or(Snapshot { meta: SnapshotMeta::default(), snapshot: None }))
    }
}

/// The manifest at whatever redb holds now; none while it holds nothing.
pub(super) async fn current_snapshot(state: &State) -> io::Result<Option<Snapshot>> {
    let state = state.clone();
    let manifest = tasks::blocking(move || state.manifest().map_err(io::Error::other)).await?;
    Ok(manifest.map(|manifest| Snapshot { meta: meta(&manifest), snapshot: Some(manifest) }))
}

/// What openraft is told of a manifest.
pub(super) fn meta(manifest: &StateManifest) -> SnapshotMeta {
    let last_membership =
        manifest.membership().map_or_else(StoredMembership::default, |(id, row)| {
            StoredMembership::new(Some(log_id(&id)), membership(row))
        });
    SnapshotMeta { last_log_id: Some(log_id(&manifest.applied())), last_membership }
}
