//! Outcomes: what a command yields, refusals included.
//!
//! An outcome is part of the replicated history: every replica computes the same one, and its bytes
//! enter the rolling digest. A [`Rejection`] is therefore no error: nothing failed, the answer is
//! no, and nothing was changed.
//!
//! Not here: the bytes of outcomes (`codec`), and failures of a replica, which are errors of upper
//! floors.

use client::types::{
    ClusterId, Digest, EntryIndex, Fence, LogId, OrderKey, Position, ProducerEpoch, ReplicaId,
    Sequence, Timestamp,
};
use migrations::latest::changes::StageRow;

/// What a command yielded, one variant for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A blank entry did nothing.
    Blank,
    /// A membership was applied.
    Membership,
    /// The group was founded, now or before by the same founding.
    Founded(Result<(), Rejection>),
    /// One outcome for each item of the append, in their order.
    Appended(Vec<AppendOutcome>),
    /// A log was created, or is there as wished.
    LogCreated(Result<LogCreated, Rejection>),
    /// Settings were changed.
    SettingsChanged(Result<LogId, Rejection>),
    /// A log was deleted.
    LogDeleted(Result<LogId, Rejection>),
    /// A log was trimmed.
    LogTrimmed(Result<LogTrimmed, Rejection>),
    /// A log was sealed; its final tail.
    LogSealed(Result<Position, Rejection>),
    /// A fence was set or cleared.
    FenceSet(Result<LogId, Rejection>),
    /// A cursor was stored.
    CursorSet(Result<LogId, Rejection>),
    /// A cursor was forgotten.
    CursorDeleted(Result<CursorDeleted, Rejection>),
    /// A newcomer has its id.
    ReplicaAdmitted(ReplicaId),
    /// A log's time to live began again.
    LogRenewed(Result<LogId, Rejection>),
    /// So many logs were deleted because their time had come.
    LogsExpired(u64),
    /// Producers and keys were forgotten.
    ProducersExpired(ProducersExpired),
    /// A checkpoint was made at this entry.
    CheckpointMade(Result<EntryIndex, Rejection>),
    /// A checkpoint is certified.
    CheckpointCertified(Result<CheckpointCertified, Rejection>),
    /// A checkpoint is not kept any more.
    CheckpointReleased(Result<(), Rejection>),
    /// A change of the membership has begun.
    ChangeBegun(Result<ChangeBegun, Rejection>),
    /// A change of the membership has moved on.
    ChangeMoved(Result<(), Rejection>),
}

impl Outcome {
    /// Whether the command was refused, and nothing was changed. Of appends each has its own answer.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Founded(result)
            | Self::CheckpointReleased(result)
            | Self::ChangeMoved(result) => result.is_err(),
            Self::SettingsChanged(result)
            | Self::LogRenewed(result)
            | Self::LogDeleted(result)
            | Self::FenceSet(result)
            | Self::CursorSet(result) => result.is_err(),
            Self::LogCreated(result) => result.is_err(),
            Self::LogTrimmed(result) => result.is_err(),
            Self::LogSealed(result) => result.is_err(),
            Self::CursorDeleted(result) => result.is_err(),
            Self::CheckpointMade(result) => result.is_err(),
            Self::CheckpointCertified(result) => result.is_err(),
            Self::ChangeBegun(result) => result.is_err(),
            Self::Blank
            | Self::Membership
            | Self::Appended(_)
            | Self::ReplicaAdmitted(_)
            | Self::LogsExpired(_)
            | Self::ProducersExpired(_) => false,
        }
    }

    /// Whether it comes of the service looking after itself, with nothing changed that a caller could
    /// see: an idle group makes no checkpoint for it.
    pub fn is_upkeep(&self) -> bool {
        match self {
            Self::Blank
            | Self::CheckpointMade(_)
            | Self::CheckpointCertified(_)
            | Self::CheckpointReleased(_) => true,
            Self::LogsExpired(count) => *count == 0,
            Self::ProducersExpired(expired) => expired.producer_count + expired.key_count == 0,
            Self::Membership
            | Self::Founded(_)
            | Self::Appended(_)
            | Self::LogCreated(_)
            | Self::SettingsChanged(_)
            | Self::LogRenewed(_)
            | Self::LogDeleted(_)
            | Self::LogTrimmed(_)
            | Self::LogSealed(_)
            | Self::FenceSet(_)
            | Self::CursorSet(_)
            | Self::CursorDeleted(_)
            | Self::ReplicaAdmitted(_)
            | Self::ChangeBegun(_)
            | Self::ChangeMoved(_) => false,
        }
    }
}

