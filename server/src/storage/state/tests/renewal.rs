//! A state taken anew: whatever was wrong with it, in memory and on the disk, is not any more, and nothing is lost that
//! was agreed on meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::{Bytes, BytesMut};
use client::types::{Digest, EntryId, EntryIndex, LogId, Position, Term};

use super::scene::{Scene, bodies, by_hand};
use crate::machine::{CheckpointCertified, Payload, TILE_WIDTH, TileAddress};
use crate::storage::disk::Disk as _;
use crate::storage::faults::{FaultDisk, assert_passed};
use crate::storage::state::read::TimedWalk;
use crate::storage::state::{
    Attestation, Gap, NotRenewed, Stage, State, StateManifest, Stretch, TileLook,
};

const POINTS: [&str; 3] = ["renewal/cut-back", "renewal/before-renewed", "renewal/after-renewed"];
/// Bytes of a record here, without its head on the way.
const BYTES: u64 = 12;

/// Two replicas that did the same, of which the second one is about to be wrong.
struct Pair {
    right: Scene,
    wrong: Scene,
    log: LogId,
    /// The checkpoint that both made, flushed.
    checkpoint: EntryIndex,
    manifest: StateManifest,
}

impl Pair {
    fn on(mut right: Scene, mut wrong: Scene, trim: u64) -> Self {
        let mut made = Vec::new();
        for scene in [&mut right, &mut wrong] {
            let log = scene.create("a");
            scene.append("a", &bodies(0..800, 10));
            scene.set_cursor("a", "billing", 7);
            scene.flush();
            if trim > 0 {
                scene.trim("a", trim);
            }
            made.push((log, scene.checkpoint(None)));
            scene.flush();
            // The tile in which the state ends goes on.
            scene.append("a", &bodies(800..850, 10));
            scene.create("b");
            scene.append("b", &bodies(0..300, 10));
            scene.flush();
        }
        let (log, checkpoint) = made[0];
        assert_eq!(made[0], made[1]);
        let manifest = right.state.kept_manifest(checkpoint).unwrap().unwrap();
        Self { right, wrong, log, checkpoint, manifest }
    }

    fn new(trim: u64) -> Self {
        Self::on(Scene::on_file(by_hand()), Scene::on_file(by_hand()), trim)
    }

    /// The second one learns that it is wrong.
    fn quarantine(&self) {
        let certified = certificate(self.checkpoint, Digest::new([7; 32]));
        assert_eq!(self.wrong.state.compare(&certified).is_equal(), Some(false));
        assert_eq!(self.wrong.state.quarantine().unwrap().stage, Stage::Differs);
    }

    /// Both hear of an entry, as agreement hands it on.
    fn agree(&mut self, payload: &Payload) {
        self.right.apply(payload.clone());
        let entry = self.wrong.journal.push(payload.clone());
        self.wrong.journal.set_durable(entry);
        let id = EntryId::new(Term::new(1), 1, EntryIndex::new(entry));
        if !self.wrong.state.passes_over(id) {
            self.wrong.apply_entry(entry);
        }
    }

    fn append(&mut self, from: u64, until: u64) {
        let payload = self.right.append_payload(&[("a", &bodies(from..until, 10))]);
        self.wrong.now = self.right.now;
        self.agree(&payload);
    }

