//! Rules of tidy about the client's documentation: what it offers is shown in an example that compiles.
//!
//! What counts: of the SDK, each name that its `mod.rs` offers, and each public method of those types; of the
//! contract (`types`, `api`), each module by one name of it. It is shown if it stands in a block of code of the
//! crate's documentation, its pages or its examples, all of which are compiled; a method, in such a block of the file
//! that it is in, of a page, or in an example. Variants and fields are not asked for: what makes them sensible is shown
//! with their types.
//!
//! Not here: whether an example is a good one.

use crate::names::items;
use crate::rules::{Finding, at_byte};
use crate::source::{Source, Tree, words};
use std::collections::BTreeSet;

const SDK: &str = "client/src/sdk";
/// What stands before the name of a public item.
const PUBLIC: &[&str] =
    &["pub struct", "pub enum", "pub const", "pub const fn", "pub fn", "pub trait"];
const PAGES: &[&str] = &["client/README.md", "client/OUTCOMES.md"];

pub(crate) fn what_the_client_offers_is_shown(tree: &Tree) -> Vec<Finding> {
    let Some(offering) = tree.source("client/src/sdk/mod.rs") else { return Vec::new() };
    let everywhere = everywhere(tree);
    let all_blocks = |place: &str| {
        let sources = tree.sources.iter().filter(move |source| source.is_in(&[place]));
        sources.map(|source| blocks(&source.text)).collect::<String>()
    };
    let sdk = everywhere.clone() + &all_blocks(SDK);
    let anywhere = sdk.clone() + &all_blocks("client/src/types") + &all_blocks("client/src/api");
    let shown: BTreeSet<&str> = words(&anywhere).map(|(_, word)| word).collect();

    let mut findings = Vec::new();
    let offered: BTreeSet<&str> = offered(offering).collect();
    for name in offered.iter().filter(|name| !shown.contains(**name)) {
        if !has_its_own(tree, name) {
            let reason = format!("no example that compiles shows `{name}`");
            findings.push(at_byte(offering, 0, reason));
        }
    }
    for source in tree.sources.iter().filter(|source| source.is_in(&[SDK])) {
        let near = everywhere.clone() + &blocks(&source.text);
        for (at, name) in methods(source, &offered) {
            if ![".", "::"].iter().any(|joint| is_called(&near, joint, name)) {
                let reason = format!("no example that compiles shows the method `{name}`");
                findings.push(at_byte(source, at, reason));
            }
        }
    }
    for source in tree.sources.iter().filter(|source| is_contract(tree, &source.path)) {
        let mut public = public(source).chain(checked_texts(source)).peekable();
        if public.peek().is_some() && !public.any(|name| shown.contains(name)) {
            findings.push(at_byte(source, 0, "no example that compiles shows anything of it"));
        }
    }
    findings
}

/// The names of the public items of a file, methods excepted.
fn public(source: &Source) -> impl Iterator<Item = &str> {
    let is_public = |at: usize| {
        let before = source.shipped[..at].trim_end();
        let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
        PUBLIC.contains(&line)
    };
    items(&source.shipped).into_iter().filter(move |item| is_public(item.at)).map(|item| item.name)
}

/// The names of texts that are checked once, which a macro makes.
fn checked_texts(source: &Source) -> impl Iterator<Item = &str> {
    let made = source.shipped.split("checked_text! {").skip(1);
    made.filter_map(|rest| words(rest).next().map(|(_, word)| word))
}

/// Whether a type of the SDK has an example in its own documentation.
fn has_its_own(tree: &Tree, name: &str) -> bool {
    let sources = tree.sources.iter().filter(|source| source.is_in(&[SDK]));
    sources
        .flat_map(|source| items(&source.shipped).into_iter().map(move |item| (source, item)))
        .any(|(source, item)| {
            let before: Vec<&str> = source.text[..item.at].lines().rev().skip(1).collect();
            let docs = before.into_iter().take_while(|line| line.starts_with(['/', '#']));
            let mut docs: Vec<&str> = docs.filter_map(|line| line.strip_prefix("///")).collect();
            docs.reverse();
            item.name == name && !code_of(docs.into_iter()).is_empty()
        })
}

/// Whether a file is a module of the contract that callers can name something of.
fn is_contract(tree: &Tree, path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    let name = file.trim_end_matches(".rs");
    let has = |line: &str| {
        let module = tree.source(&format!("{folder}/mod.rs"));
        module.is_none_or(|module| module.code.contains(line))
    };
    match folder {
        "client/src/api" => name != "mod" && has(&format!("pub mod {name};")),
        "client/src/types" => name != "mod" && has(&format!("pub use {name}::")),
        _ => false,
    }
}

/// What is shown to all: the pages, and the examples.
fn everywhere(tree: &Tree) -> String {
    let pages = tree.others.iter().filter(|other| PAGES.contains(&other.path.as_str()));
    let pages = pages.map(|page| code_of(String::from_utf8_lossy(&page.bytes).lines()));
    let examples = tree.sources.iter().filter(|source| source.is_in(&["client/examples"]));
    pages.chain(examples.map(|example| example.code.clone())).collect()
}

/// The names that a module offers by `pub use`.
fn offered(source: &Source) -> impl Iterator<Item = &str> {
    let uses = source.code.split("pub use ").skip(1).filter_map(|rest| rest.split_once(';'));
    uses.flat_map(|(named, _)| {
        let ends = words(named).filter(|(at, word)| !named[at + word.len()..].starts_with("::"));
        ends.map(|(_, word)| word).collect::<Vec<_>>()
    })
}

/// The public methods of these types in a file, as they are formatted.
fn methods<'tree>(
    source: &'tree Source,
    types: &BTreeSet<&str>,
) -> impl Iterator<Item = (usize, &'tree str)> {
    let (mut at, mut is_inside, mut found) = (0, false, Vec::new());
    for line in source.shipped.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("impl") {
            let of_a_trait = rest.contains(" for ");
            let named = words(rest).any(|(_, word)| types.contains(word));
            is_inside = named && !of_a_trait;
        } else if line.starts_with('}') {
            is_inside = false;
        } else if is_inside && line.starts_with("    pub ") {
            let name = words(line).skip_while(|(_, word)| *word != "fn").nth(1);
            found.extend(name.map(|(offset, name)| (at + offset, name)));
        }
        at += line.len();
    }
    let text = &source.text;
    found.into_iter().map(move |(at, name)| (at, &text[at..at + name.len()]))
}

fn is_called(code: &str, joint: &str, name: &str) -> bool {
    let call = format!("{joint}{name}");
    code.match_indices(&call)
        .any(|(at, _)| code[at + call.len()..].starts_with(['(', ':', ')', ',']))
}

/// The code of all blocks in the documentation of a file.
fn blocks(text: &str) -> String {
    let docs = text.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
    });
    code_of(docs)
}

/// The code of all blocks in a page that are compiled.
fn code_of<'page>(lines: impl Iterator<Item = &'page str>) -> String {
    let (mut code, mut block) = (String::new(), None);
    for line in lines {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            let is_compiled = kind.split(',').all(|word| ["", "rust", "no_run"].contains(&word));
            block = if block.is_some() { None } else { Some(is_compiled) };
        } else if block == Some(true) {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}
