//! Entries of a running replica's journal that are damaged: known to whoever repairs them, awaited by whoever needs them.
//!
//! What agreement reads has to be there, or the replica ends: so a read that meets damage waits a while for the repair.
//!
//! Not here: from whom the entries come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::world::Clock;

/// So long a read waits.
const REPAIRED_WITHIN: Duration = Duration::from_secs(20);

/// Indexes of entries that are damaged. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct LostEntries(Arc<watch::Sender<BTreeSet<u64>>>);

impl LostEntries {
    /// This one is damaged. False if that is known.
    pub fn found(&self, index: u64) -> bool {
        self.0.send_if_modified(|lost| lost.insert(index))
    }

    /// This one is whole again, or let go.
    pub fn settled(&self, index: u64) {
        self.0.send_if_modified(|lost| lost.remove(&index));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        u64::try_from(self.0.borrow().len()).expect("a count in memory fits 64 bits")
    }

    /// Those there are, once there are some.
    pub async fn some(&self) -> BTreeSet<u64> {
        let mut lost = self.0.subscribe();
        let some = lost.wait_for(|lost| !lost.is_empty()).await;
        some.map(|some| some.clone()).unwrap_or_default()
    }

    /// Waits until an entry is settled. False if that takes too long.
    pub(super) async fn is_settled(&self, index: u64, clock: &Clock) -> bool {
        let mut lost = self.0.subscribe();
        let settled = async { lost.wait_for(|lost| !lost.contains(&index)).await.is_ok() };
        clock.within(REPAIRED_WITHIN, settled).await.unwrap_or(false)
    }
}
