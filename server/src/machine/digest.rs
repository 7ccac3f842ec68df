//! The rolling digest: `d(i) = SHA-256(d(i-1), payload hash, outcome)`, from 32 zero bytes on.
//!
//! Replicas that executed the same commands differently have different digests from that very entry
//! on. The payload hash is the journal's, zeros for a blank entry, so nothing is hashed twice. The
//! bytes of an outcome exist for this digest alone: a tag per variant, fields in order, numbers
//! little-endian; the machine version selects them.
//!
//! Not here: the digest of the whole state, which checkpoints compare (`state_digest`).

use bytes::BufMut;
use client::types::{Digest, Sequence};
use sha2::{Digest as _, Sha256};

use super::outcome::{AppendOutcome, Outcome, Rejection};

/// A digest over all commands and outcomes so far.
#[derive(Debug, Clone, Default)]
pub(super) struct RollingDigest {
    digest: Digest,
    /// The bytes of one outcome; kept so that applying does not allocate.
    outcome: Vec<u8>,
}

impl RollingDigest {
    pub(super) const fn at(digest: Digest) -> Self {
        Self { digest, outcome: Vec::new() }
    }

    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn mix(&mut self, payload_hash: &Digest, outcome: &Outcome) {
        self.outcome.clear();
        encode_outcome(&mut self.outcome, outcome);
        let mixed = Sha256::new()
            .chain_update(self.digest.as_bytes())
            .chain_update(payload_hash.as_bytes())
            .chain_update(&self.outcome)
            .finalize();
        self.digest = Digest::new(mixed.into());
    }
}

fn encode_outcome(out: &mut Vec<u8>, outcome: &Outcome) {
    match outcome {
        Outcome::Blank => out.put_u8(0),
        Outcome::Membership => out.put_u8(1),
        Outcome::Founded(result) => encode_result(out, 2, result, |_, ()| ()),
        Outcome::Appended(items) => {
            out.put_u8(3);
            out.put_u64_le(u64::try_from(items.len()).expect("a count fits 64 bits"));
            for item in items {
                encode_append(out, item);
            }
        }
        Outcome::LogCreated(result) => encode_result(out, 4, result, |out, created| {
            out.put_u64_le(created.log.get());
            out.put_u64_le(created.created.as_millis());
            out.put_u8(u8::from(created.is_new));
        }),
        Outcome::SettingsChanged(result) => {
            encode_result(out, 5, result, |out, log| out.put_u64_le(log.get()));
        }
        Outcome::LogDeleted(result) => {
            encode_result(out, 6, result, |out, log| out.put_u64_le(log.get()));
        }
        Outcome::LogTrimmed(result) => encode_result(out, 7, result, |out, trimmed| {
            out.put_u64_le(trimmed.log.get());
            out.put_u64_le(trimmed.first.get());
            out.put_u64_le(trimmed.tail.get());
        }),
        Outcome::LogSealed(result) => {
            encode_result(out, 8, result, |out, tail| out.put_u64_le(tail.get()));
        }
        Outcome::FenceSet(result) => {
            encode_result(out, 9, result, |out, log| out.put_u64_le(log.get()));
        }
        Outcome::CursorSet(result) => {
            encode_result(out, 10, result, |out, log| out.put_u64_le(log.get()));
        }
        Outcome::CursorDeleted(result) => encode_result(out, 11, result, |out, deleted| {
            out.put_u64_le(deleted.log.get());
            out.put_u8(u8::from(deleted.existed));
        }),
        Outcome::LogRenewed(result) => {
            encode_result(out, 19, result, |out, log| out.put_u64_le(log.get()));
        }
        Outcome::LogsExpired(count) => {
            out.put_u8(20);
            out.put_u64_le(*count);
        }
        Outcome::ReplicaAdmitted(replica) => {
            out.put_u8(12);
            out.put_u64_le(replica.get());
        }
        Outcome::ProducersExpired(expired) => {
            out.put_u8(13);
            out.put_u64_le(expired.producer_count);
            out.put_u64_le(expired.key_count);
        }
        Outcome::CheckpointMade(result) => {
            encode_result(out, 14, result, |out, index| out.put_u64_le(index.get()));
        }
        Outcome::CheckpointCertified(result) => encode_result(out, 15, result, |out, certified| {
            out.put_u64_le(certified.checkpoint.get());
            out.extend_from_slice(certified.digest.as_bytes());
            out.put_u8(u8::from(certified.is_new));
        }),
        Outcome::CheckpointReleased(result) => encode_result(out, 16, result, |_, ()| ()),
        Outcome::ChangeBegun(result) => encode_result(out, 17, result, |out, begun| {
            out.put_u64_le(begun.change);
            out.put_u64_le(u64::try_from(begun.joins.len()).expect("a count fits 64 bits"));
            for replica in &begun.joins {
                out.put_u64_le(replica.get());
            }
        }),
        Outcome::ChangeMoved(result) => encode_result(out, 18, result, |_, ()| ()),
    }
}

