//! A replica whose memory or disk has gone wrong finds out, serves nothing of it, takes the certified state anew and is
//! back by itself, while the group goes on.

use std::time::Duration;

use bytes::Bytes;
use client::api::cluster::QuarantineStage;
use client::api::reading::Consistency;
use client::api::transfers::TransferStage;
use client::types::{Digest, LogId, Position};
use migrations::latest::manifest::Manifest;
use migrations::latest::values::CursorRow;
use quorate::machine::TileAddress;
use quorate::node::{ReadRequest, Start};
use quorate::storage::state::{Stage, StateManifest, Stretch, TileLook};

use super::replica::{LIMIT, Replica, orders, tail, three};
use super::transfer::{
    RECORD_BYTES, append_many, body, check_records, check_same, checkpoint, moved, received,
};

const RECORDS: u64 = 3_000;

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = tokio::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// From now on this replica remembers a cursor that nobody ever set, and its disk does not hold.
async fn corrupt_memory(replica: &Replica) {
    change_memory(replica, |rows| {
        let row = CursorRow { position: 1, time: 1 };
        rows.cursors.push((rows.logs[0].0, "nobody".to_owned(), row));
    })
    .await;
}

/// From now on this replica remembers to have executed something else; its disk will hold that, too.
async fn corrupt_past(replica: &Replica) {
    change_memory(replica, |rows| rows.progress.rolling_digest[0] ^= 1).await;
}

async fn change_memory(replica: &Replica, change: fn(&mut Manifest)) {
    let (state, machine) = (replica.state.clone(), replica.machine.clone());
    let corrupted = tokio::task::spawn_blocking(move || {
        loop {
            state.flush_now().unwrap();
            let mut machine = machine.lock().unwrap();
            let manifest = state.manifest().unwrap().unwrap();
            // Nothing came since it was flushed, and nothing comes while the lock is held.
            if Some(manifest.applied()) == machine.applied() {
                let mut rows = manifest.rows().clone();
                change(&mut rows);
                *machine = StateManifest::new(rows).into_machine().unwrap();
                return;
            }
        }
    });
    corrupted.await.unwrap();
}

/// Writes over a tile of its disk, with checks that are right, and over a hash.
async fn corrupt_disk(replica: &Replica, tile: u64) {
    let (state, log) = (replica.state.clone(), log(replica));
    let corrupted = tokio::task::spawn_blocking(move || {
        let (from, until) = (Position::new(tile * 256), Position::new(tile * 256 + 256));
        let right = state.stretch(log, (from, until), usize::MAX).unwrap().unwrap();
        assert_eq!(right.count, 256);
        let mut records = right.bytes.to_vec();
        *records.last_mut().unwrap() ^= 1;
        let bytes_before = state.bytes_until(log, from).unwrap().unwrap();
        let records = Bytes::from(records);
        state.write_ahead(&[Stretch { log, first: from, bytes_before, records }]).unwrap();
        let address = TileAddress { log, level: 0, number: tile + 1 };
        state.write_tiles_ahead(&[(address, Digest::new([6; 32]))]).unwrap();
    });
    corrupted.await.unwrap();
}

fn log(replica: &Replica) -> LogId {
    replica.state.view(&orders()).unwrap().id
}

/// What it serves of itself, if it serves anything: never something else than what was appended.
async fn serves(replica: &Replica) -> bool {
    let request = ReadRequest {
        log: orders().into(),
        start: Start::From(client::api::reading::ReadFrom::Position(Position::new(100))),
        records_max: Some(1_000),
        bytes_max: None,
        consistency: Consistency::Local,
        wait: None,
    };
    let Ok(answer) = replica.node.read(request).await else { return false };
    for record in answer.records {
        assert_eq!(record.body, body(record.position.get()), "a wrong record was served");
    }
    true
}

fn stage(replica: &Replica) -> Option<Stage> {
    replica.state.quarantine().map(|known| known.stage)
}

async fn is_back(replica: &Replica) {
    until("it is back", || stage(replica).is_none() && !replica.state.is_diverged()).await;
}

