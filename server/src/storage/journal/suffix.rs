//! The newest entries in memory, readable before they are durable.
//!
//! It always reaches to the last entry, without a hole. An entry that is not durable never leaves it:
//! the file does not have it yet. One that is durable but not applied leaves only when twice the
//! bound is used, since it will be asked for once more.
//!
//! Not here: entries below it, which are read from the segments (`catalog`, `reader`).

use std::collections::VecDeque;

use super::Entry;

/// What an entry costs beside its payload.
const ENTRY_BYTES: usize = size_of::<Entry>() + 64;

/// Entries from `first` on.
#[derive(Debug)]
pub(super) struct Suffix {
    entries: VecDeque<Entry>,
    first: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Suffix {
    /// An empty one; the next entry is `first`.
    pub(super) fn new(first: u64, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), first, bytes: 0, bytes_max }
    }

    /// Index of the oldest entry that is here, or of the next one if there is none.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(at)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let index = entry.id.index.get();
        if self.entries.is_empty() {
            self.first = index;
        }
        let next = self.first + u64::try_from(self.entries.len()).expect("a count fits 64 bits");
        assert_eq!(index, next, "entries in memory have no hole");
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
    }

    /// Drops entries from `until` on.
    pub(super) fn truncate(&mut self, until: u64) {
        while self.entries.back().is_some_and(|entry| entry.id.index.get() >= until) {
            self.bytes -= self.entries.pop_back().map_or(0, |entry| cost(&entry));
        }
        self.first = self.first.min(until);
    }

    /// Drops entries below `until`, wanted or not.
    pub(super) fn purge(&mut self, until: u64) {
        while self.entries.front().is_some_and(|entry| entry.id.index.get() < until) {
            self.pop_front();
        }
        if self.entries.is_empty() {
            self.first = self.first.max(until);
        }
    }

    /// Drops what is too much: the oldest, if durable, and rather if applied.
    pub(super) fn evict(&mut self, durable_until: u64, applied_until: u64) {
        while self.bytes > self.bytes_max && self.first < durable_until {
            let is_wanted = self.first >= applied_until && self.bytes <= 2 * self.bytes_max;
            if is_wanted || self.entries.is_empty() {
                break;
            }
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= cost(&entry);
            self.first += 1;
        }
    }
}

fn cost(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.body.payload_bytes()
}

#[cfg(test)]
mod tests {
    use client::types::{EntryId, EntryIndex, Term};

    use super::*;
    use crate::machine::EntryBody;

    fn filled(entries_max: usize) -> Suffix {
        let mut suffix = Suffix::new(0, entries_max * ENTRY_BYTES);
        for index in 0..10 {
            let id = EntryId::new(Term::new(1), 1, EntryIndex::new(index));
            suffix.push(Entry { id, body: EntryBody::Blank });
        }
        suffix
    }

    #[test]
    fn what_is_not_durable_stays() {
        let mut suffix = filled(2);
        suffix.evict(3, 10);
        assert_eq!(suffix.first(), 3);
        suffix.evict(10, 10);
        assert_eq!(suffix.first(), 8);
    }

    #[test]
    fn what_is_not_applied_stays_until_twice_the_bound() {
        let mut suffix = filled(4);
        suffix.evict(10, 0);
        assert_eq!(suffix.first(), 2);
        suffix.evict(10, 5);
        assert_eq!(suffix.first(), 5);
        suffix.evict(10, 10);
        assert_eq!(suffix.first(), 6);
    }

    #[test]
    fn a_cut_and_a_jump_move_the_beginning() {
        let mut suffix = filled(100);
        suffix.truncate(7);
        assert!(suffix.get(7).is_none() && suffix.get(6).is_some());
        suffix.purge(20);
        assert_eq!(suffix.first(), 20);
        suffix.truncate(15);
        assert_eq!(suffix.first(), 15);
    }
}
