//! The properties of the source itself that a machine can check, over all five packages.
//!
//! A finding names its file, its line and the reason. The rules are listed in `tidy/rules.rs`, one
//! function each; each is tested here with a violation planted in a string, because a rule that has
//! never failed proves nothing.
//!
//! Nothing but the standard library and one hash: tidy must not depend on what it judges.

#[path = "tidy/fences.rs"]
mod fences;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/shown.rs"]
mod shown;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/weight.rs"]
mod weight;

use rules::{Finding, RULES};
use source::{Named, Source, Tree, paths};
use std::path::Path;

const FOLDERS: &[&str] = &["client", "migrations", "server", "web", "e2e"];

#[test]
fn the_sources_keep_every_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package lies in the root");
    let tree = Tree::walk(root, FOLDERS);
    assert!(
        tree.sources.len() > FOLDERS.len(),
        "the walk found too little below {}",
        root.display()
    );

    let findings = findings(&tree);
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn the_client_brings_little_along() {
    let all = weight::packages(&[]);
    assert!(all.iter().any(|package| package.starts_with("quorate-client ")), "{all:?}");
    assert!(all.len() <= weight::PACKAGES_MAX, "{} packages: {all:?}", all.len());
    assert!(!all.iter().any(|package| package.starts_with("rustls")), "who asked for TLS? {all:?}");
    let encrypted = weight::packages(&["--features", "tls"]);
    assert!(encrypted.iter().any(|package| package.starts_with("ring ")), "{encrypted:?}");
    assert!(
        encrypted.len() <= weight::PACKAGES_WITH_TLS_MAX,
        "{} packages: {encrypted:?}",
        encrypted.len()
    );
    let contract = weight::packages(&["--no-default-features"]);
    let is_heavy = |package: &&String| {
        ["tokio ", "reqwest ", "hyper "].iter().any(|name| package.starts_with(name))
    };
    assert_eq!(contract.iter().filter(is_heavy).collect::<Vec<_>>(), [""; 0], "types need nothing");
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    findings.dedup();
    findings
}

/// Exactly one finding, on this line, whose reason holds `reason`.
fn assert_found(files: &[(&str, &str)], line: usize, reason: &str) {
    let found = findings(&Tree::of(files));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].line, line, "{found:?}");
    assert!(found[0].reason.contains(reason), "{found:?}");
}

fn assert_clean(files: &[(&str, &str)]) {
    assert_eq!(findings(&Tree::of(files)), []);
}

#[test]
fn a_file_without_a_module_comment_is_found() {
    assert_found(&[("web/src/lib.rs", "use std::fmt;\n")], 1, "//!");
}

#[test]
fn a_module_without_a_floor_is_found() {
    assert_found(&[("server/src/tools/mod.rs", "//! Tools.\n")], 1, "no floor");
    assert_clean(&[("server/src/node/mod.rs", "//! Node.\n")]);
}

#[test]
fn an_import_from_a_floor_above_is_found_however_it_is_written() {
    for upward in [
        "use crate::node::Node;",
        "use crate::node;",
        "type Above = crate::node::Node;",
        "use super::super::node::{Node, append};",
    ] {
        let text = format!("//! A file.\n{upward}\n");
        assert_found(&[("server/src/storage/disk.rs", &text)], 2, "imports `node` (floor 5)");
    }
}

#[test]
fn an_import_that_skips_a_wall_is_found() {
    let text = "//! A file.\nuse crate::storage::state::State;\n";
    assert_found(&[("server/src/http/logs.rs", text)], 2, "`http` (floor 6) imports `storage`");
    assert_clean(&[("server/src/node/read.rs", text)]);
}

#[test]
fn imports_downward_and_within_a_module_are_let_through() {
    let text = "//! A file.\nuse super::{append, batcher};\nuse crate::{\n    world::World};\n";
    let grouped = [("server/src/node/read.rs", text)];
    assert_found(&grouped, 3, "hides");
    assert_clean(&[(
        "server/src/node/read.rs",
        "//! A file.\nuse super::{append, batcher};\nuse crate::raft::Raft;\nuse crate::world::World;\n",
    )]);
}

#[test]
fn a_package_that_knows_too_much_is_found() {
    let text = "//! A file.\nuse migrations::v1::frames;\n";
    assert_found(&[("client/src/lib.rs", text)], 2, "may not know `migrations`");
}

#[test]
fn a_fenced_name_outside_its_fence_is_found() {
    for (path, text, name) in [
        ("server/src/node/read.rs", "use openraft::Raft;", "openraft"),
        ("server/src/storage/journal/mod.rs", "use redb::Database;", "redb"),
        ("server/src/storage/journal/mod.rs", "use std::{fs, io};", "std::fs"),
        ("server/src/http/mod.rs", "fn f() { std::fs::read(\"\"); }", "std::fs"),
        ("server/src/http/mod.rs", "#[derive(askama::Template)] struct Page;", "askama"),
        ("server/src/node/mod.rs", "use reqwest::Client;", "reqwest"),
        ("server/src/config.rs", "use clap::Parser;", "clap"),
        ("server/src/run/mod.rs", "use anyhow::Context;", "anyhow"),
        ("server/src/http/mod.rs", "use web::router;", "web"),
    ] {
        let text = format!("//! A file.\n{text}\n");
        assert_found(&[(path, &text)], 2, &format!("`{name}` is fenced"));
    }
}

