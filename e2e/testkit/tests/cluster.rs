//! A cluster for tests is usable at once, bears what a test does to it, and leaves nothing behind.
//!
//! Not here: what the service promises (`quorate-e2e`).

#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

use std::path::Path;
use std::time::{Duration, Instant};

use client::RetryPolicy;
use client::api::reading::{ReadFrom, ReadQuery};
use quorate_testkit::{Cluster, Error};

/// From the start to the first acknowledged append.
const USABLE_WITHIN: Duration = Duration::from_millis(300);
/// The same on a machine that has other work.
const USABLE_WITHIN_SOON: Duration = Duration::from_secs(10);
const STARTS: usize = 10;

#[tokio::test]
#[allow(clippy::print_stderr, reason = "the figure is what it is for")]
async fn a_cluster_is_usable_at_once() {
    // As everywhere, figures count in `just prove`.
    let counts = std::env::var_os("QUORATE_PROVE").is_some();
    let within = if counts { USABLE_WITHIN } else { USABLE_WITHIN_SOON };
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let cluster = Cluster::start().await.unwrap();
        let started = begun.elapsed();
        cluster.log("orders").await.unwrap().append("hello").await.unwrap();
        took.push((begun.elapsed(), started));
    }
    took.sort_unstable();
    eprintln!("first append acknowledged after, and start took: {took:?}");
    assert!(took[STARTS / 2].0 <= within, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_each_replica_is_killed_and_restarted() {
    let cluster = Cluster::start().await.unwrap();
    let log = cluster.log("orders").await.unwrap();
    for round in 0..3 {
        for number in 0..10 {
            log.append(format!("{round} {number}")).await.unwrap();
        }
        let killed = cluster.kill_leader().await.unwrap();
        assert!(!cluster.is_running(killed));
        log.append(format!("{round} last")).await.unwrap();
        assert_ne!(cluster.leader().await.unwrap(), killed);
        cluster.restart(killed).await.unwrap();
        cluster.healed().await.unwrap();
        assert_eq!(cluster.failure(killed), None);
    }
    let page = log.read(&ReadQuery::from(ReadFrom::First)).await.unwrap();
    let bodies: Vec<_> = page
        .records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.body).into_owned())
        .collect();
    let rounds = (0..3).flat_map(|round| {
        let numbers = (0..10).map(|number| number.to_string()).chain(["last".to_owned()]);
        numbers.map(move |number| format!("{round} {number}"))
    });
    assert_eq!(bodies, rounds.collect::<Vec<_>>());
}

#[tokio::test]
async fn two_of_three_that_are_stopped_leave_no_majority_until_one_is_back() {
    let cluster = Cluster::start().await.unwrap();
    let retry = RetryPolicy { deadline: Duration::from_millis(500), ..RetryPolicy::default() };
    let impatient = client::Client::builder().seeds(&cluster.urls().join(",")).unwrap();
    let impatient = impatient.retry(retry).build().unwrap().log("orders".parse().unwrap());
    let log = cluster.log("orders").await.unwrap();
    cluster.stop(1).await.unwrap();
    log.append("with two").await.unwrap();
    cluster.stop(2).await.unwrap();
    let refused = impatient.append("with one").await;
    assert!(refused.is_err(), "{refused:?}");
    cluster.restart(2).await.unwrap();
    log.append("with two again").await.unwrap();
}

#[tokio::test]
async fn a_single_replica_keeps_what_it_has_over_a_restart() {
    let cluster = Cluster::start_single().await.unwrap();
    assert_eq!(cluster.urls().len(), 1);
    let log = cluster.log("orders").await.unwrap();
    log.append("hello").await.unwrap();
    cluster.kill(0).await.unwrap();
    cluster.restart(0).await.unwrap();
    assert_eq!(log.tail().await.unwrap().get(), 1);
}

#[tokio::test]
async fn a_replica_that_cannot_go_on_says_why_and_the_test_goes_on() {
    let cluster = Cluster::start().await.unwrap();
    let log = cluster.log("orders").await.unwrap();
    cluster.stop(2).await.unwrap();
    std::fs::write(cluster.folder().join("replica-2/marker"), "no marker").unwrap();
    let error = cluster.restart(2).await.unwrap_err();
    assert!(matches!(error, Error::Ended { replica: 2, .. }), "{error}");
    assert!(!cluster.is_running(2) && cluster.failure(2).is_some());
    log.append("with two").await.unwrap();
}

#[tokio::test]
async fn clusters_live_side_by_side_and_leave_nothing_behind() {
    let (one, other) =
        (Cluster::start_single().await.unwrap(), Cluster::start_single().await.unwrap());
    one.log("orders").await.unwrap().append("hello").await.unwrap();
    assert_eq!(other.log("orders").await.unwrap().tail().await.unwrap().get(), 0);
    let folders = [&one, &other].map(|cluster| cluster.folder().to_owned());
    assert!(folders.iter().all(|folder| folder.exists()));
    drop((one, other));
    assert!(!folders.iter().any(|folder| Path::exists(folder)), "{folders:?}");
}

#[tokio::test]
async fn a_replica_that_is_not_there_is_told() {
    let cluster = Cluster::start_single().await.unwrap();
    assert!(matches!(cluster.kill(7).await, Err(Error::NoSuchReplica { replica: 7 })));
    assert!(cluster.restart(7).await.is_err());
    assert!(matches!(cluster.log("no//log").await, Err(Error::Name(_))));
}
