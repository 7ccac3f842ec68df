//! A replica that lacks purged entries gets the state, and only what it lacks of it; whoever dies on the way.

use std::time::Duration;

use client::api::conditions::Conditions;
use client::api::transfers::{TransferDirection, TransferInfo, TransferStage};
use client::types::{Batch, BatchLimits, EntryIndex, NewRecord, Position};
use quorate::node::AppendRequest;
use quorate::storage::state::{Level, ReadLimit, State};

use super::replica::{LIMIT, Replica, orders, tail, three};

/// Bytes of a record here.
const BODY_BYTES: usize = 1000;
/// What moves for a record: its body, a count of headers, its length and time.
pub(crate) const RECORD_BYTES: u64 = 1000 + 2 + 12;

pub(crate) async fn append_many(replica: &Replica, from: u64, count: u64) {
    let mut next = from;
    while next < from + count {
        let until = (next + 500).min(from + count);
        let records: Vec<_> = (next..until).map(|number| NewRecord::new(body(number))).collect();
        let batch = Batch::new(&records, &BatchLimits::default()).unwrap();
        let request = AppendRequest::of(orders(), Conditions::default(), batch);
        let appended = replica.node.append(request).await.unwrap();
        assert_eq!(appended.first.get(), next);
        next = until;
    }
}

pub(crate) fn body(number: u64) -> Vec<u8> {
    number.to_string().bytes().cycle().take(BODY_BYTES).collect()
}

/// Has a checkpoint certified; the index of its entry.
pub(crate) async fn checkpoint(leader: &Replica) -> EntryIndex {
    let made = leader.node.make_checkpoint(None).await.unwrap();
    assert!(made.certificate.is_some(), "{made:?}");
    made.checkpoint
}

/// All entries up to a checkpoint are let go, once it is known here to be right.
async fn purge(replica: &Replica, checkpoint: EntryIndex) {
    let mut applied = replica.raft.applied();
    while replica.state.newest_confirmed_index() < Some(checkpoint) {
        tokio::time::timeout(LIMIT, applied.changed()).await.unwrap().unwrap();
    }
    replica.raft.purge_to(checkpoint, LIMIT).await.unwrap();
}

/// Waits until the log is as long here as it should be, and reads all of it.
pub(crate) async fn check_records(replica: &Replica, count: u64) {
    let mut applied = replica.raft.applied();
    let is_there = || {
        let view = replica.state.view(&orders());
        view.is_some_and(|view| view.tail.get() == count)
    };
    while !is_there() {
        let changed = tokio::time::timeout(LIMIT, applied.changed()).await;
        changed.expect("the log grows").unwrap();
    }
    let state = replica.state.clone();
    tokio::task::spawn_blocking(move || read_all(&state, count)).await.unwrap();
}

fn read_all(state: &State, count: u64) {
    let log = state.view(&orders()).unwrap().id;
    let limit = ReadLimit { records_max: 1000, bytes_max: usize::MAX };
    let mut next = Position::ZERO;
    while next.get() < count {
        let page = state.read(log, next, limit, Level::Applied).unwrap();
        for record in &page.records {
            assert_eq!(record.body, body(record.position.get()), "at {}", record.position);
        }
        next = page.next;
    }
}

/// The state is the same, down to the digest of it.
pub(crate) fn check_same(replicas: &[&Replica]) {
    let mut states = Vec::new();
    for replica in replicas {
        let state = replica.state.clone();
        let view = state.view(&orders()).unwrap();
        states.push((view.id, view.frontier.clone(), view.bytes_at_tail));
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "states differ");
}

pub(crate) fn received(replica: &Replica) -> Vec<TransferInfo> {
    let mut transfers = replica.peers.board().list();
    transfers.retain(|transfer| transfer.direction == TransferDirection::Receiving);
    transfers
}

/// Bytes that came from all sources.
pub(crate) fn moved(transfers: &[TransferInfo]) -> u64 {
    transfers.iter().flat_map(|transfer| &transfer.sources).map(|source| source.bytes).sum()
}

