//! Places in a log, and ranges of them.
//!
//! Positions are dense and start at 0. What a position holds never changes, so a range names the
//! same records for ever.
//!
//! ```text
//!   trim point          tail
//!       v                 v
//!   0 1 2 3 4 5 6 7 8 9 10      [2, 10) can be read, the next record gets 10
//! ```
//!
//! Not here: offsets, which are bytes within a file or body.

use super::newtype::number;

number! {
    /// The place of a record in its log.
    Position
}

impl Position {
    /// Where every log starts.
    pub const ZERO: Self = Self(0);

    /// The position `count` records on.
    #[must_use]
    pub fn advance(self, count: u64) -> Self {
        self.checked_advance(count).expect("a log has fewer than 2^64 records")
    }

    /// The position `count` records on, if there is such a number.
    pub const fn checked_advance(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(position) => Some(Self(position)),
            None => None,
        }
    }

    /// How many records lie from `earlier` up to here, this one not counted.
    pub fn since(self, earlier: Self) -> u64 {
        assert!(earlier <= self, "{earlier} does not come before {self}");
        self.0 - earlier.0
    }
}

/// Positions from one (included) until another (not included).
///
/// ```
/// use quorate_client::types::{Position, PositionRange};
///
/// assert!(PositionRange::new(Position::ZERO, Position::new(17)).is_ok());
/// assert!(PositionRange::new(Position::new(17), Position::ZERO).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PositionRange {
    from: Position,
    until: Position,
}

impl PositionRange {
    /// The range, if `from` does not come after `until`.
    pub fn new(from: Position, until: Position) -> Result<Self, PositionRangeError> {
        if from > until {
            return Err(PositionRangeError { from, until });
        }
        Ok(Self { from, until })
    }

    /// The first position.
    pub const fn from(self) -> Position {
        self.from
    }

    /// One past the last position.
    pub const fn until(self) -> Position {
        self.until
    }

    /// How many positions.
    pub const fn count(self) -> u64 {
        self.until.0 - self.from.0
    }

    /// Whether it holds no position.
    pub const fn is_empty(self) -> bool {
        self.from.0 == self.until.0
    }

    /// Whether it holds this position.
    pub fn contains(self, position: Position) -> bool {
        self.from <= position && position < self.until
    }
}

impl std::fmt::Display for PositionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {})", self.from, self.until)
    }
}

/// A range that would end before it starts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range may not end at {until}, before its start at {from}")]
pub struct PositionRangeError {
    /// Where it was to start.
    pub from: Position,
    /// Where it was to end.
    pub until: Position,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_never_ends_before_it_starts() {
        assert!(PositionRange::new(Position::new(2), Position::new(1)).is_err());
        let empty = PositionRange::new(Position::new(2), Position::new(2)).unwrap();
        assert!(empty.is_empty() && !empty.contains(Position::new(2)));
        let range = PositionRange::new(Position::new(2), Position::new(4)).unwrap();
        assert_eq!((range.count(), range.to_string().as_str()), (2, "[2, 4)"));
    }

    #[test]
    fn positions_end_where_numbers_do() {
        assert_eq!(Position::new(u64::MAX).checked_advance(1), None);
        assert_eq!("18446744073709551615".parse(), Ok(Position::new(u64::MAX)));
        assert!("-1".parse::<Position>().is_err());
    }

    proptest! {
        #[test]
        fn advancing_and_counting_back_agree(start in 0..u64::MAX / 2, count in 0..u64::MAX / 2) {
            let start = Position::new(start);
            prop_assert_eq!(start.advance(count).since(start), count);
        }
    }
}