#[test]
fn fenced_names_inside_their_fence_and_in_words_are_let_through() {
    assert_clean(&[
        ("server/src/raft/types.rs", "//! Aliases.\nuse openraft::Raft;\n"),
        ("server/src/storage/disk.rs", "//! Disk.\nuse std::fs::File;\n"),
        ("server/src/node/mod.rs", "//! Not redb, says `std::fs`.\n// openraft\n"),
        ("server/src/metrics.rs", "//! Names.\nconst NAME: &str = \"openraft::x\";\n"),
        (
            "server/src/storage/journal/mod.rs",
            "//! Journal.\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
        ),
    ]);
}

#[test]
fn the_sdk_used_by_the_service_itself_is_found() {
    let lib = "//! Map.\npub mod sdk;\npub use sdk::{Client, retry::RetryPolicy};\n";
    for text in ["use client::sdk::follow;", "use client::Client;", "use client::RetryPolicy;"] {
        let text = format!("//! A file.\n{text}\n");
        let files = [("client/src/lib.rs", lib), ("server/src/node/mod.rs", &text)];
        assert_found(&files, 2, "is of the SDK");
        assert_clean(&[("client/src/lib.rs", lib), ("server/src/cli/logs.rs", &text)]);
    }
}

#[test]
fn a_clock_chance_or_a_task_outside_the_world_is_found() {
    for worldly in [
        "fn f() { let now = Instant::now(); }",
        "fn f() { std::time::SystemTime::now(); }",
        "fn f(start: Instant) { start.elapsed(); }",
        "use tokio::time::sleep;",
        "fn f() { tokio::spawn(async {}); }",
        "fn f() { tokio::task::spawn_blocking(work); }",
        "use getrandom::fill;",
    ] {
        let text = format!("//! A file.\n{worldly}\n");
        assert_found(&[("server/src/node/mod.rs", &text)], 2, "`world`");
        assert_clean(&[("server/src/world/tasks.rs", &text)]);
        assert_clean(&[("server/src/node/tests.rs", &text)]);
    }
}

#[test]
fn an_impure_machine_is_found() {
    for impure in ["async fn f() {}", "use std::collections::HashMap;", "use std::env;"] {
        let text = format!("//! A file.\n{impure}\n");
        assert_found(&[("server/src/machine/logs.rs", &text)], 2, "the machine");
    }
    let text = "//! A file.\nuse crate::storage::Disk;\n";
    assert_found(&[("server/src/machine/logs.rs", text)], 2, "imports `storage`");
    let text = "//! A file.\nuse crate::world::World;\n";
    assert_found(&[("server/src/machine/logs.rs", text)], 2, "imports `world`");
}

#[test]
fn a_faulty_disk_that_ships_is_found() {
    let text = "//! A file.\nuse super::faults::FaultyDisk;\n";
    assert_found(&[("server/src/storage/journal/mod.rs", text)], 2, "tests and the simulation");
    assert_found(&[("server/src/storage/mod.rs", "//! A.\npub mod faults;\n")], 2, "tests");
    assert_clean(&[
        ("server/src/storage/mod.rs", "//! A.\n#[cfg(test)]\npub(crate) mod faults;\n"),
        ("server/src/storage/faults.rs", "//! A.\nuse std::fs;\n"),
    ]);
}

#[test]
fn a_refused_word_in_a_name_is_found() {
    for (path, text, word) in [
        ("web/src/util.rs", "", "`util`"),
        ("web/src/lib.rs", "struct LogManager;", "`manager`"),
        ("web/src/lib.rs", "fn parse_helper() {}", "`helper`"),
        ("web/src/lib.rs", "fn do_append() {}", "`do_`"),
        ("web/src/lib.rs", "enum RequestHandler {}", "`handler`"),
        ("web/src/lib.rs", "struct LogInfo;", "`info`"),
        ("web/src/lib.rs", "pub const fn inner_part() {}", "`inner`"),
    ] {
        let text = format!("//! A file. {text}\n{text}\n");
        let line = if path.contains("util") { 1 } else { 2 };
        assert_found(&[(path, &text)], line, word);
    }
    assert_clean(&[
        ("server/src/http/mod.rs", "//! A file.\nfn handler() {}\n"),
        ("client/src/api/logs.rs", "//! A file.\npub struct LogInfo;\n"),
        (
            "web/src/lib.rs",
            "//! A.\npub(crate) fn inner() {}\nstruct Database;\nfn metadata() {}\n",
        ),
        ("web/src/live.rs", "//! A.\nimpl Body for Page {\n    type Data = Bytes;\n}\n"),
    ]);
}

