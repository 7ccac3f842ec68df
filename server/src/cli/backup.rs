//! `quorate backup`, `quorate verify` and `quorate restore`: a snapshot and its records as a file, and a new cluster of
//! such files.
//!
//! Invariant: a file has the name that was asked for only once all of it was proved against the certified digest and is
//! on the disk; until then it is `NAME.partial`.
//!
//! Not here: what a file holds (`migrations`), and how it is proved (`run::offline`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use client::api::checkpoints::ArchiveQuery;
use client::types::{
    CheckpointLabel, ClusterId, Digest, EntryIndex, LogName, ReplicaId, Timestamp,
};
use client::{Archive, Client};
use serde::Serialize;

use super::output::{self, Table};
use super::serve::{self, Settings};
use super::{Context, Exit, Failure, Output, service};
use crate::config::{Config, Start};
use crate::run::offline::{self, Chain, Examiner, OfflineError, Verified};
use crate::world::{Clock, Instant};

/// Progress is told so often.
const TOLD_EVERY: std::time::Duration = std::time::Duration::from_millis(200);
/// As much of a file as holds what it is of.
const HEAD_BYTES: u64 = 4 << 20;

/// What `quorate backup` takes.
#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    /// The file to write; it must not exist.
    file: PathBuf,
    /// Of which checkpoint: the index of its entry; otherwise one is made now.
    #[arg(long, value_name = "ENTRY")]
    checkpoint: Option<u64>,
    /// What to call the checkpoint that is made now. With a label it is kept until it is released, and a later backup
    /// can continue this one.
    #[arg(long, conflicts_with = "checkpoint")]
    label: Option<CheckpointLabel>,
    /// Only these logs, with commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "since")]
    log: Vec<LogName>,
    /// Continue this earlier backup: what it holds is not repeated. Its checkpoint must be kept still.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

/// What `quorate verify` takes.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The files; several are to continue each other, the oldest first.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// What `quorate restore` takes.
#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// The files, which continue each other, the oldest first.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// So many voters are expected in the new cluster: the first that ask to join are admitted.
    #[arg(long, value_name = "VOTERS", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    expect: u8,
    #[command(flatten)]
    settings: Settings,
}

/// Runs `quorate backup`.
pub(super) async fn backup(arguments: BackupArguments, context: &Context) -> Result<(), Failure> {
    let client = service::connect(context)?;
    let base = arguments.since.as_deref().map(head_of).transpose()?;
    let part = partial(&arguments.file)?;
    let checkpoint = match arguments.checkpoint {
        Some(checkpoint) => EntryIndex::new(checkpoint),
        None => made(&client, arguments.label).await?,
    };
    let mut query = ArchiveQuery { log: arguments.log, since: None };
    if let Some(base) = &base {
        query.since = Some(base.checkpoint);
        query.log = base.names.clone();
    }
    let archive = client.admin().archive(checkpoint, &query).await.map_err(service::failed)?;
    let written = write(archive, &part, context.output).await;
    let verified = match written {
        Ok(verified) => verified,
        Err(failure) => {
            // What is left of it is of no use; that it broke off is what counts.
            fs::remove_file(&part).ok();
            return Err(failure);
        }
    };
    fs::rename(&part, &arguments.file)?;
    sync_folder(&arguments.file)?;
    let shown = ShownBackup::of(&arguments.file, &verified);
    Ok(context.output.value(&shown, ShownBackup::table)?)
}

/// Runs `quorate verify`.
pub(super) fn verify(arguments: &VerifyArguments, output: Output) -> Result<(), Failure> {
    let mut bar = Bar::new(output, "verified");
    let verified = offline::verify(&arguments.files, &mut |done, total| bar.tell(done, total));
    bar.end();
    let verified = verified.map_err(failed)?;
    let shown: Vec<ShownBackup> = (arguments.files.iter().zip(&verified))
        .map(|(file, verified)| ShownBackup::of(file, verified))
        .collect();
    match &shown[..] {
        [one] => Ok(output.value(one, ShownBackup::table)?),
        all => Ok(output.list(all, &HEAD, ShownBackup::row)?),
    }
}

