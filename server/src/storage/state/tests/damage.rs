//! Rotten bytes: every byte of a small file is flipped, one at a time, and what is served then is right or refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use client::types::{LogId, Position};
use migrations::latest::tables::{CHUNKS, chunk_key};

use super::scene::{EVERYTHING, Scene, TestJournal, bodies, by_hand};
use crate::storage::disk::Disk;
use crate::storage::faults::FaultDisk;
use crate::storage::state::view::Views;
use crate::storage::state::{Level, ReadError, State, StateOptions};

const PATH: &str = "/state/state.redb";

fn disk_with_state() -> (FaultDisk, TestJournal, LogId) {
    let disk = FaultDisk::new(1);
    disk.create_dir_all(Path::new("/state")).unwrap();
    let options = by_hand();
    let mut scene =
        Scene::on(Arc::new(disk.clone()), Path::new(PATH), options, TestJournal::default());
    let log = scene.create("a");
    scene.append("a", &bodies(0..90, 90));
    scene.set_cursor("a", "billing", 3);
    scene.flush();
    scene.state.close();
    let journal = scene.journal.clone();
    drop(scene);
    (disk.power_cut(), journal, log)
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
enum Served {
    /// The file, or a row in it, was refused.
    Nothing,
    /// The file was taken for a new one.
    Empty,
    /// All rows; and records, unless they were refused.
    Rows(Vec<u8>, Option<Vec<Vec<u8>>>),
}

fn served(disk: &FaultDisk, log: LogId) -> Served {
    let serve = || {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let Ok((state, manifest)) = State::open(&disk, Path::new(PATH), by_hand()) else {
            return Served::Nothing;
        };
        let Some(manifest) = manifest else { return Served::Empty };
        let rows = manifest.encode();
        state.0.live_mut().views = Views::of(&manifest.into_machine().unwrap());
        let page = state.read(log, Position::ZERO, EVERYTHING, Level::Applied);
        let records = page.map(|page| page.records);
        let bodies = records.map(|records| records.iter().map(|r| r.body.to_vec()).collect());
        Served::Rows(rows, bodies.ok())
    };
    // redb may also fail one of its assertions.
    catch_unwind(AssertUnwindSafe(serve)).unwrap_or(Served::Nothing)
}

#[test]
fn whichever_byte_rots_nothing_wrong_is_served() {
    let (disk, _, log) = disk_with_state();
    let whole = bodies(0..90, 90);
    let Served::Rows(rows, Some(read)) = served(&disk, log) else { panic!("nothing rotted yet") };
    assert_eq!(read, whole);
    let content = disk.content(Path::new(PATH)).unwrap();
    let (mut refused, mut damaged, mut wrong) = (0, 0, Vec::new());
    std::panic::set_hook(Box::new(|_| {}));
    for offset in (0..content.len()).filter(|offset| is_swept(&content, *offset)) {
        let rotten = disk.power_cut();
        assert!(rotten.flip(Path::new(PATH), offset, 1 << (offset % 8)));
        match served(&rotten, log) {
            Served::Nothing => refused += 1,
            Served::Rows(found, None) if found == rows => damaged += 1,
            Served::Rows(found, Some(read)) if found == rows && is_prefix(&read, &whole) => {}
            Served::Empty => wrong.push((offset, "taken for a new file")),
            Served::Rows(found, _) if found != rows => wrong.push((offset, "rows differ")),
            Served::Rows(..) => wrong.push((offset, "records differ")),
        }
    }
    drop(std::panic::take_hook());
    assert_eq!(wrong, [], "offsets of flipped bytes");
    assert!(refused > 0 && damaged > 0, "{refused} refused, {damaged} damaged");
}

/// A page may end before damage, but never be empty where there are records.
fn is_prefix(read: &[Vec<u8>], whole: &[Vec<u8>]) -> bool {
    !read.is_empty() && whole.starts_with(read)
}

/// Where there is something, every seventh byte; of empty pages, a few.
fn is_swept(content: &[u8], offset: usize) -> bool {
    let begin = offset / 64 * 64;
    let around = &content[begin..content.len().min(begin + 64)];
    offset.is_multiple_of(if around.iter().any(|byte| *byte != 0) { 7 } else { 997 })
}

#[test]
fn a_page_ends_before_damage_and_the_damage_is_named() {
    let mut scene = Scene::on_file(by_hand());
    let log = scene.create("a");
    scene.append("a", &bodies(0..800, 10));
    scene.flush();
    rot_chunk(&scene, log, 256);
    let page = scene.read(log, 0, EVERYTHING).unwrap();
    assert_eq!(page.next, Position::new(256));
    let refused = scene.read(log, 300, EVERYTHING).unwrap_err();
    let ReadError::Damaged { range } = refused else { panic!("{refused}") };
    assert_eq!((range.from(), range.until()), (Position::new(300), Position::new(512)));
    assert_eq!(*scene.told.damages.lock().unwrap(), [(log, range)]);
    assert_eq!(scene.bodies(log, 512), bodies(512..800, 10));
}

#[test]
fn a_damaged_chunk_is_never_merged_into_a_good_one() {
    let mut scene = Scene::on_file(by_hand());
    let log = scene.create("a");
    scene.append("a", &bodies(0..10, 10));
    scene.flush();
    rot_chunk(&scene, log, 0);
    scene.append("a", &bodies(10..20, 10));
    scene.flush();
    assert!(matches!(scene.read(log, 9, EVERYTHING), Err(ReadError::Damaged { .. })));
    assert_eq!(scene.bodies(log, 10), bodies(10..20, 10));
}

#[test]
fn a_lost_chunk_is_damage_and_not_the_end() {
    let mut scene = Scene::on_file(by_hand());
    let log = scene.create("a");
    scene.append("a", &bodies(0..300, 10));
    scene.flush();
    let txn = scene.state.0.database.write().unwrap();
    txn.open_table(CHUNKS).unwrap().remove(&chunk_key(log.get(), 256)[..]).unwrap();
    scene.state.0.database.commit(txn).unwrap();
    let page = scene.read(log, 0, EVERYTHING).unwrap();
    assert_eq!((page.next, page.tail), (Position::new(256), Position::new(300)));
    assert!(matches!(scene.read(log, 256, EVERYTHING), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_chunk_under_another_key_is_damage() {
    let mut scene = Scene::on_file(StateOptions { suffix_bytes_max: 0, ..by_hand() });
    let (a, b) = (scene.create("a"), scene.create("b"));
    scene.append("a", &bodies(0..10, 10));
    scene.append("b", &bodies(10..20, 10));
    scene.flush();
    let value = value_of(&scene, a, 0);
    put_value(&scene, b, 0, &value);
    assert!(matches!(scene.read(b, 0, EVERYTHING), Err(ReadError::Damaged { .. })));
}

/// Flips a bit in the chunk that begins there.
pub(super) fn rot_chunk(scene: &Scene, log: LogId, first: u64) {
    let mut value = value_of(scene, log, first);
    let middle = value.len() / 2;
    value[middle] ^= 0x10;
    put_value(scene, log, first, &value);
}

fn value_of(scene: &Scene, log: LogId, first: u64) -> Vec<u8> {
    let table = scene.state.0.database.read().unwrap().open_table(CHUNKS).unwrap();
    table.get(&chunk_key(log.get(), first)[..]).unwrap().unwrap().value().to_vec()
}

fn put_value(scene: &Scene, log: LogId, first: u64, value: &[u8]) {
    let txn = scene.state.0.database.write().unwrap();
    txn.open_table(CHUNKS).unwrap().insert(&chunk_key(log.get(), first)[..], value).unwrap();
    scene.state.0.database.commit(txn).unwrap();
}