/// What became of one append.
pub type AppendOutcome = Result<Appended, Rejection>;

/// An append that is stored, now or, as a repeated one, before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its log.
    pub log: LogId,
    /// Position of its first record.
    pub first: Position,
    /// One past its last record.
    pub next: Position,
    /// The log's tail now.
    pub tail: Position,
    /// The time of its records.
    pub time: Timestamp,
    /// Whether it was stored before, and nothing was added now.
    pub replayed: bool,
    /// Whether the log is sealed now.
    pub sealed: bool,
    /// The newest sequence of its producer, if one numbered it.
    pub last_sequence: Option<Sequence>,
}

/// A log that is there as wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogCreated {
    /// Its id.
    pub log: LogId,
    /// When it was created.
    pub created: Timestamp,
    /// Whether this very command created it; else it was there with the same settings.
    pub is_new: bool,
}

/// A log after a trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTrimmed {
    /// Its id.
    pub log: LogId,
    /// Its trim point: the first position kept.
    pub first: Position,
    /// Its tail.
    pub tail: Position,
}

/// A cursor that is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorDeleted {
    /// Its log.
    pub log: LogId,
    /// Whether it was there before.
    pub existed: bool,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducersExpired {
    /// Producers.
    pub producer_count: u64,
    /// Idempotency keys.
    pub key_count: u64,
}

/// A checkpoint with its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointCertified {
    /// The index of its entry.
    pub checkpoint: EntryIndex,
    /// The digest that a majority of voters attested: whoever has another is wrong.
    pub digest: Digest,
    /// Whether this very command certified it; else it was certified with the same digest.
    pub is_new: bool,
}

/// A change of the membership that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeBegun {
    /// Its number.
    pub change: u64,
    /// The ids of its newcomers, in order.
    pub joins: Vec<ReplicaId>,
}

