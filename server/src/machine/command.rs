//! Commands: what is replicated, and the type of outcome that each one yields.
//!
//! Whoever proposes builds one of the structs below and hands it to consensus as a [`Proposal`]: it
//! encodes itself, and it alone knows which part of the shared [`Outcome`] is its own. The stamp is
//! the leader's clock; the machine uses it only where it does not run backwards.
//!
//! Appends are special, because they are hot: an [`AppendItem`] shares the bytes of its batch, and
//! the command copies them once. [`Command::decode`] is for checks, tests and diagnostics; `apply`
//! reads the bytes as they are. Not here: bytes (`codec`, and `migrations`), what commands do
//! (`logs`, `append`, `cursors`, `members`).

use std::time::Duration;

use bytes::Bytes;
use client::types::{
    Batch, CheckpointLabel, ClusterId, CursorName, Digest, EntryIndex, Fence, IdempotencyKey,
    LogId, LogName, LogSettings, OrderKey, Position, ProducerEpoch, ProducerId, ReplicaId,
    Sequence, Timestamp,
};
use migrations::latest::changes::{IntentRow, NewcomerRow, StageRow};
use migrations::latest::commands::RunView;
use migrations::latest::values::{GenerationRow, NodeRow};

use super::codec;
use super::outcome::{
    AppendOutcome, ChangeBegun, CheckpointCertified, CursorDeleted, LogCreated, LogTrimmed,
    Outcome, ProducersExpired, Rejection,
};
use super::payload::Payload;

/// A command together with the type of its outcome. Sealed: the machine knows them all.
pub trait Proposal: sealed::Sealed + Send + 'static {
    /// What the command yields.
    type Outcome: Send + 'static;

    /// The command as bytes, with their hash.
    fn encode(self) -> Payload;

    /// Takes the command's own outcome out of the shared one. Panics on another command's: that
    /// would be an answer to somebody else.
    fn outcome(outcome: Outcome) -> Self::Outcome;
}

mod sealed {
    pub trait Sealed {}
}

/// A log as a caller names it. With an id, only that very log is meant, not one that has its name
/// by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// Its name.
    pub name: LogName,
    /// Its id, if the caller knows it.
    pub id: Option<LogId>,
}

impl From<LogName> for LogTarget {
    fn from(name: LogName) -> Self {
        Self { name, id: None }
    }
}

/// What makes an append safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AppendRetry {
    /// Nothing: sent twice, it is stored twice.
    #[default]
    None,
    /// A producer's sequence.
    Producer {
        /// Who.
        id: ProducerId,
        /// In which life.
        epoch: ProducerEpoch,
        /// Which of its batches.
        sequence: Sequence,
    },
    /// A key, remembered for minutes.
    Key(IdempotencyKey),
}

/// Where an append goes, and what must hold for it to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendTarget {
    /// The log.
    pub log: LogTarget,
    /// The tail it must have.
    pub expected_tail: Option<Position>,
    /// The fence it must have.
    pub fence: Option<Fence>,
    /// What makes it safe to repeat.
    pub retry: AppendRetry,
    /// What the log's last order key must sort before; the log's last one from then on.
    pub order_key: Option<OrderKey>,
    /// Whether it ends the log.
    pub seals: bool,
}

impl AppendTarget {
    /// An append without conditions.
    pub fn unconditional(name: LogName) -> Self {
        Self {
            log: name.into(),
            expected_tail: None,
            fence: None,
            retry: AppendRetry::None,
            order_key: None,
            seals: false,
        }
    }
}

/// One append, encoded for the command: target and conditions in front, then the run of its batch,
/// which is shared with the batch until the command is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendItem {
    head: Bytes,
    run: Bytes,
}

impl AppendItem {
    /// The append of a batch. With a producer or a key, the batch is hashed here, once for all
    /// replicas.
    pub fn encode(target: &AppendTarget, batch: &Batch) -> Self {
        let head = codec::encode_item_head(target, Some(batch));
        Self { head, run: batch.run().clone() }
    }

    /// An append of no records, which seals its log.
    pub fn encode_seal(target: &AppendTarget) -> Self {
        Self { head: codec::encode_item_head(target, None), run: Bytes::new() }
    }

    /// An item as it stands in a command that was checked.
    pub(super) const fn from_encoded(head: Bytes, run: Bytes) -> Self {
        Self { head, run }
    }

    /// How many bytes it adds to a command.
    pub const fn encoded_bytes(&self) -> usize {
        self.head.len() + self.run.len()
    }

    /// Head and run.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.head, &self.run)
    }
}