/// Waits until a part of what is lacking is there.
async fn await_percent(replica: &Replica, percent: u64) -> TransferInfo {
    let began = tokio::time::Instant::now();
    loop {
        let newest = received(replica).into_iter().next();
        if let Some(transfer) = newest
            && let Some(total) = transfer.bytes_total
            && transfer.bytes_done * 100 >= total * percent
        {
            return transfer;
        }
        assert!(began.elapsed() < LIMIT, "{:?}", received(replica));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_down_past_the_purge_gets_only_what_it_lacks() {
    let [first, second, third] = three().await;
    append_many(&first, 0, 3_100).await;
    check_records(&third, 3_100).await;
    let third = third.stop().await;
    append_many(&first, 3_100, 6_000).await;
    let base = checkpoint(&first).await;
    purge(&first, base).await;
    check_records(&second, 9_100).await;
    purge(&second, base).await;
    let third = third.start(None).await;
    check_records(&third, 9_100).await;
    check_same(&[&first, &second, &third]);
    let transfers = received(&third);
    assert_eq!(transfers.len(), 1, "{transfers:?}");
    let transfer = &transfers[0];
    assert_eq!((transfer.stage, transfer.failure.as_ref()), (TransferStage::Done, None));
    assert_eq!(transfer.entry, base);
    let lacked = 6_000 * RECORD_BYTES;
    let moved = moved(&transfers);
    assert!(moved >= lacked && moved - lacked <= lacked / 20, "moved {moved} of {lacked}");
    assert_eq!(transfer.bytes_total, Some(transfer.bytes_done));
    let from: Vec<_> = transfer.sources.iter().filter(|source| source.bytes > 0).collect();
    assert_eq!(from.len(), 2, "both have it, both give it: {transfer:?}");
    // It takes part again: with it, one of the others may go.
    let second = second.stop().await;
    append_many(&first, 9_100, 100).await;
    check_records(&third, 9_200).await;
    assert_eq!(tail(&third.node).await, 9_200);
    // And it starts again on what it was given.
    let third = third.stop().await.start(None).await;
    check_records(&third, 9_200).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_dies_on_the_way_goes_on_where_it_was() {
    let [first, second, third] = three().await;
    let third = third.stop().await;
    append_many(&first, 0, 6_000).await;
    let base = checkpoint(&first).await;
    purge(&first, base).await;
    check_records(&second, 6_000).await;
    purge(&second, base).await;
    let third = third.start(Some(2 << 20)).await;
    let broken_off = await_percent(&third, 40).await;
    let first_part = moved(&received(&third));
    let third = third.stop().await.start(None).await;
    check_records(&third, 6_000).await;
    check_same(&[&first, &second, &third]);
    let rest = received(&third);
    let rest_total = rest.last().unwrap().bytes_total.unwrap();
    let total = broken_off.bytes_total.unwrap();
    assert!(rest_total <= total * 65 / 100, "{rest_total} of {total} were to be fetched again");
    let moved = first_part + moved(&rest);
    assert!(moved * 10 <= total * 11, "{moved} bytes moved for {total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_dies_on_the_way_another_one_goes_on() {
    let [first, second, third] = three().await;
    let third = third.stop().await;
    append_many(&first, 0, 6_000).await;
    let base = checkpoint(&first).await;
    purge(&first, base).await;
    check_records(&second, 6_000).await;
    purge(&second, base).await;
    let third = third.start(Some(2 << 20)).await;
    let broken_off = await_percent(&third, 40).await;
    let gone = first.stop().await;
    check_records(&third, 6_000).await;
    check_same(&[&second, &third]);
    // The new leader offers the same state: the transfer goes on, and what was on its way from the others still counts.
    // If it has made a newer checkpoint meanwhile, another one fetches the rest.
    let transfers = received(&third);
    let total = broken_off.bytes_total.unwrap();
    let moved = moved(&transfers);
    assert!(moved * 10 <= total * 11, "{moved} bytes moved for {total}: {transfers:?}");
    let last = &transfers[0];
    assert_eq!((last.stage, last.peer), (TransferStage::Done, second.node.replica()));
    assert_eq!(last.id == broken_off.id, last.entry == base, "begun anew: {transfers:?}");
    let first = gone.start(None).await;
    check_records(&first, 6_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_held_and_let_go_by_an_operator() {
    let [first, second, third] = three().await;
    let third = third.stop().await;
    append_many(&first, 0, 3_000).await;
    let base = checkpoint(&first).await;
    purge(&first, base).await;
    let third = third.start(Some(1 << 20)).await;
    let id = await_percent(&third, 10).await.id;
    let board = third.peers.board();
    let held = board.turn(&id, |pace| pace.is_paused = true).unwrap();
    assert_eq!(held.waits_for.as_deref(), Some("an operator to resume it"));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let settled = board.get(&id).unwrap().bytes_done;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let still = board.get(&id).unwrap();
    assert_eq!((still.bytes_done, still.is_paused, still.ended), (settled, true, None));
    board.turn(&id, |pace| *pace = quorate::peer::transfer::Pace::default()).unwrap();
    check_records(&third, 3_000).await;
    assert_eq!(board.get(&id).unwrap().stage, TransferStage::Done);
    assert_eq!(board.turn(&id, |_| {}).unwrap_err().to_string(), {
        "this replica does not receive it, or not any more"
    });
    drop(second);
}
