//! Requests that nobody thought of: made from the document of the contract, valid and invalid ones, by schemathesis.
//!
//! Method: it is shown a group of three through the document that one of them serves, and holds every answer against it:
//! no fault, no status, media type, header or body that is not described; what fits a schema is understood, what does
//! not is refused. Changes of the membership, and letting go of checkpoints, are only planned (`python/hooks.py`).
//!
//! Not here: the examples of the document (`document`).

use anyhow::{Context, Result, ensure};
use client::api::paths;
use quorate_e2e::{
    cluster::Cluster,
    contract,
    process::print,
    python,
    scale::{is_long, short_or_long},
};
use std::{path::Path, time::Instant};
use tokio::process::Command;

/// Where it is told how to look.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// What a run of schemathesis told at its end.
struct Told {
    has_passed: bool,
    text: String,
}

impl Told {
    /// How many requests it made up.
    fn generated(&self) -> Result<usize> {
        let line = self.text.lines().find(|line| line.contains(" generated, "));
        let line = line.with_context(|| self.text.clone())?;
        let number = line.split_whitespace().next().context("a number stands first")?;
        Ok(number.replace(',', "").parse()?)
    }
}

/// Has it look at a group with so many requests for each operation.
async fn look(interpreter: &Path, cluster: &Cluster, each: usize, phases: &str) -> Result<Told> {
    let mut command = Command::new(interpreter);
    let program = interpreter.with_file_name("schemathesis");
    command.arg(program).args(["--config-file", &format!("{FOLDER}/schemathesis.toml"), "run"]);
    command.arg(cluster.url(0) + paths::OPENAPI);
    command.args(["--checks", "all", "--phases", phases, "--max-examples", &each.to_string()]);
    command.args(["--seed", "1", "--continue-on-failure", "--no-color", "--workers", "2"]);
    command.args(["--generation-database", "none", "--request-timeout", "30", "--warnings", "off"]);
    // It leaves files where it stands.
    command.current_dir(cluster.folder()).kill_on_drop(true);
    command.env("PYTHONPATH", FOLDER).env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = command.output().await?;
    let text = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    Ok(Told { has_passed: ended.status.success(), text })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_answered_in_a_way_that_the_document_does_not_describe() -> Result<()> {
    let Some(interpreter) = python::interpreter()? else { return Ok(()) };
    // What waits for records waits briefly.
    let cluster = Cluster::calm(3, &["--set", "limits.wait_max=20ms"]).await?;
    let each = short_or_long(15, 1_000);
    let phases = short_or_long("examples,fuzzing", "examples,coverage,fuzzing");
    let began = Instant::now();
    let told = look(&interpreter, &cluster, each, phases).await?;
    ensure!(told.has_passed, "it found something:\n{}", told.text);
    let (generated, operations) = (told.generated()?, contract::operations().count());
    assert!(generated >= operations * 10, "{generated} requests for {operations} operations");
    let status = cluster.answered(0).await?;
    assert!(status.verdict.can_append, "the group goes on: {}", status.verdict.sentence);
    assert_eq!(status.replicas.len(), 3, "and nobody has left or come");
    if is_long() {
        let seconds = began.elapsed().as_secs();
        print(&format!(
            "{generated} requests to {operations} operations in {seconds} s: nothing found"
        ));
    }
    cluster.finish();
    Ok(())
}
