//! Producers of all logs in the order in which they fell silent.
//!
//! Invariant: it holds exactly the producers that the logs hold, each under the stamp of its newest
//! batch. Ties are in the order of log and id, so what is silent the longest is the same on every
//! replica, also on one that made its machine of rows.
//!
//! Not here: what a producer is (`producers`), and when one has to go (`append`, `logs`).

use std::collections::BTreeSet;

use client::types::{LogId, ProducerId, Timestamp};

/// All producers, the longest silent first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SilentProducers {
    order: BTreeSet<(Timestamp, LogId, ProducerId)>,
}

impl SilentProducers {
    /// How many producers there are.
    pub(super) fn count(&self) -> usize {
        self.order.len()
    }

    /// A producer did something now; `before` is when it did last, if it is known already.
    pub(super) fn stir(
        &mut self,
        log: LogId,
        id: ProducerId,
        before: Option<Timestamp>,
        now: Timestamp,
    ) {
        let mut place = (now, log, id);
        if let Some(before) = before {
            place.0 = before;
            let was_there = self.order.remove(&place);
            assert!(was_there, "every producer has its place among the silent ones");
            place.0 = now;
        }
        self.order.insert(place);
    }

    /// A producer is gone that did something last at `stamp`.
    pub(super) fn remove(&mut self, log: LogId, id: ProducerId, stamp: Timestamp) {
        let was_there = self.order.remove(&(stamp, log, id));
        assert!(was_there, "every producer has its place among the silent ones");
    }

    /// Takes out the one that is silent the longest, if it is silent enough.
    pub(super) fn take(
        &mut self,
        is_enough: impl FnOnce(Timestamp) -> bool,
    ) -> Option<(LogId, ProducerId)> {
        let (stamp, ..) = self.order.first()?;
        if !is_enough(*stamp) {
            return None;
        }
        self.order.pop_first().map(|(_, log, id)| (log, id))
    }
}
