//! Goal: whatever a survivor holds it keeps, nothing else is kept, and a recovery that is cut off anywhere is the same
//! once it is repeated. Method: the folder of replica 2 of three, made by the journal and the state themselves, on a disk
//! of files and on one that tears.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use client::types::{
    Batch, BatchLimits, Digest, LogId, LogName, LogSettings, NewRecord, Timestamp,
};
use migrations::{Beginning, GroupId, Layout, Timings};

use super::*;
use crate::machine::{
    Append, AppendItem, AppendTarget, CreateLog, FirstContent, Machine, MachineLimits,
};
use crate::storage::faults::FaultDisk;
use crate::storage::journal::{Journal, Opening};
use crate::storage::state::{State, StateOptions, Unobserved};

const OURS: u64 = 2;
const CLUSTER: [u8; 16] = [7; 16];
/// Founding, membership and a log come before the records.
const FIRST_RECORD: u64 = 5;
const LAST: u64 = 40;

fn id(index: u64) -> EntryId {
    EntryId::new(Term::new(3), 1, EntryIndex::new(index))
}

fn generation(number: u32) -> migrations::Generation {
    migrations::Generation { number, random: 9 }
}

fn membership(voters: &[u64]) -> EntryBody {
    let node = |id: &u64| NodeRow {
        cluster: CLUSTER,
        generation: GenerationRow { number: 1, random: 9 },
        peer_addr: format!("http://10.0.0.{id}:8001"),
        front_addr: format!("http://10.0.0.{id}:7001"),
        zone: "z".to_owned(),
    };
    let row = MembershipRow {
        configs: vec![voters.iter().copied().collect()],
        nodes: voters.iter().map(|id| (*id, node(id))).collect(),
    };
    EntryBody::Membership(Payload::new(row.to_bytes().into()))
}

fn record(index: u64) -> EntryBody {
    let body = format!("record of entry {index}, long enough to be told from a head");
    let record = NewRecord::new(body.into_bytes());
    let batch = Batch::single(&record, &BatchLimits::default()).unwrap();
    let target = AppendTarget::unconditional(LogName::new("a").unwrap());
    let items = vec![AppendItem::encode(&target, &batch)];
    EntryBody::Command(Append { stamp: Timestamp::new(index), items }.encode())
}

fn entries() -> Vec<Entry> {
    let founding = Founding {
        cluster: ClusterId::new(CLUSTER),
        generation: GenerationRow { number: 1, random: 9 },
        timings: crate::machine::Timings::default(),
        limits: MachineLimits::default(),
        expect_voters: 3,
    };
    let stamp = Timestamp::new(1);
    let name = LogName::new("a").unwrap();
    let (settings, content) = (LogSettings::default(), FirstContent::default());
    let create = CreateLog { stamp, name, settings, content };
    let first = [
        membership(&[1]),
        EntryBody::Blank,
        EntryBody::Command(Found { stamp, founding }.encode()),
        membership(&[1, 2, 3]),
        EntryBody::Command(create.encode()),
    ];
    let bodies = first.into_iter().chain((FIRST_RECORD..=LAST).map(record));
    (0..).zip(bodies).map(|(index, body)| Entry { id: id(index), body }).collect()
}

/// What a machine is after these entries.
fn machine(entries: &[Entry]) -> Machine {
    let mut machine = Machine::new(MachineLimits::default());
    for entry in entries {
        machine.apply(entry.id, &entry.body);
    }
    machine
}

fn place(layout: Layout) -> Place {
    let world = World::real();
    Place {
        layout,
        identity: migrations::Identity {
            cluster: CLUSTER,
            generation: generation(1),
            replica: Some(OURS),
        },
        replica: ReplicaId::new(OURS).unwrap(),
        is_half_recovered: false,
        journal: JournalOptions {
            segment_bytes: 8 * 1024,
            ..JournalOptions::new(world.clock, world.chance)
        },
    }
}

