//! Whom to ask: the replica that offers and every other member, each a few questions at a time.
//!
//! Who has the fewest questions open is asked next, so a quick source gives more than a slow one. One that does not
//! answer is left out for a while, longer each time; one that gives wrong bytes for long. Both are named on the board.
//!
//! Not here: what is asked, and whether the answer is right (`receive`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use client::types::ReplicaId;
use tokio::sync::Notify;

use super::board::Progress;
use crate::metrics::Metrics;
use crate::world::{Clock, Instant};

/// So many questions one source has open at most.
pub(super) const IN_FLIGHT_MAX: usize = 3;
/// A source that did not answer is left out so long at first, then twice as long each time.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// And never longer than this.
const SILENT_FOR_MAX: Duration = Duration::from_secs(30);
/// A source that gave wrong bytes is left out so long.
const WRONG_FOR: Duration = Duration::from_mins(5);

/// The sources of one transfer.
pub(super) struct Sources {
    progress: Progress,
    metrics: Metrics,
    clock: Clock,
    list: Mutex<BTreeMap<ReplicaId, Source>>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Source {
    in_flight: usize,
    bytes: u64,
    strikes: u32,
    left_out: Option<(Instant, String)>,
}

/// Why a source is left out for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It did not answer, in these words.
    Silent(String),
    /// What it gave is not what the manifest proves.
    Wrong,
}

/// A question that may be asked. Dropping it makes room for the next.
pub(super) struct Turn<'s> {
    sources: &'s Sources,
    /// Of whom.
    pub(super) replica: ReplicaId,
    bytes: u64,
}

impl Sources {
    pub(super) fn new(
        replicas: impl IntoIterator<Item = ReplicaId>,
        progress: Progress,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        let list = replicas.into_iter().map(|replica| (replica, Source::default())).collect();
        Self { progress, metrics, clock, list: Mutex::new(list), freed: Notify::new() }
    }

    /// How many questions all of them have open together at most.
    pub(super) fn in_flight_max(&self) -> usize {
        (self.list().len() * IN_FLIGHT_MAX).clamp(1, 16)
    }

    /// Waits until one that is not among `tried` may be asked. Nothing if all were tried.
    pub(super) async fn turn(&self, tried: &BTreeSet<ReplicaId>) -> Option<Turn<'_>> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let until = match self.pick(tried) {
                Pick::Ask(replica) => return Some(Turn { sources: self, replica, bytes: 0 }),
                Pick::Nobody => return None,
                Pick::Wait(until) => until,
            };
            let back = async {
                match until {
                    Some(until) => self.clock.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = freed => {}
                () = back => {}
            }
        }
    }

    fn pick(&self, tried: &BTreeSet<ReplicaId>) -> Pick {
        let now = self.clock.now();
        let mut list = self.list();
        for (replica, source) in list.iter_mut() {
            if source.left_out.as_ref().is_some_and(|(until, _)| *until <= now) {
                source.left_out = None;
                self.progress.set_left_out(*replica, None);
            }
        }
        let asked = || list.iter().filter(|(replica, _)| !tried.contains(replica));
        if asked().next().is_none() {
            return Pick::Nobody;
        }
        let free = asked()
            .filter(|(_, source)| source.left_out.is_none() && source.in_flight < IN_FLIGHT_MAX)
            .min_by_key(|(_, source)| (source.in_flight, source.bytes));
        if let Some((replica, _)) = free {
            let replica = *replica;
            list.entry(replica).or_default().in_flight += 1;
            return Pick::Ask(replica);
        }
        let left_out = asked().filter_map(|(id, source)| Some((id, source.left_out.as_ref()?)));
        if left_out.clone().count() == asked().count() {
            let reasons = left_out.clone().map(|(id, (_, why))| format!("replica {id}: {why}"));
            let reasons: Vec<_> = reasons.collect();
            self.progress.set_waits_for(format!("a source ({})", reasons.join("; ")));
        }
        let until = left_out.map(|(_, (until, _))| *until).min();
        Pick::Wait(until)
    }

    /// Leaves a source out for a while.
    pub(super) fn leave_out(&self, replica: ReplicaId, fault: &Fault) {
        let (length, reason, word) = {
            let mut list = self.list();
            let source = list.entry(replica).or_default();
            let (length, reason, word) = match fault {
                Fault::Silent(reason) => {
                    let length = SILENT_FOR * 2_u32.saturating_pow(source.strikes.min(10));
                    source.strikes += 1;
                    (length.min(SILENT_FOR_MAX), reason.clone(), "silent")
                }
                Fault::Wrong => (WRONG_FOR, "it gave wrong bytes".to_owned(), "wrong"),
            };
            source.left_out = Some((self.clock.after(length), reason.clone()));
            (length, reason, word)
        };
        self.metrics.transfer_source_left_out(word);
        tracing::warn!(
            source = %replica,
            reason,
            seconds = length.as_secs(),
            "a source of a state transfer is left out"
        );
        self.progress.set_left_out(replica, Some(reason));
        self.freed.notify_waiters();
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Source>> {
        self.list.lock().expect("no holder of this lock panicked")
    }
}

