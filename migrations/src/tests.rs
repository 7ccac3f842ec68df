//! Opening, creating and upgrading data folders, with a version that exists only here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::upgrade::{Formats, Step};
use super::*;

fn identity() -> Identity {
    Identity {
        cluster: *b"sixteen bytes id",
        generation: Generation { number: 2, random: 7 },
        replica: Some(3),
    }
}

fn beginning() -> Beginning {
    let timings = Timings { heartbeat_ms: 80, election_min_ms: 250, election_max_ms: 500 };
    Beginning { timings, voters_expected: Some(3) }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_folder_is_private_and_opens_again_with_a_later_start() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let first = create(&dir, identity(), beginning()).unwrap();
    let begun = first.start();
    assert_eq!(begun.number, 1);
    for folder in ["", "groups", "groups/0", "groups/0/journal"] {
        assert_eq!(mode(&dir.join(folder)), 0o700, "{folder}");
    }
    for file in ["marker", "lock"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    drop(first);
    let second = open(&dir).unwrap();
    assert_eq!(second.identity(), identity());
    assert_eq!(second.start().number, 2);
    assert_eq!(second.marker().start(1), Some(begun.random));
    assert_eq!(second.marker().start(2), Some(second.start().random));
    assert_eq!(second.marker().start(3), None);
    assert_eq!(second.marker().start(0), None);
}

#[test]
fn one_process_has_a_folder() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let held = create(&dir, identity(), beginning()).unwrap();
    assert!(matches!(open(&dir), Err(OpenError::Locked { .. })));
    drop(held);
    assert!(open(&dir).is_ok());
}

#[test]
fn a_folder_without_a_marker_is_only_made_on_purpose() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    assert!(matches!(open(&dir), Err(OpenError::Unmarked { .. })));
    assert!(check_vacant(&dir).is_ok() && !dir.exists());
    fs::create_dir(&dir).unwrap();
    assert!(check_vacant(&dir).is_ok());
    assert!(matches!(open(&dir), Err(OpenError::Unmarked { .. })));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing was written");
    drop(create(&dir, identity(), beginning()).unwrap());
    assert!(matches!(create(&dir, identity(), beginning()), Err(OpenError::Taken { .. })));
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path();
    fs::write(dir.join("thesis.txt"), "mine").unwrap();
    assert!(matches!(check_vacant(dir), Err(OpenError::NotOurs { .. })));
    assert!(matches!(create(dir, identity(), beginning()), Err(OpenError::NotOurs { .. })));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "nothing was written");
    fs::write(dir.join("marker"), "of something else").unwrap();
    assert!(matches!(open(dir), Err(OpenError::NotOurs { .. })));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 2, "nothing was written");
}

#[test]
fn a_folder_that_lost_its_marker_is_not_founded_anew() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    drop(create(&dir, identity(), beginning()).unwrap());
    fs::remove_file(dir.join("marker")).unwrap();
    drop(create(&dir, identity(), beginning()).unwrap());
    fs::remove_file(dir.join("marker")).unwrap();
    fs::write(dir.join("groups/0/journal/1.segment"), "entries").unwrap();
    assert!(matches!(create(&dir, identity(), beginning()), Err(OpenError::NotOurs { .. })));
}

#[test]
fn a_damaged_marker_is_refused_whichever_byte_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    drop(create(&dir, identity(), beginning()).unwrap());
    let path = dir.join("marker");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let refused = open(&dir).unwrap_err();
        let is_named = matches!(refused, OpenError::NotOurs { .. } | OpenError::Corrupt { .. });
        assert!(is_named, "byte {at}: {refused}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(open(&dir), Err(OpenError::Corrupt { .. })));
    fs::write(&path, &whole).unwrap();
    assert!(open(&dir).is_ok());
}

#[test]
fn a_newer_folder_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    drop(create(&dir, identity(), beginning()).unwrap());
    let mut marker = Marker::new(2, identity(), beginning());
    marker.begin(1);
    fs::write(dir.join("marker"), marker.encode()).unwrap();
    let refused = open(&dir).unwrap_err();
    assert!(matches!(refused, OpenError::TooNew { found: 2, newest: 1 }), "{refused}");
}

#[test]
fn a_removed_replica_never_opens_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    create(&dir, identity(), beginning()).unwrap().mark_removed("removed in epoch 40").unwrap();
    let refused = open(&dir).unwrap_err();
    assert!(matches!(&refused, OpenError::Removed { reason } if reason == "removed in epoch 40"));
}

#[test]
fn a_replica_gets_its_number_once() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let mut current = create(&dir, Identity { replica: None, ..identity() }, beginning()).unwrap();
    current.adopt_replica(4).unwrap();
    drop(current);
    assert_eq!(open(&dir).unwrap().identity().replica, Some(4));
}

