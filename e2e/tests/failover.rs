//! Leaders die, stop, freeze, and everybody dies at once, under load: nothing is lost, nothing twice.
//!
//! Method: a seeded workload runs; the test does harm and waits, each time, until appends are
//! acknowledged again; then everything heals and the history of all calls is checked. `just prove`
//! runs the long form, whose figures are the ones that count.

use anyhow::{Result, ensure};
use quorate_e2e::{
    check::{Coverage, check},
    cluster::Cluster,
    figures::Gaps,
    history::History,
    process::print,
    scale::{is_long, short_or_long},
    workload::{Load, Workload},
};
use std::{fs::File, io::BufWriter, time::Duration};

const KILL_LEADER: &str = "kill leader";
const KILL_ALL: &str = "kill all";
const STOP_LEADER: &str = "stop leader";
const PAUSE_LEADER: &str = "pause leader";

/// Appends that must be acknowledged after each harm before the next one.
const APPENDS_BETWEEN: usize = 100;

/// Checks the history; a failing one is written down beside the replicas' folders.
fn judge(cluster: &Cluster, history: &History, faults: &[(&str, usize)]) -> Result<()> {
    let path = cluster.folder().join("history.ndjson");
    history.write_ndjson(&mut BufWriter::new(File::create(&path)?))?;
    let required = Coverage {
        faults: faults.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        replicas: cluster.len(),
        appends: APPENDS_BETWEEN,
        reads: 10,
    };
    let summary = check(history, &required).assert_passed();
    print(&summary.to_string());
    for (kind, _) in faults {
        print(&format!("{kind}: {}", Gaps::around(history, kind)));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_killed_under_load_lose_nothing_and_repeat_nothing() -> Result<()> {
    let (leaders, alls) = short_or_long((3, 1), (10, 2));
    let appends = short_or_long(APPENDS_BETWEEN, 5_000);
    let mut cluster = Cluster::start(3).await?;
    let workload = Workload::start(&cluster, Load::on("orders", 1)?).await?;
    workload.progress(appends).await?;

    for round in 0..leaders {
        let killed = cluster.leader().await?;
        workload.recorder().record_fault(KILL_LEADER);
        cluster.replica_mut(killed).kill()?;
        workload.progress(appends).await?;
        cluster.replica_mut(killed).start()?;
        cluster.replica_mut(killed).ready().await?;
        if round < alls {
            workload.recorder().record_fault(KILL_ALL);
            cluster.kill_all()?;
            cluster.start_all()?;
            workload.progress(appends).await?;
        }
    }
    let history = workload.finish(&mut cluster).await?;
    judge(&cluster, &history, &[(KILL_LEADER, leaders), (KILL_ALL, alls)])?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_leader_is_killed_appends_go_on_soon() -> Result<()> {
    let kills = short_or_long(3, 30);
    let mut cluster = Cluster::start(3).await?;
    let load = Load { producers: 4, pace: Duration::from_millis(2), ..Load::on("orders", 2)? };
    let workload = Workload::start(&cluster, load).await?;
    for _ in 0..kills {
        workload.progress(APPENDS_BETWEEN).await?;
        let leader = cluster.leader().await?;
        workload.recorder().record_fault(KILL_LEADER);
        cluster.replica_mut(leader).kill()?;
        workload.progress(APPENDS_BETWEEN).await?;
        cluster.replica_mut(leader).start()?;
        cluster.healed().await?;
    }
    let history = workload.finish(&mut cluster).await?;
    judge(&cluster, &history, &[(KILL_LEADER, kills)])?;

    let gaps = Gaps::around(&history, KILL_LEADER);
    assert_eq!(gaps.count(), kills, "appends went on after each kill");
    // Beside a debug build and other tests only the order of magnitude counts.
    let (median, worst) = if is_long() { (1.0, 1.5) } else { (5.0, 10.0) };
    ensure!(gaps.median() <= Some(Duration::from_secs_f64(median)), "{gaps}");
    ensure!(gaps.worst() <= Some(Duration::from_secs_f64(worst)), "{gaps}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_asked_to_stop_hands_over_first() -> Result<()> {
    let stops = short_or_long(2, 10);
    let mut handed_over = 0;
    let mut cluster = Cluster::start(3).await?;
    let load = Load { producers: 4, pace: Duration::from_millis(2), ..Load::on("orders", 3)? };
    let workload = Workload::start(&cluster, load).await?;
    for _ in 0..stops {
        workload.progress(APPENDS_BETWEEN).await?;
        let leader = cluster.leader().await?;
        workload.recorder().record_fault(STOP_LEADER);
        let status = cluster.replica_mut(leader).stop().await?;
        assert!(status.success(), "a replica that was asked to stop ended with {status}");
        let told = cluster.replica(leader).quoted();
        handed_over += usize::from(!told.contains("leadership not handed over"));
        workload.progress(APPENDS_BETWEEN).await?;
        cluster.replica_mut(leader).start()?;
        cluster.healed().await?;
    }
    let history = workload.finish(&mut cluster).await?;
    judge(&cluster, &history, &[(STOP_LEADER, stops)])?;

    let gaps = Gaps::around(&history, STOP_LEADER);
    assert_eq!(gaps.count(), stops, "appends went on after each stop");
    assert!(handed_over >= stops.div_ceil(2), "of {stops} stops, {handed_over} handed over");
    // What of these gaps is due to the service, and what to a busy machine, only the long run tells.
    let worst = short_or_long(Duration::from_secs(10), Duration::from_millis(200));
    ensure!(gaps.worst() <= Some(worst), "{gaps}");
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_that_wakes_up_serves_nothing_stale() -> Result<()> {
    let pauses = short_or_long(1, 5);
    let mut cluster = Cluster::start(3).await?;
    let workload = Workload::start(&cluster, Load::on("orders", 4)?).await?;
    for _ in 0..pauses {
        workload.progress(APPENDS_BETWEEN).await?;
        let frozen = cluster.leader().await?;
        workload.recorder().record_fault(PAUSE_LEADER);
        cluster.replica(frozen).pause()?;
        // The others elect and go on, while readers still ask the frozen one.
        workload.progress(APPENDS_BETWEEN).await?;
        cluster.replica(frozen).resume()?;
        workload.progress(APPENDS_BETWEEN).await?;
    }
    let history = workload.finish(&mut cluster).await?;
    judge(&cluster, &history, &[(PAUSE_LEADER, pauses)])?;
    cluster.finish();
    Ok(())
}
