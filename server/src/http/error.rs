//! Errors of the node's operations, as error codes: the only such table.
//!
//! No match has a default arm, so a new way to fail does not compile before it has a code. What is only
//! said of this replica (another one leads) is marked, so that the request can be tried there.
//!
//! Not here: what a code answers (`client::api::error`), and how a document is written (`problem`).

use std::time::Duration;

use client::api::conditions::ConditionError;
use client::api::error::{Actual, ErrorCode};
use client::api::frame::FrameError;
use client::api::records::AppendBodyError;
use client::types::{BatchError, PositionRange, RecordError, Sequence};

use super::problem::{ApiError, ELSEWHERE_AFTER};
use crate::node::error::{
    AppendError, BackupError, ChangeLogError, CheckpointError, ForwardError, JoinError, NotChanged,
    NotFresh, PlanError, ReadError, Rejection, Unserved,
};

/// When to try again if all idempotency keys or producers are taken: they are forgotten with time.
const ROOM_RETRY: Duration = Duration::from_secs(10);

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(rejection) => rejection.into(),
            AppendError::Unserved(unserved) => unserved.into(),
            AppendError::RecordTooLarge { bytes: _, max } => {
                limited(ErrorCode::RecordTooLarge, size(max))
            }
            AppendError::BatchTooLarge { bytes: _, max } => {
                limited(ErrorCode::BatchTooLarge, size(max)).detail("too many bytes")
            }
            AppendError::TooManyRecords { count: _, max } => {
                limited(ErrorCode::BatchTooLarge, size(max)).detail("too many records")
            }
            AppendError::ReservedName => Self::new(ErrorCode::ReservedLogName),
            AppendError::OtherHistory => {
                Self::because(ErrorCode::LogIdDiffers, "the tag belongs to another history")
            }
            AppendError::Overloaded { retry_after } => {
                Self::new(ErrorCode::Overloaded).retry_after(retry_after)
            }
            AppendError::FlusherLagging { retry_after } => {
                Self::new(ErrorCode::StorageBehind).retry_after(retry_after)
            }
            AppendError::DiskFull { retry_after } => {
                Self::new(ErrorCode::DiskFull).retry_after(retry_after)
            }
        }
    }
}

impl From<ChangeLogError> for ApiError {
    fn from(error: ChangeLogError) -> Self {
        match error {
            ChangeLogError::Refused(rejection) => rejection.into(),
            ChangeLogError::Unserved(unserved) => unserved.into(),
            ChangeLogError::ReservedName => Self::new(ErrorCode::ReservedLogName),
            ChangeLogError::Damaged { position } => Self::new(ErrorCode::Damaged)
                .actual(Actual { damaged_from: Some(position), ..Actual::default() }),
            ChangeLogError::Records(error) => (*error).into(),
            ChangeLogError::Disk => Self::because(ErrorCode::Damaged, "the disk failed"),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownLog { log } => {
                Self::because(ErrorCode::UnknownLog, format!("there is no log {log}"))
            }
            ReadError::Deleted { log } => {
                Self::because(ErrorCode::UnknownLog, format!("log {log} was deleted"))
            }
            ReadError::IdDiffers { current } => Rejection::IdDiffers { current }.into(),
            ReadError::OtherHistory => {
                Self::because(ErrorCode::LogIdDiffers, "the token belongs to another history")
            }
            ReadError::Trimmed { first } => Self::new(ErrorCode::Trimmed)
                .actual(Actual { first: Some(first), ..Actual::default() }),
            ReadError::BeyondTail { tail } => Self::new(ErrorCode::BeyondTail)
                .actual(Actual { tail: Some(tail), ..Actual::default() }),
            ReadError::Damaged { range } => Self::new(ErrorCode::Damaged).actual(damaged(range)),
            ReadError::Disk => Self::because(ErrorCode::Damaged, "the disk failed"),
            ReadError::TooManyFollowers { retry_after } => {
                Self::because(ErrorCode::Overloaded, "too many follows").retry_after(retry_after)
            }
            ReadError::NotFresh(not_fresh) => not_fresh.into(),
        }
    }
}

impl From<CheckpointError> for ApiError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Refused(rejection) => rejection.into(),
            CheckpointError::Unserved(unserved) => unserved.into(),
            CheckpointError::Disk => Self::because(ErrorCode::Damaged, "the disk failed"),
        }
    }
}