/// What the old group left on this disk: all entries in the journal, those up to `flushed` in the state.
fn leave(disk: &Arc<dyn Disk>, at: &Place, flushed: Option<u64>) {
    let folder = at.layout.journal(GroupId::FIRST);
    disk.create_dir_all(&folder).unwrap();
    let identity = JournalIdentity { cluster: CLUSTER, replica: OURS };
    let opened = Journal::open(Arc::clone(disk), &folder, identity, at.journal.clone()).unwrap();
    let Opening::Whole(journal) = opened else { panic!("a new one is whole") };
    let vote = Vote { term: 3, leader: 1, committed: true };
    durably(|done| journal.save_vote(vote, done)).unwrap();
    for entry in entries() {
        durably(|done| journal.append(vec![entry], done)).unwrap();
    }
    journal.save_committed(Some(id(LAST - 3)));
    let path = at.layout.state(GroupId::FIRST);
    let (state, _) = State::open(disk, &path, StateOptions::default()).unwrap();
    let machine = Arc::new(Mutex::new(Machine::new(MachineLimits::default())));
    let clock = at.journal.clock.clone();
    state.start(Arc::clone(&machine), journal.clone(), Arc::new(Unobserved), clock);
    if let Some(flushed) = flushed {
        for entry in entries().into_iter().filter(|entry| entry.id.index.get() <= flushed) {
            state.apply(&mut machine.lock().unwrap(), entry.id, &entry.body);
        }
        state.flush_now().unwrap();
    }
    state.close();
    journal.close();
}

/// A folder that is claimed.
fn folder(flushed: Option<u64>) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let timings = Timings { heartbeat_ms: 80, election_min_ms: 250, election_max_ms: 500 };
    let beginning = Beginning { timings, voters_expected: None };
    let identity = place(Layout::new(&path)).identity;
    let mut current = migrations::create(&path, identity, beginning).unwrap();
    current.note_journal().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    leave(&disk, &place(Layout::new(&path)), flushed);
    fs::write(path.join("met"), "whom it met").unwrap();
    (parent, path)
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// Where the record of an entry lies.
fn find(bytes: &[u8], index: u64) -> Option<usize> {
    let body = format!("record of entry {index}, ");
    bytes.windows(body.len()).position(|window| window == body.as_bytes())
}

/// Damages the head of the frame that holds the record of this entry.
fn damage(folder: &Path, index: u64) {
    for (path, mut bytes) in files(&folder.join("groups/0/journal")) {
        if let Some(place) = find(&bytes, index) {
            let salt = bytes[48..56].to_vec();
            let head = bytes[..place].windows(8).rposition(|window| window == salt).unwrap();
            bytes[head + 24] ^= 1;
            return fs::write(path, bytes).unwrap();
        }
    }
    panic!("entry {index} is in no segment");
}

fn root(machine: &Machine) -> Digest {
    machine.log_by_id(LogId::new(1)).unwrap().root()
}

/// That a folder is the first replica of a new generation, with the records of all entries before `until`.
fn check_recovered(salvaged: &Salvaged, number: u32, until: u64) {
    let before = &entries()[..usize::try_from(until).unwrap()];
    assert_eq!(root(&salvaged.machine), root(&machine(before)));
    let (_, members) = salvaged.machine.membership().unwrap();
    assert_eq!(members.configs, [[OURS].into()]);
    assert_eq!(members.nodes.keys().collect::<Vec<_>>(), [&OURS]);
    assert_eq!(members.nodes[&OURS].generation.number, number);
    let founding = salvaged.machine.cluster().unwrap();
    assert_eq!((founding.generation.number, founding.expect_voters), (number, 3));
    let last = salvaged.journal.last().unwrap();
    assert!(last.term > Term::new(3) && salvaged.journal.vote().unwrap().term >= last.term.get());
    assert_eq!(last.index, EntryIndex::new(until + 1), "two entries begin a generation");
}

