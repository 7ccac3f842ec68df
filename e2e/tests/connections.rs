//! Connections that are slow, idle, or far too many: they are cut off, and others are served.

use anyhow::{Context, Result, ensure};
use quorate_e2e::{cluster::Cluster, process::print, rest, wait::PATIENCE};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Short deadlines, so that the test need not wait for the true ones.
const SHORT: &[&str] =
    &["--set", "connections.head_timeout=1s", "--set", "connections.body_gap_max=1s"];
/// Who is hindered by others waits longer than this, and a debug build on a busy machine does not.
const SOON: Duration = Duration::from_secs(10);

/// A log with a record.
async fn prepare(cluster: &Cluster) -> Result<()> {
    rest::put(cluster.http(), &cluster.url(0), "/v1/logs/orders", "{}").await?.succeeded()?;
    rest::append(cluster.http(), &cluster.url(0), "orders", b"a").await?.succeeded()?;
    Ok(())
}

async fn connect(cluster: &Cluster) -> Result<TcpStream> {
    Ok(TcpStream::connect(cluster.replica(0).recipe().listen).await?)
}

/// Sends one byte every now and then until the other side has had enough; answers with what it said.
async fn dribble(mut stream: TcpStream, head: &str) -> Result<String> {
    stream.write_all(head.as_bytes()).await?;
    let mut said = Vec::new();
    let mut buffer = [0; 1_024];
    loop {
        match timeout(Duration::from_millis(200), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Ok(String::from_utf8_lossy(&said).into_owned()),
            Ok(Ok(count)) => said.extend_from_slice(&buffer[..count]),
            // Nothing was said: one more byte, as slowly as a slow-loris sends them.
            Err(_) => {
                if stream.write_all(b"a").await.is_err() {
                    return Ok(String::from_utf8_lossy(&said).into_owned());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dribbles_a_request_is_cut_off_and_others_are_served() -> Result<()> {
    let cluster = Cluster::start_with(1, SHORT).await?;
    prepare(&cluster).await?;
    let before = cluster.describe(0, &"orders".parse()?).await?;
    let heads = ["", "G", "POST /v1/logs/orders/records HTTP/1.1\r\nHost: x\r\nX-Slow: "];
    let bodies =
        ["POST /v1/logs/orders/records HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"];
    let mut slow = Vec::new();
    for text in heads.iter().chain(&bodies).cycle().take(400) {
        slow.push(tokio::spawn(dribble(connect(&cluster).await?, text)));
    }
    let start = Instant::now();
    rest::get(cluster.http(), &cluster.url(0), "/v1/logs").await?.succeeded()?;
    assert!(start.elapsed() < SOON, "others waited {:?}", start.elapsed());
    for stream in slow {
        let said = timeout(PATIENCE, stream).await.context("never cut off")???;
        // Who sent nothing at first was not asking anything yet; the others are told.
        let is_told = said.contains("request_timeout") || said.contains("malformed_request");
        ensure!(said.is_empty() || is_told, "it was told {said}");
    }
    assert_eq!(
        cluster.describe(0, &"orders".parse()?).await?,
        before,
        "half a request changed something"
    );
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_do_not_come_keep_nobody_out() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    prepare(&cluster).await?;
    let head = "POST /v1/logs/orders/records HTTP/1.1\r\nHost: x\r\n\
                Content-Type: application/json\r\nContent-Length: 8000000\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(&cluster).await?;
        stream.write_all(head.as_bytes()).await?;
        slow.push(stream);
    }
    for body in [vec![b'x'; 1], vec![b'x'; 1 << 20]] {
        let answer = rest::append(cluster.http(), &cluster.url(0), "orders", &body).await?;
        assert_eq!(answer.status, 200, "{}", answer.quoted());
    }
    drop(slow);
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_head_far_too_long_is_refused() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let mut stream = connect(&cluster).await?;
    let head =
        format!("GET /v1/logs HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    // The other side may close before it has taken everything.
    stream.write_all(head.as_bytes()).await.ok();
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await?.ok();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains(" 431 ") && said.contains("request_head_too_large"), "{said}");
    rest::get(cluster.http(), &cluster.url(0), "/livez").await?.succeeded()?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_hinder_nobody() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    // Both ends are ours, each in its own process: leave room for files.
    let most = limit.current.map_or(5_000, |most| most.saturating_sub(500).min(5_000));
    let mut cluster = Cluster::start(1).await?;
    prepare(&cluster).await?;

    let mut idle = Vec::new();
    for _ in 0..most {
        idle.push(connect(&cluster).await?);
    }
    print(&format!("{} idle connections", idle.len()));
    let start = Instant::now();
    for _ in 0..10 {
        rest::append(cluster.http(), &cluster.url(0), "orders", b"x").await?.succeeded()?;
    }
    assert!(start.elapsed() < SOON, "ten appends took {:?}", start.elapsed());
    drop(idle);
    cluster.replica_mut(0).ready().await?;
    cluster.finish();
    Ok(())
}