impl From<NotChanged> for ApiError {
    fn from(error: NotChanged) -> Self {
        match error {
            NotChanged::Unknown => Self::new(ErrorCode::UnknownTransfer),
            NotChanged::NotReceiving => Self::new(ErrorCode::TransferNotReceived),
        }
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let text = error.to_string();
        match error {
            BackupError::UnknownCheckpoint { checkpoint: _ } => {
                Self::because(ErrorCode::UnknownCheckpoint, text)
            }
            BackupError::Behind { checkpoint: _, retry_after } => {
                Self::because(ErrorCode::ReplicaBehind, text).retry_after(retry_after)
            }
            BackupError::UnknownLog { log: _ } => Self::because(ErrorCode::UnknownLog, text),
            BackupError::Deleted { log: _ } => Self::because(ErrorCode::Trimmed, text),
            BackupError::Trimmed { log: _, first } => Self::because(ErrorCode::Trimmed, text)
                .actual(Actual { first: Some(first), ..Actual::default() }),
            BackupError::Damaged { what: _ } | BackupError::Disk => {
                Self::because(ErrorCode::Damaged, text)
            }
            BackupError::NotFresh(not_fresh) => not_fresh.into(),
            BackupError::TooMany { retry_after } => {
                Self::because(ErrorCode::Overloaded, text).retry_after(retry_after)
            }
        }
    }
}

impl From<NotFresh> for ApiError {
    fn from(error: NotFresh) -> Self {
        match error {
            NotFresh::NoLeader { retry_after } => {
                Self::new(ErrorCode::NoLeader).retry_after(retry_after)
            }
            NotFresh::NoQuorum { retry_after } => {
                Self::new(ErrorCode::NoQuorum).retry_after(retry_after)
            }
            NotFresh::Behind { retry_after } => {
                Self::new(ErrorCode::ReplicaBehind).retry_after(retry_after)
            }
            NotFresh::NotRecovered { retry_after } => {
                Self::because(ErrorCode::ReplicaBehind, "not yet recovered after a restart")
                    .retry_after(retry_after)
            }
            NotFresh::Quarantined { retry_after } => {
                Self::new(ErrorCode::Quarantined).retry_after(retry_after)
            }
            NotFresh::Overloaded { retry_after } => {
                Self::new(ErrorCode::Overloaded).retry_after(retry_after)
            }
            NotFresh::Stopping => Self::new(ErrorCode::Stopping),
        }
    }
}