#[test]
fn a_survey_says_what_a_survivor_holds_and_changes_nothing() {
    for flushed in [None, Some(20)] {
        let (_parent, path) = folder(flushed);
        let before = files(&path);
        let survivor = survey(&path).unwrap();
        assert_eq!(files(&path), before);
        assert_eq!(
            (survivor.replica.get(), survivor.term, survivor.last, survivor.kept),
            (OURS, Some(Term::new(3)), Some(id(LAST)), Some(id(LAST)))
        );
        assert_eq!(survivor.committed, Some(id(LAST - 3)));
        assert_eq!(survivor.flushed, flushed.map(id));
        assert_eq!((survivor.logs, survivor.records), (1, LAST - FIRST_RECORD + 1));
        assert_eq!(survivor.voters[0].len(), 3);
        assert_eq!((survivor.damage, survivor.loss), (None, None));
    }
}

#[test]
fn a_survivor_begins_a_new_generation_alone_with_all_it_holds() {
    let (_parent, path) = folder(Some(20));
    let front: ReplicaAddr = "http://10.1.0.9:7001".parse().unwrap();
    let addresses = Addresses { front: Some(front.clone()), peer: None };
    let recovered = recover(&path, None, &addresses).unwrap();
    assert_eq!(recovered.generation.number, 2);
    assert!(!path.join("met").exists(), "nobody of the old generation is asked again");
    let current = migrations::open(&path).unwrap();
    assert_eq!(current.identity().generation.random, recovered.generation.random);
    drop(current);
    let stopped = migrations::open_stopped(&path).unwrap();
    let at = Place::new(&stopped).unwrap();
    let salvaged = at.salvage(Arc::new(Overlay::default()), Accept::From(None)).unwrap();
    check_recovered(&salvaged, 2, LAST + 1);
    let node = &salvaged.machine.membership().unwrap().1.nodes[&OURS];
    assert_eq!(node.front_addr, front.to_string());
    assert_eq!(node.peer_addr, "http://10.0.0.2:8001");
}

#[test]
fn half_recovered_a_folder_starts_as_nobody_until_the_recovery_was_repeated() {
    let (_parent, path) = folder(None);
    let mut stopped = migrations::open_stopped(&path).unwrap();
    stopped.begin_recovery(generation(2)).unwrap();
    drop(stopped);
    let refused = migrations::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::HalfRecovered { .. }), "{refused}");
    assert!(survey(&path).unwrap().is_half_recovered);
    let recovered = recover(&path, None, &Addresses::default()).unwrap();
    assert_eq!(recovered.generation, Generation { number: 2, random: 9 }, "the one it began");
    migrations::open(&path).unwrap();
}

#[test]
fn damage_that_is_not_flushed_is_lost_from_there_on_and_only_by_its_name() {
    const LOST: u64 = 24;
    let (_parent, path) = folder(Some(20));
    damage(&path, LOST);
    damage(&path, LOST + 3);
    let survivor = survey(&path).unwrap();
    let loss = survivor.loss.unwrap();
    assert_eq!(loss.first, EntryIndex::new(LOST));
    assert_eq!(loss.last, Some(EntryIndex::new(LAST)));
    assert_eq!((survivor.last, survivor.kept), (Some(id(LAST)), Some(id(LOST - 1))));
    let before = files(&path);
    for named in [None, Some(LOST - 1), Some(LOST + 1), Some(LOST + 3)] {
        let named = named.map(EntryIndex::new);
        let refused = recover(&path, named, &Addresses::default()).unwrap_err();
        assert!(matches!(refused, RecoverError::Loss { .. }), "{named:?}: {refused}");
    }
    assert_eq!(files(&path), before, "whatever is refused changes nothing");
    recover(&path, Some(loss.first), &Addresses::default()).unwrap();
    let at = Place::new(&migrations::open_stopped(&path).unwrap()).unwrap();
    let salvaged = at.salvage(Arc::new(Overlay::default()), Accept::From(None)).unwrap();
    check_recovered(&salvaged, 2, LOST);
}

