//! How much of a transfer is on its way at most: asked for, and not yet durable here.
//!
//! That is what a receiver holds in memory, and what is lost if it dies: a sixteenth of all at most, so that whoever
//! dies, however often, little moves twice; never more than a few answers, however much is to come; and at a slow pace
//! what that brings in half a second, so that what came first is whole first.
//!
//! Not here: in which pieces it is asked for (`plan`).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::plan::{ANSWER_BYTES, Piece};
use super::throttle::Pace;

/// So many bytes are on their way at most.
const BYTES_MAX: u64 = 12 << 20;
/// And at least so many may be, however little there is to fetch.
const BYTES_MIN: u64 = 256 << 10;
/// The part of all that may be on its way.
const PART_OF_ALL: u64 = 16;

/// The room of one transfer. A clone is the same.
#[derive(Clone)]
pub(super) struct Budget {
    bytes: u64,
    pace: watch::Receiver<Pace>,
    left: Arc<Semaphore>,
}

/// Room for what was asked for. Given back when it is dropped.
pub(super) struct Room(OwnedSemaphorePermit);

impl Budget {
    /// For a transfer of so many bytes in all.
    pub(super) fn of(total: u64, pace: watch::Receiver<Pace>) -> Self {
        let bytes = (total / PART_OF_ALL).clamp(BYTES_MIN, BYTES_MAX);
        Self { bytes, pace, left: Arc::new(Semaphore::new(narrow(bytes))) }
    }

    /// Waits for room for what is asked for next.
    pub(super) async fn room_for(self, pieces: Vec<Piece>) -> (Vec<Piece>, Room) {
        let bytes = pieces.iter().map(|piece| piece.bytes).sum();
        (pieces, self.room(bytes).await)
    }

    /// Room for so many bytes. More than all is all: it then moves alone.
    async fn room(&self, bytes: u64) -> Room {
        let rate = self.pace.borrow().bytes_per_second;
        let most = rate.map_or(self.bytes, |rate| (rate / 2).clamp(1, self.bytes));
        let part = bytes.saturating_mul(self.bytes) / most;
        let count = u32::try_from(part.min(self.bytes)).expect("room is small");
        let permit = Arc::clone(&self.left).acquire_many_owned(count).await;
        Room(permit.expect("room is never closed"))
    }

    /// Whether what takes this room is to be written: a third of all.
    pub(super) fn is_much(&self, rooms: &[Room]) -> bool {
        let taken: usize = rooms.iter().map(|room| room.0.num_permits()).sum();
        taken >= narrow(self.bytes / 3)
    }

    /// So much is asked for at a time, that several questions have room and what came before is written meanwhile.
    pub(super) fn question_bytes(&self) -> u64 {
        (self.bytes / 4).min(ANSWER_BYTES)
    }
}

fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).expect("room is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(total: u64, bytes_per_second: Option<u64>) -> Budget {
        Budget::of(
            total,
            watch::Sender::new(Pace { bytes_per_second, is_paused: false }).subscribe(),
        )
    }

    async fn is_room(budget: &Budget, bytes: u64) -> bool {
        let room = budget.room(bytes);
        tokio::pin!(room);
        futures_util::poll!(room).is_ready()
    }

    #[tokio::test]
    async fn no_more_is_on_its_way_than_a_part_of_all() {
        let budget = budget(64 << 20, None);
        let first = budget.room(3 << 20).await;
        assert!(is_room(&budget, 1 << 20).await);
        let second = budget.room(1 << 20).await;
        assert!(!is_room(&budget, 1).await, "four of 64 MiB are on their way");
        assert!(budget.is_much(&[first]));
        drop(second);
        assert!(is_room(&budget, 4 << 20).await);
    }

    #[tokio::test]
    async fn at_a_slow_pace_half_a_second_of_it_is_on_its_way() {
        let budget = budget(1 << 40, Some(1_000_000));
        let first = budget.room(400_000).await;
        assert!(is_room(&budget, 90_000).await);
        assert!(!is_room(&budget, 110_000).await);
        drop(first);
        assert!(is_room(&budget, 400_000).await);
    }

    #[tokio::test]
    async fn what_is_longer_than_all_room_moves_alone() {
        for (total, pace) in
            [(1, None), (1 << 40, None), (1 << 40, Some(1)), (1 << 40, Some(u64::MAX))]
        {
            let budget = budget(total, pace);
            let all = budget.room(1 << 40).await;
            assert!(!is_room(&budget, 1 << 20).await);
            drop(all);
        }
    }

    #[test]
    fn several_questions_have_room() {
        for total in [0, 1 << 20, 100 << 20, 1 << 40] {
            let budget = budget(total, None);
            assert!(budget.question_bytes() * 4 <= budget.bytes);
        }
    }
}
