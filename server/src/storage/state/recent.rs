//! The rolling digests of the newest entries, so that replicas can compare what they executed.
//!
//! Kept in memory alone and bounded: whoever asks for an entry that is too old learns that it is not known any more.

use std::collections::VecDeque;

use client::types::{Digest, EntryIndex};

use super::checkpoints::Attestation;
use super::{State, UNBROKEN};
use crate::machine::Machine;

/// So many entries are remembered.
const RECENT_MAX: usize = 4096;

/// The newest rolling digests, in the order of entries.
#[derive(Debug, Default)]
pub(super) struct Recent {
    digests: VecDeque<(u64, Digest)>,
}

impl Recent {
    pub(super) fn push(&mut self, entry: EntryIndex, digest: Digest) {
        if self.digests.len() == RECENT_MAX {
            self.digests.pop_front();
        }
        self.digests.push_back((entry.get(), digest));
    }

    /// The state is that of this machine: nothing else is known of how it came about.
    pub(super) fn begin(&mut self, machine: &Machine) {
        self.digests.clear();
        if let Some(applied) = machine.applied() {
            self.push(applied.index, machine.rolling_digest());
        }
    }

    fn at(&self, entry: EntryIndex) -> Attestation {
        let entry = entry.get();
        if self.digests.back().is_none_or(|(last, _)| *last < entry) {
            return Attestation::NotYet;
        }
        let found = self.digests.binary_search_by_key(&entry, |(at, _)| *at);
        found.map_or(Attestation::Unknown, |at| Attestation::Digest(self.digests[at].1))
    }
}

impl State {
    /// The rolling digest of this replica at an entry, if that was applied lately.
    pub fn rolling_digest(&self, entry: EntryIndex) -> Attestation {
        self.0.recent.lock().expect(UNBROKEN).at(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_not_there_yet_or_known_or_forgotten() {
        let mut recent = Recent::default();
        let digest = |entry: u64| Digest::new([entry.to_le_bytes()[0]; 32]);
        assert_eq!(recent.at(EntryIndex::new(1)), Attestation::NotYet);
        let last = u64::try_from(RECENT_MAX).unwrap() + 10;
        (1..=last).for_each(|entry| recent.push(EntryIndex::new(entry), digest(entry)));
        assert_eq!(recent.at(EntryIndex::new(last + 1)), Attestation::NotYet);
        assert_eq!(recent.at(EntryIndex::new(last)), Attestation::Digest(digest(last)));
        assert_eq!(recent.at(EntryIndex::new(11)), Attestation::Digest(digest(11)));
        assert_eq!(recent.at(EntryIndex::new(10)), Attestation::Unknown);
    }
}
