//! What consensus orders: terms, entries, and the epoch of a membership.
//!
//! Entry ids are ordered by term, then leader, then index: the order in which logs of replicas are
//! compared. People see `term.index`.
//!
//! Not here: what an entry carries.

use std::fmt;

use super::newtype::number;

number! {
    /// The leadership an entry came from.
    Term
}

number! {
    /// The place of an entry in the journal.
    EntryIndex
}

impl EntryIndex {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a journal has fewer than 2^64 entries"))
    }

    /// The place before this one, if there is one.
    pub const fn previous(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }
}

number! {
    /// Which membership is meant: the index of its entry.
    Epoch
}

/// What tells an entry from every other. Ordered by term, leader, index.
///
/// ```
/// use quorate_client::types::{EntryId, EntryIndex, Term};
///
/// let (older, newer) = (Term::new(3), Term::new(4));
/// let entry = |term| EntryId::new(term, 1, EntryIndex::new(17));
/// assert!(entry(older) < entry(newer));
/// ```
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct EntryId {
    /// The term it was proposed in.
    pub term: Term,
    /// The replica that led this term, or 0 for none.
    pub leader: u64,
    /// Its place.
    pub index: EntryIndex,
}

impl EntryId {
    /// The entry a leader of a term put at an index.
    pub const fn new(term: Term, leader: u64, index: EntryIndex) -> Self {
        Self { term, leader, index }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, leader: u64, index: u64) -> EntryId {
        EntryId::new(Term::new(term), leader, EntryIndex::new(index))
    }

    #[test]
    fn a_later_term_beats_a_longer_journal() {
        assert!(id(2, 1, 5) > id(1, 3, 900));
        assert!(id(2, 2, 5) > id(2, 1, 6));
        assert!(id(2, 2, 6) > id(2, 2, 5));
    }

    #[test]
    fn people_see_term_and_index() {
        assert_eq!(id(3, 1, 42).to_string(), "3.42");
    }

    #[test]
    fn the_first_entry_has_none_before_it() {
        assert_eq!(EntryIndex::new(0).previous(), None);
        assert_eq!(EntryIndex::new(7).previous().map(EntryIndex::next), Some(EntryIndex::new(7)));
    }
}