/// Any command, decoded whole: for checks before proposing, for tests, for diagnostics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// See [`Found`].
    Found(Found),
    /// See [`Append`].
    Append(Append),
    /// See [`CreateLog`].
    CreateLog(CreateLog),
    /// See [`ChangeSettings`].
    ChangeSettings(ChangeSettings),
    /// See [`RenewLog`].
    RenewLog(RenewLog),
    /// See [`ExpireLogs`].
    ExpireLogs(ExpireLogs),
    /// See [`DeleteLog`].
    DeleteLog(DeleteLog),
    /// See [`TrimLog`].
    TrimLog(TrimLog),
    /// See [`SealLog`].
    SealLog(SealLog),
    /// See [`SetFence`].
    SetFence(SetFence),
    /// See [`SetCursor`].
    SetCursor(SetCursor),
    /// See [`DeleteCursor`].
    DeleteCursor(DeleteCursor),
    /// See [`AdmitReplica`].
    AdmitReplica(AdmitReplica),
    /// See [`ExpireProducers`].
    ExpireProducers(ExpireProducers),
    /// See [`MakeCheckpoint`].
    MakeCheckpoint(MakeCheckpoint),
    /// See [`CertifyCheckpoint`].
    CertifyCheckpoint(CertifyCheckpoint),
    /// See [`ReleaseCheckpoint`].
    ReleaseCheckpoint(ReleaseCheckpoint),
    /// See [`BeginChange`].
    BeginChange(BeginChange),
    /// See [`MoveChange`].
    MoveChange(MoveChange),
    /// See [`OnBehalf`]; neither an append nor another one of these.
    OnBehalf(OnBehalf<Box<Self>>),
}

/// Bytes that are no command, or one whose fields break the contract's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCommand {
    /// The bytes do not follow the format.
    #[error(transparent)]
    Bytes(#[from] migrations::latest::Malformed),
    /// A field holds what its type does not allow.
    #[error("malformed command: not a valid {field}")]
    Field {
        /// Which.
        field: &'static str,
    },
}

impl Command {
    /// Reads and checks a whole command, every record of every append included. What passes here
    /// can be applied.
    pub fn decode(bytes: &Bytes) -> Result<Self, MalformedCommand> {
        codec::decode_command(bytes)
    }

    /// Joins items to an append command.
    pub fn append(stamp: Timestamp, items: &[AppendItem]) -> Payload {
        codec::encode_append(stamp, items)
    }
}

/// The first command of a group, and of each generation of it: who it is, and what all its replicas must hold alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// What the group is founded with.
    pub founding: Founding,
}

/// What a group was founded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founding {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// Its generation.
    pub generation: GenerationRow,
    /// Heartbeats and elections.
    pub timings: Timings,
    /// What the machine may hold.
    pub limits: MachineLimits,
    /// Newcomers are admitted by themselves until there are so many voters.
    pub expect_voters: u8,
}

impl Founding {
    /// Whether this is the same cluster, in a later generation.
    pub fn is_later_generation_of(&self, before: &Self) -> bool {
        self.cluster == before.cluster && self.generation.number > before.generation.number
    }
}

/// Timings of consensus: leader and followers must reckon alike. Whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Interval of heartbeats.
    pub heartbeat: Duration,
    /// Shortest time without a leader before an election.
    pub election_min: Duration,
    /// Longest such time.
    pub election_max: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(80),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(500),
        }
    }
}

/// Replicated maxima: the machine is in memory, so nothing in it may grow without a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineLimits {
    /// Logs.
    pub logs_max: u32,
    /// Producers of all logs together.
    pub producers_max: u32,
    /// Cursors of all logs together.
    pub cursors_max: u32,
    /// Idempotency keys of all logs together.
    pub keys_max: u32,
    /// Idempotency keys of one log; the oldest makes room for the newest.
    pub keys_per_log_max: u32,
    /// How long an idempotency key is remembered. Whole milliseconds.
    pub key_age_max: Duration,
    /// How long a silent producer is remembered. Whole milliseconds.
    pub producer_idle_max: Duration,
    /// How long one is remembered at least, although others want its place. Whole milliseconds.
    pub producer_idle_min: Duration,
}

impl Default for MachineLimits {
    fn default() -> Self {
        Self {
            logs_max: 100_000,
            producers_max: 100_000,
            cursors_max: 100_000,
            keys_max: 100_000,
            keys_per_log_max: 10_000,
            key_age_max: Duration::from_mins(10),
            producer_idle_max: Duration::from_hours(7 * 24),
            producer_idle_min: Duration::from_mins(10),
        }
    }
}

