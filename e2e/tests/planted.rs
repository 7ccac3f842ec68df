//! Bugs planted in the real server, and whether the history checker finds each of them.
//!
//! Method: replicas of a build that can be told to have a bug run the usual workload through harm in
//! which the bug shows, round after round on a new log, until the check that is meant for it fails.
//! The same build through the same harm, without a bug, passes: what is found is the bug.
//!
//! `just mutants` makes that build and runs this. Not here: a service in memory with the same bugs,
//! which tries the checks with many seeds (`e2e/src/check/planted.rs`).

use anyhow::{Context, Result};
use client::api::audit::{AuditFinding, AuditVerdict};
use client::api::cluster::ClusterStatus;
use client::api::transfers::TransferStage;
use client::types::LogSettings;
use quorate_e2e::{
    check::{Check, Coverage, Finding, Verdict, check},
    cluster::Cluster,
    link::{Links, Shape},
    process::print,
    rest,
    wait::until,
    workload::{self, Load, Workload},
};
use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

const KILL_ALL: &str = "kill all";
const CUT_LEADER: &str = "cut leader";
const CUT_FOLLOWER: &str = "cut follower";

/// Appends that must be acknowledged before a harm, and while it lasts.
const APPENDS_BETWEEN: usize = 100;
/// Appends that take, at the workload's pace, longer than a late write: the log itself is not lost.
const APPENDS_OF_A_WHILE: usize = 500;
/// A bug that does not show in so many rounds is one that the proof misses.
const ROUNDS_MAX: u64 = 10;

/// A group whose replicas all have this bug, or none.
async fn group(bug: Option<&str>) -> Result<(Cluster, Links)> {
    let program = env::var_os("QUORATE_BUGS_BIN").map(PathBuf::from);
    let program = program.context("QUORATE_BUGS_BIN names no program: run `just mutants`")?;
    Links::start_with(3, |recipe| {
        recipe.program = Some(program.clone());
        let bug = bug.map(|bug| ("PLANTED_BUG".to_owned(), bug.to_owned()));
        recipe.environment = bug.into_iter().collect();
    })
    .await
}

/// Everybody dies while appends are under way.
async fn kill_all(cluster: &mut Cluster, workload: &Workload) -> Result<()> {
    workload.progress(APPENDS_OF_A_WHILE).await?;
    workload.recorder().record_fault(KILL_ALL);
    cluster.kill_all()?;
    cluster.start_all()
}

/// The leader hears nobody: what it sends is stored, its callers never hear that it is, and send it again
/// to the next leader.
async fn deafen_leader(cluster: &mut Cluster, links: &Links, workload: &Workload) -> Result<()> {
    workload.progress(APPENDS_BETWEEN).await?;
    let leader = cluster.leader().await?;
    workload.recorder().record_fault(CUT_LEADER);
    links.cut(Shape::Deaf(leader));
    workload.progress(APPENDS_BETWEEN).await?;
    links.heal();
    Ok(())
}

/// A follower hears of nothing that is appended meanwhile, and is asked for it.
async fn cut_off_follower(cluster: &mut Cluster, links: &Links, workload: &Workload) -> Result<()> {
    workload.progress(APPENDS_BETWEEN).await?;
    let follower = cluster.follower().await?;
    workload.recorder().record_fault(CUT_FOLLOWER);
    links.cut(Shape::Alone(follower));
    workload.progress(APPENDS_BETWEEN).await?;
    links.heal();
    Ok(())
}

/// What the checker finds in a workload on a log of its own that meets this harm.
async fn findings(
    (cluster, links): &mut (Cluster, Links),
    round: u64,
    harm: &mut impl AsyncFnMut(&mut Cluster, &Links, &Workload) -> Result<()>,
) -> Result<Vec<Finding>> {
    let workload = Workload::start(cluster, Load::on(&format!("orders-{round}"), round)?).await?;
    harm(cluster, links, &workload).await?;
    let (history, failures) = workload.end(cluster).await?;
    for failure in failures {
        print(&format!("round {round}: {failure:#}"));
    }
    Ok(match check(&history, &Coverage::default()) {
        Verdict::Failed(findings) => findings,
        Verdict::Passed(_) | Verdict::Inconclusive(_) => Vec::new(),
    })
}

