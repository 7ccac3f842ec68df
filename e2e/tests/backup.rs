//! A backup is one file: made while the group serves, proved without a replica, made into a new cluster.
//!
//! Goal: what comes out is what went in, record by record and by the root of each log, with producers and cursors; a
//! byte that changed on the way is found and named; and the two clusters never take each other for their own. Method:
//! real processes and the command line, under load, with every file also proved on its own.

use anyhow::{Context, Result, ensure};
use client::Client;
use client::api::logs::LogDescription;
use client::api::reading::{ReadFrom, ReadQuery};
use client::api::{header, media, paths};
use client::types::{Batch, BatchLimits, CursorName, LogName, LogSettings, NewRecord, Position};
use quorate_e2e::{
    cluster::Cluster,
    process::{Process, Recipe, program},
    rest::{self, Answer},
    wait::{PATIENCE, until},
    workload,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs a command of the command line to its end.
async fn quorate(arguments: &[&str]) -> Result<Output> {
    let mut command = program()?;
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

/// The same, for a command that has to succeed and answers with JSON.
async fn answer(arguments: &[&str]) -> Result<Value> {
    let output = quorate(&[arguments, &["-o", "json"]].concat()).await?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// A replica of its own in this folder, made of these files.
async fn restored(cluster: &Cluster, name: &str, files: &[&PathBuf]) -> Result<Process> {
    let recipe = Recipe::in_folder(cluster.folder().join(name))?;
    let (listen, peer_listen) = (recipe.listen.to_string(), recipe.peer_listen.to_string());
    let mut arguments = vec!["restore", "--data", text(&recipe.folder)];
    arguments.extend(["--listen", &listen, "--peer-listen", &peer_listen, "--expect", "2"]);
    arguments.extend(files.iter().map(|file| text(file)));
    answer(&arguments).await?;
    let mut process = Process::spawn(recipe)?;
    process.ready().await?;
    Ok(process)
}

/// Bodies of all records of a log, from a position on.
async fn bodies(client: &Client, log: &LogName, from: Position) -> Result<Vec<Vec<u8>>> {
    let (log, mut from, mut all) = (client.log(log.clone()), from, Vec::new());
    loop {
        let query = ReadQuery { from: ReadFrom::Position(from), ..ReadQuery::default() };
        let page = log.read(&query).await?;
        all.extend(page.records.iter().map(|record| record.body.to_vec()));
        if page.next == page.tail || page.records.is_empty() {
            return Ok(all);
        }
        from = page.next;
    }
}

async fn fill(client: &Client, log: &LogName, numbers: std::ops::Range<u64>) -> Result<()> {
    let log = client.log(log.clone());
    for start in numbers.clone().step_by(500) {
        let end = (start + 500).min(numbers.end);
        let records = (start..end).map(|number| NewRecord::from(format!("record {number}")));
        let records: Vec<NewRecord> = records.collect();
        log.append_batch(&Batch::new(&records, &BatchLimits::default())?).await?;
    }
    Ok(())
}

/// Appends as this producer would, the same bytes each time.
async fn produce(http: &reqwest::Client, url: &str, log: &str) -> Result<(String, bool)> {
    let append = http
        .post(format!("{url}/v1/logs/{log}/records"))
        .header("content-type", media::BYTES)
        .header(header::PRODUCER_ID, "billing")
        .header(header::PRODUCER_EPOCH, "1")
        .header(header::PRODUCER_SEQUENCE, "0")
        .body("once");
    let answer = Answer::to(append).await?.succeeded()?;
    let first = answer.json::<Value>()?["first"].to_string();
    Ok((first, answer.header(header::IDEMPOTENCY_REPLAYED) == Some("true")))
}

async fn refusals(http: &reqwest::Client, url: &str) -> Result<f64> {
    let answer = rest::get(http, url, paths::METRICS).await?.succeeded()?;
    let text = String::from_utf8(answer.body.to_vec())?;
    let lines =
        text.lines().filter(|line| line.starts_with("quorate_peer_identity_refusals_total"));
    lines.map(|line| Ok(line.rsplit(' ').next().context("a value")?.parse::<f64>()?)).sum()
}

/// What two clusters say of the same log.
fn same(left: &LogDescription, right: &LogDescription) {
    assert_eq!((left.root, left.tail, left.first), (right.root, right.tail, right.first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_proved_and_becomes_a_new_cluster() -> Result<()> {
    let mut cluster = Cluster::calm(3, &[]).await?;
    let client = workload::client(&cluster.urls())?;
    let (still, busy): (LogName, LogName) = ("shop/orders".parse()?, "busy".parse()?);
    for log in [&still, &busy] {
        client.log(log.clone()).create(&LogSettings::default()).await?;
    }
    // More tiles than one group holds hashes of would take too long here; the examiner's own tests do.
    fill(&client, &still, 0..1_500).await?;
    client.log(still.clone()).trim(Position::new(700)).await?;
    let (first, replayed) = produce(cluster.http(), &cluster.url(0), "busy").await?;
    assert!(!replayed);
    let cursor: CursorName = "billing".parse()?;
    client.log(still.clone()).set_cursor(&cursor, Position::new(900)).await?;
    let is_over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (client, busy, is_over) = (client.clone(), busy.clone(), Arc::clone(&is_over));
        async move {
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                fill(&client, &busy, number..number + 50).await?;
                number += 50;
            }
            anyhow::Ok(number)
        }
    });
    let file = cluster.folder().join("whole.quorate");
    let follower = cluster.url(cluster.follower().await?);
    let made = answer(&["backup", text(&file), "--endpoint", &follower]).await?;
    is_over.store(true, Ordering::Relaxed);
    let appended = load.await??;
    assert!(appended > 0, "there was load");

    let proved = answer(&["verify", text(&file)]).await?;
    assert_eq!(proved, made);
    assert!(!file.with_extension("quorate.partial").exists());
    let again = quorate(&["backup", text(&file), "--endpoint", &follower]).await?;
    assert_eq!(again.status.code(), Some(4), "a file is never written over: {again:?}");

    // A byte of a record, far behind the manifest.
    let mut bytes = std::fs::read(&file)?;
    let place =
        bytes.windows(11).rposition(|bytes| bytes == b"record 1000").context("it is there")?;
    bytes[place] ^= 1;
    let spoilt = cluster.folder().join("spoilt.quorate");
    std::fs::write(&spoilt, &bytes)?;
    let found = quorate(&["verify", text(&spoilt)]).await?;
    let told = String::from_utf8_lossy(&found.stderr).into_owned();
    assert_eq!(found.status.code(), Some(1), "{told}");
    assert!(told.contains("shop/orders") && told.contains("at byte"), "{told}");
    let never = Recipe::in_folder(cluster.folder().join("never"))?;
    let refused = quorate(&["restore", "--data", text(&never.folder), text(&spoilt)]).await?;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("rm -r"), "{told}");
    let taken = quorate(&["restore", "--data", text(&never.folder), text(&file)]).await?;
    assert_eq!(taken.status.code(), Some(75), "what lies there stays: {taken:?}");
    let taken = cluster.replica(0).recipe().folder.clone();
    let taken = quorate(&["restore", "--data", text(&taken), text(&file)]).await?;
    assert_eq!(taken.status.code(), Some(2), "it holds a replica: {taken:?}");
    let mut never = Process::spawn(never)?;
    let ended = never.ended(PATIENCE).await?;
    assert_eq!(ended.code(), Some(75), "what was not finished never runs: {}", never.quoted());

    let mut process = restored(&cluster, "restored", &[&file]).await?;
    let copy = workload::client(&[process.url()])?;
    same(&copy.log(still.clone()).describe().await?, &client.log(still.clone()).describe().await?);
    let from = Position::new(700);
    assert_eq!(bodies(&copy, &still, from).await?, bodies(&client, &still, from).await?);
    assert_eq!(copy.log(still.clone()).cursor(&cursor).await?, Some(Position::new(900)));
    let (mine, theirs) = (
        bodies(&copy, &busy, Position::ZERO).await?,
        bodies(&client, &busy, Position::ZERO).await?,
    );
    assert!(!mine.is_empty() && mine[..] == theirs[..mine.len()], "{} records", mine.len());
    let described = copy.log(busy.clone()).describe().await?;
    assert_eq!(described.tail.get(), u64::try_from(mine.len())?);
    // The same batch again is the one that was stored, and the next one goes on.
    let retried = produce(cluster.http(), &process.url(), "busy").await?;
    assert_eq!(retried, (first, true));
    let next = copy.log(busy.clone()).append("new").await?;
    assert_eq!(next.first, described.tail);
    let other = cluster.answered(0).await?.cluster;
    assert_ne!(
        serde_json::to_value(other)?,
        answer(&["cluster", "status", "--endpoint", &process.url()]).await?["cluster"]
    );

    // A restart, and then in the place of a replica of the old group, which talks to it.
    process.stop().await?;
    let away = cluster.follower().await?;
    cluster.replica_mut(away).kill()?;
    let recipe = Recipe {
        peer_listen: cluster.replica(away).recipe().peer_listen,
        ..process.recipe().clone()
    };
    let mut stranger = Process::spawn(recipe)?;
    stranger.ready().await?;
    until("the old group's messages are refused", PATIENCE, async || {
        let count = refusals(cluster.http(), &stranger.url()).await?;
        Ok((count > 0.0).then_some(()))
    })
    .await?;
    client.log(busy.clone()).append("the old group goes on").await?;
    let log = copy.log(busy.clone());
    assert_eq!(log.append("and so does the new one").await?.first, next.next);
    stranger.stop().await?;
    cluster.finish();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_backup_repeats_nothing_and_chosen_logs_come_alone() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let url = cluster.url(0);
    let client = workload::client(&cluster.urls())?;
    let names: [LogName; 3] = ["a".parse()?, "b".parse()?, "c".parse()?];
    let [a, b, c] = &names;
    for log in [a, b] {
        client.log(log.clone()).create(&LogSettings::default()).await?;
    }
    fill(&client, a, 0..600).await?;
    fill(&client, b, 0..300).await?;
    let file = |name: &str| cluster.folder().join(name).with_extension("quorate");
    let (first, second, chosen, late) = (file("first"), file("second"), file("a"), file("late"));
    let endpoint = ["--endpoint", &url];
    let backup = async |file: &Path, more: &[&str]| {
        quorate(&[&["backup", text(file), "-o", "json"], &endpoint[..], more].concat()).await
    };
    let base = backup(&first, &["--label", "monday"]).await?;
    ensure!(base.status.success(), "{base:?}");
    let base: Value = serde_json::from_slice(&base.stdout)?;
    fill(&client, a, 600..1_300).await?;
    client.log(a.clone()).trim(Position::new(300)).await?;
    client.log(c.clone()).create(&LogSettings::default()).await?;
    fill(&client, c, 0..10).await?;
    // What was done stands in a log of the service itself, which is backed up as any other.
    let activity = client.log("_activity".parse()?);
    let done = activity.tail().await?.get();
    let made = backup(&second, &["--since", text(&first)]).await?;
    let done = done..=activity.tail().await?.get();
    ensure!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout)?;
    // From the last whole tile on, and nothing of the log in which nothing happened.
    let records = made["records"].as_u64().context("it is a number")?;
    assert!(done.contains(&(records - (1_300 - 512 + 10))), "{records}, {done:?}");
    assert_eq!(made["continues"], base["checkpoint"]);

    let both = answer(&["verify", text(&first), text(&second)]).await?;
    assert_eq!(both.as_array().map(Vec::len), Some(2));
    let turned = quorate(&["verify", text(&second), text(&first)]).await?;
    assert_eq!(turned.status.code(), Some(1), "{turned:?}");
    let alone = cluster.folder().join("alone");
    let alone = quorate(&["restore", "--data", text(&alone), text(&second)]).await?;
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
    let mut process = restored(&cluster, "both", &[&first, &second]).await?;
    let copy = workload::client(&[process.url()])?;
    for log in &names {
        let (mine, theirs) = (copy.log(log.clone()), client.log(log.clone()));
        let theirs = theirs.describe().await?;
        same(&mine.describe().await?, &theirs);
        let from = theirs.first;
        assert_eq!(bodies(&copy, log, from).await?, bodies(&client, log, from).await?, "{log}");
    }
    // Another joins, and has all of it, though no journal goes so far back.
    let mut recipe = Recipe::in_folder(cluster.folder().join("second"))?;
    recipe.first_start = ["--join", &process.url()].map(str::to_owned).into();
    let mut second = Process::spawn(recipe)?;
    second.ready().await?;
    let other = workload::single(&second.url())?;
    for log in &names {
        let expected = copy.log(log.clone()).describe().await?;
        same(&other.log(log.clone()).describe().await?, &expected);
        let from = expected.first;
        assert_eq!(bodies(&other, log, from).await?, bodies(&client, log, from).await?, "{log}");
    }
    // A restored cluster is backed up as any other.
    let done = copy.log(activity.name().clone()).tail().await?.get();
    let again = answer(&["backup", text(&late), "--endpoint", &process.url()]).await?;
    let records = again["records"].as_u64().context("it is a number")?;
    let done = done..=copy.log(activity.name().clone()).tail().await?.get();
    assert!(done.contains(&(records - (1_300 - 256 + 300 + 10))), "{records}, {done:?}");
    second.stop().await?;
    process.kill()?;

    let made = backup(&chosen, &["--log", "a"]).await?;
    ensure!(made.status.success(), "{made:?}");
    let mut process = restored(&cluster, "chosen", &[&chosen]).await?;
    let copy = workload::client(&[process.url()])?;
    let all = copy.logs(&client::api::logs::ListQuery::default()).await?.logs;
    assert_eq!(all.iter().map(|log| &log.log).collect::<Vec<_>>(), [a]);
    same(&copy.log(a.clone()).describe().await?, &client.log(a.clone()).describe().await?);
    copy.log(a.clone()).append("goes on").await?;
    copy.log(b.clone()).create(&LogSettings::default()).await?;
    process.stop().await?;

    let nobody = backup(&file("none"), &["--log", "nobody"]).await?;
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
    // The records of the first checkpoint are not all there any more.
    let gone = backup(&file("gone"), &["--checkpoint", &base["checkpoint"].to_string()]).await?;
    let told = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert_eq!(gone.status.code(), Some(3), "{told}");
    assert!(told.contains("log a was trimmed up to 300 since"), "{told}");
    cluster.finish();
    Ok(())
}