/// Runs `quorate restore`.
pub(super) fn restore(arguments: &RestoreArguments, output: Output) -> Result<(), Failure> {
    let layers = arguments.settings.layers()?;
    let config = Config::build(&layers, Start::Resume).map_err(serve::refused)?;
    let mut bar = Bar::new(output, "restored");
    let restored =
        offline::restore(&config, &arguments.files, arguments.expect, &mut |done, total| {
            bar.tell(done, total);
        });
    bar.end();
    let restored = restored.map_err(|error| {
        let is_begun = !matches!(error, OfflineError::Folder(_));
        let hint =
            format!("rm -r {}   # it is not finished, and never runs", config.data.display());
        let failure = failed(error);
        if is_begun && config.data.exists() { failure.hint(hint) } else { failure }
    })?;
    let shown = ShownRestore {
        folder: config.data.display().to_string(),
        cluster: restored.cluster,
        replica: restored.replica,
        checkpoint: restored.backup.checkpoint,
        restored_from: restored.backup.cluster,
        digest: restored.backup.digest,
    };
    Ok(output.value(&shown, ShownRestore::table)?)
}

/// Makes a checkpoint, certified.
async fn made(client: &Client, label: Option<CheckpointLabel>) -> Result<EntryIndex, Failure> {
    let made = client.admin().make_checkpoint(label).await.map_err(service::failed)?;
    if made.certificate.is_none() {
        let text = "a checkpoint was made, and not yet attested by a majority";
        let hint = format!("quorate backup FILE --checkpoint {}", made.checkpoint);
        return Err(Failure::new(Exit::Unavailable, text).hint(hint));
    }
    Ok(made.checkpoint)
}

/// Where a file is written before it is whole.
fn partial(file: &Path) -> Result<PathBuf, Failure> {
    if file.exists() {
        let what = format!("{} exists", file.display());
        return Err(Failure::new(Exit::Condition, what).hint("choose another name"));
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    Ok(name.into())
}

/// Writes a backup, and proves it on the way.
async fn write(mut archive: Archive, path: &Path, output: Output) -> Result<Verified, Failure> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let mut bar = Bar::new(output, "backed up");
    let mut examiner = Examiner::default();
    let mut bytes = 0;
    let taken = async {
        while let Some(piece) = archive.next().await.map_err(|error| broke_off(&error))? {
            examiner.take(&piece, &mut |_found| Ok(())).map_err(|error| {
                Failure::new(Exit::Failed, "what the replica sends is not what was certified")
                    .because(error)
            })?;
            file.write_all(&piece)?;
            bytes += piece.len() as u64;
            bar.tell(bytes, examiner.expected_bytes().unwrap_or(bytes));
        }
        Ok::<(), Failure>(())
    };
    let taken = taken.await;
    bar.end();
    taken?;
    file.sync_all()?;
    let found = examiner
        .finish()
        .map_err(|flaw| Failure::new(Exit::Unavailable, "the replica broke off").because(flaw))?;
    Ok(Chain::default().add(found))
}

fn broke_off(error: &client::CheckpointError) -> Failure {
    Failure::new(Exit::Unavailable, "the replica broke off the backup")
        .because(format!("{error}; records may have been trimmed meanwhile"))
        .hint("quorate backup FILE   # of a new checkpoint")
}

fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// What an earlier backup is of.
struct Earlier {
    checkpoint: EntryIndex,
    /// The logs it holds, if some were chosen.
    names: Vec<LogName>,
}

