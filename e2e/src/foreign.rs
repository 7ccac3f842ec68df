//! Programs that are not ours, run to their end.
//!
//! Not here: where they come from (`python`, `node`).

use anyhow::{Context, Result, ensure};
use std::{ffi::OsStr, path::Path, process::Stdio};
use tokio::process::Command;

/// Runs a program, which has to end well, and answers with the last line that it printed. It does not outlive the test.
pub async fn outcome(
    program: impl AsRef<OsStr>,
    arguments: &[&str],
    folder: &Path,
) -> Result<String> {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await;
    let output =
        output.with_context(|| format!("{} cannot be started", program.as_ref().display()))?;
    let (said, wrong) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "ended with {}:\n{said}\n{wrong}", output.status);
    Ok(said.trim_end().lines().last().unwrap_or_default().to_owned())
}
