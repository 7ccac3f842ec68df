//! Messages between replicas as bytes: what follows the envelope.
//!
//! Little-endian, field by field. Entries travel as the journal keeps them: their id, kind,
//! payload and its hash; the receiver hashes the payload itself and compares, so nothing that was
//! changed on the way reaches a journal. Every count and length is checked against what is there
//! before anything is taken; decoding never panics.

use bytes::{Buf, BufMut, Bytes};
use client::types::{Digest, EntryId, EntryIndex, Incarnation, Term};

use crate::machine::{EntryBody, Payload};
use crate::raft::types::{
    AppendRequest, AppendResponse, LogId, RaftVote, TransferError, TransferRequest,
    TransferResponse, VoteRequest, VoteResponse, entry_id, log_id,
};
use crate::raft::{journal_entry, raft_entry};
use crate::storage::journal::Entry;

/// The most entries one message may carry.
const ENTRIES_MAX: u32 = 65_536;
/// The most earlier starts an introduction may name.
const STARTS_MAX: u32 = 1_000_000;
/// Bytes of an entry besides its payload.
pub(super) const ENTRY_HEAD_BYTES: usize = 8 + 8 + 8 + 1 + 4 + 32;

/// A message that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

impl Malformed {
    pub(super) const fn new(what: &'static str) -> Self {
        Self(what)
    }
}

/// A replica introduces its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Every start of its folder so far, this one last.
    pub starts: Vec<Incarnation>,
    /// The last entry in its journal.
    pub last: Option<EntryId>,
    /// The last vote in its journal: term and leader.
    pub vote: Option<(Term, u64)>,
    /// The entry of the newest membership it knows of, if it knows one.
    pub epoch: Option<EntryIndex>,
    /// Whether its journal is whole. If not, it asks for repair and answers it, and nothing else.
    pub is_whole: bool,
}

/// What can be sent as the body of a message, and read back.
pub(super) trait Message: Sized {
    /// Writes it.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads it from the front.
    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed>;

    /// Reads a message that must end where `bytes` ends.
    fn decode_whole(mut bytes: Bytes) -> Result<Self, Malformed> {
        let message = Self::decode(&mut bytes)?;
        if bytes.has_remaining() { Err(Malformed("bytes after the end")) } else { Ok(message) }
    }
}

impl Message for Incarnation {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.start);
        out.put_u64_le(self.random);
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Self { start: take_u64(bytes)?, random: take_u64(bytes)? })
    }
}

impl Message for Introduction {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(count(self.starts.len()));
        for start in &self.starts {
            start.encode(out);
        }
        put_optional_id(out, self.last.as_ref());
        out.put_u8(u8::from(self.vote.is_some()));
        if let Some((term, leader)) = self.vote {
            out.put_u64_le(term.get());
            out.put_u64_le(leader);
        }
        out.put_u8(u8::from(self.epoch.is_some()));
        if let Some(epoch) = self.epoch {
            out.put_u64_le(epoch.get());
        }
        out.put_u8(u8::from(self.is_whole));
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let count = take_count(bytes, STARTS_MAX, 16)?;
        let mut starts = Vec::with_capacity(count);
        for _ in 0..count {
            starts.push(Incarnation::decode(bytes)?);
        }
        let last = take_optional_id(bytes)?;
        let vote = if take_bool(bytes)? {
            Some((Term::new(take_u64(bytes)?), take_u64(bytes)?))
        } else {
            None
        };
        let epoch = if take_bool(bytes)? { Some(EntryIndex::new(take_u64(bytes)?)) } else { None };
        Ok(Self { starts, last, vote, epoch, is_whole: take_bool(bytes)? })
    }
}

impl Message for AppendRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        put_vote(out, &self.vote);
        put_optional_log_id(out, self.prev_log_id.as_ref());
        put_optional_log_id(out, self.leader_commit.as_ref());
        out.put_u32_le(count(self.entries.len()));
        for entry in &self.entries {
            put_entry(out, &journal_entry(entry.clone()));
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let vote = take_vote(bytes)?;
        let prev_log_id = take_optional_log_id(bytes)?;
        let leader_commit = take_optional_log_id(bytes)?;
        let count = take_count(bytes, ENTRIES_MAX, ENTRY_HEAD_BYTES)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = take_entry(bytes)?;
            entries.push(raft_entry(entry).map_err(|_| Malformed("a membership"))?);
        }
        Ok(Self { vote, prev_log_id, entries, leader_commit })
    }
}

