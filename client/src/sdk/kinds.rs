//! What an error means for the operation that failed: a set of kinds for each, with what a caller of it would do
//! something about.
//!
//! A code that no kind of an operation stands for, and all that is no answer of the service, is one of the three
//! that every operation has.
//!
//! Not here: the values that come with a kind ([`Error::actual`]), and whether it may have happened.

use std::fmt;

use super::error::{Basic, Error};
use crate::api::error::ErrorCode;
use crate::api::plans::Plan;

/// The kinds of an operation.
///
/// ```
/// use quorate_client::Error;
/// use quorate_client::sdk::Kind;
///
/// /// Whether it is worth waiting, whatever was asked for.
/// fn is_passing<K: Kind>(error: &Error<K>) -> bool {
///     println!("{:?}: {error}", error.kind());
///     error.is_retryable()
/// }
/// ```
pub trait Kind: Copy + Eq + fmt::Debug + Send + Sync + 'static + sealed::Kind {
    /// What a code of the contract is among them, if it is one of its own.
    #[doc(hidden)]
    fn of_code(code: ErrorCode) -> Option<Self>;
    /// What every operation has.
    #[doc(hidden)]
    fn of_any(basic: Basic) -> Self;
}

mod sealed {
    pub trait Kind {}
}

macro_rules! kinds {
    ($(#[$meaning:meta])* $Kinds:ident { $($(#[$doc:meta])* $Variant:ident = $($Code:ident)|+,)* }) => {
        $(#[$meaning])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $Kinds {
            $($(#[$doc])* $Variant,)*
            /// Nobody could do it in time, or nobody would just now. It may succeed later.
            Unavailable,
            /// The service does not take it like this, and never will.
            Invalid,
            /// Something else: a fault of the service, or an answer that is none of its own.
            Other,
        }

        impl sealed::Kind for $Kinds {}

        impl Kind for $Kinds {
            fn of_code(code: ErrorCode) -> Option<Self> {
                $(if matches!(code, $(ErrorCode::$Code)|+) {
                    return Some(Self::$Variant);
                })*
                let _ = code;
                None
            }

            fn of_any(basic: Basic) -> Self {
                match basic {
                    Basic::Unavailable => Self::Unavailable,
                    Basic::Invalid => Self::Invalid,
                    Basic::Other => Self::Other,
                }
            }
        }
    };
}

macro_rules! errors {
    ($($(#[$meaning:meta])* $Name:ident = $Kinds:ident;)*) => {
        $(
            $(#[$meaning])*
            pub type $Name = Error<$Kinds>;

            impl From<$Name> for Error {
                fn from(error: $Name) -> Self {
                    error.among()
                }
            }

            impl From<Error> for $Name {
                fn from(error: Error) -> Self {
                    error.among()
                }
            }
        )*
    };
}

errors! {
    /// Why an append was not acknowledged.
    AppendError = AppendErrorKind;
    /// Why nothing was read.
    ReadError = ReadErrorKind;
    /// Why a log was not made, shown, set, trimmed, sealed or deleted.
    LogError = LogErrorKind;
    /// Why a cursor was not shown or moved.
    CursorError = CursorErrorKind;
    /// Why a change of the membership was not planned, begun, shown or cancelled.
    ChangeError = ChangeErrorKind;
    /// Why a checkpoint was not made, shown, released or backed up, or the state not audited.
    CheckpointError = CheckpointErrorKind;
    /// Why a state transfer was not shown or turned.
    TransferError = TransferErrorKind;
}

impl ChangeError {
    /// The plan as it is now, if the one that was to be applied is out of date or blocked.
    pub fn fresh_plan(&self) -> Option<&Plan> {
        self.actual().plan.as_deref()
    }
}

kinds! {
    /// What an error means, whatever was asked for.
    ErrorKind {
        /// What was named does not exist, or not any more.
        NotFound = UnknownLog | UnknownCursor | UnknownCheckpoint | UnknownTransfer | UnknownReplica
            | UnknownJoiner | UnknownChange | UnknownRoute | Trimmed,
        /// Something is not as the call demands.
        Condition = TailDiffers | CursorDiffers | Fenced | LogIdDiffers | StalePlan | ProducerEpochOld
            | BeyondTail,
        /// It does not go together with how things are.
        Conflict = LogDiffers | LogSealed | SequenceGap | SequenceBodyDiffers | SequenceForgotten
            | KeyBodyDiffers | LogsFull | CursorsFull | CheckpointsFull | TransferNotReceived
            | AlreadyBootstrapped | ChangeUnderWay | ChangeIsJoint | ChangeEnded | JoinRefused | PlanBlocked
            | OverrideMissing,
    }
}

kinds! {
    /// What an error means for an append.
    AppendErrorKind {
        /// There is no such log.
        UnknownLog = UnknownLog,
        /// The log is sealed; `actual().tail` says where.
        LogSealed = LogSealed,
        /// The name means another log by now.
        LogReplaced = LogIdDiffers,
        /// The tail is not the expected one; `actual().tail` is.
        TailDiffers = TailDiffers,
        /// The log has another fence: `actual().fence`.
        Fenced = Fenced,
        /// A later life of the producer has taken over, in `actual().producer_epoch`.
        ProducerFenced = ProducerEpochOld,
        /// Batches of the producer are missing before this one; `actual().expected_sequence` should have come.
        OutOfSequence = SequenceGap,
        /// The sequence or the key was used with another body.
        UsedBefore = SequenceBodyDiffers | KeyBodyDiffers,
        /// It is stored, and so long ago that nobody knows where.
        StoredLongAgo = SequenceForgotten,
        /// The batch, a record or its headers are too large; `actual().limit` says the limit.
        TooLarge = BodyTooLarge | BatchTooLarge | RecordTooLarge | RecordHeadersTooLarge,
    }
}

kinds! {
    /// What an error means for a read or a follow.
    ReadErrorKind {
        /// There is no such log.
        UnknownLog = UnknownLog,
        /// The name means another log by now.
        LogReplaced = LogIdDiffers,
        /// The records there were trimmed; `actual().first` can be read.
        Trimmed = Trimmed,
        /// The position lies beyond the tail, which is `actual().tail`.
        BeyondTail = BeyondTail,
    }
}

kinds! {
    /// What an error means for a log as a whole.
    LogErrorKind {
        /// There is no such log.
        UnknownLog = UnknownLog,
        /// It exists with other settings.
        Differs = LogDiffers,
        /// It is sealed.
        Sealed = LogSealed,
        /// The position lies beyond the tail, which is `actual().tail`.
        BeyondTail = BeyondTail,
        /// There are as many logs as there may be: `actual().limit`.
        Full = LogsFull,
        /// The name belongs to the service.
        Reserved = ReservedLogName,
    }
}

kinds! {
    /// What an error means for a cursor.
    CursorErrorKind {
        /// There is no such log.
        UnknownLog = UnknownLog,
        /// The name means another log by now.
        LogReplaced = LogIdDiffers,
        /// There is no such cursor.
        UnknownCursor = UnknownCursor,
        /// Somebody else has moved it, to `actual().cursor`.
        Moved = CursorDiffers,
        /// The position lies beyond the tail, which is `actual().tail`.
        BeyondTail = BeyondTail,
        /// There are as many cursors as there may be: `actual().limit`.
        Full = CursorsFull,
    }
}

kinds! {
    /// What an error means for a change of the membership.
    ChangeErrorKind {
        /// The membership is another one than the plan was made for: look at the fresh plan.
        StalePlan = StalePlan,
        /// A check blocks it, and cannot be overridden.
        Blocked = PlanBlocked,
        /// A check blocks it, and was not overridden in the way it asks for.
        OverrideMissing = OverrideMissing,
        /// Another change is under way: `actual().change`.
        UnderWay = ChangeUnderWay,
        /// It is past the point where it can be cancelled.
        PastCancelling = ChangeIsJoint,
        /// It is over.
        Ended = ChangeEnded,
        /// There is no such change.
        UnknownChange = UnknownChange,
        /// There is no such replica.
        UnknownReplica = UnknownReplica,
        /// Nobody waits to join there.
        UnknownJoiner = UnknownJoiner,
        /// The wish contradicts itself, or there is nothing to do.
        InvalidWish = InvalidWish,
    }
}

kinds! {
    /// What an error means for checkpoints, snapshots, backups and the audit.
    CheckpointErrorKind {
        /// There is no such checkpoint, or not any more.
        UnknownCheckpoint = UnknownCheckpoint,
        /// A log that was named does not exist.
        UnknownLog = UnknownLog,
        /// Records were trimmed before they were sent.
        Trimmed = Trimmed,
        /// There are as many labelled checkpoints as there may be: `actual().limit`.
        Full = CheckpointsFull,
    }
}

kinds! {
    /// What an error means for a state transfer.
    TransferErrorKind {
        /// There is no such transfer here.
        UnknownTransfer = UnknownTransfer,
        /// It is over, or the replica that was asked does not receive it.
        NotReceived = TransferNotReceived,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::Problem;
    use crate::sdk::error::{Failure, Outcome};

    fn refused(code: ErrorCode) -> Error {
        Error::of(Failure::Refused(Box::new(Problem::new(code))), Outcome::NotDone)
    }

    #[test]
    fn a_code_is_what_it_means_for_the_operation() {
        let append = |code| AppendError::from(refused(code)).kind();
        assert_eq!(append(ErrorCode::LogSealed), AppendErrorKind::LogSealed);
        assert_eq!(append(ErrorCode::NoLeader), AppendErrorKind::Unavailable);
        assert_eq!(append(ErrorCode::InvalidBody), AppendErrorKind::Invalid);
        assert_eq!(append(ErrorCode::Internal), AppendErrorKind::Other);
        let read = ReadError::from(refused(ErrorCode::Trimmed));
        assert_eq!(read.kind(), ReadErrorKind::Trimmed);
        assert_eq!(<Error>::from(read).kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_may_succeed_later_is_unavailable_unless_an_operation_says_more() {
        for code in ErrorCode::ALL {
            let kind = refused(*code).kind();
            assert_eq!(kind == ErrorKind::Unavailable, code.is_retryable(), "{code}");
        }
    }

    #[test]
    fn what_is_no_answer_has_a_kind() {
        let kind = |failure| ReadError::from(Error::of(failure, Outcome::NotDone)).kind();
        assert_eq!(kind(Failure::TimedOut), ReadErrorKind::Unavailable);
        assert_eq!(kind(Failure::Usage("x".to_owned())), ReadErrorKind::Invalid);
        assert_eq!(kind(Failure::Protocol("x".to_owned())), ReadErrorKind::Other);
    }
}
