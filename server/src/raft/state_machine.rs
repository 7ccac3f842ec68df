//! Committed entries, through the machine, to the state and to whoever waits.
//!
//! `apply` touches memory only and never waits for redb: the machine decides, its delta is
//! published to readers while the machine is still locked (so a flush always sees a consistent
//! cut), the applied watch moves, and the outcome is sent. While the state is taken anew, entries are
//! only counted: nothing of it is served, and nobody waits for an outcome who could get one. Installing a manifest is one redb
//! transaction, because a replica is deaf while openraft installs.
//!
//! Not here: what a command does (`machine`), and when it reaches redb (`storage/state/flusher.rs`).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use client::types::{EntryId, EntryIndex};
use futures_util::{Stream, StreamExt};
use openraft::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::log_storage::journal_entry;
use super::snapshot_builder::SnapshotBuilder;
use super::types::{SnapshotBody, StoredMembership, TypeConfig, log_id, membership};
use crate::machine::{EntryBody, Machine, Outcome};
use crate::storage::journal::Journal;
use crate::storage::state::State;
use crate::world::tasks;

/// The machine, the state it publishes to, and the watch that tells how far they are.
pub struct StateMachine {
    machine: Arc<Mutex<Machine>>,
    state: State,
    /// Says from where on a snapshot can be gone on from.
    journal: Journal,
    applied: watch::Sender<Option<EntryIndex>>,
}

impl StateMachine {
    /// A state machine over a machine loaded from this state.
    pub fn new(
        machine: Arc<Mutex<Machine>>,
        state: State,
        journal: Journal,
        applied: watch::Sender<Option<EntryIndex>>,
    ) -> Self {
        Self { machine, state, journal, applied }
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }
}

/// Takes the machine. A panic while it was held would have left it half changed, so nobody may go
/// on from there.
pub(super) fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().expect("the machine was not left by a panic")
}

/// A membership with its entry, in openraft's words; the default one if there is none yet.
pub(super) fn stored_membership(machine: &Machine) -> StoredMembership {
    machine.membership().map_or_else(StoredMembership::default, |(id, row)| {
        StoredMembership::new(Some(log_id(&id)), membership(row))
    })
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotBody;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<TypeConfig>>, StoredMembershipOf<TypeConfig>)> {
        let machine = self.lock();
        Ok((machine.applied().map(|id| log_id(&id)), stored_membership(&machine)))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let entry = journal_entry(entry);
            let outcome = self.apply_one(entry.id, &entry.body);
            // Before the answer: who was answered finds here what was done.
            self.applied.send_replace(Some(entry.id.index));
            if let (Some(responder), Some(outcome)) = (responder, outcome) {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(self.state.clone(), self.journal.clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        manifest: SnapshotBody,
    ) -> io::Result<()> {
        let state = self.state.clone();
        let machine = self.machine.clone();
        let manifest = manifest.ok_or_else(|| io::Error::other("an empty snapshot"))?;
        tasks::blocking(move || {
            state.install(&manifest, &mut lock(&machine)).map_err(io::Error::other)
        })
        .await?;
        self.applied.send_replace(meta.last_log_id.map(|id| EntryIndex::new(id.index)));
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotBody>>> {
        super::snapshot_builder::current_snapshot(&self.state, &self.journal).await
    }
}

impl StateMachine {
    /// One entry: decide, publish, both under the same lock. Without an outcome, it is decided when the state has been
    /// taken anew.
    fn apply_one(&self, id: EntryId, body: &EntryBody) -> Option<Outcome> {
        let mut machine = self.lock();
        if self.state.passes_over(id) {
            return None;
        }
        Some(self.state.apply(&mut machine, id, body))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotBody;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, SnapshotBody>> {
        self.build().await
    }
}
