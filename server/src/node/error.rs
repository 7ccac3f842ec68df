//! What can go wrong with each thing that a replica can do: one enum per operation.
//!
//! A variant per thing a caller would do differently, with values instead of text. Whether an
//! operation certainly did not happen is told by the variant: `Interrupted` is the only one that
//! leaves it open, everything else means *not done*.
//!
//! Not here: status codes and problem documents (`http/error.rs` has the one table), and how a
//! refusal is decided (the machine: a `Rejection` is the same on every replica).

use std::time::Duration;

use client::api::plans::{CheckId, MemberName, Plan};
use client::types::{
    ChangeId, ClusterId, EntryIndex, LogId, LogName, Position, PositionRange, ReplicaAddr,
    ReplicaId,
};

pub use crate::machine::Rejection;
pub use crate::peer::transfer::NotChanged;

/// Why a proposal of any kind was not carried out, before the machine ever saw it. Shared by all
/// operations that change replicated state; each has it as one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    /// Another replica leads. Certainly not done here.
    #[error("another replica leads")]
    NotLeader {
        /// Who leads, if this replica knows.
        leader: Option<ReplicaId>,
    },
    /// Nobody is known to lead. Certainly not done.
    #[error("no leader")]
    NoLeader {
        /// When to try again.
        retry_after: Duration,
    },
    /// This replica leads and a quorum does not answer it. Certainly not done.
    #[error("no quorum")]
    NoQuorum {
        /// When to try again.
        retry_after: Duration,
    },
    /// Given up while it waited for its turn. Certainly not done.
    #[error("deadline passed before it was proposed")]
    TimedOut {
        /// When to try again.
        retry_after: Duration,
    },
    /// Proposed, and then the leadership or the patience ended: done or not, nobody knows yet.
    #[error("interrupted, outcome unknown")]
    Interrupted,
    /// This replica is stopping. Certainly not done.
    #[error("stopping")]
    Stopping,
}

