//! Where each entry lies: which segment, at which offset, how long. Eight bytes per entry.
//!
//! Entries lie in the order of their indexes, so a segment keeps its first index and one slot for each
//! entry that still counts. Which leader made them is kept in runs: leaders are few.
//!
//! The catalog is changed by the writer alone, after the sync, in the order of the frames. It knows
//! durable entries only; what is newer is in the suffix.

use std::collections::VecDeque;
use std::sync::Arc;

use client::types::{EntryId, EntryIndex, Term};

use super::segment::Segment;

/// Offsets are kept in units of frame alignment.
const UNIT_BYTES: u64 = 8;

/// Where an entry's frame begins, and how long its payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    units: u32,
    length: u32,
}

impl Slot {
    /// A frame at `offset`, which is aligned.
    pub(super) fn new(offset: u64, length: u32) -> Self {
        let units = u32::try_from(offset / UNIT_BYTES).expect("a segment is shorter than 32 GiB");
        Self { units, length }
    }

    pub(super) fn offset(self) -> u64 {
        u64::from(self.units) * UNIT_BYTES
    }

    pub(super) fn length(self) -> u32 {
        self.length
    }
}

/// Consecutive entries of one segment.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) segment: Arc<Segment>,
    pub(super) first: u64,
    pub(super) slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    term: u64,
    leader: u64,
}

/// Where each entry lies.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    segments: VecDeque<Stretch>,
    runs: VecDeque<Run>,
}

impl Catalog {
    /// From here on, entries go to this segment.
    pub(super) fn enter(&mut self, segment: Arc<Segment>) {
        if let Some(before) = self.segments.back_mut() {
            before.slots.shrink_to_fit();
        }
        self.segments.push_back(Stretch { segment, first: 0, slots: Vec::new() });
    }

    /// An entry became durable in the newest segment.
    pub(super) fn add(&mut self, id: &EntryId, slot: Slot) {
        let index = id.index.get();
        let newest = self.segments.back_mut().expect("there is a segment to add to");
        if newest.slots.is_empty() {
            newest.first = index;
        }
        assert_eq!(index, newest.until(), "entries of a segment have no hole");
        newest.slots.push(slot);
        let (term, leader) = (id.term.get(), id.leader);
        if self.runs.back().is_none_or(|run| (run.term, run.leader) != (term, leader)) {
            self.runs.push_back(Run { first: index, term, leader });
        }
    }

    /// The next entry, which lies in this segment.
    pub(super) fn add_to(&mut self, segment: &Arc<Segment>, id: &EntryId, slot: Slot) {
        let later = self.segments.iter().rev().take_while(|it| !Arc::ptr_eq(&it.segment, segment));
        let kept = self.segments.len() - later.count();
        let later = self.segments.split_off(kept);
        self.add(id, slot);
        self.segments.extend(later);
    }

    /// Forgets entries from `until` on.
    pub(super) fn truncate(&mut self, until: u64) {
        for stretch in self.segments.iter_mut().rev() {
            let kept = usize::try_from(until.saturating_sub(stretch.first)).unwrap_or(usize::MAX);
            stretch.slots.truncate(kept);
        }
        while self.runs.back().is_some_and(|run| run.first >= until) {
            self.runs.pop_back();
        }
    }

    /// Forgets entries below `until`, and hands out the segments that held nothing else.
    pub(super) fn purge(&mut self, until: u64) -> Vec<Arc<Segment>> {
        let mut unused = Vec::new();
        while self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.is_below(until)) {
            unused.extend(self.segments.pop_front().map(|stretch| stretch.segment));
        }
        for stretch in &mut self.segments {
            if stretch.is_below(until) {
                stretch.slots.clear();
            }
        }
        while self.runs.get(1).is_some_and(|run| run.first <= until) {
            self.runs.pop_front();
        }
        unused
    }

    /// The first entry of the newest segments that hold at least so many bytes of frames together; of the
    /// oldest one, if all of them do not.
    pub(super) fn keeping(&self, bytes: u64) -> Option<u64> {
        let mut held = 0;
        let mut first = None;
        for stretch in self.segments.iter().rev().filter(|stretch| !stretch.slots.is_empty()) {
            first = Some(stretch.first);
            let (begin, end) = (stretch.slots[0], stretch.slots[stretch.slots.len() - 1]);
            held += end.offset() + u64::from(end.length()) - begin.offset();
            if held >= bytes {
                break;
            }
        }
        first
    }

    /// Bytes of the frames behind an entry.
    pub(super) fn bytes_after(&self, index: u64) -> u64 {
        let behind = self.segments.iter().map(|stretch| {
            let skipped = (index + 1).saturating_sub(stretch.first);
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            let slots = stretch.slots.get(skipped..).unwrap_or_default();
            match slots {
                [] => 0,
                [begin, ..] => {
                    let end = slots[slots.len() - 1];
                    end.offset() + u64::from(end.length()) - begin.offset()
                }
            }
        });
        behind.sum()
    }

    /// Whether purging entries below `until` lets at least one segment go.
    pub(super) fn frees_segment(&self, until: u64) -> bool {
        self.segments.len() > 1 && self.segments.front().is_some_and(|it| it.is_below(until))
    }

    /// Index of the oldest entry that is here.
    pub(super) fn first(&self) -> Option<u64> {
        self.segments.iter().find(|stretch| !stretch.slots.is_empty()).map(|stretch| stretch.first)
    }

    /// The name of an entry that is here.
    pub(super) fn entry_id(&self, index: u64) -> Option<EntryId> {
        let after = self.runs.partition_point(|run| run.first <= index);
        let run = self.runs.get(after.checked_sub(1)?)?;
        Some(EntryId::new(Term::new(run.term), run.leader, EntryIndex::new(index)))
    }

    /// Where `[from, until)` lies, as far as `bytes_max` goes, but at least the first entry.
    pub(super) fn locate(&self, from: u64, until: u64, bytes_max: u64) -> Vec<Stretch> {
        let mut found: Vec<Stretch> = Vec::new();
        let (mut next, mut bytes) = (from, 0_u64);
        for stretch in &self.segments {
            let mut slots = Vec::new();
            while next < until && stretch.contains(next) {
                let slot = stretch.slots[stretch.at(next)];
                bytes += u64::from(slot.length());
                if bytes > bytes_max && next > from {
                    break;
                }
                slots.push(slot);
                next += 1;
            }
            if let Some(count) = u64::try_from(slots.len()).ok().filter(|count| *count > 0) {
                let segment = Arc::clone(&stretch.segment);
                found.push(Stretch { segment, first: next - count, slots });
            }
            if bytes > bytes_max {
                break;
            }
        }
        found
    }

    /// How many segments there are.
    pub(super) fn segment_count(&self) -> usize {
        self.segments.len()
    }
}

impl Stretch {
    /// The index after the last entry.
    pub(super) fn until(&self) -> u64 {
        self.first + u64::try_from(self.slots.len()).expect("a count fits 64 bits")
    }

    fn contains(&self, index: u64) -> bool {
        (self.first..self.until()).contains(&index)
    }

    fn at(&self, index: u64) -> usize {
        usize::try_from(index - self.first).expect("a slot's place fits memory")
    }

    /// Whether nothing here is needed once entries below `until` are purged.
    fn is_below(&self, until: u64) -> bool {
        self.slots.is_empty() || self.until() <= until
    }
}