fn encode_append(out: &mut Vec<u8>, outcome: &AppendOutcome) {
    match outcome {
        Ok(appended) => {
            out.put_u8(0);
            out.put_u64_le(appended.log.get());
            out.put_u64_le(appended.first.get());
            out.put_u64_le(appended.next.get());
            out.put_u64_le(appended.tail.get());
            out.put_u64_le(appended.time.as_millis());
            out.put_u8(u8::from(appended.replayed) | u8::from(appended.sealed) << 1);
            out.put_u64_le(appended.last_sequence.map_or(u64::MAX, Sequence::get));
        }
        Err(rejection) => encode_rejection(out, rejection),
    }
}

fn encode_result<T>(
    out: &mut Vec<u8>,
    tag: u8,
    result: &Result<T, Rejection>,
    encode: impl FnOnce(&mut Vec<u8>, &T),
) {
    out.put_u8(tag);
    match result {
        Ok(done) => {
            out.put_u8(0);
            encode(out, done);
        }
        Err(rejection) => encode_rejection(out, rejection),
    }
}

/// Tags begin at 1: a zero in their place means that nothing was refused.
fn encode_rejection(out: &mut Vec<u8>, rejection: &Rejection) {
    let mut numbers = |tag: u8, fields: &[u64]| {
        out.put_u8(tag);
        for field in fields {
            out.put_u64_le(*field);
        }
    };
    match rejection {
        Rejection::AlreadyFounded { cluster } => {
            out.put_u8(1);
            out.extend_from_slice(cluster.as_bytes());
        }
        Rejection::UnknownLog => numbers(2, &[]),
        Rejection::IdDiffers { current } => numbers(3, &[current.get()]),
        Rejection::ReservedName => numbers(4, &[]),
        Rejection::SettingsDiffer { log } => numbers(5, &[log.get()]),
        Rejection::Sealed { tail } => numbers(6, &[tail.get()]),
        Rejection::TailDiffers { expected, tail } => numbers(7, &[expected.get(), tail.get()]),
        Rejection::Fenced { current } => {
            out.put_u8(8);
            out.put_u8(u8::from(current.is_some()));
            put_text(out, current.as_ref().map_or("", |fence| fence.as_str()));
        }
        Rejection::ProducerEpochOld { current } => numbers(9, &[current.get()]),
        Rejection::SequenceGap { expected, received } => {
            numbers(10, &[expected.get(), received.get()]);
        }
        Rejection::SequenceBodyDiffers { last } => numbers(11, &[last.get()]),
        Rejection::SequenceForgotten { last } => numbers(12, &[last.get()]),
        Rejection::KeyBodyDiffers => numbers(13, &[]),
        Rejection::RecordTooLarge { bytes, max } => numbers(14, &[*bytes, *max]),
        Rejection::LogFull => numbers(15, &[]),
        Rejection::LogsFull { max } => numbers(16, &[*max]),
        Rejection::ProducersFull { max } => numbers(17, &[*max]),
        Rejection::CursorsFull { max } => numbers(18, &[*max]),
        Rejection::KeysFull { max } => numbers(19, &[*max]),
        Rejection::BeyondTail { tail } => numbers(20, &[tail.get()]),
        Rejection::TrimBytesDiffer { least, most } => numbers(21, &[*least, *most]),
        Rejection::CheckpointsFull { max } => numbers(22, &[*max]),
        Rejection::UnknownCheckpoint => numbers(23, &[]),
        Rejection::CertifiedOtherwise { digest } => {
            out.put_u8(24);
            out.extend_from_slice(digest.as_bytes());
        }
        Rejection::NoMajority => numbers(25, &[]),
        Rejection::ChangeUnderWay { change } => numbers(26, &[*change]),
        Rejection::EpochMoved { epoch } => numbers(27, &[*epoch]),
        Rejection::UnknownChange => numbers(28, &[]),
        Rejection::OtherStage { stage } => numbers(29, &[u64::from(stage.number())]),
        Rejection::CursorDiffers { position } => numbers(30, &[position.get()]),
        Rejection::OrderKeyOld { last } => {
            out.put_u8(31);
            put_text(out, last.as_str());
        }
        Rejection::NotFirstOfEpoch { received } => numbers(32, &[received.get()]),
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u64_le(u64::try_from(text.len()).expect("a length fits 64 bits"));
    out.extend_from_slice(text.as_bytes());
}