impl From<Unserved> for ApiError {
    fn from(error: Unserved) -> Self {
        match error {
            Unserved::NotLeader { leader: _ } => {
                Self::new(ErrorCode::NoLeader).retry_after(ELSEWHERE_AFTER).elsewhere()
            }
            Unserved::NoLeader { retry_after } => {
                Self::new(ErrorCode::NoLeader).retry_after(retry_after)
            }
            Unserved::NoQuorum { retry_after } => {
                Self::new(ErrorCode::NoQuorum).retry_after(retry_after)
            }
            Unserved::TimedOut { retry_after } => {
                Self::because(ErrorCode::NoLeader, "not proposed in time").retry_after(retry_after)
            }
            Unserved::Interrupted => Self::new(ErrorCode::OutcomeUnknown),
            Unserved::Stopping => Self::new(ErrorCode::Stopping).elsewhere(),
        }
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let none = Actual::default();
        match rejection {
            Rejection::AlreadyFounded { cluster } => {
                Self::because(ErrorCode::AlreadyBootstrapped, format!("as cluster {cluster}"))
            }
            Rejection::UnknownLog => Self::new(ErrorCode::UnknownLog),
            Rejection::IdDiffers { current } => {
                Self::new(ErrorCode::LogIdDiffers).actual(Actual { log_id: Some(current), ..none })
            }
            Rejection::ReservedName => Self::new(ErrorCode::ReservedLogName),
            Rejection::SettingsDiffer { log } => {
                Self::new(ErrorCode::LogDiffers).actual(Actual { log_id: Some(log), ..none })
            }
            Rejection::Sealed { tail } => {
                Self::new(ErrorCode::LogSealed).actual(Actual { tail: Some(tail), ..none })
            }
            Rejection::TailDiffers { expected, tail } => {
                Self::because(ErrorCode::TailDiffers, format!("the tail is {tail}, not {expected}"))
                    .actual(Actual { tail: Some(tail), ..none })
            }
            Rejection::CursorDiffers { position } => {
                Self::because(ErrorCode::CursorDiffers, format!("the cursor is at {position}"))
                    .actual(Actual { cursor: Some(position), ..none })
            }
            Rejection::Fenced { current } => {
                Self::new(ErrorCode::Fenced).actual(Actual { fence: current, ..none })
            }
            Rejection::ProducerEpochOld { current } => Self::new(ErrorCode::ProducerEpochOld)
                .actual(Actual { producer_epoch: Some(current), ..none }),
            Rejection::SequenceGap { expected, received } => Self::new(ErrorCode::SequenceGap)
                .actual(Actual {
                    expected_sequence: Some(expected),
                    received_sequence: Some(received),
                    ..none
                }),
            // Whoever speaks this API is told the same as by any gap.
            Rejection::NotFirstOfEpoch { received } => {
                Rejection::SequenceGap { expected: Sequence::ZERO, received }.into()
            }
            Rejection::SequenceBodyDiffers { last: _ } => Self::new(ErrorCode::SequenceBodyDiffers),
            Rejection::OrderKeyOld { last } => {
                Self::because(ErrorCode::OrderKeyOld, format!("the log's last order key is {last}"))
            }
            Rejection::SequenceForgotten { last } => Self::because(
                ErrorCode::SequenceForgotten,
                format!("the producer's newest sequence is {last}"),
            ),
            Rejection::KeyBodyDiffers => Self::new(ErrorCode::KeyBodyDiffers),
            Rejection::RecordTooLarge { bytes: _, max } => limited(ErrorCode::RecordTooLarge, max),
            Rejection::LogFull => Self::because(
                ErrorCode::LogsFull,
                "the log has had as many records as can be counted",
            ),
            Rejection::LogsFull { max } => limited(ErrorCode::LogsFull, max),
            Rejection::ProducersFull { max } => {
                limited(ErrorCode::ProducersFull, max).retry_after(ROOM_RETRY)
            }
            Rejection::CursorsFull { max } => limited(ErrorCode::CursorsFull, max),
            Rejection::CheckpointsFull { max } => limited(ErrorCode::CheckpointsFull, max),
            Rejection::UnknownCheckpoint => Self::new(ErrorCode::UnknownCheckpoint),
            Rejection::CertifiedOtherwise { digest: _ } | Rejection::NoMajority => {
                Self::because(ErrorCode::Internal, "the checkpoint cannot be certified so")
            }
            // Whoever asks for a change of the membership is told by its own error.
            Rejection::ChangeUnderWay { .. }
            | Rejection::EpochMoved { .. }
            | Rejection::UnknownChange
            | Rejection::OtherStage { .. } => {
                Self::because(ErrorCode::Internal, rejection.to_string())
            }
            Rejection::KeysFull { max } => limited(ErrorCode::Overloaded, max)
                .detail("all idempotency keys are taken")
                .retry_after(ROOM_RETRY),
            Rejection::BeyondTail { tail } => {
                Self::new(ErrorCode::BeyondTail).actual(Actual { tail: Some(tail), ..none })
            }
            Rejection::TrimBytesDiffer { least: _, most: _ } => {
                Self::because(ErrorCode::Internal, "the bytes before the trim point do not fit")
            }
        }
    }
}

impl From<ForwardError> for ApiError {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::NotAccepted { retry_after } => {
                Self::because(ErrorCode::NoLeader, "the leader was not reached")
                    .retry_after(retry_after)
                    .elsewhere()
            }
            ForwardError::Unknown => {
                Self::because(ErrorCode::OutcomeUnknown, "the leader did not answer")
            }
        }
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::TooManyWaiting { retry_after } => {
                Self::because(ErrorCode::Overloaded, "too many processes wait to join")
                    .retry_after(retry_after)
            }
            JoinError::OtherCluster { ours } => {
                Self::because(ErrorCode::JoinRefused, format!("this is cluster {ours}"))
            }
            JoinError::Unserved(unserved) => unserved.into(),
        }
    }
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        let text = error.to_string();
        match error {
            PlanError::UnknownReplica { replica: _ } => {
                Self::because(ErrorCode::UnknownReplica, text)
            }
            PlanError::UnknownJoiner { addr: _ } => Self::because(ErrorCode::UnknownJoiner, text),
            PlanError::NamedTwice { member: _ }
            | PlanError::NobodyVotes
            | PlanError::NoVoter { replica: _ }
            | PlanError::AddressTaken { addr: _, replica: _ }
            | PlanError::NothingToDo { reason: _ } => Self::because(ErrorCode::InvalidWish, text),
            PlanError::Unserved(unserved) => unserved.into(),
        }
    }
}

