//! Error codes, each with its three answers; and the problem document (RFC 9457) that carries them.
//!
//! Of every code it is decided, by a match without a default arm: which status it has, whether the
//! same request may succeed later, and whether it is certain that nothing happened. A caller may
//! repeat what is retryable if nothing happened, or if the request can be told apart from its
//! repetition (a producer's sequence, an idempotency key).
//!
//! Not here: what to do about a code (`remedy`), and how an operation comes to one (the server's
//! `http/error.rs`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plans::{CheckId, Plan};
use crate::types::{ChangeId, Epoch, Fence, LogId, Position, ProducerEpoch, ReplicaAddr, Sequence};

macro_rules! error_codes {
    ($(#[doc = $meaning:literal] $code:ident = $text:literal, $title:literal;)*) => {
        /// What went wrong: a closed set, each with a stable name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum ErrorCode {
            $(#[doc = $meaning] #[serde(rename = $text)] $code,)*
        }

        impl ErrorCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The stable name, in `snake_case`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)*
                }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                let meaning = match self {
                    $(Self::$code => $meaning,)*
                };
                // A comment keeps the blank between its slashes and its first word.
                match meaning.as_bytes() {
                    [b' ', ..] => meaning.split_at(1).1,
                    _ => meaning,
                }
            }

            /// The same for every occurrence, for people.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$code => $title,)*
                }
            }
        }
    };
}

