//! A group of three in one process: it forms by admission, reads fresh on every replica, moves its
//! leadership without an unknown outcome, and keeps it while a disk stalls.
//!
//! Not here: processes that are killed, and networks that are cut (`e2e`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod plans;
mod renewal;
mod replica;
mod slow_disk;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use client::api::reading::{Consistency, ReadFrom};
use client::types::{LogName, LogSettings, ReplicaId};
use quorate::machine::Timings;
use quorate::node::error::{AppendError, Unserved};
use quorate::node::{FollowEvent, FollowRequest, Node, Route, Start};
use quorate::world::World;
use replica::{LIMIT, Replica, append, append_to, orders, tail, three, three_in};

/// How long a disk stalls: longer than a heartbeat may take, and as long as an append may.
const STALL: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_group_grows_to_as_many_voters_as_it_was_founded_for() {
    let [first, second, third] = three().await;
    let mut ids = [&first, &second, &third].map(|replica| replica.node.replica().get());
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    let verdict = first.node.status().await.verdict;
    assert_eq!((verdict.can_append, verdict.tolerance), (true, 1), "{verdict:?}");
    assert_eq!(
        verdict.sentence,
        "Taking appends. 3 of 3 replicas vote. You can lose 1 more and keep appending."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_read_on_every_replica_at_once() {
    let [first, second, third] = three().await;
    for expected in 1..=50 {
        append(&first.node, "x".to_owned()).await.unwrap();
        assert_eq!(tail(&second.node).await, expected);
        assert_eq!(tail(&third.node).await, expected);
    }
    let route = second.node.route();
    assert_eq!(
        route,
        Route::There { replica: ReplicaId::FIRST, front: first.node.front().clone() }
    );
    let refused = append(&second.node, "x".to_owned()).await;
    let leader = Some(ReplicaId::FIRST);
    assert_eq!(refused, Err(AppendError::Unserved(Unserved::NotLeader { leader })));
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_and_every_append_is_done_or_certainly_not() {
    let replicas = Arc::new(three().await);
    let [first, second, _] = &*replicas;
    let mut followed = second
        .node
        .follow(FollowRequest {
            log: orders().into(),
            start: Start::From(ReadFrom::First),
            records_max: None,
            bytes_max: None,
            consistency: Consistency::Linearizable,
        })
        .await
        .unwrap();
    let appender = tokio::spawn({
        let replicas = Arc::clone(&replicas);
        async move {
            let mut done = 0;
            let (mut last, mut worst_gap) = (std::time::Instant::now(), Duration::ZERO);
            while done < 600 {
                let leader = replicas.iter().find(|one| one.node.route() == Route::Here);
                let Some(leader) = leader else {
                    tokio::task::yield_now().await;
                    continue;
                };
                match append(&leader.node, done.to_string()).await {
                    Ok(_) => {
                        done += 1;
                        worst_gap = worst_gap.max(last.elapsed());
                        last = std::time::Instant::now();
                    }
                    Err(AppendError::Unserved(Unserved::Interrupted)) => {
                        panic!("a planned hand-over leaves no outcome unknown")
                    }
                    Err(_) => {}
                }
            }
            (done, worst_gap)
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let to = first.node.hand_over().await.unwrap();
    assert_ne!(to, ReplicaId::FIRST);
    let (done, worst_gap) = tokio::time::timeout(LIMIT, appender).await.unwrap().unwrap();
    println!("worst gap: {worst_gap:?}");
    for replica in &*replicas {
        assert_eq!(tail(&replica.node).await, done);
    }
    let mut seen = Vec::new();
    while seen.len() < 600 {
        if let FollowEvent::Records(page) = followed.next().await.unwrap() {
            let bodies = page.records.into_iter().map(|record| record.body);
            seen.extend(bodies.map(|body| String::from_utf8(body.to_vec()).unwrap()));
        }
    }
    let expected: Vec<_> = (0..600).map(|number| number.to_string()).collect();
    assert_eq!(seen, expected, "one order, nothing twice, nothing left out");
}

/// Appends until the stall is over: it must have caught a sync, and have left leader and term alone.
/// Answers with how many appends were acknowledged during it.
async fn append_during_stall(
    group: &[Replica; 3],
    stalled: &[&Replica],
    length: Duration,
) -> usize {
    let leads = |replica: &Replica| {
        let leadership = replica.raft.leadership();
        let leadership = leadership.borrow();
        (leadership.leader, leadership.term)
    };
    let before = leads(&group[0]);
    assert_eq!(before.0, Some(ReplicaId::FIRST));
    for replica in stalled {
        replica.disk.stall(length);
    }
    let mut acknowledged = 0;
    let is_over = || stalled.iter().all(|one| !one.disk.is_stalled() && one.disk.has_stalled());
    while !is_over() {
        append(&group[0].node, "x".to_owned()).await.unwrap();
        acknowledged += usize::from(stalled.iter().any(|replica| replica.disk.is_stalled()));
    }
    // Served again, and by everybody; whoever would have stood for election had its time.
    let appended = append(&group[0].node, "x".to_owned()).await.unwrap();
    for replica in group {
        assert_eq!(tail(&replica.node).await, appended + 1);
    }
    assert_eq!([&group[0], &group[1], &group[2]].map(leads), [before; 3]);
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_stalls_for_half_a_second_changes_no_leader() {
    let group = three().await;
    let [first, second, third] = &group;
    for _ in 0..3 {
        assert!(append_during_stall(&group, &[second], STALL).await > 1, "two others acknowledge");
        assert!(append_during_stall(&group, &[first], STALL).await > 1, "two others acknowledge");
        // No majority can acknowledge, and still nobody takes the leader for dead.
        append_during_stall(&group, &[second, third], STALL).await;
        append_during_stall(&group, &[first, second, third], STALL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_told_to_be_patient_keeps_its_leader_in_a_longer_stall() {
    let (heartbeat, election_min) = (Duration::from_millis(200), Duration::from_secs(4));
    let timings = Timings { heartbeat, election_min, election_max: Duration::from_secs(5) };
    let group = three_in([(); 3].map(|()| World::real()), timings).await;
    let [first, second, _] = &group;
    // The third could lead, and would not commit anything sooner either.
    append_during_stall(&group, &[first, second], 4 * STALL).await;
}

/// The median of how long these took.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_limps_hands_over_and_comes_back_once_it_does_not() {
    for cost in [Duration::from_millis(200), Duration::from_secs(2)] {
        let group = three().await;
        let leads = |replica: &Replica| replica.raft.leadership().borrow().here;
        group[0].disk.limp(cost);
        let handed_over = async {
            while leads(&group[0]) || !group.iter().any(leads) {
                // Something has to be written; what becomes of it is not looked at here.
                append(&group[0].node, "x".to_owned()).await.ok();
            }
        };
        tokio::time::timeout(LIMIT, handed_over).await.expect("leadership is handed over");
        assert!(group[0].disk.is_limping(), "the disk did not get well meanwhile");
        let leader = group.iter().find(|replica| leads(replica)).expect("another one leads");
        let mut took = Vec::new();
        for _ in 0..50 {
            let asked = std::time::Instant::now();
            append(&leader.node, "x".to_owned()).await.unwrap();
            took.push(asked.elapsed());
        }
        assert!(median(took) < cost / 2, "appends do not wait for the slow disk");
        assert!(leads(leader), "nobody gives leadership back");

        group[0].disk.limp(Duration::ZERO);
        let came_back = async {
            while !leads(&group[0]) {
                match group.iter().find(|replica| leads(replica)) {
                    Some(leader) => drop(leader.node.hand_over().await),
                    None => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(LIMIT, came_back).await.expect("it is fit to lead again");
        append(&group[0].node, "x".to_owned()).await.unwrap();
        assert!(leads(&group[0]), "one quick sync makes up for all slow ones");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_disks_are_slow_leadership_stays_where_it_is() {
    let group = three().await;
    let term = group[0].raft.leadership().borrow().term;
    for replica in &group {
        replica.disk.limp(Duration::from_millis(150));
    }
    let until = tokio::time::Instant::now() + Duration::from_secs(6);
    while tokio::time::Instant::now() < until {
        append(&group[0].node, "x".to_owned()).await.unwrap();
    }
    let reasons = group[0].node.status_here().verdict.reasons;
    assert_eq!(reasons, ["the leader's disk is slow"]);
    let leadership = group[0].raft.leadership().borrow().clone();
    assert_eq!((leadership.here, leadership.term), (true, term));
}

/// The first position of a log, once it is at least this one.
async fn first_from(node: &Node, log: &LogName, least: u64) -> u64 {
    let looking = async {
        loop {
            let target = log.clone().into();
            let seen = node.describe_log(&target, Consistency::Linearizable).await;
            if let Ok(seen) = seen
                && seen.answer.first.get() >= least
            {
                return seen.answer.first.get();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.expect("the log is trimmed")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_clock_lets_no_record_go_and_the_next_leader_keeps_to_the_retention() {
    const BEGIN: u64 = 1_700_000_000_000;
    const DAY: u64 = 86_400_000;
    let worlds = [1, 2, 3].map(|seed| World::for_test(seed, BEGIN));
    let [first, second, third] = three_in(worlds, Timings::default()).await;
    let (old, canary) = (LogName::new("old").unwrap(), LogName::new("canary").unwrap());
    let age = Some(Duration::from_secs(80));
    let settings = LogSettings { retention_age: age, ..LogSettings::default() };
    first.node.ensure_log(old.clone(), settings).await.unwrap();
    let settings = LogSettings { retention_bytes: Some(0), ..LogSettings::default() };
    first.node.ensure_log(canary.clone(), settings).await.unwrap();
    append_to(old.clone(), &first.node, "x".to_owned()).await.unwrap();

    first.world.clock.set_wall_millis(BEGIN + DAY);
    // Longer than the clocks are not compared. The canary shows that retention is at work.
    let until = tokio::time::Instant::now() + Duration::from_secs(3);
    while tokio::time::Instant::now() < until {
        let position = append_to(canary.clone(), &first.node, "x".to_owned()).await.unwrap();
        first_from(&first.node, &canary, position + 1).await;
        assert_eq!(first_from(&first.node, &old, 0).await, 0, "only one clock says it is old");
    }

    first.node.hand_over().await.unwrap();
    for replica in [&second, &third] {
        replica.world.clock.set_wall_millis(BEGIN + 92_000);
    }
    for replica in [&first, &second, &third] {
        assert_eq!(first_from(&replica.node, &old, 1).await, 1, "a majority says it is old");
    }
}