/// Why an append was not acknowledged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The machine refused it: a condition did not hold, the log is sealed, unknown, and so on.
    #[error("refused: {0}")]
    Refused(Rejection),
    /// A body is longer than this group allows. Not done.
    #[error("a body has {bytes} bytes, more than {max}")]
    RecordTooLarge {
        /// The longest body of the batch, in bytes.
        bytes: usize,
        /// The longest that is taken.
        max: usize,
    },
    /// The batch is larger than this group allows. Not done.
    #[error("the batch has {bytes} bytes, more than {max}")]
    BatchTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest that is taken.
        max: usize,
    },
    /// The batch holds more records than this group allows. Not done.
    #[error("the batch has {count} records, more than {max}")]
    TooManyRecords {
        /// How many it holds.
        count: usize,
        /// How many are taken.
        max: usize,
    },
    /// The name belongs to the service. Not done.
    #[error("names starting with an underscore belong to the service")]
    ReservedName,
    /// The condition names a tail of another history: the group was recovered since. Not done.
    #[error("the expected tail belongs to another history")]
    OtherHistory,
    /// More appends wait than this replica holds. Not done.
    #[error("overloaded")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// What is acknowledged cannot be kept fast enough; appends pause until it is. Not done.
    #[error("flusher lagging")]
    FlusherLagging {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is too full to take more and still trim. Not done.
    #[error("disk full")]
    DiskFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// Never reached the machine, or nobody knows whether it did.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

/// Why a change of the membership was not begun, or not cancelled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// The wish makes no sense here. Not done.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It was planned for another membership. Not done.
    #[error("planned for another membership")]
    Stale {
        /// The plan as it is now.
        plan: Box<Plan>,
    },
    /// A check blocks it for good. Not done.
    #[error("blocked by a check")]
    Blocked {
        /// Which.
        checks: Vec<CheckId>,
        /// The plan.
        plan: Box<Plan>,
    },
    /// A check blocks it that was not overridden. Not done.
    #[error("a check was not overridden")]
    OverrideMissing {
        /// Which.
        checks: Vec<CheckId>,
        /// The plan.
        plan: Box<Plan>,
    },
    /// Another one is under way. Not done.
    #[error("change {change} is under way")]
    UnderWay {
        /// Which.
        change: ChangeId,
    },
    /// Who was to come waits no more. Not done.
    #[error("{addr} waits no more")]
    Gone {
        /// Where it was.
        addr: ReplicaAddr,
    },
    /// There is no such change.
    #[error("unknown change")]
    Unknown,
    /// The machine refused it. Not done.
    #[error("refused: {0}")]
    Refused(Rejection),
    /// It is decided. Not cancelled.
    #[error("change {change} is decided")]
    IsJoint {
        /// Which.
        change: ChangeId,
    },
    /// It is over. Not cancelled.
    #[error("change {change} is over")]
    Ended {
        /// Which.
        change: ChangeId,
    },
    /// Never reached the machine, or nobody knows whether it did.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

/// Why a wish cannot be planned. Nothing was changed, as a plan never does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No such replica.
    #[error("there is no replica {replica}")]
    UnknownReplica {
        /// The one that was named.
        replica: ReplicaId,
    },
    /// Nobody waits there.
    #[error("nobody waits to join at {addr}")]
    UnknownJoiner {
        /// The address that was named.
        addr: ReplicaAddr,
    },
    /// The wish names somebody more than once.
    #[error("{member} is named twice")]
    NamedTwice {
        /// Who.
        member: MemberName,
    },
    /// No voter would be left.
    #[error("nobody would vote any more: to end a cluster, stop its replicas")]
    NobodyVotes,
    /// A replica without a vote cannot lead.
    #[error("replica {replica} has no vote, so it cannot lead")]
    NoVoter {
        /// Which.
        replica: ReplicaId,
    },
    /// Another replica answers there.
    #[error("replica {replica} answers at {addr} already")]
    AddressTaken {
        /// Where.
        addr: ReplicaAddr,
        /// Who.
        replica: ReplicaId,
    },
    /// What is wished for is so already.
    #[error("there is nothing to do: {reason}")]
    NothingToDo {
        /// In what way.
        reason: String,
    },
    /// Only a leader can plan.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

/// Why creating, changing, trimming, sealing, fencing or deleting a log, or moving a cursor, failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChangeLogError {
    /// The machine refused it.
    #[error("refused: {0}")]
    Refused(Rejection),
    /// The name belongs to the service. Not done.
    #[error("names starting with an underscore belong to the service")]
    ReservedName,
    /// What the new trim point leaves behind could not be measured: its records are damaged here.
    #[error("records around position {position} are damaged here")]
    Damaged {
        /// The position that could not be read.
        position: Position,
    },
    /// The first records of a new log are not taken, as an append of them would not be. Not done.
    #[error("its first records are not taken: {0}")]
    Records(Box<AppendError>),
    /// This replica's disk failed. Not done.
    #[error("disk failed")]
    Disk,
    /// Never reached the machine, or nobody knows whether it did.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

impl From<Rejection> for ChangeLogError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

/// Why a checkpoint was not made, shown or released.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// The machine refused it, or there is no such checkpoint.
    #[error("refused: {0}")]
    Refused(Rejection),
    /// This replica's disk failed, or what it keeps is damaged. Nothing was changed.
    #[error("disk failed")]
    Disk,
    /// Never reached the machine, or nobody knows whether it did.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

/// Why a backup was not begun, or broke off.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BackupError {
    /// This replica keeps no snapshot of that checkpoint.
    #[error("no snapshot of checkpoint {checkpoint} is kept here")]
    UnknownCheckpoint {
        /// The index of its entry.
        checkpoint: EntryIndex,
    },
    /// The checkpoint is not certified yet, as far as this replica knows, or its snapshot is not kept yet.
    #[error("checkpoint {checkpoint} is not certified and kept here yet")]
    Behind {
        /// The index of its entry.
        checkpoint: EntryIndex,
        /// When to try again.
        retry_after: Duration,
    },
    /// At that checkpoint there was no log of this name.
    #[error("there was no log {log}")]
    UnknownLog {
        /// The name.
        log: LogName,
    },
    /// The log was deleted since the checkpoint.
    #[error("log {log} was deleted since")]
    Deleted {
        /// The name it had.
        log: LogName,
    },
    /// Records were trimmed since the checkpoint.
    #[error("log {log} was trimmed up to {first} since")]
    Trimmed {
        /// Of which log.
        log: LogName,
        /// The first position that can still be read.
        first: Position,
    },
    /// What is kept here is damaged, or is not what a majority certified.
    #[error("damaged here: {what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// This replica's disk failed.
    #[error("disk failed")]
    Disk,
    /// As many backups are under way as may be.
    #[error("too many backups")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// This replica may not tell what it keeps.
    #[error(transparent)]
    NotFresh(#[from] NotFresh),
}

/// Why this replica cannot answer as freshly as it was asked to. No read changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFresh {
    /// This replica leads, and a quorum did not confirm that in time.
    #[error("no quorum confirmed that this read is fresh")]
    NoQuorum {
        /// When to try again.
        retry_after: Duration,
    },
    /// Nobody leads, or the leader did not answer in time.
    #[error("no leader confirmed that this read is fresh")]
    NoLeader {
        /// When to try again.
        retry_after: Duration,
    },
    /// This replica has not yet applied what the leader named, within the deadline.
    #[error("this replica is behind")]
    Behind {
        /// When to try again.
        retry_after: Duration,
    },
    /// Restarted, and not yet back at what it knew to be committed: not even a local read is right.
    #[error("not yet recovered after a restart")]
    NotRecovered {
        /// When to try again.
        retry_after: Duration,
    },
    /// What this replica holds is not what a majority certified: it says nothing.
    #[error("this replica is quarantined: its state differs from the certified one")]
    Quarantined {
        /// When to try again.
        retry_after: Duration,
    },
    /// More reads wait than this replica holds.
    #[error("overloaded")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// This replica is stopping.
    #[error("stopping")]
    Stopping,
}