impl From<ConditionError> for ApiError {
    fn from(error: ConditionError) -> Self {
        Self::because(ErrorCode::InvalidParameter, error.to_string())
    }
}

impl From<AppendBodyError> for ApiError {
    fn from(error: AppendBodyError) -> Self {
        if let AppendBodyError::Batch(error) = error {
            return error.into();
        }
        // However else a body may fail, it is one that makes no sense.
        Self::because(ErrorCode::InvalidBody, error.to_string())
    }
}

impl From<FrameError> for ApiError {
    fn from(error: FrameError) -> Self {
        if let FrameError::Batch(error) = error {
            return error.into();
        }
        Self::because(ErrorCode::InvalidBody, error.to_string())
    }
}

impl From<BatchError> for ApiError {
    fn from(error: BatchError) -> Self {
        let detail = error.to_string();
        match error {
            BatchError::Empty => Self::new(ErrorCode::EmptyBatch),
            BatchError::RecordsTooMany { max } | BatchError::TooLarge { max } => {
                limited(ErrorCode::BatchTooLarge, size(max)).detail(detail)
            }
            BatchError::Record { index: _, error } => match error {
                RecordError::BodyTooLarge { bytes: _, max } => {
                    limited(ErrorCode::RecordTooLarge, size(max)).detail(detail)
                }
                RecordError::HeadersTooMany { headers: _, max }
                | RecordError::HeadersTooLarge { bytes: _, max } => {
                    limited(ErrorCode::RecordHeadersTooLarge, size(max)).detail(detail)
                }
                RecordError::Headers(_) | _ => Self::because(ErrorCode::InvalidBody, detail),
            },
            BatchError::CutShort | BatchError::CountDiffers { .. } | _ => {
                Self::because(ErrorCode::InvalidBody, detail)
            }
        }
    }
}

fn limited(code: ErrorCode, limit: u64) -> ApiError {
    ApiError::new(code).actual(Actual { limit: Some(limit), ..Actual::default() })
}

fn damaged(range: PositionRange) -> Actual {
    Actual {
        damaged_from: Some(range.from()),
        damaged_until: Some(range.until()),
        ..Actual::default()
    }
}