error_codes! {
    /// The body is not what its content type says, or has unknown or contradicting members.
    InvalidBody = "invalid_body", "The body cannot be understood";
    /// A query parameter, a header or a part of the path makes no sense.
    InvalidParameter = "invalid_parameter", "A parameter or header cannot be understood";
    /// The text is no log name.
    InvalidLogName = "invalid_log_name", "That is no name of a log";
    /// An append without a record.
    EmptyBatch = "empty_batch", "A batch holds at least one record";
    /// Names starting with `_` belong to the service.
    ReservedLogName = "reserved_log_name", "Names starting with _ belong to the service";
    /// No log of this name.
    UnknownLog = "unknown_log", "There is no such log";
    /// No cursor of this name on this log.
    UnknownCursor = "unknown_cursor", "There is no such cursor";
    /// No checkpoint at this entry, or not any more.
    UnknownCheckpoint = "unknown_checkpoint", "There is no such checkpoint";
    /// No state transfer of this id here.
    UnknownTransfer = "unknown_transfer", "There is no such transfer";
    /// A page of another site sent a request that changes something.
    CrossSite = "cross_site", "Pages of other sites may not do this";
    /// No such path.
    UnknownRoute = "unknown_route", "There is nothing at this path";
    /// The path exists, but not for this method.
    MethodNotAllowed = "method_not_allowed", "This path does not take this method";
    /// None of the media types asked for can be given.
    NotAcceptable = "not_acceptable", "The answer cannot be given in that media type";
    /// The body's media type is not taken here.
    UnsupportedMediaType = "unsupported_media_type", "A body of that media type is not taken here";
    /// The head of the request is not HTTP.
    MalformedRequest = "malformed_request", "The request cannot be understood";
    /// Head or body of the request came too slowly.
    RequestTimeout = "request_timeout", "The request did not arrive in time";
    /// The head of the request is too long.
    RequestHeadTooLarge = "request_head_too_large", "The request has too many or too long headers";
    /// The body of the request is longer than any may be.
    BodyTooLarge = "body_too_large", "The body is too large";
    /// The batch has more bytes or records than allowed.
    BatchTooLarge = "batch_too_large", "The batch is too large";
    /// A record's body is longer than the service or the log allows.
    RecordTooLarge = "record_too_large", "A record is too large";
    /// A record has more or longer headers than allowed.
    RecordHeadersTooLarge = "record_headers_too_large", "The headers of a record are too large";
    /// A log of this name exists with other settings.
    LogDiffers = "log_differs", "A log of this name exists with other settings";
    /// The stream's messages are of another content type.
    ContentTypeDiffers = "content_type_differs", "The stream has another content type";
    /// The offset is of a stream that was deleted, or of another history.
    StreamReplaced = "stream_replaced", "The offset is of a stream that is gone";
    /// The log was sealed.
    LogSealed = "log_sealed", "The log is sealed";
    /// The name means another log by now.
    LogIdDiffers = "log_id_differs", "The name means another log by now";
    /// The log's tail is not the expected one.
    TailDiffers = "tail_differs", "The tail is not the expected one";
    /// The cursor is not where it was expected.
    CursorDiffers = "cursor_differs", "The cursor is not where it was expected";
    /// The log's fence is not the one named.
    Fenced = "fenced", "The log has another fence";
    /// A newer life of this producer has appended.
    ProducerEpochOld = "producer_epoch_old", "A newer epoch of this producer has taken over";
    /// Batches of this producer are missing before this one.
    SequenceGap = "sequence_gap", "Batches of this producer are missing";
    /// This sequence was used for another body.
    SequenceBodyDiffers = "sequence_body_differs", "The sequence was used with another body";
    /// The batch was stored before, so long ago that its positions are not remembered.
    SequenceForgotten = "sequence_forgotten", "Stored before, its positions are forgotten";
    /// The order key does not sort behind the log's last one.
    OrderKeyOld = "order_key_old", "A later order key was used already";
    /// This idempotency key was used for another body.
    KeyBodyDiffers = "idempotency_key_body_differs", "The key was used with another body";
    /// The records asked for were trimmed.
    Trimmed = "trimmed", "The records there were trimmed";
    /// The position lies beyond the log's tail.
    BeyondTail = "beyond_tail", "The position lies beyond the tail";
    /// There are as many logs as there may be.
    LogsFull = "logs_full", "There are as many logs as there may be";
    /// There are as many producers as there may be, and none has been silent for long.
    ProducersFull = "producers_full", "There are as many producers as there may be";
    /// There are as many cursors as there may be.
    CursorsFull = "cursors_full", "There are as many cursors as there may be";
    /// There are as many labelled checkpoints as there may be.
    CheckpointsFull = "checkpoints_full", "There are as many labelled checkpoints as there may be";
    /// The transfer ended, or this replica is not the one that receives it.
    TransferNotReceived = "transfer_not_received", "This replica does not receive it any more";
    /// This replica belongs to a cluster already.
    AlreadyBootstrapped = "already_bootstrapped", "This replica belongs to a cluster already";
    /// No replica of this id.
    UnknownReplica = "unknown_replica", "There is no such replica";
    /// No process waits to join at this address.
    UnknownJoiner = "unknown_joiner", "Nobody waits to join at that address";
    /// No change of the membership with this number.
    UnknownChange = "unknown_change", "There is no such change";
    /// The wish contradicts itself, or there is nothing to do.
    InvalidWish = "invalid_wish", "The membership cannot be changed like that";
    /// A change is bound to the membership that its plan was made for: `If-Match` has to name its epoch.
    PreconditionRequired = "precondition_required", "If-Match has to name the epoch of the plan";
    /// The membership is another one than the plan was made for.
    StalePlan = "stale_plan", "The membership has changed since the plan was made";
    /// A check blocks the change, and cannot be overridden.
    PlanBlocked = "plan_blocked", "A check blocks this change";
    /// A check blocks the change, and was not overridden in the way it asks for.
    OverrideMissing = "override_missing", "A check has to be overridden for this change";
    /// One change at a time, and another one is under way.
    ChangeUnderWay = "change_under_way", "Another change is under way";
    /// The change cannot be cancelled any more: its voters are being exchanged.
    ChangeIsJoint = "change_is_joint", "The change is past the point where it can be cancelled";
    /// The change is over.
    ChangeEnded = "change_ended", "The change is over";
    /// This process may not join.
    JoinRefused = "join_refused", "This process may not join";
    /// Too much is waiting already.
    Overloaded = "overloaded", "Too much is waiting already";
    /// More connections than allowed.
    TooManyConnections = "too_many_connections", "There are too many connections";
    /// The state store lags too far behind the journal.
    StorageBehind = "storage_behind", "The state store has to catch up first";
    /// Too little space for another append.
    DiskFull = "disk_full", "The disk is too full";
    /// No leader is known, or it could not be reached.
    NoLeader = "no_leader", "There is no leader at the moment";
    /// The leader cannot reach a majority.
    NoQuorum = "no_quorum", "A majority of the replicas does not answer";
    /// This replica has not applied what it must have applied to answer.
    ReplicaBehind = "replica_behind", "This replica has to catch up first";
    /// What this replica holds is not what a majority certified.
    Quarantined = "quarantined", "This replica is quarantined";
    /// This process has no cluster yet, or still opens what it keeps.
    NotMember = "not_member", "This process serves no cluster yet";
    /// This replica is about to stop.
    Stopping = "stopping", "This replica is stopping";
    /// Stored bytes are damaged; they are never served.
    Damaged = "damaged", "Stored bytes are damaged";
    /// It may have happened, or not.
    OutcomeUnknown = "outcome_unknown", "It is not known whether this happened";
    /// A fault of the service itself.
    Internal = "internal", "The service has a fault";
}

