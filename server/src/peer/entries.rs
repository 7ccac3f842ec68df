//! Entries that a replica lost, asked for and given.
//!
//! ```text
//! question = u32 bytes at most  u32 count  { u64 first  u64 last }*          both included
//! answer   = purged, last, committed: optional ids  u32 count  { back hash [32]  entry }*
//! ```
//!
//! Answered from the last index down, since whoever asks proves an entry by the one behind it. What is damaged,
//! purged or not yet durable where it is asked for is left out.
//!
//! Not here: what is believed of an answer (`storage::journal`).

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use client::types::EntryId;

use super::codec::{
    ENTRY_HEAD_BYTES, Malformed, Message, count, put_entry, put_optional_id, take_count,
    take_digest, take_entry, take_optional_id, take_u32, take_u64,
};
use crate::storage::journal::{Journal, LinkedEntry, Vote, WoundedJournal};

/// The most ranges in one question.
pub(super) const RANGES_MAX: u32 = 4_096;
/// The most entries of one answer.
const ENTRIES_MAX: u32 = 65_536;
/// The most indexes that are looked at for one answer.
const LOOKS_MAX: usize = 65_536;
const HASH_BYTES: usize = 32;

/// The journal of this replica: whole, or being repaired.
#[derive(Debug, Clone)]
pub enum HeldJournal {
    /// All that it acknowledged.
    Whole(Journal),
    /// Some of it is damaged.
    Wounded(Arc<WoundedJournal>),
}

impl From<Journal> for HeldJournal {
    fn from(journal: Journal) -> Self {
        Self::Whole(journal)
    }
}

impl HeldJournal {
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    pub(super) fn last(&self) -> Option<EntryId> {
        match self {
            Self::Whole(journal) => journal.last(),
            Self::Wounded(journal) => journal.last(),
        }
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        match self {
            Self::Whole(journal) => journal.vote(),
            Self::Wounded(journal) => journal.vote(),
        }
    }

    pub(super) fn purged(&self) -> Option<EntryId> {
        match self {
            Self::Whole(journal) => journal.purged(),
            Self::Wounded(journal) => journal.purged(),
        }
    }

    fn committed(&self) -> Option<EntryId> {
        match self {
            Self::Whole(journal) => journal.committed(),
            Self::Wounded(journal) => journal.committed(),
        }
    }

    fn linked(&self, index: u64) -> Option<LinkedEntry> {
        match self {
            Self::Whole(journal) => journal.linked(index),
            Self::Wounded(journal) => journal.linked(index),
        }
    }
}

/// Which entries are lacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntriesQuestion {
    /// So many bytes of entries may the answer have; one entry it may have in any case.
    pub(super) bytes_max: u32,
    /// Ranges of indexes, both ends included.
    pub(super) ranges: Vec<(u64, u64)>,
}

/// Those that are good where they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntriesAnswer {
    /// The last entry that was let go there.
    pub(super) purged: Option<EntryId>,
    /// The last entry there.
    pub(super) last: Option<EntryId>,
    /// How far entries are known to be committed there.
    pub(super) committed: Option<EntryId>,
    /// The entries, the last one of each range first.
    pub(super) entries: Vec<LinkedEntry>,
}

impl Message for EntriesQuestion {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.bytes_max);
        out.put_u32_le(count(self.ranges.len()));
        for (first, last) in &self.ranges {
            out.put_u64_le(*first);
            out.put_u64_le(*last);
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let bytes_max = take_u32(bytes)?;
        let count = take_count(bytes, RANGES_MAX, 16)?;
        let mut ranges = Vec::with_capacity(count);
        for _ in 0..count {
            ranges.push((take_u64(bytes)?, take_u64(bytes)?));
        }
        Ok(Self { bytes_max, ranges })
    }
}

impl Message for EntriesAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        put_optional_id(out, self.purged.as_ref());
        put_optional_id(out, self.last.as_ref());
        put_optional_id(out, self.committed.as_ref());
        out.put_u32_le(count(self.entries.len()));
        for linked in &self.entries {
            out.put_slice(&linked.back_hash);
            put_entry(out, &linked.entry);
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let purged = take_optional_id(bytes)?;
        let last = take_optional_id(bytes)?;
        let committed = take_optional_id(bytes)?;
        let count = take_count(bytes, ENTRIES_MAX, HASH_BYTES + ENTRY_HEAD_BYTES)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let back_hash = *take_digest(bytes)?.as_bytes();
            entries.push(LinkedEntry { back_hash, entry: take_entry(bytes)? });
        }
        Ok(Self { purged, last, committed, entries })
    }
}

/// What can be given of what is asked for. Blocks.
pub(super) fn give(journal: &HeldJournal, question: &EntriesQuestion) -> EntriesAnswer {
    let bytes_max = usize::try_from(question.bytes_max).unwrap_or(usize::MAX);
    let (mut bytes, mut entries) = (0, Vec::new());
    let first = journal.purged().map_or(0, |purged| purged.index.get() + 1);
    let last = journal.last().map_or(0, |last| last.index.get());
    let wanted =
        question.ranges.iter().flat_map(|(from, to)| (*from.max(&first)..=*to.min(&last)).rev());
    for given in wanted.take(LOOKS_MAX).filter_map(|index| journal.linked(index)) {
        bytes += HASH_BYTES + ENTRY_HEAD_BYTES + given.entry.body.payload_bytes();
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(given);
    }
    EntriesAnswer {
        purged: journal.purged(),
        last: journal.last(),
        committed: journal.committed(),
        entries,
    }
}

#[cfg(test)]
mod tests {
    use client::types::{EntryIndex, Term};
    use proptest::prelude::*;

    use super::*;
    use crate::machine::{EntryBody, Payload};
    use crate::storage::journal::Entry;

    fn encoded(message: &impl Message) -> Bytes {
        let mut out = Vec::new();
        message.encode(&mut out);
        out.into()
    }

    fn linked(index: u64, payload: Vec<u8>) -> LinkedEntry {
        let id = EntryId::new(Term::new(3), 1, EntryIndex::new(index));
        let body = EntryBody::Command(Payload::new(payload.into()));
        LinkedEntry { entry: Entry { id, body }, back_hash: [u8::try_from(index % 7).unwrap(); 32] }
    }

    proptest! {
        #[test]
        fn lost_entries_come_back_as_they_were_given(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..6),
            ranges in prop::collection::vec((any::<u64>(), any::<u64>()), 0..6),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let question = EntriesQuestion { bytes_max: 17, ranges };
            prop_assert_eq!(EntriesQuestion::decode_whole(encoded(&question)), Ok(question));
            let entries: Vec<_> = (1..).zip(payloads).map(|(at, it)| linked(at, it)).collect();
            let last = entries.last().map(|linked| linked.entry.id);
            let answer = EntriesAnswer { purged: None, last, committed: last, entries };
            let bytes = encoded(&answer);
            prop_assert_eq!(EntriesAnswer::decode_whole(bytes.clone()), Ok(answer));
            let mut changed = bytes.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= flip;
            if let Ok(read) = EntriesAnswer::decode_whole(changed.clone().into()) {
                prop_assert_eq!(encoded(&read), changed);
            }
        }
    }
}