/// Reads what a backup is of from its beginning; the rest is not looked at.
fn head_of(path: &Path) -> Result<Earlier, Failure> {
    let failed = |why: String| {
        Failure::new(Exit::Failed, format!("{} cannot be continued", path.display())).because(why)
    };
    let mut beginning = Vec::new();
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(HEAD_BYTES).read_to_end(&mut beginning)?;
    let mut examiner = Examiner::default();
    examiner.take(&beginning, &mut |_found| Ok(())).map_err(|error| failed(error.to_string()))?;
    let head = examiner.head().ok_or_else(|| failed("it ends too early".to_owned()))?;
    let checkpoint = EntryIndex::new(head.state.entry.index);
    let names = match &head.logs {
        None => Vec::new(),
        Some(_) => {
            examiner.chosen().ok_or_else(|| failed("its manifest is too long".to_owned()))?
        }
    };
    Ok(Earlier { checkpoint, names })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failed(error: OfflineError) -> Failure {
    let exit = match &error {
        OfflineError::NoBase { .. } | OfflineError::Incomplete { .. } => Exit::Usage,
        OfflineError::Folder(error) => serve::folder_exit(error),
        OfflineError::Storage(_) => Exit::Storage,
        OfflineError::Flawed { .. }
        | OfflineError::Unfounded
        | OfflineError::Impossible(_)
        | OfflineError::Io { .. } => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

/// A backup, for whoever asked.
#[derive(Debug, Serialize)]
struct ShownBackup {
    file: String,
    cluster: ClusterId,
    checkpoint: EntryIndex,
    digest: Digest,
    made: Timestamp,
    attested_by: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<EntryIndex>,
    is_partial: bool,
    logs: u64,
    records: u64,
    bytes: u64,
    file_bytes: u64,
}

const HEAD: [&str; 8] =
    ["file", "cluster", "checkpoint", "continues", "logs", "records", "bytes", "file size"];

impl ShownBackup {
    fn of(file: &Path, verified: &Verified) -> Self {
        Self {
            file: file.display().to_string(),
            cluster: verified.cluster,
            checkpoint: verified.checkpoint,
            digest: verified.digest,
            made: verified.made,
            attested_by: verified.attested_by,
            continues: verified.base,
            is_partial: verified.is_partial,
            logs: verified.logs,
            records: verified.records,
            bytes: verified.record_bytes,
            file_bytes: verified.bytes,
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            output::shown(&self.file),
            self.cluster.to_string(),
            self.checkpoint.to_string(),
            self.continues.map_or_else(|| "-".to_owned(), |base| base.to_string()),
            if self.is_partial { format!("{} chosen", self.logs) } else { self.logs.to_string() },
            output::count(self.records),
            output::bytes(self.bytes),
            output::bytes(self.file_bytes),
        ]
    }

    fn table(&self) -> Table {
        let pairs = HEAD.into_iter().zip(self.row());
        let table = pairs.fold(Table::pairs(), |table, (name, value)| table.pair(name, value));
        table
            .pair("made", self.made.to_string())
            .pair("digest", self.digest.to_string())
            .pair("attested by", output::counted(self.attested_by as u64, "replica"))
    }
}

/// A new cluster, for whoever asked.
#[derive(Debug, Serialize)]
struct ShownRestore {
    folder: String,
    cluster: ClusterId,
    replica: ReplicaId,
    checkpoint: EntryIndex,
    restored_from: ClusterId,
    digest: Digest,
}

impl ShownRestore {
    fn table(&self) -> Table {
        Table::pairs()
            .pair("folder", output::shown(&self.folder))
            .pair("cluster", self.cluster.to_string())
            .pair("replica", self.replica.to_string())
            .pair("from cluster", self.restored_from.to_string())
            .pair("checkpoint", self.checkpoint.to_string())
            .pair("digest", self.digest.to_string())
            .pair("next", format!("quorate serve --data {}", output::shown(&self.folder)))
    }
}

/// Progress: done of a total, rate, time left.
struct Bar {
    output: Output,
    what: &'static str,
    clock: Clock,
    began: Instant,
    told: Option<Instant>,
}

impl Bar {
    const WIDTH: u64 = 24;

    fn new(output: Output, what: &'static str) -> Self {
        let clock = Clock::real();
        Self { output, what, began: clock.now(), clock, told: None }
    }

    fn tell(&mut self, done: u64, total: u64) {
        if self.told.is_some_and(|told| self.clock.since(told) < TOLD_EVERY) {
            return;
        }
        self.told = Some(self.clock.now());
        let millis = u64::try_from(self.clock.since(self.began).as_millis()).unwrap_or(u64::MAX);
        self.output.meter(&bar_text(self.what, done, total, millis));
    }

    fn end(&self) {
        self.output.meter_end();
    }
}

fn bar_text(what: &str, done: u64, total: u64, millis: u64) -> String {
    let (done, total) = (u128::from(done), u128::from(total.max(done).max(1)));
    let narrow = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    let filled = narrow(done * u128::from(Bar::WIDTH) / total);
    let full = "#".repeat(usize::try_from(filled).unwrap_or(0));
    let rest = "-".repeat(usize::try_from(Bar::WIDTH - filled).unwrap_or(0));
    let rate = narrow(done * 1000 / u128::from(millis.max(1)));
    let left = narrow((total - done) / u128::from(rate.max(1)));
    format!(
        "{what} [{full}{rest}] {:>3} %  {} of {}  {}/s  {left} s left",
        done * 100 / total,
        output::bytes(narrow(done)),
        output::bytes(narrow(total)),
        output::bytes(rate),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_much_how_fast_and_how_long() {
        assert_eq!(
            bar_text("verified", 1 << 30, 4 << 30, 2_000),
            "verified [######------------------]  25 %  1.0 GiB of 4.0 GiB  512.0 MiB/s  6 s left"
        );
        assert_eq!(
            bar_text("verified", 0, 0, 0),
            "verified [------------------------]   0 %  0 B of 1 B  0 B/s  1 s left"
        );
    }
}
