//! The ring of idempotency keys of a log: what makes a one-off call safe to repeat for some
//! minutes.
//!
//! Keys are numbered in the order in which they came, and leave in that order: by age, or to make
//! room for a newer one. So the ring holds consecutive ordinals, the newest of which is one below
//! the next. Nothing leaves but in `apply`, hence all replicas forget at the same entry.
//!
//! Not here: what a retry after that means to callers (it is a new append, and the documentation
//! says so).

use std::collections::{BTreeMap, VecDeque};

use client::types::{IdempotencyKey, Position, Timestamp};
use migrations::latest::values::KeyRow;

use super::producers::Place;

/// The keys of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyRing {
    places: BTreeMap<IdempotencyKey, Place>,
    /// Oldest first. The ordinal of the last is one below `next`.
    order: VecDeque<IdempotencyKey>,
    next: u64,
}

impl KeyRing {
    /// An empty ring whose next key has this ordinal.
    pub(super) const fn starting_at(next: u64) -> Self {
        Self { places: BTreeMap::new(), order: VecDeque::new(), next }
    }

    pub(super) fn count(&self) -> usize {
        self.order.len()
    }

    /// The ordinal of the next key.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn place(&self, key: &str) -> Option<&Place> {
        self.places.get(key)
    }

    /// Remembers a key that is not in the ring, and gives its ordinal.
    pub(super) fn push(&mut self, key: &str, place: Place) -> u64 {
        let key = IdempotencyKey::new(key).expect("a key was checked before proposing");
        let ordinal = self.next;
        let before = self.places.insert(key.clone(), place);
        assert!(before.is_none(), "a key is remembered once");
        self.order.push_back(key);
        self.next += 1;
        ordinal
    }

    /// Forgets the oldest key, and gives its ordinal.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let ordinal = self.first();
        let key = self.order.pop_front()?;
        self.places.remove(&key);
        Some(ordinal)
    }

    /// Forgets the oldest key if it came before `oldest`, and gives its ordinal.
    pub(super) fn pop_before(&mut self, oldest: Timestamp) -> Option<u64> {
        let place = self.places.get(self.order.front()?)?;
        if place.time < oldest { self.pop() } else { None }
    }

    pub(super) fn ordinals(&self) -> std::ops::Range<u64> {
        self.first()..self.next
    }

    fn first(&self) -> u64 {
        let count = u64::try_from(self.order.len()).expect("a count fits 64 bits");
        self.next - count
    }

    /// The row of an ordinal; nothing if the key was forgotten.
    pub(super) fn row(&self, ordinal: u64) -> Option<KeyRow> {
        let index = usize::try_from(ordinal.checked_sub(self.first())?).ok()?;
        let key = self.order.get(index)?;
        let place = self.places.get(key)?;
        Some(KeyRow { key: key.as_str().to_owned(), batch: place.row() })
    }

    /// Puts a key back in front of those that are there, as it was kept. `starting_at` gave the
    /// ordinal after the last; keys come newest first.
    pub(super) fn load_older(
        &mut self,
        ordinal: u64,
        key: IdempotencyKey,
        row: &KeyRow,
        tail: Position,
    ) -> Option<()> {
        let place = Place::from_row(&row.batch, tail)?;
        if self.first().checked_sub(1)? != ordinal || self.places.contains_key(&key) {
            return None;
        }
        self.places.insert(key.clone(), place);
        self.order.push_front(key);
        Some(())
    }
}
