//! How much of a transfer is on its way at most: asked for, and not yet durable here.
//!
//! That is what a receiver holds in memory, and what is lost if it dies: a sixteenth of all at most, so that whoever
//! dies, however often, little moves twice; and never more than a few answers, however much is to come.
//!
//! Not here: in which pieces it is asked for (`plan`).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::plan::{ANSWER_BYTES, Piece};

/// So many bytes are on their way at most.
const BYTES_MAX: u64 = 16 << 20;
/// And at least so many may be, however little there is to fetch.
const BYTES_MIN: u64 = 256 << 10;
/// The part of all that may be on its way.
const PART_OF_ALL: u64 = 16;

/// The room of one transfer. A clone is the same.
#[derive(Clone)]
pub(super) struct Budget {
    bytes: u64,
    left: Arc<Semaphore>,
}

/// Room for what was asked for. Given back when it is dropped.
pub(super) struct Room(OwnedSemaphorePermit);

impl Budget {
    /// For a transfer of so many bytes in all.
    pub(super) fn of(total: u64) -> Self {
        let bytes = (total / PART_OF_ALL).clamp(BYTES_MIN, BYTES_MAX);
        Self { bytes, left: Arc::new(Semaphore::new(narrow(bytes))) }
    }

    /// Waits for room for what is asked for next.
    pub(super) async fn room_for(self, pieces: Vec<Piece>) -> (Vec<Piece>, Room) {
        let bytes = pieces.iter().map(|piece| piece.bytes).sum();
        (pieces, self.room(bytes).await)
    }

    /// Room for so many bytes. More than all is all: it then moves alone.
    async fn room(&self, bytes: u64) -> Room {
        let count = u32::try_from(bytes.min(self.bytes)).expect("room is small");
        let permit = Arc::clone(&self.left).acquire_many_owned(count).await;
        Room(permit.expect("room is never closed"))
    }

    /// So much is asked for at a time, that several questions have room and what came before is written meanwhile.
    pub(super) fn question_bytes(&self) -> u64 {
        (self.bytes / 4).min(ANSWER_BYTES)
    }

    /// So much is written in one go.
    pub(super) fn write_bytes(&self) -> u64 {
        self.bytes / 4
    }
}

impl Room {
    /// For how many bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.0.num_permits()).expect("a count in memory fits 64 bits")
    }
}

fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).expect("room is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_on_its_way_than_a_part_of_all() {
        let budget = Budget::of(64 << 20);
        let first = budget.room(3 << 20).await;
        let second = budget.room(1 << 20).await;
        assert_eq!((first.bytes(), second.bytes()), (3 << 20, 1 << 20));
        let third = budget.room(1);
        tokio::pin!(third);
        assert!(
            futures_util::poll!(third.as_mut()).is_pending(),
            "four of 64 MiB are on their way"
        );
        drop(second);
        assert_eq!(third.await.bytes(), 1);
    }

    #[tokio::test]
    async fn what_is_longer_than_all_room_moves_alone() {
        let budget = Budget::of(1);
        assert_eq!(budget.room(1 << 40).await.bytes(), BYTES_MIN);
        assert_eq!(Budget::of(1 << 40).room(1 << 40).await.bytes(), BYTES_MAX);
    }

    #[test]
    fn several_questions_have_room() {
        for total in [0, 1 << 20, 100 << 20, 1 << 40] {
            let budget = Budget::of(total);
            assert!(budget.question_bytes() * 4 <= budget.bytes);
            assert!(budget.write_bytes() * 4 <= budget.bytes);
        }
    }
}