    /// Looks at the second one, and gives it from the first what is not right, until all is. What was found wrong at first.
    fn fill(&self) -> (Vec<(u8, u64)>, Vec<Gap>) {
        let row = &self.manifest.rows().logs[0].1;
        let hashes = self.wrong.state.unproved_hashes(self.log, row).unwrap();
        for (level, group) in &hashes {
            let address = |number| TileAddress { log: self.log, level: *level, number };
            let numbers = group * TILE_WIDTH..row.tail / TILE_WIDTH;
            let right =
                numbers.map(|at| (address(at), self.right.state.tile(address(at)).unwrap()));
            let right: Vec<_> = right.filter_map(|(at, hash)| Some((at, hash?))).collect();
            self.wrong.state.write_tiles_ahead(&right).unwrap();
        }
        assert_eq!(self.wrong.state.unproved_hashes(self.log, row).unwrap(), []);
        let mut found = None;
        for _round in 0..4 {
            let gaps = self.wrong.state.unproved_records(self.log, row).unwrap();
            found.get_or_insert_with(|| gaps.clone());
            if gaps.is_empty() {
                break;
            }
            for gap in gaps {
                let records = records(&self.right.state, gap.log, gap.from.get(), gap.until.get());
                let count = usize::try_from(gap.anchor.get() - gap.from.get()).unwrap();
                let walk = TimedWalk(records.clone()).take(count);
                let before: usize = walk.map(|(_, untimed)| untimed.len()).sum();
                let bytes_before = gap.bytes_before - u64::try_from(before).unwrap();
                let stretch = Stretch { log: gap.log, first: gap.from, bytes_before, records };
                self.wrong.state.write_ahead(&[stretch]).unwrap();
            }
        }
        assert_eq!(self.wrong.state.unproved_records(self.log, row).unwrap(), []);
        (hashes, found.unwrap())
    }

    fn catch_up(&self) {
        while !self.wrong.state.catch_up().unwrap() {}
    }

    /// Takes the state of the second one anew, as a whole.
    fn renew(&self) {
        self.wrong.state.begin_renewal().unwrap();
        self.wrong.state.cut_back(&self.manifest).unwrap();
        self.fill();
        self.wrong.state.renew(&self.manifest).unwrap();
        self.catch_up();
    }

    /// Both hold the same, down to the records on their disks.
    fn check_same(&mut self) {
        let (right, wrong) = (self.right.checkpoint(None), self.wrong.checkpoint(None));
        self.right.flush();
        self.wrong.flush();
        let Attestation::Digest(digest) = self.right.attested(right) else { panic!("flushed") };
        assert_eq!(self.wrong.state.manifest().unwrap().unwrap().digest(), digest);
        assert_eq!(self.wrong.attested(wrong), Attestation::Unknown, "not before it is compared");
        self.wrong.state.compare(&certificate(wrong, digest));
        assert_eq!(self.wrong.attested(wrong), Attestation::Digest(digest));
        let logs = self.right.state.manifest().unwrap().unwrap().rows().logs.clone();
        for (id, row) in &logs {
            let log = LogId::new(*id);
            for number in row.trim / TILE_WIDTH..row.tail.div_ceil(TILE_WIDTH) {
                let look = self.wrong.state.look_at_tile(log, number).unwrap();
                assert!(matches!(look, TileLook::Whole(_)), "tile {number} of log {log}: {look:?}");
            }
            assert_eq!(self.wrong.bodies(log, row.trim), self.right.bodies(log, row.trim));
            let at = Position::new(row.tail - 1);
            let bytes = |scene: &Scene| scene.state.bytes_before(log, at).unwrap();
            assert_eq!(bytes(&self.wrong), bytes(&self.right), "of log {log}");
        }
    }
}

fn certificate(checkpoint: EntryIndex, digest: Digest) -> CheckpointCertified {
    CheckpointCertified { checkpoint, digest, is_new: true }
}

fn records(state: &State, log: LogId, from: u64, until: u64) -> Bytes {
    let mut all = BytesMut::new();
    let mut next = from;
    while next < until {
        let range = (Position::new(next), Position::new(until));
        let piece = state.stretch(log, range, usize::MAX).unwrap().unwrap();
        next += u64::from(piece.count);
        all.extend_from_slice(&piece.bytes);
    }
    all.freeze()
}

/// Writes records, right or wrong, with checks that are right.
fn plant(scene: &Scene, log: LogId, first: u64, bytes_before: u64, records: Bytes) {
    let first = Position::new(first);
    scene.state.write_ahead(&[Stretch { log, first, bytes_before, records }]).unwrap();
}

