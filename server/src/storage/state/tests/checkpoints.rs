//! Checkpoints: flushed exactly at their entries, attested after that, kept and found again.

use client::types::{Digest, EntryIndex};
use migrations::latest::tables::{CURSORS, named_key};

use super::scene::{Scene, bodies, by_hand};
use crate::machine::CheckpointCertified;
use crate::storage::state::checkpoints::kept;
use crate::storage::state::{Attestation, State};

fn scene() -> Scene {
    let mut scene = Scene::on_file(by_hand());
    scene.create("a");
    scene.append("a", &bodies(0..10, 100));
    scene
}

fn kept_entries(scene: &Scene) -> Vec<u64> {
    kept(&scene.state.0.database).unwrap().iter().map(|kept| kept.checkpoint.get()).collect()
}

#[test]
fn a_checkpoint_is_flushed_exactly_at_its_entry_and_its_manifest_kept() {
    let mut scene = scene();
    // Two of them and more are applied before anything is durable.
    let journal = scene.journal.clone();
    let mut made = Vec::new();
    journal.stall();
    scene.state.0.wake_flusher();
    journal.await_stalled();
    for _ in 0..2 {
        made.push(scene.checkpoint(None));
        scene.append("a", &bodies(0..5, 100));
    }
    journal.give_up();
    scene.flush();
    assert_eq!(scene.flushed(), scene.applied(), "and then the rest");
    assert_eq!(kept_entries(&scene), made.iter().map(|at| at.get()).collect::<Vec<_>>());
    for (number, checkpoint) in (0..).zip(made) {
        let manifest = scene.state.kept_manifest(checkpoint).unwrap().unwrap();
        assert_eq!(manifest.applied().index, checkpoint);
        assert_eq!(manifest.rows().logs[0].1.tail, 10 + number * 5);
        assert_eq!(scene.attested(checkpoint), Attestation::Digest(manifest.digest()));
    }
}

#[test]
fn a_checkpoint_is_attested_only_once_its_state_is_flushed() {
    let mut scene = scene();
    let next = EntryIndex::new(scene.applied() + 1);
    assert_eq!(scene.attested(next), Attestation::NotYet, "not applied");
    scene.journal.stall();
    let checkpoint = scene.checkpoint(None);
    scene.journal.await_stalled();
    assert_eq!(scene.attested(checkpoint), Attestation::NotYet, "not flushed");
    scene.journal.give_up();
    scene.flush();
    assert!(matches!(scene.attested(checkpoint), Attestation::Digest(_)));
    let never = EntryIndex::new(1);
    assert_eq!(scene.attested(never), Attestation::Unknown, "no checkpoint, and gone by");
}

#[test]
fn checkpoints_are_found_again_after_a_stop() {
    let mut scene = scene();
    let checkpoint = scene.checkpoint(Some("before"));
    scene.append("a", &bodies(0..5, 100));
    scene.flush();
    let attested = scene.attested(checkpoint);
    assert!(matches!(attested, Attestation::Digest(_)));
    let scene = scene.reopened(by_hand());
    assert_eq!(scene.attested(checkpoint), attested);
    assert_eq!(kept_entries(&scene), [checkpoint.get()]);
}

#[test]
fn what_was_executed_last_is_known_right_after_a_start() {
    let mut scene = scene();
    scene.append("a", &bodies(0..5, 100));
    scene.flush();
    let last = EntryIndex::new(scene.applied());
    let digest = scene.machine.lock().unwrap().rolling_digest();
    assert_eq!(scene.state.rolling_digest(last), Attestation::Digest(digest));
    let scene = scene.reopened(by_hand());
    assert_eq!(scene.flushed(), last.get(), "nothing is to be applied again");
    assert_eq!(scene.state.rolling_digest(last), Attestation::Digest(digest));
}

#[test]
fn two_replicas_that_applied_the_same_attest_the_same_however_they_flushed() {
    let mut first = scene();
    first.flush();
    let mut second = scene();
    assert_eq!(first.checkpoint(None), second.checkpoint(None));
    let checkpoint = EntryIndex::new(first.applied());
    first.flush();
    second.flush();
    assert_eq!(first.attested(checkpoint), second.attested(checkpoint));
}

