//! The Node of the tests: other people's programs for Durable Streams, as `just setup-node` installs them.
//!
//! Their clients and their conformance suite know the protocol from somebody else. Without them the tests that use
//! them say so and look at nothing; `QUORATE_NODE` names a folder that has to have them.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The suite's tests of what is not built: forks, and subscriptions, which it skips unless asked.
const NOT_BUILT: [&str; 2] = ["Fork - ", "Reserved subscription "];

/// The folder `e2e/node` with what its lock file names; none if it is not installed, and none is demanded.
pub fn folder() -> Result<Option<PathBuf>> {
    let Some(named) = env::var_os("QUORATE_NODE").map(PathBuf::from) else {
        crate::process::print("no QUORATE_NODE, so nothing in Node looks at the service");
        return Ok(None);
    };
    let there = named.join("node_modules").exists();
    ensure!(there, "nothing in {}: `just setup-node` installs it", named.display());
    Ok(Some(named))
}

/// The program that runs JavaScript: one that stands in the folder, or the system's.
pub fn program(folder: &Path) -> PathBuf {
    let own = ["x64", "arm64"]
        .map(|arch| folder.join(format!("node_modules/node-linux-{arch}/bin/node")));
    own.into_iter().find(|own| own.exists()).unwrap_or_else(|| "node".into())
}

/// What the conformance suite found.
#[derive(Debug, Default)]
pub struct Conformance {
    /// So many of its tests passed.
    pub passed: usize,
    /// Those that failed: their names, and why.
    pub failed: Vec<(String, String)>,
    /// What was skipped although it is built.
    pub skipped: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    test_results: Vec<FileReport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileReport {
    assertion_results: Vec<TestReport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestReport {
    full_name: String,
    status: String,
    failure_messages: Vec<String>,
}

/// Runs the conformance suite against the streams at this address; its report goes into `scratch`.
pub async fn conformance(folder: &Path, scratch: &Path, url: &str) -> Result<Conformance> {
    let file = scratch.join("conformance.json");
    let output = Command::new(program(folder))
        .args(["node_modules/vitest/vitest.mjs", "run", "--testNamePattern", "^(?!Fork - )"])
        .arg(format!("--outputFile.json={}", file.display()))
        .env("QUORATE_STREAMS", url)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("node cannot be started")?;
    let report = fs::read(&file)
        .with_context(|| format!("no report: {}", String::from_utf8_lossy(&output.stderr)))?;
    let report: Report = serde_json::from_slice(&report)?;
    let mut found = Conformance::default();
    for test in report.test_results.into_iter().flat_map(|file| file.assertion_results) {
        match test.status.as_str() {
            "passed" => found.passed += 1,
            "failed" => found.failed.push((test.full_name, test.failure_messages.join("\n"))),
            _ if NOT_BUILT.iter().any(|name| test.full_name.starts_with(name)) => {}
            _ => drop(found.skipped.insert(test.full_name)),
        }
    }
    Ok(found)
}
