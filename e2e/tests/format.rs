//! A folder of each format that was ever released opens for ever, with everything in it.
//!
//! `e2e/fixtures/format-1` is the folder of one replica, each file deflated, and what it answered when it was made:
//! records in whole tiles and beyond, a trimmed, a sealed and a fenced log, a producer, a cursor, a labelled checkpoint,
//! and entries that no flush had written when it was killed. As long as format 1 is not released, a change of it makes
//! the fixture anew: `QUORATE_FIXTURE=write just e2e format`.

use anyhow::{Context, Result, ensure};
use client::Client;
use client::api::logs::{ListQuery, LogDescription};
use client::types::{
    Batch, BatchLimits, CheckpointLabel, CursorName, Fence, LogSettings, NewRecord, Position,
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use quorate_e2e::{
    checkpoint::certified,
    cluster::Cluster,
    process::{Process, Recipe},
    rest::Answer,
    workload,
};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
};

const RECORDS: u64 = 700;
const CURSOR: u64 = 123;

/// What the replica of a fixture said.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    logs: Vec<LogDescription>,
    checkpoint: u64,
    /// Of the batch that a producer had stored once.
    first: u64,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1")
}

fn body(number: u64) -> String {
    format!("record {number:04} of a folder that is opened for ever")
}

async fn produce(client: &reqwest::Client, url: &str) -> Result<u64> {
    let request = client.post(format!("{url}/v1/logs/produced/records")).body("once");
    let request = request.header("producer-id", "p").header("producer-epoch", "3");
    let answer = Answer::to(request.header("producer-seq", "0")).await?.succeeded()?;
    let answer: serde_json::Value = answer.json()?;
    answer["first"].as_u64().context("a position")
}

async fn told(client: &Client, http: &reqwest::Client, url: &str) -> Result<Told> {
    let mut logs = Vec::new();
    for log in client.logs(&ListQuery::default()).await?.logs {
        logs.push(client.log(log.log.clone()).describe().await?);
    }
    let checkpoints = client.admin().checkpoints().await?;
    let labelled = checkpoints.iter().find(|checkpoint| checkpoint.label.is_some());
    let checkpoint = labelled.context("a labelled checkpoint")?.checkpoint.get();
    Ok(Told { logs, checkpoint, first: produce(http, url).await? })
}

/// Does in a new group what the folder is to hold, and keeps the folder.
async fn write() -> Result<()> {
    let mut cluster = Cluster::start_with(1, &["--set", "journal.segment_bytes=8MiB"]).await?;
    let client = workload::client(&cluster.urls())?;
    for name in ["orders", "trimmed", "sealed", "fenced", "produced"] {
        client.log(name.parse()?).create(&LogSettings::default()).await?;
    }
    for name in ["orders", "trimmed"] {
        let records: Vec<_> = (0..RECORDS).map(|number| NewRecord::new(body(number))).collect();
        let log = client.log(name.parse()?);
        log.append_batch(&Batch::new(&records, &BatchLimits::default())?).await?;
    }
    client.log("trimmed".parse()?).trim(Position::new(600)).await?;
    client.log("sealed".parse()?).append("the last word").await?;
    client.log("sealed".parse()?).seal().await?;
    client.log("fenced".parse()?).set_fence(Some(Fence::new("f1")?)).await?;
    client
        .log("orders".parse()?)
        .set_cursor(&CursorName::new("billing")?, Position::new(CURSOR))
        .await?;
    let label = CheckpointLabel::new("for ever")?;
    certified(&client, Some(label)).await?;
    produce(cluster.http(), &cluster.url(0)).await?;
    client.log("orders".parse()?).append(body(RECORDS)).await?;
    let told = told(&client, cluster.http(), &cluster.url(0)).await?;
    cluster.replica_mut(0).kill()?;
    let to = fixture();
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    deflate(&cluster.replica(0).recipe().folder, &to)?;
    fs::write(to.join("told.json"), serde_json::to_string_pretty(&told)? + "\n")?;
    cluster.finish();
    Ok(())
}

fn deflate(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name of ours")?;
        if entry.file_type()?.is_dir() {
            deflate(&entry.path(), &to.join(name))?;
        } else {
            let file = File::create(to.join(format!("{name}.gz")))?;
            let mut file = GzEncoder::new(file, Compression::best());
            io::copy(&mut File::open(entry.path())?, &mut file)?;
            file.finish()?;
        }
    }
    Ok(())
}

fn inflate(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name of ours")?;
        if entry.file_type()?.is_dir() {
            inflate(&entry.path(), &to.join(name))?;
        } else if let Some(name) = name.strip_suffix(".gz") {
            let mut file = GzDecoder::new(File::open(entry.path())?);
            io::copy(&mut file, &mut File::create(to.join(name))?)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_format_1_opens_with_all_that_was_acknowledged_in_it() -> Result<()> {
    if env::var_os("QUORATE_FIXTURE").is_some() {
        write().await?;
    }
    let home = tempfile::tempdir()?;
    let mut recipe = Recipe::in_folder(home.path().join("replica"))?;
    inflate(&fixture(), &recipe.folder)?;
    recipe.arguments = ["--set", "journal.segment_bytes=8MiB"].map(str::to_owned).into();
    let expected: Told = serde_json::from_slice(&fs::read(fixture().join("told.json"))?)?;
    let mut process = Process::spawn(recipe)?;
    process.ready().await?;
    let http = reqwest::Client::new();
    for _ in 0..2 {
        let client = workload::client(&[process.url()])?;
        // The batch of the producer is stored once, also by a retry of today.
        assert_eq!(told(&client, &http, &process.url()).await?, expected);
        let orders = client.log("orders".parse()?);
        for (name, first) in [("orders", 0), ("trimmed", 600)] {
            for number in first..RECORDS {
                let url = format!("{}/v1/logs/{name}/records/{number}", process.url());
                assert_eq!(http.get(url).send().await?.text().await?, body(number), "{name}");
            }
        }
        let cursor = orders.cursor(&CursorName::new("billing")?).await?;
        assert_eq!(cursor, Some(Position::new(CURSOR)));
        assert!(client.log("sealed".parse()?).append("more").await.is_err(), "it is sealed");
        // It is as good as any other: it flushes, stops, and opens again.
        ensure!(process.stop().await?.success(), "it stops in order");
        process.start()?;
        process.ready().await?;
    }
    let client = workload::client(&[process.url()])?;
    let next = client.log("orders".parse()?).append("and goes on").await?;
    assert_eq!(next.first.get(), RECORDS + 1);
    Ok(())
}