/// Appends of any callers to any logs, in order. Each succeeds or is refused on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// The appends.
    pub items: Vec<AppendItem>,
}

/// Creates a log; creating it again with the same settings is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateLog {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Its name.
    pub name: LogName,
    /// Its settings.
    pub settings: LogSettings,
    /// What it begins with.
    pub content: FirstContent,
}

/// What a log begins with, if it is created now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstContent {
    pub(super) records: Option<FirstRecords>,
    pub(super) seals: bool,
}

impl FirstContent {
    /// A log of these records, which takes no more if it `seals`.
    pub fn new(batch: Option<Batch>, seals: bool) -> Self {
        let records = batch.map(|batch| FirstRecords {
            count: batch.count(),
            body_bytes_max: codec::body_bytes_max(&batch),
            run: batch.into_run(),
        });
        Self { records, seals }
    }
}

/// The first records of a log, as a batch holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FirstRecords {
    pub(super) count: u32,
    pub(super) body_bytes_max: u32,
    pub(super) run: Bytes,
}

impl FirstRecords {
    pub(super) fn view(&self) -> RunView<'_> {
        RunView { count: self.count, body_bytes_max: self.body_bytes_max, run: &self.run }
    }
}

/// Begins the time to live of a log again: somebody uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewLog {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Which log.
    pub log: LogTarget,
}

/// Deletes those of the logs whose time has come by the machine's clock; the others stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireLogs {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Logs that may be due; at most [`migrations::latest::commands::EXPIRING_LOGS_MAX`].
    pub logs: Vec<LogId>,
}

/// Changes some settings of a log. Two changes are done one after the other, whoever proposed them,
/// so neither undoes what only the other names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSettings {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Which log.
    pub log: LogTarget,
    /// What becomes of them.
    pub change: SettingsChange,
}

/// What becomes of the settings of a log: what is absent stays, what is `Some(None)` is no longer set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Records older than this may be trimmed.
    pub retention_age: Option<Option<Duration>>,
    /// Records beyond these bytes may be trimmed, oldest first.
    pub retention_bytes: Option<Option<u64>>,
    /// Media type that a single record is served with.
    pub content_type: Option<Option<String>>,
    /// Longest body of a record.
    pub record_bytes_max: Option<Option<u64>>,
    /// The log goes so long after it was used last.
    pub ttl: Option<Option<Duration>>,
    /// The log goes at this time.
    pub expires_at: Option<Option<Timestamp>>,
}

impl SettingsChange {
    /// The settings that these become.
    pub fn apply(self, to: &LogSettings) -> LogSettings {
        LogSettings {
            retention_age: self.retention_age.unwrap_or(to.retention_age),
            retention_bytes: self.retention_bytes.unwrap_or(to.retention_bytes),
            content_type: self.content_type.unwrap_or_else(|| to.content_type.clone()),
            record_bytes_max: self.record_bytes_max.unwrap_or(to.record_bytes_max),
            ttl: self.ttl.unwrap_or(to.ttl),
            expires_at: self.expires_at.unwrap_or(to.expires_at),
        }
    }
}

/// Deletes a log with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteLog {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Which log.
    pub log: LogTarget,
}

/// Drops the oldest records of a log. A trim to where the trim point already is, or below it,
/// changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrimLog {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Which log.
    pub log: LogTarget,
    /// The first position to keep; at most the tail.
    pub to: Position,
    /// Bytes of all records before `to`, which the machine cannot know.
    pub bytes_before: u64,
}

/// Ends a log: no more appends, ever. Sealing it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealLog {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Which log.
    pub log: LogTarget,
}

/// Sets or clears the fence of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetFence {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Which log.
    pub log: LogTarget,
    /// The token from now on.
    pub fence: Option<Fence>,
}

/// Stores where a consumer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetCursor {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Of which log.
    pub log: LogTarget,
    /// Which cursor.
    pub cursor: CursorName,
    /// Where it has to be so far, if that matters; at the beginning if there is none.
    pub expected: Option<Position>,
    /// Where it is; at most the tail.
    pub position: Position,
}

/// Forgets a cursor; one that is not there is forgotten already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteCursor {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Of which log.
    pub log: LogTarget,
    /// Which cursor.
    pub cursor: CursorName,
}

/// Gives a newcomer its id. Asked twice with one nonce, it gives one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmitReplica {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// What the newcomer drew.
    pub nonce: u128,
    /// Who it says it is.
    pub node: NodeRow,
}