impl ErrorCode {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidBody
            | Self::InvalidParameter
            | Self::InvalidLogName
            | Self::MalformedRequest => 400,
            Self::ReservedLogName | Self::ProducerEpochOld | Self::CrossSite => 403,
            Self::UnknownLog
            | Self::UnknownCursor
            | Self::UnknownCheckpoint
            | Self::UnknownTransfer
            | Self::UnknownReplica
            | Self::UnknownJoiner
            | Self::UnknownChange
            | Self::UnknownRoute => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::RequestTimeout => 408,
            Self::LogDiffers
            | Self::ContentTypeDiffers
            | Self::TransferNotReceived
            | Self::LogSealed
            | Self::SequenceGap
            | Self::SequenceForgotten
            | Self::OrderKeyOld
            | Self::LogsFull
            | Self::CursorsFull
            | Self::CheckpointsFull
            | Self::AlreadyBootstrapped
            | Self::ChangeUnderWay
            | Self::ChangeIsJoint
            | Self::ChangeEnded
            | Self::JoinRefused => 409,
            Self::Trimmed | Self::StreamReplaced => 410,
            Self::LogIdDiffers
            | Self::TailDiffers
            | Self::CursorDiffers
            | Self::Fenced
            | Self::StalePlan => 412,
            Self::BodyTooLarge
            | Self::BatchTooLarge
            | Self::RecordTooLarge
            | Self::RecordHeadersTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::BeyondTail => 416,
            Self::EmptyBatch
            | Self::SequenceBodyDiffers
            | Self::KeyBodyDiffers
            | Self::InvalidWish
            | Self::PlanBlocked
            | Self::OverrideMissing => 422,
            Self::PreconditionRequired => 428,
            Self::Overloaded | Self::ProducersFull => 429,
            Self::RequestHeadTooLarge => 431,
            Self::Damaged | Self::Internal => 500,
            Self::TooManyConnections
            | Self::StorageBehind
            | Self::DiskFull
            | Self::NoLeader
            | Self::NoQuorum
            | Self::ReplicaBehind
            | Self::Quarantined
            | Self::NotMember
            | Self::Stopping => 503,
            Self::OutcomeUnknown => 504,
        }
    }

    /// Whether the same request may succeed later, or at another replica.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::RequestTimeout
            | Self::Overloaded
            | Self::ProducersFull
            | Self::TooManyConnections
            | Self::StorageBehind
            | Self::DiskFull
            | Self::NoLeader
            | Self::NoQuorum
            | Self::ReplicaBehind
            | Self::Quarantined
            | Self::NotMember
            | Self::Stopping
            | Self::Damaged
            | Self::OutcomeUnknown => true,
            Self::InvalidBody
            | Self::InvalidParameter
            | Self::InvalidLogName
            | Self::EmptyBatch
            | Self::ReservedLogName
            | Self::UnknownLog
            | Self::UnknownCursor
            | Self::UnknownCheckpoint
            | Self::UnknownTransfer
            | Self::TransferNotReceived
            | Self::CrossSite
            | Self::UnknownRoute
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::UnsupportedMediaType
            | Self::MalformedRequest
            | Self::RequestHeadTooLarge
            | Self::BodyTooLarge
            | Self::BatchTooLarge
            | Self::RecordTooLarge
            | Self::RecordHeadersTooLarge
            | Self::LogDiffers
            | Self::ContentTypeDiffers
            | Self::StreamReplaced
            | Self::LogSealed
            | Self::LogIdDiffers
            | Self::TailDiffers
            | Self::CursorDiffers
            | Self::Fenced
            | Self::ProducerEpochOld
            | Self::SequenceGap
            | Self::SequenceBodyDiffers
            | Self::SequenceForgotten
            | Self::OrderKeyOld
            | Self::KeyBodyDiffers
            | Self::Trimmed
            | Self::BeyondTail
            | Self::LogsFull
            | Self::CursorsFull
            | Self::CheckpointsFull
            | Self::AlreadyBootstrapped
            | Self::UnknownReplica
            | Self::UnknownJoiner
            | Self::UnknownChange
            | Self::InvalidWish
            | Self::PreconditionRequired
            | Self::StalePlan
            | Self::PlanBlocked
            | Self::OverrideMissing
            | Self::ChangeUnderWay
            | Self::ChangeIsJoint
            | Self::ChangeEnded
            | Self::JoinRefused
            | Self::Internal => false,
        }
    }

    /// Whether it is certain that what was asked for did not happen, and has not happened before.
    pub const fn has_no_side_effects(self) -> bool {
        match self {
            // `SequenceForgotten`: the batch is stored, an earlier request did it.
            Self::SequenceForgotten | Self::OutcomeUnknown | Self::Internal => false,
            Self::InvalidBody
            | Self::InvalidParameter
            | Self::InvalidLogName
            | Self::EmptyBatch
            | Self::ReservedLogName
            | Self::UnknownLog
            | Self::UnknownCursor
            | Self::UnknownCheckpoint
            | Self::UnknownTransfer
            | Self::TransferNotReceived
            | Self::CrossSite
            | Self::UnknownRoute
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::UnsupportedMediaType
            | Self::MalformedRequest
            | Self::RequestTimeout
            | Self::RequestHeadTooLarge
            | Self::BodyTooLarge
            | Self::BatchTooLarge
            | Self::RecordTooLarge
            | Self::RecordHeadersTooLarge
            | Self::LogDiffers
            | Self::ContentTypeDiffers
            | Self::StreamReplaced
            | Self::LogSealed
            | Self::LogIdDiffers
            | Self::TailDiffers
            | Self::CursorDiffers
            | Self::Fenced
            | Self::ProducerEpochOld
            | Self::SequenceGap
            | Self::SequenceBodyDiffers
            | Self::OrderKeyOld
            | Self::KeyBodyDiffers
            | Self::Trimmed
            | Self::BeyondTail
            | Self::LogsFull
            | Self::ProducersFull
            | Self::CursorsFull
            | Self::CheckpointsFull
            | Self::AlreadyBootstrapped
            | Self::UnknownReplica
            | Self::UnknownJoiner
            | Self::UnknownChange
            | Self::InvalidWish
            | Self::PreconditionRequired
            | Self::StalePlan
            | Self::PlanBlocked
            | Self::OverrideMissing
            | Self::ChangeUnderWay
            | Self::ChangeIsJoint
            | Self::ChangeEnded
            | Self::JoinRefused
            | Self::Overloaded
            | Self::TooManyConnections
            | Self::StorageBehind
            | Self::DiskFull
            | Self::NoLeader
            | Self::NoQuorum
            | Self::ReplicaBehind
            | Self::Quarantined
            | Self::NotMember
            | Self::Stopping
            | Self::Damaged => true,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether something may have happened although an error was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SideEffects {
    /// Certainly nothing happened.
    None,
    /// It may have happened.
    Possible,
}

/// The body of every error: a problem document as in RFC 9457.
///
/// ```
/// use quorate_client::api::error::{ErrorCode, Problem, SideEffects};
///
/// let problem = Problem::new(ErrorCode::NoLeader);
/// assert_eq!((problem.status, problem.retryable), (503, true));
/// assert_eq!(problem.side_effects, SideEffects::None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words, the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What went wrong.
    pub code: ErrorCode,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Whether it may have happened nevertheless.
    pub side_effects: SideEffects,
    /// When another try makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How this request is named in the diagnostics of the replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The trace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The values behind the code.
    #[serde(flatten)]
    pub actual: Actual,
}

/// What a program needs to go on after a [`Problem`]: the values as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Actual {
    /// The log's tail: `tail_differs`, `beyond_tail`, `log_sealed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Position>,
    /// Where the cursor is, 0 if there is none: `cursor_differs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Position>,
    /// The first position that can be read: `trimmed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Position>,
    /// The log's fence; with `fenced`, none means that the log has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The log the name means now: `log_id_differs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<LogId>,
    /// The producer's current epoch: `producer_epoch_old`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer_epoch: Option<ProducerEpoch>,
    /// The sequence that should have come: `sequence_gap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_sequence: Option<Sequence>,
    /// The sequence that came: `sequence_gap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_sequence: Option<Sequence>,
    /// The limit that was passed: the codes with 413, and `…_full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where damage starts: `damaged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_from: Option<Position>,
    /// One past where damage ends: `damaged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_until: Option<Position>,
    /// Where the leader answers, if this replica knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<ReplicaAddr>,
    /// The membership's epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The change that is meant: `change_under_way`, `change_is_joint`, `change_ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// The checks that block: `plan_blocked`, `override_missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckId>,
    /// The plan as it is now: `stale_plan`, `plan_blocked`, `override_missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
}

