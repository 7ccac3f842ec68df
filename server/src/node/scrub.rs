//! The scrub: reads every tile again in time, and repairs what is damaged.
//!
//! A pass goes through all logs and looks at one tile after the other, slowly, so that all is seen within a time that is
//! configured; asked for, it goes as fast as half a thread can. What it finds damaged is taken from the others at once.
//! So is what a read comes across, which is refused until then. What cannot be repaired is tried again as long as it is
//! damaged: somebody who has it may be away.
//!
//! A replica whose state is not the certified one rests: it takes all anew.
//!
//! Not here: what proves a tile (`storage::state`), and whom it is taken from (`peer::repair`).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::api::audit::{DamagedTile, ScrubReport};
use client::types::{LogId, LogName, Position, PositionRange, Timestamp};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::Node;
use crate::machine::{LogView, TILE_WIDTH};
use crate::peer::{Repair, Repairer};
use crate::storage::state::TileLook;
use crate::world::tasks;

/// A pass is done in so many quarters of the time it has, so that two of them see every tile within it.
const QUARTERS: u32 = 3;
/// A start has better to do.
const FIRST_AFTER: Duration = Duration::from_mins(1);
/// However little there is: at least so many bytes a second.
const RATE_MIN: u64 = 1 << 20;
/// A look costs at least as much as reading so many bytes.
const LOOK_BYTES: u64 = 4 << 10;
/// What could not be repaired is tried again after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// So many damaged tiles are remembered; the others are found again.
const REMEMBERED_MAX: usize = 1024;
/// So many are told.
const TOLD_MAX: usize = 100;
/// So many logs are listed at a time.
const LOGS_MAX: usize = 256;

/// Tiles that are known to be damaged. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Damages(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// With the reason why they could not be repaired, once that was tried.
    tiles: Mutex<BTreeMap<(LogId, u64), Option<String>>>,
    news: Notify,
}

impl Damages {
    /// These records are damaged: they are to be repaired. Never waits.
    pub fn found(&self, log: LogId, range: PositionRange) {
        let first = range.from().get() / TILE_WIDTH;
        let until = range.until().get().div_ceil(TILE_WIDTH).max(first + 1);
        {
            let mut tiles = self.tiles();
            for number in first..until {
                if tiles.len() >= REMEMBERED_MAX {
                    break;
                }
                tiles.entry((log, number)).or_default();
            }
        }
        self.0.news.notify_one();
    }