fn size(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use client::types::{
        ClusterId, Fence, LogId, LogName, OrderKey, Position, ProducerEpoch, ReplicaId, Sequence,
    };

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn code_of(error: impl Into<ApiError>) -> ErrorCode {
        error.into().problem().code
    }

    fn rejections() -> Vec<(Rejection, ErrorCode)> {
        let at = Position::new(7);
        let cluster = ClusterId::new([1; 16]);
        vec![
            (Rejection::AlreadyFounded { cluster }, ErrorCode::AlreadyBootstrapped),
            (Rejection::UnknownLog, ErrorCode::UnknownLog),
            (Rejection::IdDiffers { current: LogId::new(2) }, ErrorCode::LogIdDiffers),
            (Rejection::ReservedName, ErrorCode::ReservedLogName),
            (Rejection::SettingsDiffer { log: LogId::new(2) }, ErrorCode::LogDiffers),
            (Rejection::Sealed { tail: at }, ErrorCode::LogSealed),
            (Rejection::TailDiffers { expected: Position::ZERO, tail: at }, ErrorCode::TailDiffers),
            (Rejection::CursorDiffers { position: at }, ErrorCode::CursorDiffers),
            (Rejection::Fenced { current: Fence::new("f").ok() }, ErrorCode::Fenced),
            (
                Rejection::ProducerEpochOld { current: ProducerEpoch::new(3) },
                ErrorCode::ProducerEpochOld,
            ),
            (
                Rejection::SequenceGap { expected: Sequence::new(1), received: Sequence::new(3) },
                ErrorCode::SequenceGap,
            ),
            (Rejection::NotFirstOfEpoch { received: Sequence::new(3) }, ErrorCode::SequenceGap),
            (
                Rejection::SequenceBodyDiffers { last: Sequence::ZERO },
                ErrorCode::SequenceBodyDiffers,
            ),
            (Rejection::OrderKeyOld { last: OrderKey::new("7").unwrap() }, ErrorCode::OrderKeyOld),
            (Rejection::SequenceForgotten { last: Sequence::new(9) }, ErrorCode::SequenceForgotten),
            (Rejection::KeyBodyDiffers, ErrorCode::KeyBodyDiffers),
            (Rejection::RecordTooLarge { bytes: 9, max: 8 }, ErrorCode::RecordTooLarge),
            (Rejection::LogFull, ErrorCode::LogsFull),
            (Rejection::LogsFull { max: 8 }, ErrorCode::LogsFull),
            (Rejection::ProducersFull { max: 8 }, ErrorCode::ProducersFull),
            (Rejection::CursorsFull { max: 8 }, ErrorCode::CursorsFull),
            (Rejection::CheckpointsFull { max: 8 }, ErrorCode::CheckpointsFull),
            (Rejection::UnknownCheckpoint, ErrorCode::UnknownCheckpoint),
            (Rejection::KeysFull { max: 8 }, ErrorCode::Overloaded),
            (Rejection::BeyondTail { tail: at }, ErrorCode::BeyondTail),
            (Rejection::TrimBytesDiffer { least: 1, most: 2 }, ErrorCode::Internal),
        ]
    }

    #[test]
    fn a_refusal_has_the_same_code_whatever_was_refused() {
        for (rejection, code) in rejections() {
            assert_eq!(code_of(rejection.clone()), code, "{rejection:?}");
            assert_eq!(code_of(AppendError::Refused(rejection.clone())), code, "{rejection:?}");
            assert_eq!(code_of(ChangeLogError::Refused(rejection.clone())), code, "{rejection:?}");
            let error = ApiError::from(rejection);
            assert!(!error.is_elsewhere(), "a refusal is the same everywhere");
        }
    }

    #[test]
    fn a_failed_condition_tells_the_actual_value() {
        let actual = |rejection: Rejection| ApiError::from(rejection).into_problem().actual;
        let tail = Position::new(7);
        let differs = Rejection::TailDiffers { expected: Position::ZERO, tail };
        assert_eq!(actual(differs).tail, Some(tail));
        assert_eq!(actual(Rejection::Sealed { tail }).tail, Some(tail));
        assert_eq!(
            actual(Rejection::IdDiffers { current: LogId::new(2) }).log_id,
            Some(LogId::new(2))
        );
        let fence = Fence::new("f").unwrap();
        assert_eq!(actual(Rejection::Fenced { current: Some(fence.clone()) }).fence, Some(fence));
        let gap = Rejection::SequenceGap { expected: Sequence::new(1), received: Sequence::new(3) };
        assert_eq!(actual(gap.clone()).expected_sequence, Some(Sequence::new(1)));
        assert_eq!(actual(gap).received_sequence, Some(Sequence::new(3)));
    }

    #[test]
    fn only_an_interrupted_request_has_an_unknown_outcome() {
        let unserved = [
            (Unserved::NotLeader { leader: ReplicaId::new(2) }, ErrorCode::NoLeader, true),
            (Unserved::NoLeader { retry_after: SOON }, ErrorCode::NoLeader, false),
            (Unserved::TimedOut { retry_after: SOON }, ErrorCode::NoLeader, false),
            (Unserved::Interrupted, ErrorCode::OutcomeUnknown, false),
            (Unserved::Stopping, ErrorCode::Stopping, true),
        ];
        for (unserved, code, is_elsewhere) in unserved {
            let is_unknown = unserved == Unserved::Interrupted;
            for error in [
                ApiError::from(unserved.clone()),
                AppendError::from(unserved.clone()).into(),
                ChangeLogError::from(unserved.clone()).into(),
                JoinError::from(unserved.clone()).into(),
            ] {
                assert_eq!(error.problem().code, code, "{unserved:?}");
                assert_eq!(error.is_elsewhere(), is_elsewhere, "{unserved:?}");
                assert_eq!(error.problem().code.has_no_side_effects(), !is_unknown);
            }
        }
        assert_eq!(code_of(ForwardError::Unknown), ErrorCode::OutcomeUnknown);
        let refused = ApiError::from(ForwardError::NotAccepted { retry_after: SOON });
        assert!(refused.is_elsewhere() && refused.problem().code.has_no_side_effects());
    }

    #[test]
    fn failures_to_append_have_their_codes() {
        for (error, code) in [
            (AppendError::RecordTooLarge { bytes: 2, max: 1 }, ErrorCode::RecordTooLarge),
            (AppendError::BatchTooLarge { bytes: 2, max: 1 }, ErrorCode::BatchTooLarge),
            (AppendError::TooManyRecords { count: 2, max: 1 }, ErrorCode::BatchTooLarge),
            (AppendError::ReservedName, ErrorCode::ReservedLogName),
            (AppendError::OtherHistory, ErrorCode::LogIdDiffers),
            (AppendError::Overloaded { retry_after: SOON }, ErrorCode::Overloaded),
            (AppendError::FlusherLagging { retry_after: SOON }, ErrorCode::StorageBehind),
            (AppendError::DiskFull { retry_after: SOON }, ErrorCode::DiskFull),
        ] {
            assert_eq!(code_of(error.clone()), code, "{error:?}");
        }
        assert_eq!(code_of(ChangeLogError::ReservedName), ErrorCode::ReservedLogName);
        assert_eq!(code_of(ChangeLogError::Disk), ErrorCode::Damaged);
        let damaged = ChangeLogError::Damaged { position: Position::ZERO };
        assert_eq!(code_of(damaged), ErrorCode::Damaged);
    }

    #[test]
    fn failures_to_read_have_their_codes_and_change_nothing() {
        let log = LogName::new("a").unwrap();
        let at = Position::new(7);
        let range = PositionRange::new(Position::ZERO, at).unwrap();
        for (error, code) in [
            (ReadError::UnknownLog { log: log.clone() }, ErrorCode::UnknownLog),
            (ReadError::Deleted { log }, ErrorCode::UnknownLog),
            (ReadError::OtherHistory, ErrorCode::LogIdDiffers),
            (ReadError::Trimmed { first: at }, ErrorCode::Trimmed),
            (ReadError::BeyondTail { tail: at }, ErrorCode::BeyondTail),
            (ReadError::Damaged { range }, ErrorCode::Damaged),
            (ReadError::Disk, ErrorCode::Damaged),
            (ReadError::TooManyFollowers { retry_after: SOON }, ErrorCode::Overloaded),
            (NotFresh::NoLeader { retry_after: SOON }.into(), ErrorCode::NoLeader),
            (NotFresh::Behind { retry_after: SOON }.into(), ErrorCode::ReplicaBehind),
            (NotFresh::NotRecovered { retry_after: SOON }.into(), ErrorCode::ReplicaBehind),
            (NotFresh::Quarantined { retry_after: SOON }.into(), ErrorCode::Quarantined),
            (NotFresh::Overloaded { retry_after: SOON }.into(), ErrorCode::Overloaded),
            (NotFresh::Stopping.into(), ErrorCode::Stopping),
        ] {
            assert_eq!(code_of(error.clone()), code, "{error:?}");
            assert!(code.has_no_side_effects(), "{error:?}");
        }
    }

    #[test]
    fn a_batch_beyond_a_limit_is_told_which_limit() {
        let too_large = |error: RecordError| ApiError::from(BatchError::Record { index: 3, error });
        let error = too_large(RecordError::BodyTooLarge { bytes: 11, max: 10 });
        assert_eq!(error.problem().code, ErrorCode::RecordTooLarge);
        assert_eq!(error.problem().actual.limit, Some(10));
        assert!(error.problem().detail.as_deref().unwrap_or("").contains("record 3"));
        let error = too_large(RecordError::HeadersTooMany { headers: 65, max: 64 });
        assert_eq!(error.problem().code, ErrorCode::RecordHeadersTooLarge);
        assert_eq!(code_of(BatchError::Empty), ErrorCode::EmptyBatch);
        assert_eq!(code_of(BatchError::RecordsTooMany { max: 5 }), ErrorCode::BatchTooLarge);
        assert_eq!(code_of(BatchError::CutShort), ErrorCode::InvalidBody);
        assert_eq!(code_of(FrameError::Damaged), ErrorCode::InvalidBody);
        assert_eq!(code_of(FrameError::Batch(BatchError::Empty)), ErrorCode::EmptyBatch);
    }
}
