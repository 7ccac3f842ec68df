//! The deterministic part: commands in, outcomes and deltas out, all in memory.
//!
//! [`Machine::apply`] is a function of the entry and of all entries before it: no clock but the
//! stamps of commands, no chance, no files, ordered maps only. So replicas that apply the same
//! entries are equal, and the rolling digest shows it at every entry. A refusal is an outcome like
//! any other.
//!
//! Applying never blocks and cannot fail. Entries were checked before they were proposed, and their
//! hashes since; one that cannot be read is a broken invariant, and ends the process rather than
//! letting replicas part.
//!
//! Not here: how entries get here in order (`raft`), and who keeps what they change (`storage`).

mod activity;
mod append;
mod changes;
mod checkpoint;
mod codec;
mod command;
mod cursors;
mod delta;
mod digest;
mod keys;
mod load;
mod logs;
mod member_changes;
mod members;
#[cfg(test)]
mod model;
mod outcome;
mod payload;
mod producers;
mod proof;
#[cfg(test)]
mod scripts;
mod silent;
mod state_digest;
#[cfg(test)]
mod tests;
mod tree;

use client::types::{Digest, EntryId, LogId, LogName, ReplicaId, Timestamp};
use migrations::latest::activity::ActivityRow;
use migrations::latest::changes::ChangeRow;
use migrations::latest::commands::{self, CommandView};
use migrations::latest::manifest::Manifest;
use migrations::latest::values::{MembershipRow, NodeRow};

pub use checkpoint::{Certificate, Checkpoint, is_majority};
pub use command::{
    AdmitReplica, Append, AppendItem, AppendRetry, AppendTarget, Author, BeginChange,
    CertifyCheckpoint, ChangeSettings, Command, CreateLog, DeleteCursor, DeleteLog, ExpireLogs,
    ExpireProducers, FirstContent, Found, Founding, LogTarget, MachineLimits, MakeCheckpoint,
    MalformedCommand, MoveChange, OnBehalf, Proposal, ReleaseCheckpoint, RenewLog, SealLog,
    SetCursor, SetFence, SettingsChange, Timings, TrimLog,
};
pub use delta::{Applied, Changes, Delta, LogView, RowChange, Run, Table};
pub use load::MachineError;
pub use logs::Log;
pub use outcome::{
    AppendOutcome, Appended, ChangeBegun, CheckpointCertified, CursorDeleted, LogCreated,
    LogTrimmed, Outcome, ProducersExpired, Rejection,
};
pub use payload::{EntryBody, Payload};
pub use proof::{
    SizedRoot, consistency_proof, inclusion_proof, root_of, verify_consistency, verify_inclusion,
};
pub use tree::{Frontier, TILE_WIDTH, TileAddress, leaf_hash, node_hash};

use changes::ChangedMeta;
use checkpoint::Checkpoints;
use digest::RollingDigest;
use logs::Logs;
use member_changes::MemberChanges;
use members::Members;
use state_digest::StateDigest;

/// Which behaviour `apply` has, and which bytes its outcomes: the same on all replicas of a group.
pub const MACHINE_VERSION: u32 = 1;

/// Whether entries may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Gapless,
    Jumping,
}

/// All that is replicated but the records.
#[derive(Debug, Clone)]
pub struct Machine {
    applied: Option<EntryId>,
    order: Order,
    rolling: RollingDigest,
    founding: Option<Founding>,
    members: Members,
    member_changes: MemberChanges,
    checkpoints: Checkpoints,
    logs: Logs,
    changed: ChangedMeta,
    state: StateDigest,
}

impl Machine {
    /// A machine that has applied nothing. Its limits hold until a founding brings the group's own.
    pub fn new(limits: MachineLimits) -> Self {
        Self {
            applied: None,
            order: Order::Gapless,
            rolling: RollingDigest::default(),
            founding: None,
            members: Members::new(),
            member_changes: MemberChanges::default(),
            checkpoints: Checkpoints::default(),
            logs: Logs::new(limits),
            changed: ChangedMeta::default(),
            state: StateDigest::default(),
        }
    }

