//! A byte of a replica's folder that flips while the replica is down, one after the other, anywhere in it.
//!
//! Goal: each is harmless or repaired from the others without an operator; only in the two small files that say who
//! this replica is and whom it met, it is refused with the file named. No byte that is served is ever wrong, and nothing
//! is missing afterwards.
//! Method: one of three replicas is stopped, a bit of a byte in one of its files is flipped, it starts again; every
//! record is read from it until all are right. One that refuses to start says why and where; the byte is flipped back.

use anyhow::{Context, Result, bail, ensure};
use client::types::{Batch, BatchLimits, LogSettings, NewRecord};
use quorate_e2e::{
    chance::Chance,
    checkpoint::certified,
    cluster::Cluster,
    process::print,
    scale::short_or_long,
    wait::{PATIENCE, until},
    workload,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const RECORDS: usize = 700;
/// A byte is flipped in a block of so many in which something was written.
const BLOCK: usize = 64;

fn body(number: usize) -> String {
    format!("record {number:06} {}", "of many ".repeat(6))
}

/// A bit of one byte of a file.
#[derive(Debug)]
struct Flip {
    path: PathBuf,
    offset: usize,
    mask: u8,
}

impl Flip {
    /// Somewhere in the folder where something was written; seldom in the small files beside journal and state.
    fn draw(folder: &Path, chance: &mut Chance) -> Result<Self> {
        let mut files = Vec::new();
        list(folder, &mut files)?;
        files.sort();
        let (large, small): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|path| path.starts_with(folder.join("groups")));
        loop {
            let some = if chance.is_one_in(10) { &small } else { &large };
            let path = some[chance.index(some.len())].clone();
            let bytes = fs::read(&path)?;
            let blocks = bytes.chunks(BLOCK).enumerate();
            let used: Vec<_> = blocks.filter(|(_, block)| block.iter().any(|b| *b != 0)).collect();
            if used.is_empty() {
                continue;
            }
            let (number, block) = used[chance.index(used.len())];
            let offset = number * BLOCK + chance.index(block.len());
            let mask = 1 << chance.below(8);
            return Ok(Self { path, offset, mask });
        }
    }

    fn flip(&self) -> Result<()> {
        let mut bytes = fs::read(&self.path)?;
        bytes[self.offset] ^= self.mask;
        Ok(fs::write(&self.path, bytes)?)
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Reads every record from a replica until all are there: a wrong one is never right.
async fn reads_all(cluster: &Cluster, number: usize) -> Result<()> {
    for record in 0..RECORDS {
        until("a record is served", PATIENCE, async || read(cluster, number, record).await).await?;
    }
    Ok(())
}

async fn read(cluster: &Cluster, number: usize, record: usize) -> Result<Option<()>> {
    let url = format!("{}/v1/logs/orders/records/{record}?consistency=local", cluster.url(number));
    let Ok(answer) = cluster.http().get(url).send().await else { return Ok(None) };
    let (status, text) = (answer.status(), answer.text().await?);
    if status.is_success() {
        ensure!(text == body(record), "record {record} was served as {text:?}");
        return Ok(Some(()));
    }
    ensure!(status.is_server_error(), "record {record} was answered {status}: {text}");
    Ok(None)
}

/// What became of a replica that starts with a flipped byte.
enum Outcome {
    Whole,
    Refused(String),
}

async fn start(cluster: &mut Cluster, victim: usize) -> Result<Outcome> {
    let printed = cluster.replica(victim).recipe().folder.with_extension("txt");
    let before = fs::metadata(&printed).map_or(0, |printed| printed.len());
    cluster.replica_mut(victim).start()?;
    if let Err(error) = cluster.replica_mut(victim).ready().await {
        if cluster.replica(victim).is_running() {
            return Err(error);
        }
        let said = fs::read(&printed)?.split_off(usize::try_from(before)?);
        return Ok(Outcome::Refused(String::from_utf8_lossy(&said).into_owned()));
    }
    Ok(Outcome::Whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_byte_of_a_folder_flips_it_is_repaired_or_refused_by_name_and_never_served()
-> Result<()> {
    let seed = 20_261_126;
    let (mut chance, flips) = (Chance::new(seed), short_or_long(15, 400));
    let mut cluster = Cluster::calm(3, &["--set", "journal.segment_bytes=8MiB"]).await?;
    let client = workload::client(&cluster.urls())?;
    let log = client.log("orders".parse()?);
    log.create(&LogSettings::default()).await?;
    let records: Vec<_> = (0..RECORDS).map(|number| NewRecord::new(body(number))).collect();
    for some in records.chunks(50) {
        log.append_batch(&Batch::new(some, &BatchLimits::default())?).await?;
    }
    certified(&client, None).await?;
    let victim = cluster.follower().await?;
    reads_all(&cluster, victim).await?;
    ensure!(cluster.replica_mut(victim).stop().await?.success());
    let folder = cluster.replica(victim).recipe().folder.clone();
    let mut refused = Vec::new();
    for _ in 0..flips {
        let flip = Flip::draw(&folder, &mut chance)?;
        flip.flip()?;
        match start(&mut cluster, victim).await.with_context(|| format!("{flip:?}"))? {
            Outcome::Whole => {
                reads_all(&cluster, victim).await.with_context(|| format!("{flip:?}"))?;
                ensure!(cluster.replica_mut(victim).stop().await?.success(), "{flip:?}");
            }
            Outcome::Refused(said) => {
                let name = flip.path.file_name().context("a file has a name")?.to_string_lossy();
                ensure!(matches!(&*name, "marker" | "met"), "{flip:?} was not repaired: {said}");
                ensure!(said.contains(&*name), "{flip:?} was refused without the file: {said}");
                refused.push((name.into_owned(), flip.offset));
                flip.flip()?;
            }
        }
    }
    print(&format!("seed {seed}: {flips} flips, refused: {refused:?}"));
    cluster.replica_mut(victim).start()?;
    cluster.healed().await?;
    reads_all(&cluster, victim).await?;
    let digests = cluster.digests().await?;
    if digests.windows(2).any(|pair| pair[0] != pair[1]) {
        bail!("the replicas differ: {digests:?}");
    }
    cluster.finish();
    Ok(())
}