#[test]
fn what_a_replica_was_told_at_its_beginning_stays() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let mut current = create(&dir, identity(), beginning()).unwrap();
    assert_eq!(current.marker().founding(), Some(3));
    assert!(!current.marker().has_journal);
    current.note_journal().unwrap();
    drop(current);
    let mut current = open(&dir).unwrap();
    assert_eq!(current.marker().beginning, beginning());
    assert!(current.marker().has_journal);
    assert_eq!(current.marker().founding(), Some(3), "not finished yet");
    current.note_founded().unwrap();
    drop(current);
    assert_eq!(open(&dir).unwrap().marker().founding(), None);
    // A newcomer has nothing to found.
    let dir = parent.path().join("joined");
    let joined = Beginning { voters_expected: None, ..beginning() };
    drop(create(&dir, identity(), joined).unwrap());
    let current = open(&dir).unwrap();
    assert_eq!((current.marker().beginning, current.marker().founding()), (joined, None));
}

#[test]
fn a_folder_far_below_what_is_there_is_made() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b/data");
    drop(create(&dir, identity(), beginning()).unwrap());
    assert!(open(&dir).is_ok());
}

#[test]
fn the_oldest_starts_are_forgotten_and_still_counted() {
    let mut marker = Marker::new(1, identity(), beginning());
    for random in 0..u64::try_from(STARTS_KEPT_MAX).unwrap() + 2 {
        marker.begin(random);
    }
    let latest = marker.latest_start().unwrap();
    assert_eq!(marker.start(latest.number), Some(latest.random));
    assert_eq!(latest.number, latest.random + 1);
    assert_eq!(marker.start(2), None);
    assert_eq!(marker.start(3), Some(2));
    assert!(marker.encode().len() < 2 * 1024 * 1024);
}

// The version that exists only here: 7, then 8, then 9.

static RUNS: AtomicU32 = AtomicU32::new(0);

fn seven_to_eight(layout: &Layout) -> Result<(), OpenError> {
    RUNS.fetch_add(1, Ordering::SeqCst);
    fs::write(layout.dir().join("eight"), "8").map_err(OpenError::io("write", layout.dir()))
}

fn eight_to_nine(layout: &Layout) -> Result<(), OpenError> {
    let fuse = layout.dir().join("fuse");
    if fuse.exists() {
        fs::remove_file(&fuse).map_err(OpenError::io("remove", &fuse))?;
        return Err(OpenError::io("be interrupted at", &fuse)(std::io::ErrorKind::Other.into()));
    }
    let (old, new) = (layout.dir().join("eight"), layout.dir().join("nine"));
    fs::copy(old, new).map(drop).map_err(OpenError::io("copy", layout.dir()))
}

const IMAGINED: Formats = Formats {
    newest: 9,
    steps: &[Step { from: 7, run: seven_to_eight }, Step { from: 8, run: eight_to_nine }],
};

fn folder_of(version: u32) -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    drop(create(&dir, identity(), beginning()).unwrap());
    fs::write(dir.join("marker"), Marker::new(version, identity(), beginning()).encode()).unwrap();
    (parent, dir)
}

#[test]
fn an_old_folder_is_brought_up_step_by_step_and_once() {
    let (_parent, dir) = folder_of(7);
    fs::write(dir.join("fuse"), "").unwrap();
    let interrupted = open_in(&dir, &IMAGINED).unwrap_err();
    assert!(matches!(interrupted, OpenError::Io { act: "be interrupted at", .. }));
    assert_eq!(Marker::read(&Layout::new(&dir), 0, 9).unwrap().version, 8, "the first step holds");
    let current = open_in(&dir, &IMAGINED).unwrap();
    assert_eq!(current.marker().version, 9);
    assert_eq!(current.identity(), identity());
    assert_eq!(fs::read(dir.join("nine")).unwrap(), b"8");
    drop(current);
    drop(open_in(&dir, &IMAGINED).unwrap());
    assert_eq!(RUNS.load(Ordering::SeqCst), 1, "no step runs again once the marker moved");
}

#[test]
fn a_folder_older_than_the_chain_is_refused() {
    let (_parent, dir) = folder_of(6);
    let refused = open_in(&dir, &IMAGINED).unwrap_err();
    assert!(matches!(refused, OpenError::TooOld { found: 6, oldest: 7 }), "{refused}");
    let refused = open_in(&dir, &SHIPPED).unwrap_err();
    assert!(matches!(refused, OpenError::TooNew { found: 6, newest: 1 }), "{refused}");
}