    /// The machine whose rows these are.
    pub fn load(rows: Manifest) -> Result<Self, MachineError> {
        load::load(rows)
    }

    /// Lets entries be left out, for a test suite that does so.
    #[must_use]
    pub const fn allow_jumps(mut self) -> Self {
        self.order = Order::Jumping;
        self
    }

    /// The last entry applied.
    pub const fn applied(&self) -> Option<EntryId> {
        self.applied
    }

    /// The newest membership, and its entry.
    pub fn membership(&self) -> Option<(EntryId, &MembershipRow)> {
        self.members.membership()
    }

    /// What the group was founded with.
    pub const fn cluster(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    /// Which behaviour `apply` has.
    pub const fn version(&self) -> u32 {
        MACHINE_VERSION
    }

    /// The digest over all commands and outcomes so far.
    pub const fn rolling_digest(&self) -> Digest {
        self.rolling.digest()
    }

    /// The digest of the whole state, as of the entry at which changes were taken last, or the
    /// machine was loaded.
    pub fn state_digest(&self) -> Digest {
        self.state.digest()
    }

    /// The checkpoints that are remembered, oldest first.
    pub fn checkpoints(&self) -> impl DoubleEndedIterator<Item = Checkpoint> {
        self.checkpoints.all()
    }

    /// The machine's clock: the newest stamp it has seen.
    pub const fn last_stamp(&self) -> Timestamp {
        self.logs.now
    }

    /// The limits that hold.
    pub const fn limits(&self) -> &MachineLimits {
        &self.logs.limits
    }

    /// The log of a name.
    pub fn log(&self, name: &LogName) -> Option<&Log> {
        self.logs.get(name.as_str())
    }

    /// The log of an id.
    pub fn log_by_id(&self, id: LogId) -> Option<&Log> {
        self.logs.by_id.get(&id)
    }

    /// All logs, by id.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.logs.by_id.values()
    }

    /// The newest admissions: the ids that newcomers got, with who they said they are.
    pub fn admissions(&self) -> impl Iterator<Item = (ReplicaId, &NodeRow)> {
        let admissions = self.members.admissions();
        admissions.filter_map(|(id, row)| Some((ReplicaId::new(id)?, &row.node)))
    }

    /// The id that a newcomer got for its nonce, if that is still remembered.
    pub fn admitted(&self, nonce: u128) -> Option<ReplicaId> {
        self.members.admitted(nonce)
    }

    /// The changes of the membership that are remembered, by their numbers, oldest first.
    pub fn member_changes(&self) -> impl DoubleEndedIterator<Item = (u64, &ChangeRow)> {
        self.member_changes.rows()
    }

    /// The change of the membership that has not ended.
    pub fn change_under_way(&self) -> Option<(u64, &ChangeRow)> {
        self.member_changes.under_way()
    }

    /// Whether a replica was a member, or about to be one, and a change of the membership took it off the list.
    pub fn is_removed(&self, replica: ReplicaId) -> bool {
        let is_member = self
            .membership()
            .is_some_and(|(_, membership)| membership.nodes.contains_key(&replica.get()));
        !is_member && self.member_changes.removed(replica.get())
    }

    /// All rows, as of the last applied entry; nothing if there is none.
    pub fn manifest(&self) -> Option<Manifest> {
        load::manifest(self)
    }

    /// Applies the next entry.
    pub fn apply(&mut self, id: EntryId, body: &EntryBody) -> Applied {
        self.assert_follows(id);
        let mut delta = Delta::default();
        let (outcome, hash) = match body {
            EntryBody::Blank => (Outcome::Blank, Digest::default()),
            EntryBody::Command(payload) => (self.execute(id, payload, &mut delta), payload.hash),
            EntryBody::Membership(payload) => {
                self.set_membership(id, payload);
                (Outcome::Membership, payload.hash)
            }
        };
        delta.logs = self.logs.views_of_touched();
        self.rolling.mix(&hash, &outcome);
        self.applied = Some(id);
        Applied { outcome, delta }
    }

