//! Damaged entries of the journal of a replica that serves: taken from the others and written again.
//!
//! Found by the look at old payloads, or by a read of agreement, which waits. What nobody gives is asked for again as
//! long as it is lacking: somebody who has it may be away. Only payloads are repaired here: a head that rots while a
//! replica runs is mended at its next start.
//!
//! Not here: a journal that is damaged when it is opened (`mend`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::peer::Mender;
use crate::raft::LostEntries;
use crate::storage::journal::Journal;
use crate::world::{Clock, tasks};

/// How long to wait before everybody is asked once more.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, once it was in vain again and again.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Repairs entries as they are found damaged.
pub(super) struct EntryRepair {
    pub(super) journal: Journal,
    pub(super) lost: LostEntries,
    pub(super) mender: Mender,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

impl EntryRepair {
    /// Repairs until its task is stopped.
    pub(super) async fn run(self) {
        let mut pause = PAUSE;
        loop {
            let lost = self.lost.some().await;
            let first = self.journal.first();
            for index in lost.range(..first) {
                self.lost.settled(*index);
            }
            let lost: BTreeSet<u64> = lost.into_iter().filter(|index| *index >= first).collect();
            if lost.is_empty() {
                continue;
            }
            let repaired = self.repair(&lost).await;
            pause = if repaired > 0 { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            if repaired < lost.len() {
                self.clock.sleep(pause).await;
            }
        }
    }

    /// How many of these were repaired.
    async fn repair(&self, lost: &BTreeSet<u64>) -> usize {
        let mut repaired = 0;
        for (member, given) in self.mender.ask_for(lost).await {
            let journal = self.journal.clone();
            let written = tasks::blocking(move || {
                let index = given.id.index.get();
                journal.rewrite(&given).map(|is_written| (index, is_written))
            });
            match written.await {
                Ok((index, true)) => {
                    self.lost.settled(index);
                    self.metrics.journal_entries_repaired(1);
                    repaired += 1;
                    tracing::info!(index, from = %member, "damaged entry of the journal written again");
                }
                Ok((index, false)) => {
                    tracing::warn!(index, from = %member, "another entry was given, or its head is damaged");
                }
                Err(error) => tracing::warn!(%error, "a damaged entry cannot be written again"),
            }
        }
        repaired
    }
}