    fn tiles(&self) -> MutexGuard<'_, BTreeMap<(LogId, u64), Option<String>>> {
        // A panic while it was held left whole rows behind.
        self.0.tiles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the scrub of this replica is about.
pub(super) struct Scrub {
    repairer: Repairer,
    damages: Damages,
    standing: Mutex<Standing>,
    asked: Notify,
    /// Whoever repairs a tile holds it, so that nobody does it twice.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    pass: u64,
    /// A pass that was asked for and has not begun.
    is_asked: bool,
    is_done: bool,
    tiles_total: u64,
    tiles_done: u64,
    bytes_done: u64,
    last_done: Option<Timestamp>,
    damaged_tiles: u64,
    repaired_tiles: u64,
}

impl Scrub {
    pub(super) fn new(repairer: Repairer, damages: Damages) -> Self {
        Self {
            repairer,
            damages,
            standing: Mutex::default(),
            asked: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at everything, again and again.
pub(super) async fn scrub(node: Node) {
    let (core, scrub) = (&*node.core, &node.core.scrub);
    let period = core.options.scrub_within / 4 * QUARTERS;
    core.world.clock.within(FIRST_AFTER.min(period), scrub.asked.notified()).await.ok();
    loop {
        let began = core.world.clock.now();
        let is_asked = std::mem::take(&mut scrub.standing().is_asked);
        let is_done = tokio::select! {
            is_done = node.pass(period, is_asked) => is_done,
            () = scrub.asked.notified() => continue,
        };
        let rest = if is_done {
            period.saturating_sub(core.world.clock.since(began))
        } else {
            TRY_AGAIN_AFTER
        };
        core.world.clock.within(rest, scrub.asked.notified()).await.ok();
    }
}

/// Repairs what reads come across, and tries again what could not be repaired.
pub(super) async fn repair_what_is_found(node: Node) {
    let damages = &node.core.scrub.damages;
    loop {
        let news = damages.0.news.notified();
        if damages.tiles().is_empty() {
            news.await;
        } else {
            node.core.world.clock.within(TRY_AGAIN_AFTER, news).await.ok();
        }
        let tiles: Vec<_> = damages.tiles().keys().copied().collect();
        for (log, number) in tiles {
            node.repair(log, number).await;
        }
    }
}

impl Node {
    /// How far the scrub of this replica is.
    pub fn scrub_report(&self) -> ScrubReport {
        let standing = self.core.scrub.standing().clone();
        ScrubReport {
            replica: self.replica(),
            pass: standing.pass + u64::from(standing.is_asked),
            is_done: standing.is_done && !standing.is_asked,
            tiles_total: standing.tiles_total,
            tiles_done: standing.tiles_done,
            bytes_done: standing.bytes_done,
            last_done: standing.last_done,
            damaged_tiles: standing.damaged_tiles,
            repaired_tiles: standing.repaired_tiles,
            unrepaired: self.unrepaired(),
        }
    }

    /// Has a pass begin now, in place of one that is under way. Tells of the one to come.
    pub fn scrub_now(&self) -> ScrubReport {
        self.core.scrub.standing().is_asked = true;
        self.core.scrub.asked.notify_one();
        self.scrub_report()
    }

    fn unrepaired(&self) -> Vec<DamagedTile> {
        let tiles = self.core.scrub.damages.tiles().clone();
        let told = tiles.into_iter().filter_map(|((log, number), reason)| {
            let view = self.core.state.view_by_id(log)?;
            let until = view.tail.min(Position::new((number + 1) * TILE_WIDTH));
            Some(DamagedTile {
                log: view.name.clone(),
                from: Position::new(number * TILE_WIDTH),
                until,
                reason: reason.unwrap_or_else(|| "its repair has begun".to_owned()),
            })
        });
        told.take(TOLD_MAX).collect()
    }

    /// Looks at every tile once. Says whether it did: not where all is to be taken anew.
    async fn pass(&self, period: Duration, is_asked: bool) -> bool {
        let core = &*self.core;
        let total = self.all_tiles();
        {
            let mut standing = core.scrub.standing();
            standing.pass += 1;
            standing.is_done = false;
            (standing.tiles_total, standing.tiles_done, standing.bytes_done) = (total.0, 0, 0);
        }
        // Slower than that it need not be, faster it must not be: the disk is others' as well.
        let rate = if is_asked { u64::MAX } else { rate(total.1, period) };
        let mut after: Option<LogName> = None;
        loop {
            let logs = core.state.views("", after.as_ref().map(LogName::as_str), LOGS_MAX);
            let Some(last) = logs.last() else { break };
            after = Some(last.name.clone());
            for view in logs {
                for number in tiles_of(&view) {
                    let began = core.world.clock.now();
                    if core.state.is_diverged() {
                        return false;
                    }
                    let bytes = self.look(view.id, number).await;
                    let micros = bytes.max(LOOK_BYTES).saturating_mul(1_000_000) / rate;
                    let pause = Duration::from_micros(micros).max(core.world.clock.since(began));
                    core.world.clock.sleep(pause).await;
                }
            }
        }
        let at = Timestamp::new(core.world.clock.wall_millis());
        let mut standing = core.scrub.standing();
        standing.is_done = true;
        standing.last_done = Some(at);
        core.metrics.scrub_passed();
        info!(
            tiles = standing.tiles_done,
            bytes = standing.bytes_done,
            damaged = standing.damaged_tiles,
            repaired = standing.repaired_tiles,
            "all tiles were read again"
        );
        true
    }

    /// How many tiles there are, and bytes in them.
    fn all_tiles(&self) -> (u64, u64) {
        let (mut tiles, mut bytes) = (0, 0);
        let mut after: Option<LogName> = None;
        loop {
            let logs = self.core.state.views("", after.as_ref().map(LogName::as_str), LOGS_MAX);
            let Some(last) = logs.last() else { return (tiles, bytes) };
            after = Some(last.name.clone());
            for view in &logs {
                let range = tiles_of(view);
                let count = range.end.saturating_sub(range.start);
                tiles += count;
                bytes += (view.bytes_at_tail - view.bytes_at_trim) + count * LOOK_BYTES;
            }
        }
    }

    /// Looks at a tile, and has it repaired if it is damaged. Gives its bytes.
    async fn look(&self, log: LogId, number: u64) -> u64 {
        let core = &*self.core;
        let state = core.state.clone();
        let look = move || state.look_at_tile(log, number).map_err(io::Error::other);
        let bytes = match tasks::blocking(look).await {
            Ok(TileLook::Whole(bytes)) => bytes,
            Ok(TileLook::Gone) => 0,
            // What cannot be read at all is no better than what is read and wrong.
            Ok(TileLook::Damaged(_)) | Err(_) => {
                self.repair(log, number).await;
                0
            }
        };
        core.metrics.tile_scrubbed(bytes);
        let mut standing = core.scrub.standing();
        standing.tiles_done += 1;
        standing.bytes_done += bytes;
        bytes
    }

    /// Repairs a tile if it is damaged, and remembers it as long as that does not succeed.
    async fn repair(&self, log: LogId, number: u64) {
        let core = &*self.core;
        let _turn = core.scrub.turn.lock().await;
        if core.state.is_diverged() {
            return;
        }
        let repaired = core.scrub.repairer.repair(log, number).await;
        let first = Position::new(number * TILE_WIDTH);
        let (count, is_new) = {
            let mut tiles = core.scrub.damages.tiles();
            let was_tried = tiles.get(&(log, number)).is_some_and(Option::is_some);
            match &repaired {
                Ok(_) => drop(tiles.remove(&(log, number))),
                Err(reason) if was_tried || tiles.len() < REMEMBERED_MAX => {
                    tiles.insert((log, number), Some(reason.to_string()));
                }
                Err(_) => {}
            }
            (tiles.len(), !was_tried)
        };
        core.metrics.tiles_unrepaired(u64::try_from(count).unwrap_or(u64::MAX));
        let is_damaged = !matches!(repaired, Ok(Repair::NotNeeded));
        if is_damaged && is_new {
            core.metrics.tile_damage_found();
            core.scrub.standing().damaged_tiles += 1;
        }
        match repaired {
            Ok(Repair::Done) => {
                core.metrics.tile_repaired();
                core.scrub.standing().repaired_tiles += 1;
                warn!(%log, from = %first, "a damaged tile was taken from another replica");
            }
            Err(reason) if is_new => {
                warn!(%log, from = %first, %reason, "a damaged tile is not repaired yet");
            }
            Ok(Repair::NotNeeded) | Err(_) => {}
        }
    }
}

/// The tiles of a log that has records in them.
fn tiles_of(view: &LogView) -> std::ops::Range<u64> {
    view.trim.get() / TILE_WIDTH..view.tail.get().div_ceil(TILE_WIDTH)
}

/// Bytes in a second at which all is seen in a period.
fn rate(bytes: u64, period: Duration) -> u64 {
    (bytes / period.as_secs().max(1)).max(RATE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_seen_within_the_period_and_little_is_seen_soon() {
        let day = Duration::from_hours(18);
        assert_eq!(rate(100, day), RATE_MIN);
        let much = 1 << 40;
        assert!(much / rate(much, day) <= 18 * 3600 + 60);
    }

    #[test]
    fn what_is_found_is_remembered_by_tiles_and_within_limits() {
        let (damages, log) = (Damages::default(), LogId::new(1));
        let range =
            |from, until| PositionRange::new(Position::new(from), Position::new(until)).unwrap();
        damages.found(log, range(300, 513));
        damages.found(log, range(400, 401));
        let tiles: Vec<_> = damages.tiles().keys().copied().collect();
        assert_eq!(tiles, [(log, 1), (log, 2)]);
        damages.found(LogId::new(2), range(0, u64::MAX));
        assert_eq!(damages.tiles().len(), REMEMBERED_MAX);
    }
}