    /// Forgets what was executed, as a fault of the memory might: a planted bug.
    #[cfg(quorate_bugs)]
    pub fn corrupt(&mut self) {
        self.rolling = RollingDigest::default();
    }

    /// Takes the rows that changed since the last call. An entry must have been applied.
    pub fn take_changes(&mut self) -> Changes {
        changes::take(self)
    }

    fn assert_follows(&self, id: EntryId) {
        let Some(applied) = self.applied else {
            return;
        };
        let is_next = match self.order {
            Order::Gapless => id.index == applied.index.next(),
            Order::Jumping => id.index > applied.index,
        };
        assert!(is_next, "entry {id} cannot be applied after {applied}");
    }

    fn execute(&mut self, id: EntryId, payload: &Payload, delta: &mut Delta) -> Outcome {
        let (stamp, view) = commands::decode(&payload.bytes).unwrap_or_else(|error| {
            panic!("a committed command was checked before it was proposed: {error}")
        });
        let stamp = Timestamp::new(stamp);
        self.logs.now = self.logs.now.max(stamp);
        if let CommandView::Append(items) = view {
            return Outcome::Appended(self.logs.append(items, &payload.bytes, delta));
        }
        let command = codec::read_command(stamp, view, &payload.bytes).unwrap_or_else(|error| {
            panic!("a committed command was checked before it was proposed: {error}")
        });
        if let Command::OnBehalf(acted) = command {
            return self.execute_act(id, acted, payload, delta);
        }
        self.execute_other(id, command, payload, delta)
    }

    fn execute_act(
        &mut self,
        id: EntryId,
        acted: OnBehalf<Box<Command>>,
        payload: &Payload,
        delta: &mut Delta,
    ) -> Outcome {
        let OnBehalf { author: Author { by, from }, command } = acted;
        let act = activity::foreseen(self, &command);
        let outcome = self.execute_other(id, *command, payload, delta);
        if let Some(act) = act.and_then(|act| activity::done(act, &outcome)) {
            self.logs.note(&ActivityRow { by, from, act }, delta);
        }
        outcome
    }