/// Forgets producers that did nothing for a while, and idempotency keys that are too old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireProducers {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// How long they did nothing. Whole milliseconds.
    pub idle: Duration,
}

/// Makes a checkpoint of the state at this very entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeCheckpoint {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// What an operator calls it; one with a label is kept until it is released.
    pub label: Option<CheckpointLabel>,
}

/// Tells everybody what a majority of voters says the state at a checkpoint was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifyCheckpoint {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// The index of the checkpoint's entry.
    pub checkpoint: EntryIndex,
    /// The digest that they attested.
    pub digest: Digest,
    /// Who attested it, in order, each once.
    pub attested_by: Vec<ReplicaId>,
}

/// Keeps a checkpoint no longer than the service itself needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseCheckpoint {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// The index of the checkpoint's entry.
    pub checkpoint: EntryIndex,
}

/// Begins a change of the membership, if none is under way and the membership is the one it was planned for. Newcomers get
/// their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginChange {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// What is wished, of those who are members.
    pub intent: IntentRow,
    /// Who comes in.
    pub newcomers: Vec<NewcomerRow>,
}

/// Moves a change of the membership on, if it is in the stage `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveChange {
    /// The leader's clock.
    pub stamp: Timestamp,
    /// Which change.
    pub change: u64,
    /// The stage it is in.
    pub from: StageRow,
    /// The one that comes next.
    pub to: StageRow,
    /// Why, if there is more to say; at most [`migrations::latest::changes::REASON_BYTES_MAX`] bytes.
    pub outcome: String,
}

/// Who does something, as far as they said and were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// What they call themselves, or the policy that acts; at most
    /// [`migrations::latest::changes::AUTHOR_BYTES_MAX`] bytes.
    pub by: String,
    /// From where they ask, if that is known; as long at most.
    pub from: String,
}

/// A command on somebody's behalf: what it does becomes a record of the activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBehalf<C> {
    /// Whose.
    pub author: Author,
    /// What is to be done.
    pub command: C,
}

impl<P: Proposal> sealed::Sealed for OnBehalf<P> {}

impl<P: Proposal> Proposal for OnBehalf<P> {
    type Outcome = P::Outcome;

    fn encode(self) -> Payload {
        codec::encode_on_behalf(&self.author, &self.command.encode())
    }

    fn outcome(outcome: Outcome) -> Self::Outcome {
        P::outcome(outcome)
    }
}

/// Ties a command to its variant of the outcome.
macro_rules! proposal {
    ($command:ident => $variant:ident: $outcome:ty) => {
        impl sealed::Sealed for $command {}

        impl Proposal for $command {
            type Outcome = $outcome;

            fn encode(self) -> Payload {
                codec::encode_command(&Command::$command(self))
            }

            fn outcome(outcome: Outcome) -> Self::Outcome {
                let Outcome::$variant(own) = outcome else {
                    panic!("a command is answered with its own outcome, not with {outcome:?}");
                };
                own
            }
        }
    };
}

proposal!(Found => Founded: Result<(), Rejection>);
proposal!(Append => Appended: Vec<AppendOutcome>);
proposal!(CreateLog => LogCreated: Result<LogCreated, Rejection>);
proposal!(ChangeSettings => SettingsChanged: Result<LogId, Rejection>);
proposal!(DeleteLog => LogDeleted: Result<LogId, Rejection>);
proposal!(TrimLog => LogTrimmed: Result<LogTrimmed, Rejection>);
proposal!(SealLog => LogSealed: Result<Position, Rejection>);
proposal!(SetFence => FenceSet: Result<LogId, Rejection>);
proposal!(SetCursor => CursorSet: Result<LogId, Rejection>);
proposal!(DeleteCursor => CursorDeleted: Result<CursorDeleted, Rejection>);
proposal!(AdmitReplica => ReplicaAdmitted: ReplicaId);
proposal!(RenewLog => LogRenewed: Result<LogId, Rejection>);
proposal!(ExpireLogs => LogsExpired: u64);
proposal!(ExpireProducers => ProducersExpired: ProducersExpired);
proposal!(MakeCheckpoint => CheckpointMade: Result<EntryIndex, Rejection>);
proposal!(CertifyCheckpoint => CheckpointCertified: Result<CheckpointCertified, Rejection>);
proposal!(ReleaseCheckpoint => CheckpointReleased: Result<(), Rejection>);
proposal!(BeginChange => ChangeBegun: Result<ChangeBegun, Rejection>);
proposal!(MoveChange => ChangeMoved: Result<(), Rejection>);