/// The same records, of which the last one says something else.
fn spoiled(records: &Bytes) -> Bytes {
    let mut bytes = records.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

#[test]
fn whatever_was_wrong_on_disk_a_state_taken_anew_is_the_certified_one() {
    let mut pair = Pair::new(0);
    let (log, wrong) = (pair.log, &pair.wrong);
    let right = |from, until| records(&pair.right.state, log, from, until);
    // A record with a check that is right, a count of bytes, a hash; records nobody ever appended, behind the tail and of
    // a log that is not there yet.
    plant(wrong, log, 256, 256 * BYTES, spoiled(&right(256, 512)));
    plant(wrong, log, 512, 512 * BYTES + 5, right(512, 768));
    let address = TileAddress { log, level: 0, number: 0 };
    wrong.state.write_tiles_ahead(&[(address, Digest::new([9; 32]))]).unwrap();
    plant(wrong, log, 850, 850 * BYTES, spoiled(&right(0, 100)));
    plant(wrong, LogId::new(log.get() + 2), 0, 0, right(0, 100));
    pair.quarantine();
    pair.wrong.state.begin_renewal().unwrap();
    pair.append(850, 900);
    pair.wrong.state.cut_back(&pair.manifest).unwrap();
    let (hashes, gaps) = pair.fill();
    assert_eq!(hashes, [(0, 0)]);
    assert_eq!((gaps[0].from.get(), gaps[0].until.get()), (256, 512), "{gaps:?}");
    pair.wrong.state.renew(&pair.manifest).unwrap();
    pair.append(900, 910);
    pair.catch_up();
    pair.append(910, 920);
    let stage = pair.wrong.state.quarantine().unwrap().stage;
    assert_eq!(stage, Stage::Renewed(pair.checkpoint));
    pair.check_same();
    assert!(!pair.wrong.state.is_diverged(), "back");
}

#[test]
fn what_is_right_is_not_fetched() {
    for trim in [0, 100, 256, 300, 790, 800] {
        let mut pair = Pair::new(trim);
        pair.quarantine();
        pair.wrong.state.begin_renewal().unwrap();
        pair.append(850, 900);
        pair.wrong.state.cut_back(&pair.manifest).unwrap();
        assert_eq!(pair.fill(), (vec![], vec![]), "trimmed to {trim}");
        pair.wrong.state.renew(&pair.manifest).unwrap();
        pair.catch_up();
        pair.check_same();
    }
}

#[test]
fn every_single_tile_that_is_wrong_is_found() {
    for trim in [0, 300] {
        let first = trim / TILE_WIDTH;
        for tile in first..4 {
            for skew in [0, 3] {
                let mut pair = Pair::new(trim);
                let (from, until) = (tile * TILE_WIDTH, ((tile + 1) * TILE_WIDTH).min(800));
                let right = records(&pair.right.state, pair.log, from, until);
                let planted = if skew == 0 { spoiled(&right) } else { right };
                plant(&pair.wrong, pair.log, from, from * BYTES + skew, planted);
                pair.quarantine();
                pair.wrong.state.begin_renewal().unwrap();
                pair.wrong.state.cut_back(&pair.manifest).unwrap();
                let (_, gaps) = pair.fill();
                let is_found =
                    gaps.iter().any(|gap| gap.from.get() <= from && gap.until.get() > from);
                assert!(is_found, "tile {tile}, {skew} bytes off, trimmed to {trim}: {gaps:?}");
                pair.wrong.state.renew(&pair.manifest).unwrap();
                pair.catch_up();
                pair.check_same();
            }
        }
    }
}

#[test]
fn broken_off_the_old_state_catches_up_and_is_as_wrong_as_before() {
    let mut pair = Pair::new(0);
    pair.quarantine();
    pair.wrong.state.begin_renewal().unwrap();
    let flushed = pair.wrong.flushed();
    pair.append(850, 900);
    pair.wrong.flush();
    assert_eq!(pair.wrong.flushed(), flushed, "nothing moves under who looks");
    pair.wrong.state.cut_back(&pair.manifest).unwrap();
    pair.catch_up();
    assert_eq!(pair.wrong.applied(), pair.right.applied());
    assert_eq!(pair.wrong.state.quarantine().unwrap().stage, Stage::Differs);
    assert!(matches!(pair.wrong.state.renew(&pair.manifest), Err(NotRenewed::Overtaken)));
    assert!(matches!(pair.wrong.state.cut_back(&pair.manifest), Err(NotRenewed::Overtaken)));
    pair.wrong.flush();
    assert_eq!(pair.wrong.flushed(), pair.wrong.applied());
    // And once more, to the end.
    pair.renew();
    pair.check_same();
}

#[test]
fn a_state_that_an_offer_put_in_place_meanwhile_is_let_alone() {
    let mut pair = Pair::new(0);
    pair.quarantine();
    pair.wrong.state.begin_renewal().unwrap();
    pair.append(850, 900);
    let newer = pair.right.checkpoint(None);
    pair.right.flush();
    let offered = pair.right.state.kept_manifest(newer).unwrap().unwrap();
    let at =
        (offered.rows().logs[0].1.bytes_at_tail, records(&pair.right.state, pair.log, 850, 900));
    plant(&pair.wrong, pair.log, 850, at.0 - 50 * BYTES, at.1);
    pair.wrong.state.install(&offered, &mut pair.wrong.machine.lock().unwrap()).unwrap();
    assert!(matches!(pair.wrong.state.cut_back(&pair.manifest), Err(NotRenewed::Overtaken)));
    assert!(matches!(pair.wrong.state.renew(&pair.manifest), Err(NotRenewed::Overtaken)));
    assert!(pair.wrong.state.catch_up().unwrap(), "nothing was passed over by that one");
    assert_eq!(pair.wrong.applied(), newer.get());
    assert_eq!(pair.wrong.state.quarantine().unwrap().stage, Stage::Differs);
}

#[test]
fn a_power_cut_leaves_the_old_state_or_the_new_one_and_the_quarantine() {
    let (disk, path) = (FaultDisk::new(3), Path::new("/state/redb"));
    disk.create_dir_all(Path::new("/state")).unwrap();
    let wrong =
        Scene::on(Arc::new(disk.clone()), path, by_hand(), super::scene::TestJournal::default());
    let mut pair = Pair::on(Scene::on_file(by_hand()), wrong, 0);
    let right = records(&pair.right.state, pair.log, 256, 512);
    plant(&pair.wrong, pair.log, 256, 256 * BYTES, spoiled(&right));
    pair.quarantine();
    pair.wrong.state.keep_quarantine().unwrap();
    disk.record(Arc::new(AtomicU64::new(0)));
    pair.renew();
    pair.wrong.flush();
    let snapshots = disk.recorded();
    assert_passed(&snapshots, &POINTS);
    let (mut old, mut new) = (0, 0);
    for (seed, snapshot) in (0..).zip(snapshots) {
        for cut in snapshot.cuts(1, seed).into_iter().chain([snapshot.kill()]) {
            let journal = pair.wrong.journal.clone();
            pair.wrong = Scene::on(Arc::new(cut), path, by_hand(), journal);
            pair.wrong.now = pair.right.now;
            match pair.wrong.state.quarantine().unwrap().stage {
                Stage::Differs => old += 1,
                Stage::Renewed(entry) => {
                    assert_eq!(entry, pair.checkpoint);
                    new += 1;
                }
                Stage::Hopeless(_) => panic!("nothing was compared"),
            }
            pair.renew();
            pair.check_same();
        }
    }
    assert!(old > 0 && new > 0, "{old} times the old one, {new} times the new one");
}