#[test]
fn a_manifest_goes_with_its_checkpoint() {
    let mut scene = scene();
    let made: Vec<u64> = (0..18).map(|_| scene.checkpoint(None).get()).collect();
    scene.flush();
    scene.append("a", &bodies(0..5, 100));
    scene.flush();
    assert_eq!(kept_entries(&scene), made[2..], "the machine remembers sixteen");
    assert_eq!(scene.attested(EntryIndex::new(made[0])), Attestation::Unknown);
}

#[test]
fn a_row_that_is_lost_is_found_at_the_next_start() {
    let mut scene = scene();
    let log = scene.state.view(&"a".parse().unwrap()).unwrap().id;
    scene.set_cursor("a", "billing", 3);
    scene.flush();
    let database = &scene.state.0.database;
    let txn = database.write().unwrap();
    let key = named_key(log.get(), "billing");
    assert!(txn.open_table(CURSORS).unwrap().remove(&key[..]).unwrap().is_some());
    database.commit(txn).unwrap();
    scene.state.close();
    let (disk, path) = (scene.disk.clone(), scene.path.clone());
    let folder = scene.keep_folder();
    drop(scene);
    let opened = State::open(&disk, &path, by_hand());
    assert!(opened.is_err_and(|error| error.to_string().contains("damaged")));
    drop(folder);
}

#[test]
fn a_state_that_is_not_the_certified_one_is_known_to_be_wrong_whatever_comes_after() {
    let mut scene = scene();
    let (first, second) = (scene.checkpoint(None), scene.checkpoint(None));
    scene.flush();
    let Attestation::Digest(digest) = scene.attested(second) else { panic!("it is flushed") };
    let certified = |checkpoint, digest| CheckpointCertified { checkpoint, digest, is_new: true };
    let other = Digest::new([7; 32]);
    assert_eq!(scene.state.compare(&certified(first, other)).is_equal(), Some(false));
    assert!(scene.state.is_diverged());
    assert_eq!(scene.attested(second), Attestation::Unknown, "no witness");
    // What it cannot compare says nothing.
    let unknown = EntryIndex::new(1);
    assert_eq!(scene.state.compare(&certified(unknown, digest)).is_equal(), None);
    assert!(scene.state.is_diverged());
    // By chance the same: what was wrong may still lie on the disk.
    assert_eq!(scene.state.compare(&certified(second, digest)).is_equal(), Some(true));
    assert!(scene.state.is_diverged());
    assert_eq!(scene.state.quarantine().unwrap().checkpoint, first);
    assert_eq!(scene.state.newest_confirmed_index(), Some(second));
    // Behind an install it is of no use: entries do not go on from there.
    let applied = |from: u64| {
        let confirmed = scene.state.newest_confirmed(Some(EntryIndex::new(from))).unwrap();
        confirmed.map(|manifest| manifest.applied().index)
    };
    assert_eq!(applied(second.get()), Some(second));
    assert_eq!(applied(second.get() + 1), None);
    // No start forgets it, whether a flush has written it or it was written by itself.
    scene.append("a", &bodies(0..1, 10));
    scene.flush();
    let scene = scene.reopened(by_hand());
    assert_eq!(scene.state.quarantine().unwrap().checkpoint, first);
    assert_eq!(scene.state.compare(&certified(second, other)).is_equal(), Some(false));
    scene.state.keep_quarantine().unwrap();
    let scene = scene.reopened(by_hand());
    assert!(scene.state.is_diverged());
    assert_eq!(scene.state.quarantine().unwrap().checkpoint, second);
}

#[test]
fn a_checkpoint_that_was_overtaken_says_nothing_of_what_is_here_now() {
    let mut scene = scene();
    let (first, second) = (scene.checkpoint(None), scene.checkpoint(None));
    scene.flush();
    let Attestation::Digest(digest) = scene.attested(second) else { panic!("it is flushed") };
    let certified = |checkpoint, digest| CheckpointCertified { checkpoint, digest, is_new: true };
    scene.state.compare(&certified(second, digest));
    let late = scene.state.compare(&certified(first, Digest::new([7; 32])));
    assert_eq!(late.is_equal(), Some(false));
    assert!(!scene.state.is_diverged());
    assert_eq!(scene.state.compared().map(|compared| compared.checkpoint), Some(second));
}