#[test]
fn a_test_without_an_assertion_is_found() {
    let text =
        "//! A.\n#[test]\nfn nothing_is_promised() {\n    run(2);\n}\nfn run(count: u8) {}\n";
    assert_found(&[("web/tests/pages.rs", text)], 3, "asserts nothing");
    for asserting in [
        "#[test]\nfn a() {\n    assert!(true);\n}\n",
        "#[tokio::test]\nasync fn a() {\n    check([0; 2]);\n}\nfn check(of: [u8; 2]) {\n    assert_eq!(of, 1);\n}\n",
        "#[test]\n#[should_panic(expected = \"no\")]\nfn a() {\n    run();\n}\n",
        "#[cfg(test)]\nfn not_a_test() {}\n",
    ] {
        assert_clean(&[("web/tests/pages.rs", &format!("//! A.\n{asserting}"))]);
    }
}

#[test]
fn a_match_that_nobody_looks_at_is_found() {
    let text = "//! A.\nfn f() {\n    run();\n    matches!(x, Some(_));\n}\n";
    assert_found(&[("web/src/lib.rs", text)], 4, "assert it");
    assert_clean(&[(
        "web/src/lib.rs",
        "//! A.\nfn is_x() -> bool {\n    matches!(x, Some(_))\n}\n",
    )]);
}

#[test]
fn a_script_or_fixture_that_no_test_runs_is_found() {
    let script = ("server/scripts/machine/seal.txt", "seal\n");
    assert_found(&[script, ("server/src/lib.rs", "//! A.\n")], 1, "no test");
    for running in ["\"scripts/machine\"", "include_str!(\"../scripts/machine/seal.txt\")"] {
        let runner = format!("//! A.\nconst STORY: &str = {running};\n");
        assert_clean(&[script, ("server/src/machine/scripts.rs", &runner)]);
    }
}

#[test]
fn a_released_format_that_changed_is_found() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  mod.rs\n";
    let record = ("migrations/src/v1/SHA256SUMS", empty);
    let changed = [("migrations/src/v1/mod.rs", "//! V1, edited.\n"), record];
    assert_found(&changed, 1, "frozen");
    assert_found(&[record], 1, "frozen");
}

#[test]
fn what_the_client_offers_without_an_example_is_found() {
    let sdk = ("client/src/sdk/mod.rs", "//! A.\nmod log;\npub use log::Log;\n");
    let log = |docs: &str| {
        format!(
            "//! A.\n/// A log.\n{docs}pub struct Log;\nimpl Log {{\n    pub fn seal(&self) {{}}\n}}\n"
        )
    };
    let shown = log("/// ```no_run\n/// fn f(log: Log) { log.seal(); }\n/// ```\n");
    assert_clean(&[sdk, ("client/src/sdk/log.rs", &shown)]);
    let not_called = log("/// ```no_run\n/// fn f(log: Log) {}\n/// ```\n");
    assert_found(&[sdk, ("client/src/sdk/log.rs", &not_called)], 8, "the method `seal`");
    let not_compiled = log("/// ```text\n/// fn f(log: Log) { log.seal(); }\n/// ```\n");
    assert_eq!(findings(&Tree::of(&[sdk, ("client/src/sdk/log.rs", &not_compiled)])).len(), 2);
    let page = ("client/README.md", "```rust\nlet log: Log; log.seal();\n```\n");
    assert_clean(&[sdk, ("client/src/sdk/log.rs", &log("")), page]);
    let contract = ("client/src/api/plans.rs", "//! A.\npub struct Plan;\n");
    assert_found(&[sdk, page, contract], 1, "shows anything of it");
}

#[test]
fn a_vendored_asset_without_a_record_is_found() {
    assert_found(&[("web/assets/vendor/htmx.js", "let x;\n")], 1, "frozen");
}

#[test]
fn literals_and_comments_are_no_code() {
    let text = "//! A.\nlet a = \"x \\\" y\"; let b = 'c'; let d: &'static str = r#\"e \" f\"#; /* g /* h */ i */ j";
    let source = Source::new("web/src/lib.rs".to_owned(), text.to_owned());
    let code: Vec<&str> = source.code.split_whitespace().collect();
    assert_eq!(code.join(" "), "let a = ; let b = ; let d: &'static str = ; j");
    assert_eq!(source.code.len(), source.text.len());
}

#[test]
fn groups_of_imports_are_taken_apart() {
    let named = paths("use a::{\n    b,\n    c::{self, d as e},\n};\nf::g::<h>();");
    let expected = [(2, "a::b"), (3, "a::c"), (3, "a::c::d"), (5, "f::g"), (5, "h")];
    let expected = expected.map(|(line, path)| Named { line, path: path.to_owned() });
    assert_eq!(named[1..], expected, "the word `use` comes first");
}
