//! Rules of tidy about proof: a test asserts, a script is run, what is frozen stays as it was.
//!
//! A test that cannot fail and a fixture nobody opens are worse than none, because they are counted.
//!
//! Not here: whether a test asserts the right thing.

use crate::names::items;
use crate::rules::{Finding, at_byte};
use crate::source::{Tree, behind_bracket, is_below, item_end, words};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Calls that fail a test, beside everything with `assert` in its name.
const ASSERTING: &[&str] = &["panic", "ensure", "bail", "unreachable", "Suite"];

pub(crate) fn a_test_asserts(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let functions = functions(&source.code);
        let asserting = asserting_functions(&functions);
        for function in functions.iter().filter(|function| function.is_test) {
            if !function.is_told_to_panic && !asserts(function.body, &asserting) {
                let reason = format!("the test `{}` asserts nothing", function.name);
                findings.push(at_byte(source, function.at, reason));
            }
        }
    }
    findings
}

struct Function<'code> {
    name: &'code str,
    at: usize,
    body: &'code str,
    is_test: bool,
    is_told_to_panic: bool,
}

fn functions(code: &str) -> Vec<Function<'_>> {
    let mut functions = Vec::new();
    for item in items(code) {
        let before = code[..item.at].trim_end();
        if !before.ends_with("fn") {
            continue;
        }
        let attributes = attributes_before(code, item.at);
        functions.push(Function {
            name: item.name,
            at: item.at,
            body: &code[item.at + item.name.len()..item_end(code, item.at)],
            is_test: ["#[test]", "::test]", "::test("].iter().any(|test| attributes.contains(test)),
            is_told_to_panic: words(attributes).any(|(_, word)| word == "should_panic"),
        });
    }
    functions
}

/// What stands between the end of the item before and the name of this one.
fn attributes_before(code: &str, name_at: usize) -> &str {
    let start = code[..name_at].rfind(['{', '}', ';']).map_or(0, |at| at + 1);
    &code[start..name_at]
}

/// The functions of a file that assert, themselves or by calling one that does.
fn asserting_functions<'code>(functions: &[Function<'code>]) -> BTreeSet<&'code str> {
    let mut asserting = BTreeSet::new();
    loop {
        let before = asserting.len();
        for function in functions.iter().filter(|function| !function.is_test) {
            if asserts(function.body, &asserting) {
                asserting.insert(function.name);
            }
        }
        if asserting.len() == before {
            return asserting;
        }
    }
}

fn asserts(body: &str, asserting: &BTreeSet<&str>) -> bool {
    words(body).any(|(_, word)| {
        word.contains("assert") || ASSERTING.contains(&word) || asserting.contains(word)
    })
}

pub(crate) fn no_statement_begins_with_matches(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let code = &source.code;
        for (at, word) in words(code).filter(|(_, word)| *word == "matches") {
            let is_first = code[..at].trim_end().ends_with([';', '{', '}']);
            let Some(open) = code[at + word.len()..].strip_prefix('!') else { continue };
            let end = behind_bracket(code, code.len() - open.trim_start().len());
            if is_first && code[end..].trim_start().starts_with(';') {
                findings.push(at_byte(source, at, "a `matches!` nobody looks at: assert it"));
            }
        }
    }
    findings
}

pub(crate) fn a_script_or_fixture_is_run(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for other in &tree.others {
        let Some((package, inside)) = other.path.split_once('/') else { continue };
        if !inside.starts_with("scripts/") && !inside.starts_with("fixtures/") {
            continue;
        }
        let sources = tree.sources.iter().filter(|source| source.package() == package);
        if !sources.clone().any(|source| runs(&source.text, inside)) {
            findings.push(Finding {
                path: other.path.clone(),
                line: 1,
                reason: "no test of its package names it or its folder".to_owned(),
            });
        }
    }
    findings
}

/// Does a source name the file, or one of the folders it lies in (then it walks that folder)?
fn runs(text: &str, inside: &str) -> bool {
    let mut place = inside;
    loop {
        if text.contains(&format!("{place}\"")) {
            return true;
        }
        match place.rsplit_once('/') {
            Some((folder, _)) => place = folder,
            None => return false,
        }
    }
}

/// The file that records what a frozen folder must hold, in the form of `sha256sum`.
const RECORD: &str = "SHA256SUMS";

/// A released version folder of `migrations`, or the folder of vendored assets, holds a record;
/// vendored assets always do.
pub(crate) fn what_is_frozen_is_unchanged(tree: &Tree) -> Vec<Finding> {
    let files = all_files(tree);
    let mut findings = Vec::new();
    for (folder, recorded) in records(tree) {
        let inside =
            files.iter().filter(|(path, _)| is_below(path, &folder) && !path.ends_with(RECORD));
        let present: BTreeMap<String, String> = inside
            .map(|(path, bytes)| (path[folder.len() + 1..].to_owned(), hex_digest(bytes)))
            .collect();
        let names: BTreeSet<&String> = present.keys().chain(recorded.keys()).collect();
        for name in names {
            if present.get(name) != recorded.get(name) {
                findings.push(Finding {
                    path: format!("{folder}/{name}"),
                    line: 1,
                    reason: format!("is frozen and differs from {folder}/{RECORD}"),
                });
            }
        }
    }
    findings
}

/// Folder by folder, the recorded digest of each file.
fn records(tree: &Tree) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut records = BTreeMap::new();
    for other in &tree.others {
        if other.path.starts_with("web/assets/vendor/") {
            records.entry("web/assets/vendor".to_owned()).or_default();
        }
    }
    for other in &tree.others {
        let Some(folder) = other.path.strip_suffix(RECORD) else { continue };
        let text = String::from_utf8_lossy(&other.bytes).into_owned();
        let lines = text.lines().filter_map(|line| line.split_once("  "));
        let recorded = lines.map(|(digest, name)| (name.to_owned(), digest.to_owned())).collect();
        records.insert(folder.trim_end_matches('/').to_owned(), recorded);
    }
    records
}

fn all_files(tree: &Tree) -> Vec<(&str, &[u8])> {
    let sources = tree.sources.iter().map(|source| (source.path.as_str(), source.text.as_bytes()));
    sources.chain(tree.others.iter().map(|other| (other.path.as_str(), &*other.bytes))).collect()
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes every write");
        hex
    })
}