/// Tries until the check that is meant for this bug fails.
async fn assert_found(
    bug: &str,
    meant: Check,
    mut harm: impl AsyncFnMut(&mut Cluster, &Links, &Workload) -> Result<()>,
) -> Result<()> {
    let mut stage = group(Some(bug)).await?;
    let mut is_found = false;
    for round in 0..ROUNDS_MAX {
        let found = match findings(&mut stage, round, &mut harm).await {
            Ok(found) => found,
            // A bug may also end a replica, by an assertion of its own: that is not the check that is meant.
            Err(error) => {
                print(&format!("round {round}, and another group: {error:#}"));
                stage = group(Some(bug)).await?;
                continue;
            }
        };
        for finding in found {
            print(&format!("round {round}: {finding}"));
            is_found |= finding.check == meant;
        }
        if is_found {
            break;
        }
    }
    assert!(is_found, "{meant:?} did not fail in {ROUNDS_MAX} rounds with the bug {bug}");
    stage.0.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_acknowledges_before_it_writes_is_found() -> Result<()> {
    assert_found("early_ack", Check::NoLoss, async |cluster, _links, workload| {
        kill_all(cluster, workload).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stores_a_retried_batch_twice_is_found() -> Result<()> {
    assert_found("retry_twice", Check::NoDuplicate, async |cluster, links, workload| {
        deafen_leader(cluster, links, workload).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_calls_a_stale_read_linearizable_is_found() -> Result<()> {
    assert_found("stale_read", Check::FreshReads, async |cluster, links, workload| {
        cut_off_follower(cluster, links, workload).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_server_without_a_bug_passes_through_the_same_harm() -> Result<()> {
    let (mut cluster, links) = group(None).await?;
    let workload = Workload::start(&cluster, Load::on("orders", 1)?).await?;
    kill_all(&mut cluster, &workload).await?;
    deafen_leader(&mut cluster, &links, &workload).await?;
    cut_off_follower(&mut cluster, &links, &workload).await?;
    let history = workload.finish(&mut cluster).await?;
    let faults = [KILL_ALL, CUT_LEADER, CUT_FOLLOWER].map(|kind| (kind.to_owned(), 1));
    let required = Coverage {
        faults: BTreeMap::from(faults),
        replicas: cluster.len(),
        appends: APPENDS_BETWEEN,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    cluster.finish();
    Ok(())
}

/// What a replica does with a read of what it has: the code with which it refuses. What it serves is right.
async fn refusal(cluster: &Cluster, number: usize) -> Result<Option<String>> {
    let local = "/v1/logs/orders/records?from=first&consistency=local";
    let answer = rest::get(cluster.http(), &cluster.url(number), local).await?;
    if answer.status == 503 {
        return Ok(Some(answer.problem()?.code.as_str().to_owned()));
    }
    let page: serde_json::Value = answer.succeeded()?.json()?;
    for record in page["records"].as_array().context("a page has records")? {
        assert_eq!(record["data"], record["position"].to_string(), "a wrong byte: {record}");
    }
    Ok(None)
}

/// Appends until it is told to stop. How many records there are then.
async fn append_on(
    log: client::Log,
    from: usize,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Result<usize> {
    let mut number = from;
    while !*stop.borrow() {
        log.append(format!("{number}")).await?;
        number += 1;
    }
    Ok(number)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_memory_was_corrupted_is_cut_off_takes_the_state_anew_and_is_back()
-> Result<()> {
    const FOUND_WITHIN: Duration = Duration::from_secs(10);
    let program = env::var_os("QUORATE_BUGS_BIN").map(PathBuf::from);
    let program = program.context("QUORATE_BUGS_BIN names no program: run `just mutants`")?;
    let mut cluster = Cluster::empty()?;
    // At the intervals that everybody has.
    for (number, mut recipe) in cluster.recipes(3, &[])?.into_iter().enumerate() {
        recipe.program = Some(program.clone());
        if number == 0 {
            // The one that leads at first.
            recipe.environment = vec![("PLANTED_BUG".to_owned(), "diverge".to_owned())];
        }
        cluster.add(recipe).await?;
    }
    cluster.healed().await?;
    let client = workload::client(&cluster.urls())?;
    let log = client.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    for number in 0..150 {
        log.append(format!("{number}")).await?;
    }
    let begun = Instant::now();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = tokio::spawn(append_on(log.clone(), 150, stopped));
    until("the replica is quarantined and says so", Duration::from_mins(1), async || {
        Ok((refusal(&cluster, 0).await?.as_deref() == Some("quarantined")).then_some(()))
    })
    .await?;
    print(&format!("quarantined {:?} after the fault", begun.elapsed()));
    assert!(begun.elapsed() <= FOUND_WITHIN, "found within {FOUND_WITHIN:?}");
    let told = until("another one leads and tells", Duration::from_mins(1), async || {
        let refusal = refusal(&cluster, 1).await?;
        assert_ne!(refusal.as_deref(), Some("quarantined"), "the others serve");
        if refusal.is_some() {
            return Ok(None);
        }
        let status = cluster
            .status(1)
            .await
            .filter(|status| status.leader != status.replicas.first().map(|it| it.id));
        let is_told = |status: &ClusterStatus| status.replicas[0].quarantine.is_some();
        Ok(status.filter(|status| status.verdict.can_append && is_told(status)))
    })
    .await?;
    assert!(told.verdict.reasons.iter().any(|reason| reason.contains("quarantined")), "{told:?}");
    // Whatever it serves from now on is compared: nothing, until it is back.
    until("it is back", Duration::from_mins(1), async || {
        Ok(refusal(&cluster, 0).await?.is_none().then_some(()))
    })
    .await?;
    print(&format!("back {:?} after the fault", begun.elapsed()));
    stop.send_replace(true);
    let count = load.await??;
    cluster.healed().await?;
    until("all say that they hold the same", Duration::from_mins(1), async || {
        let report = client.admin().audit().await?;
        let is_equal = |finding: AuditFinding| finding.verdict == AuditVerdict::Equal;
        let all = report.replicas.iter();
        let equal = all.filter(|it| is_equal(it.execution) && is_equal(it.checkpoint)).count();
        Ok((equal == 3).then_some(()))
    })
    .await?;
    let transfers = client::Client::single(cluster.url(0).parse()?)?.admin().transfers().await?;
    assert!(transfers.iter().any(|it| it.stage == TransferStage::Done), "{transfers:?}");
    for number in 0..3 {
        let tail = cluster.describe(number, &"orders".parse()?).await?.tail;
        assert_eq!(tail.get(), u64::try_from(count)?);
        assert_eq!(refusal(&cluster, number).await?, None);
    }
    cluster.finish();
    Ok(())
}
