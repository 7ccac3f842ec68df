//! Admission: how much may wait at once, in bytes and in count.
//!
//! A `Permit` is taken before anything is encoded and is given back when its owner drops it, so
//! what is in flight is counted by the type and cannot leak. Taking one never waits: beyond the
//! limits the answer is no, and the caller says when to try again.
//!
//! Not here: what a single record or batch may weigh (`append`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How much may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes of everything that was admitted and not yet answered.
    pub(super) bytes_max: u64,
    /// How many were admitted and not yet answered.
    pub(super) count_max: u64,
}

impl Room {
    fn fits(&self, count: u64, bytes: u64) -> bool {
        // One alone is always admitted: what a single batch may weigh is not decided here.
        (bytes <= self.bytes_max || count == 1) && count <= self.count_max
    }
}

/// Counts what is in flight. A clone counts the same.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    shared: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    room: Room,
    bytes: AtomicU64,
    count: AtomicU64,
    emptied: Notify,
}

impl Permits {
    /// Nothing is in flight yet.
    pub(super) fn new(room: Room) -> Self {
        let counts = Counts {
            room,
            bytes: AtomicU64::new(0),
            count: AtomicU64::new(0),
            emptied: Notify::new(),
        };
        Self { shared: Arc::new(counts) }
    }

    /// Makes room for one more of `bytes`, if there is some.
    pub(super) fn admit(&self, bytes: u64) -> Option<Permit> {
        let counts = &*self.shared;
        let count = counts.count.fetch_add(1, Ordering::Relaxed) + 1;
        let total = counts.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let permit = Permit { permits: self.clone(), bytes };
        counts.room.fits(count, total).then_some(permit)
    }

    /// Whether one more of `bytes` would be admitted now; by the time it asks, that may have changed.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.shared.room.fits(self.count() + 1, self.bytes().saturating_add(bytes))
    }

    /// Bytes in flight.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Ends when nothing is in flight.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.shared.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// How many are in flight.
    pub(super) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }
}

/// Room for one, given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Permits,
    bytes: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let counts = &*self.permits.shared;
        counts.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if counts.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            counts.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(bytes_max: u64, count_max: u64) -> Permits {
        Permits::new(Room { bytes_max, count_max })
    }

    #[test]
    fn what_is_in_flight_is_bounded_in_bytes() {
        let permits = permits(100, 10);
        let first = permits.admit(60).unwrap();
        assert!(permits.has_room(40) && !permits.has_room(41));
        assert!(permits.admit(41).is_none());
        let second = permits.admit(40).unwrap();
        assert_eq!((permits.bytes(), permits.count()), (100, 2));
        drop((first, second));
        assert_eq!((permits.bytes(), permits.count()), (0, 0));
    }

    #[test]
    fn what_is_in_flight_is_bounded_in_count() {
        let permits = permits(100, 2);
        let held = [permits.admit(0).unwrap(), permits.admit(0).unwrap()];
        assert!(permits.admit(0).is_none() && !permits.has_room(0));
        drop(held);
        assert!(permits.admit(0).is_some());
    }

    #[tokio::test]
    async fn whoever_waits_for_the_last_one_is_told() {
        let permits = permits(100, 2);
        let held = permits.admit(1).unwrap();
        let emptied = permits.emptied();
        let mut emptied = std::pin::pin!(emptied);
        assert!(futures_util::poll!(&mut emptied).is_pending());
        drop(held);
        emptied.await;
    }

    #[test]
    fn a_large_one_is_admitted_alone() {
        let permits = permits(100, 2);
        let large = permits.admit(1_000).unwrap();
        assert!(permits.admit(1).is_none());
        drop(large);
        assert_eq!(permits.bytes(), 0);
    }
}
