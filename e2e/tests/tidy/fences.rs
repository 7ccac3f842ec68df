//! Rules of tidy about names with a fence: other people's crates, the SDK, clock and chance.
//!
//! Each is a table of names and of the places that may use them. A fence keeps the day on which a
//! crate is exchanged, or time is simulated, a matter of one folder.
//!
//! Not here: who may import whom of ours (`floors`).

use crate::floors::{KNOWS, is_local_module, server_modules};
use crate::names::items;
use crate::rules::{Finding, at_byte, at_line, list};
use crate::source::{Named, Source, Tree, words};
use std::collections::BTreeSet;

/// A name that may be used in some places only.
struct Fence {
    name: &'static str,
    places: &'static [&'static str],
    /// May tests use it anywhere?
    tests_may: Tests,
}

enum Tests {
    MayToo,
    MayNot,
}

const FENCES: &[Fence] = &[
    fence("openraft", &["server/src/raft"], Tests::MayNot),
    fence("redb", &["server/src/storage/state", "migrations"], Tests::MayNot),
    fence("std::fs", FILES, Tests::MayToo),
    fence("tokio::fs", &["server/src/cli"], Tests::MayToo),
    fence("askama", &["web"], Tests::MayNot),
    fence("reqwest", &["client/src/sdk", "server/src/peer", "e2e"], Tests::MayNot),
    fence("clap", &["server/src/cli"], Tests::MayNot),
    fence("anyhow", &["server/src/main.rs", "server/src/cli", "e2e"], Tests::MayNot),
    fence("web", &["server/src/http/dashboard.rs", "server/src/run", "web"], Tests::MayNot),
    fence("server", &["e2e/src/link.rs", "e2e/testkit/src"], Tests::MayNot),
];

const FILES: &[&str] = &[
    "server/src/storage/disk.rs",
    "migrations",
    "server/src/config.rs",
    "server/src/config",
    "server/src/cli",
    "server/src/run",
];

const fn fence(name: &'static str, places: &'static [&'static str], tests_may: Tests) -> Fence {
    Fence { name, places, tests_may }
}

pub(crate) fn a_fenced_name_stays_inside_its_fence(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for fence in FENCES.iter().filter(|fence| !source.is_in(fence.places)) {
            let named = match fence.tests_may {
                Tests::MayToo => &source.shipped_named,
                Tests::MayNot => &source.named,
            };
            for named in named.iter().filter(|named| is_fenced(named, fence, tree, source)) {
                let reason = format!("`{}` is fenced: only in {}", fence.name, list(fence.places));
                findings.push(at_line(source, named.line, reason));
            }
        }
    }
    findings
}

/// One of our own crates has an everyday name: only `name::..` means the crate, and not if a module
/// beside the file is called so.
fn is_fenced(named: &Named, fence: &Fence, tree: &Tree, source: &Source) -> bool {
    let is_ours = KNOWS.iter().any(|(package, _)| *package == fence.name);
    let means_the_crate =
        !is_ours || (named.path.contains("::") && !is_local_module(tree, source, fence.name));
    named.is_within(fence.name) && means_the_crate
}

/// Where the SDK may be used: it is a client of the service, and the service is not its own client.
const SDK: &[&str] = &[
    "client/src/sdk",
    "client/tests",
    "client/examples",
    "client/src/lib.rs",
    "server/src/cli",
    "e2e",
];

pub(crate) fn the_sdk_stays_inside_its_fence(tree: &Tree) -> Vec<Finding> {
    let names = names_of_the_sdk(tree);
    let mut findings = Vec::new();
    for source in tree.sources.iter().filter(|source| !source.is_in(SDK)) {
        let root = if source.package() == "client" { "crate" } else { "client" };
        for named in &source.named {
            if names.iter().any(|name| named.is_within(&format!("{root}::{name}"))) {
                let reason = format!("`{}` is of the SDK: only in {}", named.path, list(SDK));
                findings.push(at_line(source, named.line, reason));
            }
        }
    }
    findings
}

/// `sdk`, and what the root of `client` offers of it.
fn names_of_the_sdk(tree: &Tree) -> BTreeSet<String> {
    let offered = tree.source("client/src/lib.rs").into_iter().flat_map(|lib| &lib.named);
    offered
        .filter(|named| named.is_within("sdk") || named.is_within("crate::sdk"))
        .filter_map(|named| named.segments().last().map(str::to_owned))
        .chain(["sdk".to_owned()])
        .collect()
}

/// What reads a clock or waits on one, draws at random, or starts a task.
const WORLDLY: &[(&str, &str)] = &[
    ("Instant::now", "a clock"),
    ("SystemTime::now", "a clock"),
    ("Timestamp::now", "a clock"),
    ("Zoned::now", "a clock"),
    ("thread::sleep", "a clock"),
    ("time::sleep", "a clock"),
    ("time::sleep_until", "a clock"),
    ("time::interval", "a clock"),
    ("time::interval_at", "a clock"),
    ("tokio::spawn", "a task"),
    ("task::spawn", "a task"),
    ("task::spawn_blocking", "a task"),
];

/// Crates and types whose very name is chance.
const CHANCE: &[&str] = &["rand", "getrandom", "fastrand", "RandomState"];

pub(crate) fn clock_chance_and_tasks_come_from_the_world(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in server_modules(tree).filter(|source| source.module().first() != Some(&"world")) {
        for (at, _) in source.shipped.match_indices(".elapsed()") {
            findings.push(at_byte(source, at, "`elapsed` reads a clock: take it from `world`"));
        }
        for named in &source.shipped_named {
            let worldly = WORLDLY.iter().find(|(name, _)| named.ends_with(name));
            let chance = CHANCE.iter().any(|name| named.segments().any(|segment| segment == *name));
            let what = worldly.map(|(_, what)| *what).or(chance.then_some("chance"));
            if let Some(what) = what {
                let reason = format!("`{}` is {what}: take it from `world`", named.path);
                findings.push(at_line(source, named.line, reason));
            }
        }
    }
    findings
}

/// What would make two machines fed the same commands differ, or wait.
const IMPURE: &[&str] = &["async", "await", "HashMap", "HashSet", "tokio"];

pub(crate) fn the_machine_is_pure(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources.iter().filter(|source| source.is_in(&["server/src/machine"])) {
        for (at, word) in words(&source.code).filter(|(_, word)| IMPURE.contains(word)) {
            findings.push(at_byte(source, at, format!("the machine is pure and names `{word}`")));
        }
        for named in source.shipped_named.iter().filter(|named| named.is_within("std::env")) {
            findings.push(at_line(source, named.line, "the machine reads no environment"));
        }
    }
    findings
}

pub(crate) fn the_faulty_disk_does_not_ship(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in tree.sources.iter().filter(|source| source.stem() != "faults") {
        let reason = "`faults` is for tests and the simulation alone";
        let is_path = |named: &Named| named.path.contains("::");
        let named = source.shipped_named.iter().filter(|named| is_path(named));
        for named in named.filter(|named| named.segments().any(|segment| segment == "faults")) {
            findings.push(at_line(source, named.line, reason));
        }
        let modules = items(&source.shipped).into_iter().filter(|item| item.name == "faults");
        for item in modules.filter(|item| source.shipped[..item.at].trim_end().ends_with("mod")) {
            findings.push(at_byte(source, item.at, reason));
        }
    }
    findings
}