impl Message for AppendResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Success => out.put_u8(0),
            Self::PartialSuccess(matched) => {
                out.put_u8(1);
                put_optional_log_id(out, matched.as_ref());
            }
            Self::Conflict => out.put_u8(2),
            Self::HigherVote(vote) => {
                out.put_u8(3);
                put_vote(out, vote);
            }
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        match take_u8(bytes)? {
            0 => Ok(Self::Success),
            1 => Ok(Self::PartialSuccess(take_optional_log_id(bytes)?)),
            2 => Ok(Self::Conflict),
            3 => Ok(Self::HigherVote(take_vote(bytes)?)),
            _ => Err(Malformed("an unknown answer to entries")),
        }
    }
}

impl Message for VoteRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        put_vote(out, &self.vote);
        put_optional_log_id(out, self.last_log_id.as_ref());
        // Without it a hand-over would wait for the lease of the old leader.
        out.put_u8(u8::from(self.leadership_transfer));
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let mut request = Self::new(take_vote(bytes)?, take_optional_log_id(bytes)?);
        request.leadership_transfer = take_bool(bytes)?;
        Ok(request)
    }
}

impl Message for VoteResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        put_vote(out, &self.vote);
        out.put_u8(u8::from(self.vote_granted));
        put_optional_log_id(out, self.last_log_id.as_ref());
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let vote = take_vote(bytes)?;
        let vote_granted = take_bool(bytes)?;
        Ok(Self { vote, vote_granted, last_log_id: take_optional_log_id(bytes)? })
    }
}

impl Message for TransferRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        put_vote(out, self.from_leader());
        out.put_u64_le(*self.to_node_id());
        put_optional_log_id(out, self.last_log_id());
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Self::new(take_vote(bytes)?, take_u64(bytes)?, take_optional_log_id(bytes)?))
    }
}

impl Message for TransferResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Ok(()) => out.put_u8(0),
            Err(TransferError::VoteChanged { expected, actual }) => {
                out.put_u8(1);
                put_vote(out, expected);
                put_vote(out, actual);
            }
            Err(TransferError::LogNotFlushed { expected, actual }) => {
                out.put_u8(2);
                put_optional_log_id(out, expected.as_ref());
                put_optional_log_id(out, actual.as_ref());
            }
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        match take_u8(bytes)? {
            0 => Ok(Ok(())),
            1 => Ok(Err(TransferError::VoteChanged {
                expected: take_vote(bytes)?,
                actual: take_vote(bytes)?,
            })),
            2 => Ok(Err(TransferError::LogNotFlushed {
                expected: take_optional_log_id(bytes)?,
                actual: take_optional_log_id(bytes)?,
            })),
            _ => Err(Malformed("an unknown answer to a hand-over")),
        }
    }
}

/// An entry index alone: the answer to a question for a read index.
impl Message for EntryIndex {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.get());
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        take_u64(bytes).map(Self::new)
    }
}

/// A question or an answer that carries nothing.
impl Message for () {
    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(_bytes: &mut Bytes) -> Result<Self, Malformed> {
        Ok(())
    }
}

pub(super) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    put_id(out, &entry.id);
    let (kind, payload) = match &entry.body {
        EntryBody::Blank => (0, None),
        EntryBody::Command(payload) => (1, Some(payload)),
        EntryBody::Membership(payload) => (2, Some(payload)),
    };
    out.put_u8(kind);
    out.put_u32_le(payload.map_or(0, |payload| count(payload.bytes.len())));
    out.put_slice(payload.map_or(&[0; 32], |payload| payload.hash.as_bytes()));
    if let Some(payload) = payload {
        out.put_slice(&payload.bytes);
    }
}

