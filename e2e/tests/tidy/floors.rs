//! Rules of tidy about who may import whom: floors inside `server`, and the packages.
//!
//! The floor plan is a table: a module, its floor, and what it may import. Whoever adds a module to
//! `server` adds a line here, and so decides where it stands before it is written.
//!
//! Not here: names of other people's crates (`fences`).

use crate::rules::{Finding, at_byte, at_line};
use crate::source::{Named, Source, Tree};
use std::collections::BTreeSet;

/// A top-level module of `server`, its floor, and the modules it may import.
struct Floor {
    module: &'static str,
    number: u8,
    may_import: &'static [&'static str],
}

/// The floor plan. Everybody but `machine` may import floor 0, which is not repeated here.
const FLOORS: &[Floor] = &[
    floor("main", 8, &["cli"]),
    floor("cli", 8, &["run", "config", "listen", "telemetry"]),
    floor(
        "run",
        7,
        &["config", "listen", "telemetry", "http", "node", "peer", "raft", "storage", "machine"],
    ),
    floor(
        "config",
        7,
        &["listen", "telemetry", "http", "node", "peer", "raft", "storage", "machine"],
    ),
    floor("listen", 7, &[]),
    floor("telemetry", 7, &[]),
    floor("http", 6, &["node"]),
    floor("node", 5, &["peer", "raft", "storage", "machine"]),
    floor("peer", 4, &["raft", "storage", "machine"]),
    floor("raft", 3, &["storage", "machine"]),
    floor("storage", 2, &["machine"]),
    floor("machine", 1, &[]),
    floor("world", 0, &[]),
    floor("metrics", 0, &[]),
];

const fn floor(module: &'static str, number: u8, may_import: &'static [&'static str]) -> Floor {
    Floor { module, number, may_import }
}

fn floor_of(module: &str) -> Option<&'static Floor> {
    FLOORS.iter().find(|floor| floor.module == module)
}

pub(crate) fn a_module_of_the_server_has_a_floor(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in server_modules(tree) {
        if let Some(module) = source.module().first().filter(|module| floor_of(module).is_none()) {
            findings.push(at_line(source, 1, format!("the module `{module}` has no floor")));
        }
    }
    findings
}

pub(crate) fn a_module_imports_only_what_its_floor_may(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in server_modules(tree) {
        let module = source.module();
        let Some(here) = module.first().and_then(|module| floor_of(module)) else { continue };
        for named in &source.named {
            let Some(there) = top_module(named, module.len()).and_then(floor_of) else { continue };
            if !may_import(here, there) {
                let reason = format!(
                    "`{}` (floor {}) imports `{}` (floor {}), which it may not",
                    here.module, here.number, there.module, there.number
                );
                findings.push(at_line(source, named.line, reason));
            }
        }
    }
    findings
}

fn may_import(here: &Floor, there: &Floor) -> bool {
    let is_own = here.module == there.module;
    let is_ground = there.number == 0 && here.module != "machine";
    is_own || is_ground || here.may_import.contains(&there.module)
}

/// The top-level module that a path leads to, named from a file `depth` modules below the root.
fn top_module(named: &Named, depth: usize) -> Option<&str> {
    let climbs = named.segments().take_while(|segment| *segment == "super").count();
    match named.segments().next()? {
        "crate" => named.segments().nth(1),
        "super" if climbs >= depth => named.segments().nth(climbs),
        _ => None,
    }
}

pub(crate) fn server_modules(tree: &Tree) -> impl Iterator<Item = &Source> {
    tree.sources.iter().filter(|source| source.is_in(&["server/src"]))
}

pub(crate) fn the_crate_root_is_not_imported_in_a_group(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for (at, _) in source.code.match_indices("crate::{") {
            findings.push(at_byte(source, at, "`crate::{` hides which module is imported"));
        }
    }
    findings
}

/// Who may import whom of ours: the package's folder, and the crates it may name.
pub(crate) const KNOWS: &[(&str, &[&str])] = &[
    ("client", &[]),
    ("migrations", &[]),
    ("web", &["client"]),
    ("server", &["client", "migrations", "web"]),
    ("e2e", &["client", "server"]),
];

pub(crate) fn a_package_knows_only_whom_it_may(tree: &Tree) -> Vec<Finding> {
    let ours: BTreeSet<&str> = KNOWS.iter().map(|(package, _)| *package).collect();
    let mut findings = Vec::new();
    for source in &tree.sources {
        let Some((own, allowed)) = KNOWS.iter().find(|(name, _)| *name == source.package()) else {
            continue;
        };
        for named in &source.named {
            // A module may carry the name of a package: only a path of two segments names a crate.
            let crate_name = match named.path.split_once("::") {
                Some((first, _)) if ours.contains(first) && first != *own => first,
                _ => continue,
            };
            if !allowed.contains(&crate_name) && !is_local_module(tree, source, crate_name) {
                let reason = format!("the package `{own}` may not know `{crate_name}`");
                findings.push(at_line(source, named.line, reason));
            }
        }
    }
    findings
}

/// Does the file's folder hold a module of that name? Then the name means this one.
pub(crate) fn is_local_module(tree: &Tree, source: &Source, name: &str) -> bool {
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let inside = source.path.trim_end_matches(".rs");
    [folder, inside].iter().any(|place| {
        tree.source(&format!("{place}/{name}.rs")).is_some()
            || tree.source(&format!("{place}/{name}/mod.rs")).is_some()
    })
}
