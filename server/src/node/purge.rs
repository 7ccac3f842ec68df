//! What the journal lets go: entries before a certified checkpoint that nobody close needs any more.
//!
//! ```text
//! K      newest checkpoint certified to be what it is here
//! floor  K, less the entries that are kept in any case (`journal_kept_bytes`)
//!
//! the leader purges up to min(K, what every follower that answers has), but at least to the floor
//! everybody else purges up to the floor: whom they will have to bring up to date is not known to them
//! ```
//!
//! So a follower that is away holds the journal no longer than its kept bytes; after that it gets the
//! state itself. What follows an offered state stays while it is fetched, within a reserve
//! (`journal_reserve_bytes`); a copy that takes longer needs a further round. Segments go as a whole, so nothing is done before there is one to let go.
//!
//! Not here: making checkpoints (`checkpoint`), and what logs let go of (`retention`).

use std::time::Duration;

use client::types::EntryIndex;
use tracing::debug;

use super::{Core, Node};

/// How often a replica looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long one purge may take.
const PURGED_WITHIN: Duration = Duration::from_secs(10);

/// Purges the journal now and then, on every replica.
pub(super) async fn purge(node: Node) {
    let core = &*node.core;
    loop {
        core.world.clock.sleep(INTERVAL).await;
        let Some(index) = core.purgeable() else { continue };
        match core.raft.purge_to(index, PURGED_WITHIN).await {
            Ok(()) => debug!(%index, "journal purged"),
            Err(reason) => debug!(%index, %reason, "journal not purged"),
        }
    }
}

impl Core {
    /// Up to where the journal may go, if that lets at least one segment go.
    fn purgeable(&self) -> Option<EntryIndex> {
        let checkpoint = self.state.newest_confirmed_index()?;
        let kept_from = self.journal.keeping(self.options.journal_kept_bytes);
        let floor = checkpoint.min(EntryIndex::new(kept_from.checked_sub(1)?));
        let needed = if self.leadership.borrow().here { self.needed_by_others() } else { None };
        let index = needed.map_or(floor, |needed| floor.max(needed.min(checkpoint)));
        let reserve = self.journal.keeping(self.options.journal_reserve_bytes);
        let reserve = EntryIndex::new(reserve.saturating_sub(1));
        let pinned = self.peers.board().pinned();
        let index = pinned.map_or(index, |pinned| index.min(pinned.max(reserve)));
        self.journal.frees_segment(index.get()).then_some(index)
    }

    /// The last entry that every follower that answers has; nothing if one of them has none yet, or
    /// there is none.
    fn needed_by_others(&self) -> Option<EntryIndex> {
        let now = self.world.clock.now();
        let replication = self.raft.replication();
        let reached = replication.iter().filter(|(replica, progress)| {
            let is_here = progress.heard.is_some_and(|heard| {
                now.saturating_duration_since(heard) <= self.options.heard_within
            });
            **replica != self.identity.replica && is_here
        });
        reached.map(|(_, progress)| progress.matched).min().flatten()
    }
}
