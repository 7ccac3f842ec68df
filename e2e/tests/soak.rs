//! Checks that find faults find none where there is none: hours of them would wake somebody every night.
//!
//! Goal: replicas that are killed, stopped and started again under load, all the while audited and checkpointed far
//! more often than by default, are never told apart; and the audit did run meanwhile.
//! Method: every way of restarting, drawn from a seed; whatever a replica says of a difference it says as an error, and
//! no error may be among what it printed. `just prove` does so for ten minutes.

use anyhow::{Context, Result, ensure};
use client::api::audit::{AuditFinding, AuditReport, AuditVerdict};
use client::types::EntryIndex;
use quorate_e2e::{
    chance::Chance,
    check::{Coverage, check},
    cluster::Cluster,
    process::print,
    scale::short_or_long,
    workload::{self, Load, Workload},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

const OFTEN: &[&str] = &[
    "--set",
    "checkpoints.interval=300ms",
    "--set",
    "checkpoints.audit_interval=200ms",
    "--set",
    "state.flush_interval=100ms",
];
const RESTART: &str = "restart";

/// What the audits saw.
#[derive(Debug, Default)]
struct Findings {
    /// Entries at which somebody was found equal: what was executed, and what is kept.
    executed: BTreeSet<u64>,
    kept: BTreeSet<u64>,
}

impl Findings {
    fn add(&mut self, report: &AuditReport) -> Result<()> {
        for replica in &report.replicas {
            for finding in [replica.execution, replica.checkpoint] {
                ensure!(finding.verdict != AuditVerdict::Different, "false alarm: {report:?}");
            }
            let equal = |finding: AuditFinding| {
                finding.entry.filter(|_| finding.verdict == AuditVerdict::Equal)
            };
            self.executed.extend(equal(replica.execution).map(EntryIndex::get));
            self.kept.extend(equal(replica.checkpoint).map(EntryIndex::get));
        }
        Ok(())
    }
}

/// Ends some replicas, one way or another, and starts them again.
async fn restart_some(cluster: &mut Cluster, chance: &mut Chance) -> Result<()> {
    if chance.is_one_in(8) {
        cluster.kill_all()?;
    } else {
        let victim = chance.index(cluster.len());
        if chance.is_one_in(3) {
            ensure!(cluster.replica_mut(victim).stop().await?.success(), "it stops in order");
        } else {
            cluster.replica_mut(victim).kill()?;
        }
    }
    cluster.start_all()?;
    for number in 0..cluster.len() {
        cluster.replica_mut(number).ready().await?;
    }
    Ok(())
}

/// Nothing that a replica printed is an error of its own.
fn check_printed(cluster: &Cluster) -> Result<()> {
    for number in 0..cluster.len() {
        let printed = cluster.replica(number).recipe().folder.with_extension("txt");
        let printed = fs::read_to_string(&printed).context("what it printed")?;
        let is_error =
            |line: &&str| line.contains(r#""level":"ERROR""#) && line.contains("quorate");
        let error = printed.lines().find(is_error);
        ensure!(error.is_none(), "replica {number} said: {error:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_check_finds_a_difference_where_there_is_none_whoever_is_killed_and_restarted()
-> Result<()> {
    let seed = 26;
    let length = short_or_long(Duration::from_secs(15), Duration::from_mins(10));
    let mut chance = Chance::new(seed);
    let mut cluster = Cluster::start_with(3, OFTEN).await?;
    let client = workload::client(&cluster.urls())?;
    let workload = Workload::start(&cluster, Load::on("orders", seed)?).await?;
    let (mut found, mut restarts, began) = (Findings::default(), 0, Instant::now());
    while began.elapsed() < length {
        workload.recorder().record_fault(RESTART);
        restart_some(&mut cluster, &mut chance).await?;
        restarts += 1;
        for _ in 0..=chance.below(4) {
            workload.progress(usize::try_from(1 + chance.below(100))?).await?;
            found.add(&client.admin().audit().await?)?;
        }
    }
    let history = workload.finish(&mut cluster).await?;
    let required = Coverage {
        faults: BTreeMap::from([(RESTART.to_owned(), restarts)]),
        replicas: 3,
        appends: 100,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    check_printed(&cluster)?;
    let (executed, kept) = (found.executed.len(), found.kept.len());
    print(&format!(
        "seed {seed}: {restarts} restarts in {:.0?}; found equal at {executed} entries and {kept} checkpoints",
        began.elapsed()
    ));
    ensure!(executed >= restarts / 2 && kept >= restarts / 2, "the audit hardly ran");
    cluster.finish();
    Ok(())
}
