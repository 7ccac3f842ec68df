//! Metrics of the scrub, and of what it repairs.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};

use super::{Level, Metrics, level};

/// The scrub.
impl Metrics {
    /// A tile was read again and hashed; it had so many bytes of records.
    pub fn tile_scrubbed(&self, bytes: u64) {
        self.shared.scrub.tiles.inc();
        self.shared.scrub.bytes.inc_by(bytes);
    }

    /// A tile was found damaged.
    pub fn tile_damage_found(&self) {
        self.shared.scrub.damaged_tiles.inc();
    }

    /// A damaged tile was taken from another replica and written again.
    pub fn tile_repaired(&self) {
        self.shared.scrub.repaired_tiles.inc();
    }

    /// So many tiles are damaged now, and could not be repaired yet.
    pub fn tiles_unrepaired(&self, count: u64) {
        self.shared.scrub.unrepaired_tiles.set(count);
    }

    /// All tiles were seen.
    pub fn scrub_passed(&self) {
        self.shared.scrub.passes.inc();
    }
}

pub(super) struct ScrubMetrics {
    tiles: Counter,
    bytes: Counter,
    damaged_tiles: Counter,
    repaired_tiles: Counter,
    unrepaired_tiles: Level,
    passes: Counter,
}

impl ScrubMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let to = registry.sub_registry_with_prefix("scrub");
        let counter = |to: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            to.register(name, help, counter.clone());
            counter
        };
        let tiles = counter(to, "tiles", "Tiles of records that were read again and hashed");
        let bytes = Counter::default();
        let help = "Bytes of records that were read again and hashed";
        to.register_with_unit("read", help, Unit::Bytes, bytes.clone());
        let damaged_tiles = counter(to, "damaged_tiles", "Tiles that were found damaged");
        let help = "Damaged tiles that were taken from another replica and written again";
        let repaired_tiles = counter(to, "repaired_tiles", help);
        let help = "Tiles that are damaged now, and could not be repaired yet";
        let unrepaired_tiles = level(to, "unrepaired_tiles", help);
        let passes = counter(to, "passes", "Times that all tiles were seen");
        Self { tiles, bytes, damaged_tiles, repaired_tiles, unrepaired_tiles, passes }
    }
}