#[test]
fn damage_that_is_flushed_costs_nothing() {
    for index in [FIRST_RECORD, 12, 20] {
        let (_parent, path) = folder(Some(20));
        damage(&path, index);
        let survivor = survey(&path).unwrap();
        assert!(survivor.damage.is_some() && survivor.loss.is_none(), "{survivor:?}");
        let named = Some(EntryIndex::new(index));
        let refused = recover(&path, named, &Addresses::default()).unwrap_err();
        assert!(matches!(refused, RecoverError::NoLoss(_)), "{refused}");
        recover(&path, None, &Addresses::default()).unwrap();
        let at = Place::new(&migrations::open_stopped(&path).unwrap()).unwrap();
        let salvaged = at.salvage(Arc::new(Overlay::default()), Accept::From(None)).unwrap();
        check_recovered(&salvaged, 2, LAST + 1);
        assert!(salvaged.journal.purged().unwrap().index.get() >= index);
    }
}

#[test]
fn a_journal_that_lost_its_segments_keeps_what_the_state_holds() {
    for left in [1, 0] {
        let (_parent, path) = folder(Some(20));
        let segments = files(&path.join("groups/0/journal"));
        assert!(segments.values().filter(|bytes| find(bytes, 20).is_some()).count() > 0);
        for (segment, bytes) in segments.into_iter().skip(left) {
            fs::remove_file(segment).unwrap();
            assert!(left == 0 || find(&bytes, FIRST_RECORD).is_none(), "the first one is kept");
        }
        let loss = survey(&path).unwrap().loss.unwrap();
        assert_eq!(loss.first, EntryIndex::new(21), "behind what is flushed");
        recover(&path, Some(loss.first), &Addresses::default()).unwrap();
        let at = Place::new(&migrations::open_stopped(&path).unwrap()).unwrap();
        let salvaged = at.salvage(Arc::new(Overlay::default()), Accept::From(None)).unwrap();
        check_recovered(&salvaged, 2, 21);
    }
}

#[test]
fn a_recovery_that_loses_power_anywhere_comes_to_the_same_when_it_is_repeated() {
    const LOST: u64 = 26;
    for is_damaged in [false, true] {
        let disk = FaultDisk::new(5);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let at = place(Layout::new(Path::new("/data")));
        leave(&shared, &at, Some(12));
        let mut accept = Accept::From(None);
        let mut until = LAST + 1;
        if is_damaged {
            let names = shared.list(&at.layout.journal(GroupId::FIRST)).unwrap();
            let hit = names.iter().any(|name| {
                let path = at.layout.journal(GroupId::FIRST).join(name);
                let place = disk.content(&path).and_then(|bytes| find(&bytes, LOST));
                place.is_some_and(|place| disk.flip(&path, place, 1))
            });
            assert!(hit, "the entry is there");
            (accept, until) = (Accept::From(Some(EntryIndex::new(LOST))), LOST);
        }
        let run = |disk: &FaultDisk| {
            let salvaged = at.salvage(Arc::new(disk.clone()), accept).unwrap();
            at.begin(salvaged, generation(2), &Addresses::default()).unwrap();
        };
        disk.record(Arc::default());
        run(&disk);
        let (mut cuts, snapshots) = (0, disk.recorded());
        for (step, snapshot) in (1..).zip(snapshots) {
            for again in snapshot.cuts(3, step).into_iter().chain([snapshot.kill()]) {
                run(&again);
                let salvaged = at.salvage(Arc::new(again), Accept::From(None)).unwrap();
                let last = salvaged.journal.last().unwrap().index;
                assert_eq!(last, EntryIndex::new(until + 1), "cut at step {step}");
                check_recovered(&salvaged, 2, until);
                cuts += 1;
            }
        }
        assert!(cuts > 30, "{cuts}");
    }
}
