//! What the journal's syncs cost lately: for the metrics, and for whoever asks how this disk does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use client::api::cluster::SyncLatency;

use crate::metrics::Metrics;
use crate::storage::journal::JournalObserver;

/// How many syncs are remembered.
const SYNCS_MAX: usize = 512;

/// The latest syncs of the journal.
pub(super) struct Syncs {
    metrics: Metrics,
    lately: Mutex<Lately>,
}

#[derive(Default)]
struct Lately {
    ring: Vec<Duration>,
    next: usize,
}

impl Syncs {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, lately: Mutex::default() }
    }

    /// Median and 99th percentile; none before the first sync.
    pub(super) fn latency(&self) -> Option<SyncLatency> {
        let mut ring = self.lately.lock().unwrap_or_else(PoisonError::into_inner).ring.clone();
        ring.sort_unstable();
        let at = |percent: usize| ring.get((ring.len().saturating_sub(1)) * percent / 100);
        let micros = |duration: &Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Some(SyncLatency { p50_us: at(50).map(micros)?, p99_us: at(99).map(micros)? })
    }
}

impl JournalObserver for Syncs {
    fn synced(&self, elapsed: Duration, frames: u64, bytes: u64) {
        self.metrics.journal_synced(elapsed, frames, bytes);
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.ring.len() < SYNCS_MAX {
            lately.ring.push(elapsed);
        } else {
            let at = lately.next;
            lately.ring[at] = elapsed;
            lately.next = (at + 1) % SYNCS_MAX;
        }
    }

    fn queued(&self, frames: u64, bytes: u64) {
        self.metrics.journal_queue(frames, bytes);
    }

    fn sized(&self, bytes: u64) {
        self.metrics.journal_size(bytes);
    }
}
