//! The room on this replica's disk, and what is refused when it gets short.
//!
//! | Room | What happens |
//! |---|---|
//! | below twice `disk_free_min` | it is told in the log |
//! | below `disk_free_min` | a leader takes no appends, and hands over if a majority has room |
//! | the file system below a quarter of it | a follower takes no entries with appends, and goes on voting |
//! | less above that than a state transfer brings | the transfer waits, and says how much it needs |
//!
//! Reads, trims, checkpoints and changes go on at every level: what they write fits in what is left, and so do a segment
//! of the journal and a flush of all that was appended before. Between the last two levels lies room for what a leader
//! had taken when it stopped: a follower that refuses appends would hold up the trim behind them. A vote needs no new room at all, since segments of the journal are reserved
//! in advance. Everything returns by itself. What a trim frees inside the state's file counts as room, but no more of it
//! than half of what the file system has: the journal needs room, too, and cannot use that.
//!
//! Not here: what the others have (`status`), and what is done about an error of the disk (`run`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::Core;

/// How often the disk is looked at: what is written between two looks is small beside the least room.
const INTERVAL: Duration = Duration::from_millis(50);
/// So many times the least room is plenty: nobody needs to know each other's soon.
const PLENTY: u64 = 8;
/// Room that was not looked at yet.
const UNKNOWN: u64 = u64::MAX;

/// How short the room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing is to be done.
    Ample,
    /// Somebody should look after it.
    Short,
    /// No appends any more.
    Full,
    /// Not even those of another leader.
    Brim,
}

/// What the disk of this replica has left.
#[derive(Debug)]
pub(super) struct DiskRoom {
    bytes: AtomicU64,
    level: AtomicU8,
}

impl Default for DiskRoom {
    fn default() -> Self {
        Self { bytes: AtomicU64::new(UNKNOWN), level: AtomicU8::new(0) }
    }
}

impl DiskRoom {
    /// So many bytes can still be stored, as far as it was looked at.
    pub(super) fn bytes(&self) -> Option<u64> {
        Some(self.bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNKNOWN)
    }

    /// Whether this replica, if it leads, takes no appends.
    pub(super) fn is_full(&self) -> bool {
        self.level() >= Level::Full
    }

    fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Ample,
            1 => Level::Short,
            2 => Level::Full,
            _ => Level::Brim,
        }
    }

    /// Takes note of what is left. Gives the level before and now.
    fn note(&self, room: Room, min: u64) -> (Level, Level) {
        let before = self.level();
        // Well above a limit before it is fine again: not one after the other.
        let now = room.level(min).max(room.level(min + min / 8).min(before));
        self.bytes.store(room.usable(), Ordering::Relaxed);
        self.level.store(now as u8, Ordering::Relaxed);
        (before, now)
    }
}

/// What was found when the disk was looked at, in bytes.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// Free in the file system.
    free: u64,
    /// Used for nothing inside the state's file.
    spare: u64,
}

impl Room {
    /// What can be stored. So a leader stops well before the file system is down to what makes a follower stop.
    fn usable(self) -> u64 {
        self.free.saturating_add(self.spare.min(self.free / 2))
    }

    /// What can be stored before the brim is reached.
    fn above_brim(self, min: u64) -> u64 {
        self.usable().saturating_sub(min / 4)
    }

    fn level(self, min: u64) -> Level {
        if self.free < min / 4 {
            Level::Brim
        } else if self.usable() < min {
            Level::Full
        } else if self.usable() / 2 < min {
            Level::Short
        } else {
            Level::Ample
        }
    }
}

/// How long a leader may be without news of the others, given the least room that anybody has.
pub(super) fn ask_again_after(least: Option<u64>, min: u64, calm: Duration) -> Duration {
    let is_plenty = least.is_none_or(|least| least / PLENTY >= min);
    if is_plenty { calm } else { calm.min(INTERVAL) }
}

/// Looks at the disk for as long as this replica runs.
pub(super) async fn watch(core: Arc<Core>) {
    let min = core.options.disk_free_min;
    loop {
        let (probes, state) = (Arc::clone(&core.probes), core.state.clone());
        let looked = core.tasks.blocking(move || {
            (probes.disk_free)().map(|free| Room { free, spare: state.spare_bytes() })
        });
        match looked.await {
            Ok(Ok(room)) => {
                let (before, now) = core.disk.note(room, min);
                core.peers.set_brimful(now == Level::Brim);
                core.peers.set_room(room.above_brim(min));
                tell(room, min, before, now);
            }
            Ok(Err(error)) => debug!(%error, "free space of the disk is not known"),
            Err(_failed) => {}
        }
        core.world.clock.sleep(INTERVAL).await;
    }
}

fn tell(Room { free, spare }: Room, min: u64, before: Level, now: Level) {
    let (free_bytes, spare_bytes, free_bytes_min) = (free, spare, min);
    match now {
        Level::Ample | Level::Short if before >= Level::Full => {
            info!(free_bytes, spare_bytes, "disk has room again, appends taken");
        }
        Level::Short if before < now => {
            warn!(free_bytes, spare_bytes, free_bytes_min, "disk nearly full");
        }
        Level::Full if before < now => {
            warn!(free_bytes, spare_bytes, free_bytes_min, "disk full, appends refused");
        }
        Level::Brim if before < now => {
            warn!(free_bytes, free_bytes_min, "disk full to the brim, appends of others refused");
        }
        Level::Ample | Level::Short | Level::Full | Level::Brim => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: u64 = 1_000;

    fn levels(rooms: &[(u64, u64)]) -> Vec<Level> {
        let disk = DiskRoom::default();
        let note = |(free, spare)| disk.note(Room { free, spare }, MIN).1;
        rooms.iter().copied().map(note).collect()
    }

    #[test]
    fn a_disk_that_fills_goes_through_all_levels_and_comes_back_a_little_later() {
        let filling = [(9_000, 0), (1_999, 0), (999, 0), (249, 0)];
        assert_eq!(levels(&filling), [Level::Ample, Level::Short, Level::Full, Level::Brim]);
        let emptying =
            [(249, 0), (280, 0), (281, 0), (1_124, 0), (1_125, 0), (2_249, 0), (2_250, 0)];
        let back = [Level::Brim, Level::Brim, Level::Full, Level::Full, Level::Short];
        assert_eq!(levels(&emptying)[..5], back);
        assert_eq!(levels(&emptying)[5..], [Level::Short, Level::Ample]);
    }

    #[test]
    fn what_a_trim_freed_counts_as_far_as_the_journal_can_keep_up() {
        assert_eq!(levels(&[(999, 0), (800, 400)]), [Level::Full, Level::Short]);
        assert_eq!(levels(&[(249, 1 << 40)]), [Level::Brim], "the journal would have nothing");
        assert_eq!(levels(&[(660, 1 << 40)]), [Level::Full], "before it is down to the brim");
    }

    #[test]
    fn others_are_asked_more_often_once_somebody_has_no_plenty() {
        let calm = Duration::from_secs(2);
        assert_eq!(ask_again_after(Some(PLENTY * MIN), MIN, calm), calm);
        assert_eq!(ask_again_after(Some(PLENTY * MIN - 1), MIN, calm), INTERVAL);
    }
}