impl Problem {
    /// The document of a code, without anything about this occurrence.
    pub fn new(code: ErrorCode) -> Self {
        let side_effects =
            if code.has_no_side_effects() { SideEffects::None } else { SideEffects::Possible };
        Self {
            kind: format!("/docs/errors/{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: None,
            code,
            retryable: code.is_retryable(),
            side_effects,
            retry_after_ms: None,
            request_id: None,
            trace_id: None,
            actual: Actual::default(),
        }
    }

    /// The same, saying what happened this time.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same, with the values as they are.
    #[must_use]
    pub fn with_actual(mut self, actual: Actual) -> Self {
        self.actual = actual;
        self
    }

    /// The same, saying when another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: std::time::Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The same, with the request's name.
    #[must_use]
    pub fn with_request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.code),
            None => write!(f, "{}: {}", self.code, self.title),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_titles_are_told_apart() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_code_that_asks_to_come_back_has_a_status_that_means_so() {
        for code in ErrorCode::ALL {
            if matches!(code.status(), 408 | 429 | 503 | 504) {
                assert!(code.is_retryable(), "{code}");
            }
            if (400..500).contains(&code.status()) && code.is_retryable() {
                assert!(code.has_no_side_effects(), "{code}");
            }
        }
    }

    #[test]
    fn members_of_a_later_version_are_no_problem() {
        let mut json = serde_json::to_value(Problem::new(ErrorCode::Trimmed)).unwrap();
        json["another"] = 1.into();
        let problem: Problem = serde_json::from_value(json).unwrap();
        assert_eq!(problem, Problem::new(ErrorCode::Trimmed));
    }
}
