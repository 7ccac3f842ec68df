//! The rules of the house that a machine can check: the list of them, and what a finding is.
//!
//! A rule is a function from the whole tree to what it found: file, line and reason. It speaks of
//! code, not of comments or literals. Rules stand in files by subject: `floors`, `fences`, `names`,
//! `promises` and `shown`.
//!
//! Not here: lengths. A person judges those.

use crate::fences::{
    a_fenced_name_stays_inside_its_fence, clock_chance_and_tasks_come_from_the_world,
    the_faulty_disk_does_not_ship, the_machine_is_pure, the_sdk_stays_inside_its_fence,
};
use crate::floors::{
    a_module_imports_only_what_its_floor_may, a_module_of_the_server_has_a_floor,
    a_package_knows_only_whom_it_may, the_crate_root_is_not_imported_in_a_group,
};
use crate::names::no_refused_word_stands_in_a_name;
use crate::promises::{
    a_script_or_fixture_is_run, a_test_asserts, no_statement_begins_with_matches,
    what_is_frozen_is_unchanged,
};
use crate::shown::what_the_client_offers_is_shown;
use crate::source::{Source, Tree, line_of};
use std::fmt;

/// A place where a rule is broken, and why that is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.reason)
    }
}

pub(crate) type Rule = fn(&Tree) -> Vec<Finding>;

/// All of them, in the order of the page that states them.
pub(crate) const RULES: &[Rule] = &[
    a_file_opens_with_a_module_comment,
    a_module_of_the_server_has_a_floor,
    a_module_imports_only_what_its_floor_may,
    the_crate_root_is_not_imported_in_a_group,
    a_package_knows_only_whom_it_may,
    a_fenced_name_stays_inside_its_fence,
    the_sdk_stays_inside_its_fence,
    clock_chance_and_tasks_come_from_the_world,
    the_machine_is_pure,
    the_faulty_disk_does_not_ship,
    no_refused_word_stands_in_a_name,
    a_test_asserts,
    no_statement_begins_with_matches,
    a_script_or_fixture_is_run,
    what_is_frozen_is_unchanged,
    what_the_client_offers_is_shown,
];

fn a_file_opens_with_a_module_comment(tree: &Tree) -> Vec<Finding> {
    // The front page of a crate may be its README.
    let opens = |text: &str| text.starts_with("//!") || text.starts_with("#![doc = include_str!");
    let silent = tree.sources.iter().filter(|source| !opens(&source.text));
    silent
        .map(|source| {
            at_line(source, 1, "opens without `//!`: say what it is, and what is not here")
        })
        .collect()
}

pub(crate) fn at_line(source: &Source, line: usize, reason: impl Into<String>) -> Finding {
    Finding { path: source.path.clone(), line, reason: reason.into() }
}

pub(crate) fn at_byte(source: &Source, at: usize, reason: impl Into<String>) -> Finding {
    at_line(source, line_of(&source.code, at), reason)
}

pub(crate) fn list(places: &[&str]) -> String {
    places.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(", ")
}
