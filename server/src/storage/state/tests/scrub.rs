//! Tiles looked at as a whole, and written again when they are damaged.

use bytes::Bytes;
use client::types::{Digest, LogId, Position};
use migrations::latest::tables::{CHUNKS, TILES, chunk_key, tile_key};

use super::damage::rot_chunk;
use super::scene::{EVERYTHING, Scene, bodies, by_hand};
use crate::storage::state::{Rewritten, TileLook};

/// A log of 800 records: three tiles, and a part of one.
fn scene() -> (Scene, LogId) {
    let mut scene = Scene::on_file(by_hand());
    let log = scene.create("a");
    scene.append("a", &bodies(0..800, 10));
    scene.flush();
    (scene, log)
}

fn records(scene: &Scene, log: LogId, from: u64, until: u64) -> Bytes {
    let range = (Position::new(from), Position::new(until));
    scene.state.stretch(log, range, usize::MAX).unwrap().unwrap().bytes
}

fn looks(scene: &Scene, log: LogId) -> Vec<bool> {
    let look = |number| match scene.state.look_at_tile(log, number).unwrap() {
        TileLook::Whole(bytes) => bytes > 0,
        TileLook::Damaged(range) => {
            assert_eq!(range.from().get(), number * 256);
            assert_eq!(range.until().get(), (number * 256 + 256).min(800));
            false
        }
        TileLook::Gone => panic!("nothing was trimmed"),
    };
    (0..4).map(look).collect()
}

#[test]
fn whatever_rots_in_a_tile_is_found_and_made_good_again() {
    let (scene, log) = scene();
    assert_eq!(looks(&scene, log), [true; 4]);
    assert_eq!(scene.state.look_at_tile(log, 4).unwrap(), TileLook::Gone);
    let right: Vec<_> =
        (0..4).map(|tile| records(&scene, log, tile * 256, (tile * 256 + 256).min(800))).collect();
    for (at, right) in right.iter().enumerate() {
        let tile = u64::try_from(at).unwrap();
        rot_chunk(&scene, log, tile * 256);
        let found: Vec<_> = (0..4).map(|other| other != at).collect();
        assert_eq!(looks(&scene, log), found);
        assert_eq!(scene.state.rewrite_tile(log, tile, right).unwrap(), Rewritten::Done);
        assert_eq!(looks(&scene, log), [true; 4]);
    }
    assert_eq!(scene.bodies(log, 0), bodies(0..800, 10));
    let bytes = scene.state.bytes_before(log, Position::new(700)).unwrap();
    assert_eq!(bytes, 700 * (right[0].len() as u64 / 256 - 12));
}

#[test]
fn a_lost_chunk_is_found_too_and_what_comes_later_stands_behind_what_was_written_again() {
    let (mut scene, log) = scene();
    let right = records(&scene, log, 768, 800);
    let txn = scene.state.0.database.write().unwrap();
    txn.open_table(CHUNKS).unwrap().remove(&chunk_key(log.get(), 768)[..]).unwrap();
    scene.state.0.database.commit(txn).unwrap();
    assert_eq!(looks(&scene, log), [true, true, true, false]);
    scene.append("a", &bodies(800..810, 10));
    scene.flush();
    // What was fetched for a shorter tile is not taken.
    assert_eq!(scene.state.rewrite_tile(log, 3, &right).unwrap(), Rewritten::Moved);
    let whole = [right, records(&scene, log, 800, 810)].concat().into();
    assert_eq!(scene.state.rewrite_tile(log, 3, &whole).unwrap(), Rewritten::Done);
    assert_eq!(scene.bodies(log, 0), bodies(0..810, 10));
}

#[test]
fn wrong_records_are_never_written_over_right_ones() {
    let (scene, log) = scene();
    let others = records(&scene, log, 256, 512);
    assert_eq!(scene.state.rewrite_tile(log, 0, &others).unwrap(), Rewritten::Wrong);
    let cut = others.slice(..others.len() - 1);
    assert_eq!(scene.state.rewrite_tile(log, 1, &cut).unwrap(), Rewritten::Wrong);
    let fewer = records(&scene, log, 256, 500);
    assert_eq!(scene.state.rewrite_tile(log, 1, &fewer).unwrap(), Rewritten::Moved);
    assert_eq!(scene.read(log, 0, EVERYTHING).unwrap().records.len(), 800);
}

#[test]
fn records_that_pass_their_check_and_are_not_the_right_ones_are_damage() {
    let (mut scene, log) = scene();
    let other = scene.create("b");
    scene.append("b", &bodies(800..1056, 10));
    scene.flush();
    let right = records(&scene, log, 0, 256);
    // As if a write to the disk had gone astray: whole chunks, of other records.
    let strays = records(&scene, other, 0, 256);
    let stretch =
        super::super::Stretch { log, first: Position::ZERO, bytes_before: 0, records: strays };
    scene.state.write_ahead(&[stretch]).unwrap();
    assert_eq!(looks(&scene, log), [false, true, true, true]);
    assert_eq!(scene.state.rewrite_tile(log, 0, &right).unwrap(), Rewritten::Done);
    assert_eq!(looks(&scene, log), [true; 4]);
}

#[test]
fn a_rotten_hash_is_damage_and_proved_by_the_others() {
    let (scene, log) = scene();
    let right = records(&scene, log, 256, 512);
    let hashes: Vec<Digest> =
        scene.state.tiles(log, 0, (0, 3)).unwrap().into_iter().map(Option::unwrap).collect();
    let key = tile_key(log.get(), 0, 1);
    let txn = scene.state.0.database.write().unwrap();
    txn.open_table(TILES).unwrap().insert(&key[..], &[9; 40][..]).unwrap();
    scene.state.0.database.commit(txn).unwrap();
    assert_eq!(looks(&scene, log), [true, false, true, true]);
    assert_eq!(scene.state.rewrite_tile(log, 1, &right).unwrap(), Rewritten::Unproved);
    let mut wrong = hashes.clone();
    wrong[1] = wrong[0];
    assert_eq!(scene.state.group_length(log, 0, 0).unwrap(), 3);
    assert_eq!(scene.state.rewrite_hashes(log, (0, 0), &wrong).unwrap(), Rewritten::Wrong);
    assert_eq!(scene.state.rewrite_hashes(log, (0, 0), &hashes[..2]).unwrap(), Rewritten::Moved);
    assert_eq!(scene.state.rewrite_hashes(log, (0, 0), &hashes).unwrap(), Rewritten::Done);
    assert_eq!(looks(&scene, log), [true; 4]);
}

#[test]
fn what_is_trimmed_or_deleted_is_gone_and_not_damaged() {
    let (mut scene, log) = scene();
    let right = records(&scene, log, 0, 256);
    scene.trim("a", 300);
    scene.flush();
    let looks: Vec<_> = (0..3).map(|tile| scene.state.look_at_tile(log, tile).unwrap()).collect();
    assert!(matches!(looks[..], [TileLook::Gone, TileLook::Whole(_), TileLook::Whole(_)]));
    assert_eq!(scene.state.rewrite_tile(log, 0, &right).unwrap(), Rewritten::Moved);
    scene.delete("a");
    scene.flush();
    assert_eq!(scene.state.look_at_tile(log, 1).unwrap(), TileLook::Gone);
}