/// Why a read or a follow got no records.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// There is no log of this name.
    #[error("unknown log")]
    UnknownLog {
        /// The name.
        log: LogName,
    },
    /// The name means another log than the one that was asked for.
    #[error("the name means log {current} by now")]
    IdDiffers {
        /// Which log it means.
        current: LogId,
    },
    /// The log was deleted, or deleted and created again, while it was being followed.
    #[error("log was deleted")]
    Deleted {
        /// The name it had.
        log: LogName,
    },
    /// The token names another history: the log was created again, or the group was recovered.
    #[error("token belongs to another history")]
    OtherHistory,
    /// These records were trimmed.
    #[error("trimmed up to {first}")]
    Trimmed {
        /// The first position that can still be read.
        first: Position,
    },
    /// The position lies beyond the tail.
    #[error("beyond the tail {tail}")]
    BeyondTail {
        /// The position the next record will get.
        tail: Position,
    },
    /// These records are damaged here and are never served; another replica may have them whole.
    #[error("damaged here: {range}")]
    Damaged {
        /// Which ones.
        range: PositionRange,
    },
    /// This replica's disk failed.
    #[error("disk failed")]
    Disk,
    /// More follow already than this replica serves.
    #[error("too many followers")]
    TooManyFollowers {
        /// When to try again.
        retry_after: Duration,
    },
    /// This replica cannot answer as freshly as it was asked to.
    #[error(transparent)]
    NotFresh(#[from] NotFresh),
}

/// Why a request could not be handed to the leader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The leader did not get it. Certainly not done.
    #[error("leader not reached")]
    NotAccepted {
        /// When to try again.
        retry_after: Duration,
    },
    /// The leader may have got it; no answer came.
    #[error("leader did not answer, outcome unknown")]
    Unknown,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// This replica does not lead: there is nothing to hand over.
    #[error("this replica does not lead")]
    NotLeader,
    /// No other voter answered recently and has nearly everything.
    #[error("no voter is ready to lead")]
    NobodyReady,
    /// The chosen voter did not take over in time.
    #[error("replica {to} did not take over in time")]
    NotTaken {
        /// Who was to lead.
        to: ReplicaId,
    },
}

/// Why a group was not founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// This folder already belongs to another group, or was founded in another way.
    #[error("already founded as cluster {cluster}")]
    AlreadyFounded {
        /// Which cluster it is.
        cluster: ClusterId,
    },
    /// The founding was begun and not finished in time; calling again goes on with it.
    #[error("founding not finished in time")]
    Unfinished,
    /// What is stored, or what the group is founded with, does not fit.
    #[error("cannot be founded: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why a process was not put on the list of those who wait to join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// More processes wait than the leader remembers.
    #[error("too many processes wait to join")]
    TooManyWaiting {
        /// When to try again.
        retry_after: Duration,
    },
    /// The process wants to join another cluster than this one. Asking again does not help.
    #[error("this is cluster {ours}")]
    OtherCluster {
        /// Which cluster this is.
        ours: ClusterId,
    },
    /// Another replica leads, or nobody does; asking again with the same nonce is always right.
    #[error(transparent)]
    Unserved(#[from] Unserved),
}

/// Why a process that wants to join has given up asking.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody admitted it within its patience.
    #[error("not admitted in time: {last}")]
    GaveUp {
        /// What the last member said.
        last: String,
    },
    /// A member refused for good.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The process is stopping.
    #[error("stopping")]
    Stopping,
}