pub(super) fn take_entry(bytes: &mut Bytes) -> Result<Entry, Malformed> {
    let id = take_id(bytes)?;
    let kind = take_u8(bytes)?;
    let length = take_u32(bytes)?;
    let hash = take_digest(bytes)?;
    let length = usize::try_from(length).map_err(|_| Malformed("a length"))?;
    if bytes.remaining() < length {
        return Err(Malformed("an entry cut short"));
    }
    let payload = Payload::new(bytes.split_to(length));
    let body = match kind {
        0 if length == 0 && hash == Digest::new([0; 32]) => {
            return Ok(Entry { id, body: EntryBody::Blank });
        }
        1 => EntryBody::Command(payload.clone()),
        2 => EntryBody::Membership(payload.clone()),
        _ => return Err(Malformed("an unknown kind of entry")),
    };
    if payload.hash != hash {
        return Err(Malformed("a payload that does not match its hash"));
    }
    Ok(Entry { id, body })
}

pub(super) fn put_vote(out: &mut Vec<u8>, vote: &RaftVote) {
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.node_id);
    out.put_u8(u8::from(vote.committed));
}

pub(super) fn take_vote(bytes: &mut Bytes) -> Result<RaftVote, Malformed> {
    let mut vote = RaftVote::new(take_u64(bytes)?, take_u64(bytes)?);
    vote.committed = take_bool(bytes)?;
    Ok(vote)
}

fn put_optional_log_id(out: &mut Vec<u8>, id: Option<&LogId>) {
    put_optional_id(out, id.map(entry_id).as_ref());
}

fn take_optional_log_id(bytes: &mut Bytes) -> Result<Option<LogId>, Malformed> {
    Ok(take_optional_id(bytes)?.map(|id| log_id(&id)))
}

pub(super) fn put_optional_id(out: &mut Vec<u8>, id: Option<&EntryId>) {
    out.put_u8(u8::from(id.is_some()));
    if let Some(id) = id {
        put_id(out, id);
    }
}

pub(super) fn take_optional_id(bytes: &mut Bytes) -> Result<Option<EntryId>, Malformed> {
    if take_bool(bytes)? { take_id(bytes).map(Some) } else { Ok(None) }
}

pub(super) fn put_id(out: &mut Vec<u8>, id: &EntryId) {
    out.put_u64_le(id.term.get());
    out.put_u64_le(id.leader);
    out.put_u64_le(id.index.get());
}

pub(super) fn take_id(bytes: &mut Bytes) -> Result<EntryId, Malformed> {
    Ok(EntryId {
        term: Term::new(take_u64(bytes)?),
        leader: take_u64(bytes)?,
        index: EntryIndex::new(take_u64(bytes)?),
    })
}

pub(super) fn take_digest(bytes: &mut Bytes) -> Result<Digest, Malformed> {
    if bytes.remaining() < 32 {
        return Err(Malformed("a hash cut short"));
    }
    let mut digest = [0; 32];
    bytes.copy_to_slice(&mut digest);
    Ok(Digest::new(digest))
}

pub(super) fn take_count(bytes: &mut Bytes, max: u32, each: usize) -> Result<usize, Malformed> {
    let count = take_u32(bytes)?;
    let count_here = usize::try_from(count).map_err(|_| Malformed("a count"))?;
    if count > max || bytes.remaining() / each < count_here {
        return Err(Malformed("a count beyond what is there"));
    }
    Ok(count_here)
}

pub(super) fn take_bool(bytes: &mut Bytes) -> Result<bool, Malformed> {
    match take_u8(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("a yes or no")),
    }
}

pub(super) fn take_u8(bytes: &mut Bytes) -> Result<u8, Malformed> {
    bytes.try_get_u8().map_err(|_| Malformed("cut short"))
}

pub(super) fn take_u32(bytes: &mut Bytes) -> Result<u32, Malformed> {
    bytes.try_get_u32_le().map_err(|_| Malformed("cut short"))
}

pub(super) fn take_u64(bytes: &mut Bytes) -> Result<u64, Malformed> {
    bytes.try_get_u64_le().map_err(|_| Malformed("cut short"))
}

pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a message is bounded far below four GiB")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_id() -> impl Strategy<Value = EntryId> {
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(term, leader, index)| EntryId {
            term: Term::new(term),
            leader,
            index: EntryIndex::new(index),
        })
    }

    fn some_vote() -> impl Strategy<Value = RaftVote> {
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(term, node, committed)| {
            let mut vote = RaftVote::new(term, node);
            vote.committed = committed;
            vote
        })
    }

    fn some_entry() -> impl Strategy<Value = Entry> {
        let body = prop_oneof![
            Just(EntryBody::Blank),
            prop::collection::vec(any::<u8>(), 0..200)
                .prop_map(|bytes| EntryBody::Command(Payload::new(bytes.into()))),
        ];
        (some_id(), body).prop_map(|(id, body)| Entry { id, body })
    }

    prop_compose! {
        fn some_append()(
            vote in some_vote(),
            prev in prop::option::of(some_id()),
            commit in prop::option::of(some_id()),
            entries in prop::collection::vec(some_entry(), 0..8),
        ) -> AppendRequest {
            AppendRequest {
                vote,
                prev_log_id: prev.map(|id| log_id(&id)),
                leader_commit: commit.map(|id| log_id(&id)),
                entries: entries.into_iter().map(|entry| raft_entry(entry).unwrap()).collect(),
            }
        }
    }

    /// There is one form of each message: what is read encodes to the very same bytes.
    fn is_refused_or_exact<M: Message>(bytes: &Bytes) -> bool {
        M::decode_whole(bytes.clone()).is_ok_and(|message| encoded(&message) == bytes)
            || M::decode_whole(bytes.clone()).is_err()
    }

    fn encoded(message: &impl Message) -> Bytes {
        let mut out = Vec::new();
        message.encode(&mut out);
        out.into()
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_were_sent(request in some_append()) {
            let back = AppendRequest::decode_whole(encoded(&request)).unwrap();
            prop_assert_eq!(format!("{request:?}"), format!("{back:?}"));
        }

        #[test]
        fn votes_come_back_as_they_were_sent(
            vote in some_vote(),
            last in prop::option::of(some_id()),
            is_transfer in any::<bool>(),
        ) {
            let mut request = VoteRequest::new(vote, last.map(|id| log_id(&id)));
            request.leadership_transfer = is_transfer;
            prop_assert_eq!(VoteRequest::decode_whole(encoded(&request)), Ok(request));
        }

        #[test]
        fn a_payload_changed_on_the_way_is_refused(
            bytes in prop::collection::vec(any::<u8>(), 1..100),
            at in any::<prop::sample::Index>(),
        ) {
            let id = EntryId { term: Term::new(1), leader: 1, index: EntryIndex::new(1) };
            let length = bytes.len();
            let mut out = Vec::new();
            put_entry(&mut out, &Entry { id, body: EntryBody::Command(Payload::new(bytes.into())) });
            let payload_at = out.len() - length;
            out[payload_at + at.index(length)] ^= 0x10;
            prop_assert!(take_entry(&mut out.into()).is_err());
        }

        #[test]
        fn whatever_can_be_read_at_all_is_what_was_sent(
            request in some_append(),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
            noise in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut changed = encoded(&request).to_vec();
            let at = at.index(changed.len());
            changed[at] ^= flip;
            for bytes in [Bytes::from(changed), Bytes::from(noise)] {
                prop_assert!(is_refused_or_exact::<AppendRequest>(&bytes));
                prop_assert!(is_refused_or_exact::<AppendResponse>(&bytes));
                prop_assert!(is_refused_or_exact::<VoteRequest>(&bytes));
                prop_assert!(is_refused_or_exact::<VoteResponse>(&bytes));
                prop_assert!(is_refused_or_exact::<TransferRequest>(&bytes));
                prop_assert!(is_refused_or_exact::<TransferResponse>(&bytes));
                prop_assert!(is_refused_or_exact::<Introduction>(&bytes));
                prop_assert!(is_refused_or_exact::<Incarnation>(&bytes));
            }
        }
    }

    #[test]
    fn a_count_beyond_the_message_is_refused_before_anything_is_reserved() {
        let mut out = Vec::new();
        out.put_u32_le(u32::MAX);
        assert!(Introduction::decode_whole(out.into()).is_err());
    }
}