    fn execute_other(
        &mut self,
        id: EntryId,
        command: Command,
        payload: &Payload,
        delta: &mut Delta,
    ) -> Outcome {
        let logs = &mut self.logs;
        match command {
            Command::Append(_) => unreachable!("appends are executed from their bytes"),
            Command::OnBehalf(_) => unreachable!("nobody acts for one who acts for another"),
            Command::Found(c) => Outcome::Founded(self.found(c.founding)),
            Command::CreateLog(c) => {
                Outcome::LogCreated(logs.create(c, payload.bytes.len(), delta))
            }
            Command::RenewLog(c) => Outcome::LogRenewed(logs.renew(&c.log)),
            Command::ExpireLogs(c) => Outcome::LogsExpired(logs.let_expire(&c.logs, delta)),
            Command::ChangeSettings(c) => {
                Outcome::SettingsChanged(logs.change_settings(&c.log, c.change))
            }
            Command::DeleteLog(c) => Outcome::LogDeleted(logs.delete(&c.log, delta)),
            Command::TrimLog(c) => Outcome::LogTrimmed(logs.trim(&c.log, c.to, c.bytes_before)),
            Command::SealLog(c) => Outcome::LogSealed(logs.seal(&c.log)),
            Command::SetFence(c) => Outcome::FenceSet(logs.set_fence(&c.log, c.fence)),
            Command::SetCursor(c) => Outcome::CursorSet(logs.set_cursor(
                &c.log,
                c.cursor,
                (c.expected, c.position),
                delta,
            )),
            Command::DeleteCursor(c) => {
                let deleted = logs.delete_cursor(&c.log, c.cursor, delta);
                Outcome::CursorDeleted(deleted.map(|(log, existed)| CursorDeleted { log, existed }))
            }
            Command::AdmitReplica(c) => {
                let (replica, changed) = self.members.admit(c.nonce, &c.node);
                self.changed.admissions.extend(changed);
                Outcome::ReplicaAdmitted(replica)
            }
            Command::ExpireProducers(c) => {
                Outcome::ProducersExpired(logs.expire(codec::whole_millis(c.idle)))
            }
            Command::MakeCheckpoint(c) => {
                let made = self.checkpoints.make(id, self.logs.now, c.label.as_ref());
                Outcome::CheckpointMade(self.note_checkpoints(made.map(|rows| (id.index, rows))))
            }
            Command::CertifyCheckpoint(c) => {
                let certificate = codec::certificate_row(&c, self.logs.now, id.index);
                let membership = self.members.membership().map(|(_, membership)| membership);
                let checkpoint = c.checkpoint.get();
                let certified = self.checkpoints.certify(checkpoint, certificate, membership);
                Outcome::CheckpointCertified(self.note_checkpoints(certified))
            }
            Command::ReleaseCheckpoint(c) => {
                let released = self.checkpoints.release(c.checkpoint.get());
                Outcome::CheckpointReleased(self.note_checkpoints(released.map(|rows| ((), rows))))
            }
            Command::BeginChange(c) => Outcome::ChangeBegun(self.begin_change(c)),
            Command::MoveChange(c) => {
                let (changes, now) = (&mut self.member_changes, self.logs.now);
                let moved = changes.advance(c.change, (c.from, c.to), &c.outcome, now);
                self.changed.member_changes.extend(moved.is_ok().then_some(c.change));
                Outcome::ChangeMoved(moved)
            }
        }
    }

    fn begin_change(&mut self, command: BeginChange) -> Result<ChangeBegun, Rejection> {
        let BeginChange { intent, newcomers, .. } = command;
        let now = self.logs.now;
        let (done, rows, admitted) =
            self.member_changes.begin(intent, &newcomers, now, &mut self.members)?;
        self.changed.member_changes.extend(rows);
        self.changed.admissions.extend(admitted);
        Ok(done)
    }

    /// Notes the rows of checkpoints that a command changed.
    fn note_checkpoints<T>(
        &mut self,
        result: Result<(T, Vec<u64>), Rejection>,
    ) -> Result<T, Rejection> {
        let (done, rows) = result?;
        self.changed.checkpoints.extend(rows);
        Ok(done)
    }

    /// Founding again with the same is no error: whoever asked may not have heard the answer. A later generation of the
    /// same cluster begins where a majority was lost: nothing else of what the group was founded with changes.
    fn found(&mut self, founding: Founding) -> Result<(), Rejection> {
        match self.founding {
            Some(current) if current == founding => Ok(()),
            Some(current) if founding.is_later_generation_of(&current) => {
                self.founding = Some(Founding { generation: founding.generation, ..current });
                self.changed.is_founding_changed = true;
                // Whom it named are no members of this generation.
                self.changed.member_changes.extend(self.member_changes.give_up(self.logs.now));
                Ok(())
            }
            Some(current) => Err(Rejection::AlreadyFounded { cluster: current.cluster }),
            None => {
                self.founding = Some(founding);
                self.logs.limits = founding.limits;
                self.changed.is_founding_changed = true;
                Ok(())
            }
        }
    }

    fn set_membership(&mut self, id: EntryId, payload: &Payload) {
        let membership = MembershipRow::from_bytes(&payload.bytes).unwrap_or_else(|error| {
            panic!("a committed membership was encoded by a leader: {error}")
        });
        self.members.set_membership(id, membership);
        self.changed.is_membership_changed = true;
    }
}
