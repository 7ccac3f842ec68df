//! Too many connections for the descriptors that there are: the replicas go on, and take new callers afterwards.
//!
//! Method: three replicas that may hold 128 descriptors each, more connections to each than that, and the seeded
//! workload, with segments so small that files are opened all the while.

use anyhow::{Context, Result};
use quorate_e2e::{
    check::{Coverage, check},
    cluster::Cluster,
    process::print,
    rest,
    wait::{PATIENCE, until},
    workload::{Load, Workload},
};
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const DESCRIPTORS: u64 = 128;
const CONNECTIONS: usize = 300;
const FLOOD: &str = "flood";
/// Over so long it is looked how much of the processor the replicas take.
const LOOK: Duration = Duration::from_secs(2);
/// What three replicas at rest take of one core. Each that spins takes a whole one.
const REST: f64 = 0.3;
const APPENDS_BETWEEN: usize = 200;

async fn start() -> Result<Cluster> {
    let settings = [
        "limits.record_bytes_max=256KiB",
        "limits.batch_bytes_max=512KiB",
        "journal.segment_bytes=4MiB",
        // A busy machine elects nobody by itself.
        "timings.election_min=3s",
        "timings.election_max=5s",
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let mut cluster = Cluster::empty()?;
    for mut recipe in cluster.recipes(3, &arguments)? {
        recipe.descriptors_max = Some(DESCRIPTORS);
        cluster.add(recipe).await?;
    }
    cluster.healed().await?;
    Ok(cluster)
}

/// Connections to every replica: one in ten has begun a request that it does not finish.
async fn flood(cluster: &Cluster) -> Result<Vec<TcpStream>> {
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        for replica in 0..cluster.len() {
            let mut stream = TcpStream::connect(cluster.replica(replica).recipe().listen).await?;
            if number % 10 == 0 {
                // It may have been refused by now.
                stream.write_all(b"GET /v1/cluster HTTP/1.1\r\n").await.ok();
            }
            connections.push(stream);
        }
    }
    Ok(connections)
}

/// How many descriptors a replica holds.
fn open(cluster: &Cluster, replica: usize) -> Result<u64> {
    let id = cluster.replica(replica).id().context("it runs")?;
    Ok(fs::read_dir(format!("/proc/{id}/fd"))?.count() as u64)
}

/// The processor time that all replicas have taken.
fn cpu_time(cluster: &Cluster) -> Result<Duration> {
    let mut ticks = 0;
    for replica in 0..cluster.len() {
        let id = cluster.replica(replica).id().context("it runs")?;
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        ticks += times.sum::<Result<u64, _>>()?;
    }
    // A hundred a second, whatever the kernel counts in.
    Ok(Duration::from_millis(ticks * 10))
}

/// An idle group under a flood does not spin: it comes to rest.
async fn rests(cluster: &Cluster) -> Result<()> {
    let (mut began, mut spent) = (Instant::now(), cpu_time(cluster)?);
    until("the flooded replicas hardly need the processor", PATIENCE, async || {
        let elapsed = began.elapsed();
        if elapsed < LOOK {
            return Ok(None);
        }
        let now = cpu_time(cluster)?;
        let share = now.saturating_sub(spent).as_secs_f64() / elapsed.as_secs_f64();
        (began, spent) = (Instant::now(), now);
        print(&format!("processor time of three flooded replicas: {:.0} %", share * 100.0));
        Ok((share < REST).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_descriptors_the_group_goes_on_and_takes_callers_again() -> Result<()> {
    let mut cluster = start().await?;
    let leader = cluster.leader().await?;
    let before = cluster.answered(leader).await?;

    let mut held = flood(&cluster).await?;
    rests(&cluster).await?;
    held.clear();

    let load = Load { body_bytes: 20_000, ..Load::on("orders", 5)? };
    let workload = Workload::start(&cluster, load).await?;
    workload.progress(APPENDS_BETWEEN).await?;
    for _ in 0..3 {
        workload.recorder().record_fault(FLOOD);
        held.extend(flood(&cluster).await?);
        workload.progress(APPENDS_BETWEEN).await?;
        let most = (0..3).map(|replica| open(&cluster, replica)).collect::<Result<Vec<_>>>()?;
        print(&format!("descriptors held: {most:?}"));
        let least = DESCRIPTORS - 4;
        assert!(most.iter().all(|count| *count <= least), "files can still be opened: {most:?}");
    }
    held.clear();
    for url in cluster.urls() {
        until("a new caller is served", PATIENCE, async || {
            let answer = rest::get(cluster.http(), &url, "/readyz").await;
            Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await?;
    }
    let after = cluster.answered(leader).await?;
    assert_eq!((after.leader, after.term), (before.leader, before.term), "nobody was elected");
    for number in 0..cluster.len() {
        let status = cluster.answered(number).await?;
        let own = status.replicas.iter().find(|one| Some(one.id) == status.this_replica);
        assert_eq!(own.and_then(|own| own.start), Some(1), "nobody had to be started again");
    }

    let history = workload.finish(&mut cluster).await?;
    let required = Coverage {
        faults: BTreeMap::from([(FLOOD.to_owned(), 3)]),
        replicas: 3,
        appends: APPENDS_BETWEEN,
        reads: 10,
    };
    print(&check(&history, &required).assert_passed().to_string());
    cluster.finish();
    Ok(())
}
