//! Cursors of a log: where consumers are, by name.
//!
//! A cursor is a position up to the tail, set as often as a consumer likes, also backwards; from where it
//! is expected to be, if the consumer says so, and one that is not there is at the beginning.
//! Trimming does not move it: the consumer is told by its next read.
//!
//! Not here: how many there may be (`mod`), and reading on from one (the SDK).

use std::collections::BTreeMap;

use client::types::{CursorName, Position, Timestamp};
use migrations::latest::values::CursorRow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    position: Position,
    time: Timestamp,
    /// Whether its row is among those to be written.
    is_dirty: bool,
}

/// All cursors of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursors {
    cursors: BTreeMap<CursorName, Cursor>,
}

impl Cursors {
    pub(super) fn count(&self) -> usize {
        self.cursors.len()
    }

    pub(super) fn position(&self, name: &CursorName) -> Option<Position> {
        self.cursors.get(name).map(|cursor| cursor.position)
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = (&CursorName, Position)> {
        self.cursors.iter().map(|(name, cursor)| (name, cursor.position))
    }

    /// Stores a position. Says whether the row was clean until now.
    pub(super) fn set(&mut self, name: &CursorName, position: Position, time: Timestamp) -> bool {
        let cursor = Cursor { position, time, is_dirty: true };
        let before = self.cursors.insert(name.clone(), cursor);
        !before.is_some_and(|before| before.is_dirty)
    }

    /// Forgets a cursor. Says whether it was there.
    pub(super) fn remove(&mut self, name: &CursorName) -> bool {
        self.cursors.remove(name).is_some()
    }

    /// The row of a cursor, which is clean from now on; nothing if it is gone.
    pub(super) fn take_row(&mut self, name: &CursorName) -> Option<CursorRow> {
        let cursor = self.cursors.get_mut(name)?;
        cursor.is_dirty = false;
        Some(row(cursor))
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&CursorName, CursorRow)> {
        self.cursors.iter().map(|(name, cursor)| (name, row(cursor)))
    }

    pub(super) fn load(&mut self, name: CursorName, row: CursorRow) {
        let (position, time) = (Position::new(row.position), Timestamp::new(row.time));
        self.cursors.insert(name, Cursor { position, time, is_dirty: false });
    }
}

const fn row(cursor: &Cursor) -> CursorRow {
    CursorRow { position: cursor.position.get(), time: cursor.time.as_millis() }
}
