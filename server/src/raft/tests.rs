//! openraft's own storage suite, against the journal, the state and the machine as they ship.
//!
//! The suite applies entries that the journal never saw, and with jumps; so here the flusher does
//! not wait for the journal, and the machine accepts jumps. Nowhere else do they.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::types::{EntryId, EntryIndex, Term};
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, RaftLogReader, StorageError};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::watch;

use super::types::{RaftEntry, RaftPayload, RaftVote, TypeConfig, log_id};
use super::{LogStorage, LostEntries, StateMachine, journal_entry};
use crate::machine::{EntryBody, Machine, MachineLimits, Payload};
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::journal::{Entry, Journal, JournalIdentity, JournalOptions, Opening};
use crate::storage::state::{EntrySource, State, StateOptions, Strict};
use crate::world::{Clock, World};

/// Holds everything, as far as the flusher is concerned.
#[derive(Debug)]
struct Unasked;

impl EntrySource for Unasked {
    fn durable(&self) -> Option<EntryIndex> {
        Some(EntryIndex::new(u64::MAX))
    }

    fn wait_durable(&self, _index: EntryIndex, _within: Duration) -> bool {
        true
    }

    fn payload(&self, _index: EntryIndex) -> io::Result<Bytes> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn entries(
        &self,
        _from: EntryIndex,
        _until: EntryIndex,
        _bytes_max: u64,
    ) -> io::Result<Vec<(EntryId, EntryBody)>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

struct Builder;

/// Keeps the folder, and what has threads in it, as long as the case runs.
struct Guard {
    state: State,
    _folder: TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.state.close();
    }
}

impl StoreBuilder<TypeConfig, LogStorage, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStorage, StateMachine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().expect("a folder for the case");
        let world = World::real();
        let clock = world.clock.clone();
        let options = JournalOptions {
            segment_bytes: 64 * 1024,
            ..JournalOptions::new(world.clock, world.chance)
        };
        let identity = JournalIdentity { cluster: [7; 16], replica: 1 };
        let journal_folder = folder.path().join("journal");
        std::fs::create_dir_all(&journal_folder).expect("a folder for the journal");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let opening = Journal::open(disk.clone(), &journal_folder, identity, options);
        let Ok(Opening::Whole(journal)) = opening else { panic!("a new journal is whole") };
        let file = folder.path().join("state.redb");
        let (state, manifest) =
            State::open(&disk, &file, StateOptions::default()).expect("a new state");
        assert!(manifest.is_none(), "a new state holds nothing");
        let machine = Machine::new(MachineLimits::default()).allow_jumps();
        let machine = Arc::new(Mutex::new(machine));
        state.start(machine.clone(), Unasked, Arc::new(Strict), clock);
        let guard = Guard { state: state.clone(), _folder: folder };
        let state_machine =
            StateMachine::new(machine, state.clone(), journal.clone(), watch::Sender::new(None));
        Ok((
            guard,
            LogStorage::new(journal, state, LostEntries::default(), Clock::real()),
            state_machine,
        ))
    }
}

#[test]
fn openrafts_storage_suite_is_green() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(Suite::test_all(Builder)).expect("every case of the suite");
}

/// The same journal, without the answer of its own.
struct Plain(LogStorage);

impl RaftLogReader<TypeConfig> for Plain {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<RaftEntry>> {
        self.0.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        self.0.read_vote().await
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_last_entry_of_each_leader_is_told_as_openraft_finds_it(
        runs in prop::collection::vec((1_u64..4, 1_u64..9), 1..8),
        purged in 0_u64..4,
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let (_guard, mut storage, _) = Builder.build().await.expect("an empty storage");
            let (mut term, mut index, mut entries) = (0, 0, Vec::new());
            for (steps, length) in runs {
                term += steps;
                for _ in 0..length {
                    let id = EntryId::new(Term::new(term), 1 + term % 3, EntryIndex::new(index));
                    entries.push(RaftEntry { log_id: log_id(&id), payload: RaftPayload::Blank });
                    index += 1;
                }
            }
            let ids: Vec<_> = entries.iter().map(|entry| entry.log_id).collect();
            storage.blocking_append(entries).await.expect("entries");
            let first = usize::try_from(purged).expect("a small number").min(ids.len() - 1);
            if let Some(purged) = first.checked_sub(1) {
                storage.purge(ids[purged]).await.expect("purged");
            }
            let range = ids[first]..=ids[ids.len() - 1];
            let told = storage.get_key_log_ids(range.clone()).await.expect("from memory");
            let found = Plain(storage).get_key_log_ids(range).await.expect("by reading");
            assert_eq!(told, found);
        });
    }
}

#[tokio::test]
async fn a_read_that_meets_a_damaged_entry_waits_until_it_is_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::real();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let identity = JournalIdentity { cluster: [7; 16], replica: 1 };
    let open = |flushed| {
        let world = World::real();
        let options = JournalOptions { flushed, ..JournalOptions::new(world.clock, world.chance) };
        let opening = Journal::open(disk.clone(), folder.path(), identity, options);
        let Ok(Opening::Whole(journal)) = opening else { panic!("it is whole") };
        journal
    };
    let entry = |index: u64| Entry {
        id: EntryId::new(Term::new(1), 1, EntryIndex::new(index)),
        body: EntryBody::Command(Payload::new(format!("payload of entry {index:04}").into())),
    };
    let journal = open(None);
    journal.append((0..9).map(entry).collect(), Box::new(|_| {}));
    assert!(journal.wait_durable(8, Duration::from_secs(30)));
    journal.close();
    drop(journal);
    let path = folder.path().join("0000000000000001.segment");
    let mut bytes = std::fs::read(&path).expect("the segment");
    let at = bytes.windows(21).position(|window| window == b"payload of entry 0004");
    bytes[at.expect("it is there")] ^= 1;
    std::fs::write(&path, bytes).expect("flipped");

    let (journal, lost) = (open(Some(8)), LostEntries::default());
    let (state, _empty) =
        State::open(&disk, &folder.path().join("state.redb"), StateOptions::default())
            .expect("a new state");
    let mut storage = LogStorage::new(journal.clone(), state, lost.clone(), clock);
    let read = tokio::spawn(async move { storage.try_get_log_entries(0..9).await });
    assert_eq!(lost.some().await, [4].into());
    assert!(journal.rewrite(&entry(4)).expect("the disk is well"));
    lost.settled(4);
    let read = read.await.expect("no panic").expect("all of it is there");
    let read: Vec<_> = read.into_iter().map(journal_entry).collect();
    assert_eq!(read, (0..9).map(entry).collect::<Vec<_>>());
}
