//! What each error code means, and what whoever gets it does next.
//!
//! It stands beside the codes so that the reference page, the dashboard and the command line tell the
//! same: a code without advice does not compile.
//!
//! Not here: status, retry and side effects (`error`).

use super::error::ErrorCode;

impl ErrorCode {
    /// What to do next, in a sentence or two for a person.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::InvalidBody => {
                "Correct the body as `detail` says: its media type, its members, and no others."
            }
            Self::InvalidParameter => "Correct the parameter or header that `detail` names.",
            Self::InvalidLogName => {
                "Use 1 to 255 ASCII letters, digits and . _ - : /, without empty parts or the parts \
                 . and .. between slashes."
            }
            Self::EmptyBatch => "Send at least one record.",
            Self::ReservedLogName => "Choose a name that does not start with an underscore.",
            Self::UnknownLog => {
                "Check the name, or create the log: PUT on it, or `quorate logs create`. Nothing is \
                 created by an append."
            }
            Self::UnknownCursor => "Check the name, or store a position under it first.",
            Self::UnknownCheckpoint => {
                "List the checkpoints: only the newest are remembered, and those with a label until \
                 they are released. A snapshot may be kept on another replica."
            }
            Self::UnknownTransfer => "List the transfers of this replica: each shows its own.",
            Self::UnknownReplica => "List the replicas of the cluster: ids are never used twice.",
            Self::UnknownJoiner => {
                "Start the process with --join first, and wait until it is listed among those that \
                 wait."
            }
            Self::UnknownChange => "List the changes of the membership.",
            Self::UnknownRoute => "Check the path against the reference of the API.",
            Self::CrossSite => "Send it from the dashboard itself, or from a program.",
            Self::MethodNotAllowed => "Check the method against the reference of the API.",
            Self::NotAcceptable => "Ask for one of the media types that `detail` names.",
            Self::UnsupportedMediaType => "Send the body as one of the media types that are taken.",
            Self::MalformedRequest => "Send HTTP/1.1 or HTTP/2; a TLS client does not fit here.",
            Self::RequestTimeout => "Send it again, faster or in smaller pieces.",
            Self::RequestHeadTooLarge => "Send fewer or shorter headers, or a shorter address.",
            Self::BodyTooLarge => "Send less at once: `limit` says how many bytes are taken.",
            Self::BatchTooLarge => "Split the batch: `limit` says how much one may hold.",
            Self::RecordTooLarge => {
                "Make the record smaller, or raise the limit of the log if the service allows more: \
                 `limit` says how many bytes are taken."
            }
            Self::RecordHeadersTooLarge => "Send fewer or shorter headers with the record.",
            Self::LogDiffers => {
                "Look at the settings of the log that is there. Change them, or choose another name."
            }
            Self::ContentTypeDiffers => {
                "Append what the stream is made of: HEAD tells its content type."
            }
            Self::StreamReplaced => "Read from the beginning: what the offset belongs to is gone.",
            Self::LogSealed => "Append to another log: a sealed one never takes records again.",
            Self::LogIdDiffers => {
                "Look at the log again: the one that was meant is gone, and another has its name."
            }
            Self::TailDiffers => {
                "Read what was appended meanwhile, up to `tail`, decide anew, and append under that \
                 tail."
            }
            Self::CursorDiffers => {
                "Go on from `cursor`: somebody else has moved it, or you have, in an attempt whose answer was \
                 lost."
            }
            Self::Fenced => "Stop, or learn the new fence: somebody else was put in charge.",
            Self::ProducerEpochOld => {
                "Stop: a newer instance appends under this producer's name. Only the newest may."
            }
            Self::SequenceGap => {
                "Send the batches from `expected_sequence` on: those before this one did not arrive."
            }
            Self::SequenceBodyDiffers => {
                "Number the batches without repetition: another one was stored under this number."
            }
            Self::SequenceForgotten => {
                "Go on with the next batch: this one is stored. Read the log to learn where."
            }
            Self::OrderKeyOld => {
                "Read what was appended meanwhile, and use a key that sorts behind the last one."
            }
            Self::KeyBodyDiffers => {
                "Use a new key for another body: the one under this key may be stored already."
            }
            Self::Trimmed => "Read from `first` on: what lay before is gone for good.",
            Self::BeyondTail => "Read from `tail` at most, or wait there for what comes.",
            Self::LogsFull => "Delete logs that nobody needs, or raise the limit of the group.",
            Self::ProducersFull => {
                "Wait, or use fewer producers: those that stay silent make room."
            }
            Self::CursorsFull => "Delete cursors that nobody needs.",
            Self::CheckpointsFull => "Release a labelled checkpoint first.",
            Self::TransferNotReceived => "Ask the replica that receives the state.",
            Self::AlreadyBootstrapped => "Nothing is needed: it has a cluster.",
            Self::InvalidWish => "Change the wish as `detail` says.",
            Self::PreconditionRequired => {
                "Make a plan, and send the change with If-Match and the epoch of the plan."
            }
            Self::StalePlan => "Look at `plan`, which is how it is now, and decide anew.",
            Self::PlanBlocked => "Make true what the checks ask for; they cannot be overridden.",
            Self::OverrideMissing => {
                "Make true what the checks ask for, or override each with what it asks to be typed."
            }
            Self::ChangeUnderWay => "Wait for that change, or cancel it.",
            Self::ChangeIsJoint => "Let it end, and make another change that goes back.",
            Self::ChangeEnded => "Nothing is needed: look at how it ended.",
            Self::JoinRefused => "Check that the process means this cluster, and its folder too.",
            Self::Overloaded => "Wait as long as `retry_after_ms` says, and send less at once.",
            Self::TooManyConnections => "Close connections that are idle, and use them again.",
            Self::StorageBehind => {
                "Wait as long as `retry_after_ms` says: the disk of the leader is slower than what \
                 is appended."
            }
            Self::DiskFull => {
                "Make room on the disk, or trim: appends are taken again as soon as there is room."
            }
            Self::NoLeader => {
                "Wait as long as `retry_after_ms` says. If it stays so, look at which replicas run: a \
                 majority has to."
            }
            Self::NoQuorum => "Bring back replicas, or their network: a majority has to answer.",
            Self::ReplicaBehind => "Ask another replica, or again a moment later.",
            Self::Quarantined => {
                "Ask another replica. This one recovers by a later checkpoint, or has to be replaced."
            }
            Self::NotMember => "Ask another replica, or wait until this one was let in.",
            Self::Stopping => "Ask another replica.",
            Self::Damaged => {
                "Ask another replica: this one repairs what is damaged from the others. If it stays \
                 so, look at the scrub."
            }
            Self::OutcomeUnknown => {
                "Look whether it happened before you do it again. An append with a producer's \
                 sequence or an idempotency key can be sent again as it is: it is stored once."
            }
            Self::Internal => {
                "Look whether it happened, and at the diagnostics of the replica under `request_id`."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_it_means_and_what_to_do() {
        for code in ErrorCode::ALL {
            for text in [code.meaning(), code.remedy()] {
                let is_sentence = text.ends_with(['.', ':']) && !text.starts_with(' ');
                assert!(is_sentence && !text.contains("  "), "{code}: {text:?}");
            }
        }
    }
}