enum Pick {
    Ask(ReplicaId),
    /// Until somebody is free, or this moment.
    Wait(Option<Instant>),
    Nobody,
}

impl Turn<'_> {
    /// It answered with so many bytes.
    pub(super) fn answered(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.sources.progress.supplied(self.replica, bytes);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        {
            let mut list = self.sources.list();
            let source = list.entry(self.replica).or_default();
            source.in_flight -= 1;
            source.bytes += self.bytes;
            if self.bytes > 0 {
                source.strikes = 0;
            }
        }
        self.sources.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use client::api::transfers::TransferDirection;
    use client::types::EntryIndex;

    use super::super::board::Board;
    use super::*;

    fn id(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    fn sources(count: u64) -> (Board, Sources) {
        let (clock, metrics) = (Clock::real(), Metrics::new());
        let board = Board::new(1, clock.clone(), metrics.clone());
        let progress = board.begin(TransferDirection::Receiving, id(1), EntryIndex::new(1));
        (board, Sources::new((1..=count).map(id), progress, metrics, clock))
    }

    #[tokio::test]
    async fn questions_go_to_whoever_has_the_fewest_open() {
        let (_board, sources) = sources(2);
        let mut turns = Vec::new();
        for _ in 0..6 {
            turns.push(sources.turn(&BTreeSet::new()).await.unwrap());
        }
        let of = |replica| turns.iter().filter(|turn| turn.replica == replica).count();
        assert_eq!((of(id(1)), of(id(2))), (3, 3));
        let nobody = BTreeSet::new();
        let full = sources.clock.within(Duration::from_millis(50), sources.turn(&nobody));
        assert!(full.await.is_err(), "more would wait at a source in vain");
        let freed = turns.remove(0).replica;
        assert_eq!(sources.turn(&BTreeSet::new()).await.unwrap().replica, freed);
    }

    #[tokio::test]
    async fn a_source_that_is_silent_or_wrong_is_named_and_left_out_for_a_while() {
        let (board, sources) = sources(2);
        sources.leave_out(id(2), &Fault::Wrong);
        sources.leave_out(id(1), &Fault::Silent("no answer in time".to_owned()));
        let began = sources.clock.now();
        {
            let nobody = BTreeSet::new();
            let first = sources.turn(&nobody);
            tokio::pin!(first);
            let waits = sources.clock.within(Duration::from_millis(200), &mut first).await;
            assert!(waits.is_err());
            let waits_for = board.list()[0].waits_for.clone().unwrap();
            assert!(waits_for.contains("replica 1: no answer in time"), "{waits_for}");
            assert!(waits_for.contains("replica 2: it gave wrong bytes"), "{waits_for}");
            assert_eq!(first.await.unwrap().replica, id(1));
        }
        let waited = sources.clock.since(began);
        assert!(waited >= Duration::from_millis(900), "{waited:?}");
        let shown = board.list().remove(0).sources;
        assert_eq!(shown[0].left_out, None);
        assert_eq!(shown[1].left_out.as_deref(), Some("it gave wrong bytes"));
    }

    #[tokio::test]
    async fn when_all_were_tried_nobody_is_left() {
        let (_board, sources) = sources(2);
        assert!(sources.turn(&BTreeSet::from([id(1), id(2)])).await.is_none());
        assert_eq!(sources.turn(&BTreeSet::from([id(1)])).await.unwrap().replica, id(2));
    }
}