/// A refusal that every replica agrees on. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The group is founded already, as another cluster or in another way.
    #[error("already founded as cluster {cluster}")]
    AlreadyFounded {
        /// The cluster it is.
        cluster: ClusterId,
    },
    /// There is no log of that name.
    #[error("unknown log")]
    UnknownLog,
    /// There is a log of that name, but not the one that was meant.
    #[error("the log of that name is another one, with id {current}")]
    IdDiffers {
        /// Who has the name now.
        current: LogId,
    },
    /// The name belongs to the service.
    #[error("the name belongs to the service")]
    ReservedName,
    /// A log of that name is there with other settings.
    #[error("the log exists with other settings, as id {log}")]
    SettingsDiffer {
        /// The log that is there.
        log: LogId,
    },
    /// The log was sealed.
    #[error("the log is sealed at tail {tail}")]
    Sealed {
        /// Its final tail.
        tail: Position,
    },
    /// The tail is not the expected one.
    #[error("the tail is {tail}, not {expected}")]
    TailDiffers {
        /// What was expected.
        expected: Position,
        /// What it is.
        tail: Position,
    },
    /// The cursor is not where it was expected.
    #[error("the cursor is at {position}")]
    CursorDiffers {
        /// Where it is, at the beginning if there is none.
        position: Position,
    },
    /// The append named another fence than the log's.
    #[error("the log has another fence")]
    Fenced {
        /// The log's fence, if it has one.
        current: Option<Fence>,
    },
    /// A newer life of the producer has claimed its id.
    #[error("the producer's epoch is {current} by now")]
    ProducerEpochOld {
        /// Its epoch.
        current: ProducerEpoch,
    },
    /// A sequence is missing before this one.
    #[error("sequence {expected} was expected, {received} was received")]
    SequenceGap {
        /// What must come next.
        expected: Sequence,
        /// What came.
        received: Sequence,
    },
    /// A newer life of the producer does not begin at its beginning.
    #[error("a newer epoch begins with sequence 0, {received} was received")]
    NotFirstOfEpoch {
        /// What came.
        received: Sequence,
    },
    /// The sequence was used for another body.
    #[error("the sequence was used for another body")]
    SequenceBodyDiffers {
        /// The producer's newest sequence.
        last: Sequence,
    },
    /// The batch was stored, so long ago that its positions are forgotten.
    #[error("already stored, positions forgotten; the newest sequence is {last}")]
    SequenceForgotten {
        /// The producer's newest sequence.
        last: Sequence,
    },
    /// The append's order key does not sort behind the log's last one.
    #[error("the log's last order key is {last}")]
    OrderKeyOld {
        /// The log's last one.
        last: OrderKey,
    },
    /// The idempotency key was used for another body.
    #[error("the idempotency key was used for another body")]
    KeyBodyDiffers,
    /// A body is longer than the log allows.
    #[error("a body has {bytes} bytes, the log allows {max}")]
    RecordTooLarge {
        /// The longest body of the append.
        bytes: u64,
        /// What the log allows.
        max: u64,
    },
    /// The log has had as many records or bytes as can be counted.
    #[error("the log can hold no more records")]
    LogFull,
    /// There are as many logs as there may be.
    #[error("there are {max} logs already")]
    LogsFull {
        /// The limit.
        max: u64,
    },
    /// There are as many producers as there may be.
    #[error("there are {max} producers already")]
    ProducersFull {
        /// The limit.
        max: u64,
    },
    /// There are as many cursors as there may be.
    #[error("there are {max} cursors already")]
    CursorsFull {
        /// The limit.
        max: u64,
    },
    /// There are as many idempotency keys as there may be.
    #[error("there are {max} idempotency keys already")]
    KeysFull {
        /// The limit.
        max: u64,
    },
    /// A position lies beyond the tail.
    #[error("the position is beyond the tail {tail}")]
    BeyondTail {
        /// The tail.
        tail: Position,
    },
    /// A trim gave bytes that its position cannot have.
    #[error("the bytes before the trim point are between {least} and {most}")]
    TrimBytesDiffer {
        /// At least so many.
        least: u64,
        /// At most so many.
        most: u64,
    },
    /// There are as many labelled checkpoints as there may be.
    #[error("there are {max} labelled checkpoints already")]
    CheckpointsFull {
        /// The limit.
        max: u64,
    },
    /// There is no checkpoint at that entry, or not any more.
    #[error("unknown checkpoint")]
    UnknownCheckpoint,
    /// The checkpoint is certified with another digest.
    #[error("the checkpoint is certified with the digest {digest}")]
    CertifiedOtherwise {
        /// That digest.
        digest: Digest,
    },
    /// Those who attested are no majority of the voters.
    #[error("not attested by a majority of the voters")]
    NoMajority,
    /// Another change of the membership has not ended yet.
    #[error("change {change} is under way")]
    ChangeUnderWay {
        /// Which.
        change: u64,
    },
    /// The membership is another one than the change was planned for.
    #[error("the epoch is {epoch} by now")]
    EpochMoved {
        /// The newest epoch.
        epoch: u64,
    },
    /// There is no change of that number, or not any more.
    #[error("unknown change")]
    UnknownChange,
    /// The change is in another stage than the one it was to leave, or what was to come cannot come next.
    #[error("the change is in stage {stage:?}")]
    OtherStage {
        /// The stage it is in.
        stage: StageRow,
    },
}
