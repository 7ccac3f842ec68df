//! After the start: reads the payloads of the journal that the start did not read.
//!
//! Opening reads heads alone of what is flushed, to be quick. Here the payloads follow, from front to
//! back, once per start, with a tenth of the time of one thread, so that callers do not notice. An
//! entry that is damaged is named, counted, shown in the status, and never served: every read of an
//! entry compares it with its hash.
//!
//! Not here: records (the state checks those on every read), and repair (`entry_repair`).

use std::time::Duration;

use crate::metrics::Metrics;
use crate::raft::LostEntries;
use crate::storage::journal::Journal;
use crate::world::{Clock, tasks};

/// So much is read at once.
const PIECE_BYTES: u64 = 4 << 20;
/// Pauses are so many times as long as the work before.
const REST: u32 = 9;
/// The shortest pause.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// After so many damaged entries they are counted and no longer named.
const NAMED_MAX: u64 = 100;

/// The look at old payloads.
pub(super) struct Verification {
    pub(super) journal: Journal,
    /// Index of the last entry whose payload was not read at the start.
    pub(super) flushed: Option<u64>,
    pub(super) lost: LostEntries,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

impl Verification {
    /// Reads until all is read or its task is stopped.
    pub(super) async fn run(self) {
        let Some(flushed) = self.flushed else { return };
        let (mut next, until, mut bytes) = (self.journal.first(), flushed + 1, 0);
        let mut damaged = 0;
        while next < until {
            let began = self.clock.now();
            let (journal, from) = (self.journal.clone(), next);
            let piece =
                tasks::blocking(move || Ok(journal.verify_payloads(from, until, PIECE_BYTES)));
            let Ok(piece) = piece.await else { return };
            (next, bytes) = (piece.next, bytes + piece.bytes);
            for index in piece.damaged {
                damaged += 1;
                self.note(index, damaged);
            }
            self.clock.sleep((self.clock.since(began) * REST).max(PAUSE_MIN)).await;
        }
        tracing::info!(bytes, damaged, "payloads of the journal verified");
    }

    fn note(&self, index: u64, number: u64) {
        if !self.lost.found(index) {
            return;
        }
        self.metrics.journal_damage_found();
        if number <= NAMED_MAX {
            tracing::error!(index, "damaged entry found in the journal, not served");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use client::types::{EntryId, EntryIndex, Term};

    use super::*;
    use crate::machine::{EntryBody, Payload};
    use crate::storage::disk::RealDisk;
    use crate::storage::journal::{DamagedEntry, Entry, JournalIdentity, JournalOptions, Opening};
    use crate::world::World;

    const ENTRIES: u64 = 50;

    fn open(folder: &Path, world: &World, flushed: Option<u64>) -> Journal {
        let identity = JournalIdentity { cluster: [7; 16], replica: 1 };
        let options = JournalOptions {
            flushed,
            ..JournalOptions::new(world.clock.clone(), world.chance.clone())
        };
        match Journal::open(Arc::new(RealDisk), folder, identity, options).unwrap() {
            Opening::Whole(journal) => journal,
            Opening::Damaged(damaged) => panic!("{damaged}"),
        }
    }

    fn entry(index: u64) -> Entry {
        let payload = Payload::new(Bytes::from(format!("payload of entry {index:04}")));
        let id = EntryId::new(Term::new(1), 1, EntryIndex::new(index));
        Entry { id, body: EntryBody::Command(payload) }
    }

    /// Flips a bit in the payload of this entry, wherever it lies.
    fn damage(folder: &Path, index: u64) {
        let needle = format!("payload of entry {index:04}").into_bytes();
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                bytes[at] ^= 1;
                fs::write(&path, bytes).unwrap();
                return;
            }
        }
        panic!("entry {index} is in no file");
    }

    #[tokio::test]
    async fn a_byte_that_flipped_in_an_old_entry_is_found_named_and_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::for_test(1, 0);
        let journal = open(folder.path(), &world, None);
        journal.append((1..=ENTRIES).map(entry).collect(), Box::new(|_| {}));
        assert!(journal.wait_durable(ENTRIES, Duration::from_secs(30)));
        journal.close();
        drop(journal);
        damage(folder.path(), 17);

        let journal = open(folder.path(), &world, Some(ENTRIES));
        let (lost, metrics) = (LostEntries::default(), Metrics::new());
        let verification = Verification {
            journal: journal.clone(),
            flushed: Some(ENTRIES),
            lost: lost.clone(),
            metrics: metrics.clone(),
            clock: world.clock.clone(),
        };
        verification.run().await;
        assert_eq!(lost.count(), 1);
        let text = metrics.encode_prometheus();
        assert!(text.contains("\nquorate_journal_damaged_entries_total 1\n"), "{text}");
        assert_eq!(journal.read(16, 17).unwrap(), [entry(16)]);
        let refused = journal.read(17, 18).unwrap_err();
        assert_eq!(DamagedEntry::of(&refused), Some(DamagedEntry { index: 17 }));
        // Only what was there is written again.
        let other = Entry { id: entry(17).id, ..entry(18) };
        assert!(!journal.rewrite(&other).unwrap() && journal.read(17, 18).is_err());
        assert!(journal.rewrite(&entry(17)).unwrap());
        assert_eq!(journal.read(16, 19).unwrap(), [entry(16), entry(17), entry(18)]);
    }
}
