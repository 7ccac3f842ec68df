//! Every threshold of the checks, in one place.
//!
//! Not here: what is made of them (`group`, `newcomers`, `leavers`).

use std::time::Duration;

/// A voter counts as here if it answered within so many heartbeats, or within what a status calls reachable, whichever
/// is longer: two figures for the same question would contradict each other.
pub(super) const HEARTBEATS_MISSED_MAX: u32 = 2;
/// A voter counts as caught up if it lags by no more entries than this...
pub(super) const LAG_ENTRIES_MAX: u64 = 1_000;
/// ...and by no more bytes than this.
pub(super) const LAG_BYTES_MAX: u64 = 8 << 20;
/// A connection is slow if it takes so many times the median.
pub(super) const SLOW_ROUND_TRIPS: u64 = 4;
/// Below this, no connection is slow: on one machine the median is noise.
pub(super) const SLOW_ROUND_TRIP_MIN_US: u64 = 2_000;
/// A disk is tight below so many halves of what is to be stored: one and a half times it.
pub(super) const DISK_TIGHT_HALVES: u64 = 3;
/// Clocks further apart than this are worth a word.
pub(super) const CLOCK_APART_WARN_MS: u64 = 500;
/// Clocks further apart than this are not let in.
pub(super) const CLOCK_APART_MAX_MS: u64 = 5_000;
/// Leadership is unstable if more than one leader was seen within this.
pub(super) const LEADERS_SEEN_WITHIN: Duration = Duration::from_mins(1);
/// Who has not answered for so long is taken for dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);