async fn check_tiles(replica: &Replica) {
    let (state, log) = (replica.state.clone(), log(replica));
    let looked = tokio::task::spawn_blocking(move || {
        state.flush_now().unwrap();
        for tile in 0..RECORDS.div_ceil(256) {
            let look = state.look_at_tile(log, tile).unwrap();
            assert!(matches!(look, TileLook::Whole(_)), "tile {tile}: {look:?}");
        }
    });
    looked.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_went_wrong_takes_the_state_anew_and_is_back_while_the_group_goes_on() {
    let [first, second, third] = three().await;
    append_many(&first, 0, RECORDS).await;
    check_records(&third, RECORDS).await;
    assert!(serves(&third).await);
    corrupt_memory(&third).await;
    let base = checkpoint(&first).await;
    until("the difference is found", || third.state.is_diverged()).await;
    corrupt_disk(&third, 1).await;
    // What it holds on its disk is wrong now, and it goes on hearing what is agreed on.
    let mut next = RECORDS;
    while third.state.is_diverged() {
        assert!(!serves(&third).await || !third.state.is_diverged(), "quarantined, and served");
        append_many(&first, next, 10).await;
        next += 10;
        if next.is_multiple_of(200) {
            checkpoint(&first).await;
        }
        assert!(next < 60_000, "{:?}", third.state.quarantine());
    }
    is_back(&third).await;
    check_records(&third, next).await;
    assert!(serves(&third).await);
    assert_eq!(tail(&third.node).await, next);
    check_same(&[&first, &second, &third]);
    check_tiles(&third).await;
    let transfers = received(&third);
    let transfer = &transfers[0];
    assert_eq!((transfer.stage, transfer.failure.as_ref()), (TransferStage::Done, None));
    assert!(transfer.entry >= base, "{transfer:?}");
    // Two tiles at most, and their hashes, of some twelve.
    assert!(moved(&transfers) < 4 * 256 * RECORD_BYTES, "{transfers:?}");
    // All three count again.
    let second = second.stop().await;
    append_many(&first, next, 100).await;
    check_records(&third, next + 100).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_group_takes_it_back_too_and_a_restart_does_not_make_it_sound() {
    let [first, second, third] = three().await;
    append_many(&first, 0, RECORDS).await;
    check_records(&third, RECORDS).await;
    corrupt_past(&third).await;
    checkpoint(&first).await;
    until("the difference is found", || third.state.is_diverged()).await;
    let third = third.stop().await.start(None).await;
    assert!(stage(&third).is_some() && !serves(&third).await, "forgotten by a restart");
    let status = third.node.status_here();
    let ours = status.replicas.iter().find(|replica| replica.id == third.node.replica());
    assert!(ours.is_none_or(|ours| ours.quarantine.is_some()), "{status:?}");
    is_back(&third).await;
    check_records(&third, RECORDS).await;
    check_same(&[&first, &second, &third]);
    assert!(serves(&third).await);
    let third = third.stop().await.start(None).await;
    assert!(!third.state.is_diverged(), "that is remembered, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_journal_counts_meanwhile_and_one_that_differs_again_is_to_be_replaced() {
    let [first, second, third] = three().await;
    append_many(&first, 0, RECORDS).await;
    check_records(&third, RECORDS).await;
    corrupt_memory(&third).await;
    checkpoint(&first).await;
    until("the difference is found", || third.state.is_diverged()).await;
    // From here on nothing is acknowledged without its journal, and nothing certified without the other's state.
    let second = second.stop().await;
    append_many(&first, RECORDS, 100).await;
    until("the state is taken anew", || matches!(stage(&third), Some(Stage::Renewed(_)))).await;
    until("what came meanwhile is applied", || {
        third.state.view(&orders()).is_some_and(|view| view.tail.get() == RECORDS + 100)
    })
    .await;
    assert!(!serves(&third).await, "not before a checkpoint is the same");
    corrupt_memory(&third).await;
    let second = second.start(None).await;
    until("it differs again", || matches!(stage(&third), Some(Stage::Hopeless(_)))).await;
    assert!(!serves(&third).await);
    let status = third.node.status_here();
    let ours = status.replicas.iter().find(|replica| replica.id == third.node.replica()).unwrap();
    assert_eq!(ours.quarantine.unwrap().stage, QuarantineStage::ToBeReplaced);
    assert!(
        status.verdict.reasons.iter().any(|reason| reason.contains("Replace it")),
        "{status:?}"
    );
    drop(second);
}
