//! Rules of tidy about names: words that say nothing are refused in files and items.
//!
//! What an `impl` of a trait must be called is the trait's choice, and let through.
//!
//! Not here: the vocabulary itself, which needs a reader.

use crate::rules::{Finding, at_byte, at_line};
use crate::source::{Source, Tree, item_end, words};
use std::ops::Range;

/// Words that say nothing about what a thing is.
const REFUSED: &[&str] = &[
    "manager",
    "managers",
    "helper",
    "helpers",
    "util",
    "utils",
    "common",
    "misc",
    "handler",
    "handlers",
    "processor",
    "processors",
    "data",
    "info",
    "infos",
    "base",
    "guts",
];

/// Names given by somebody else. What an `impl` of a trait must be called is let through anyway.
const GIVEN: &[(&str, &str)] = &[
    // What the standard library calls fdatasync.
    ("sync_data", "server/src/storage"),
    // The field of a server-sent event.
    ("data", "client/src/api"),
];

pub(crate) fn no_refused_word_stands_in_a_name(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for part in source.path.split('/').map(|part| part.trim_end_matches(".rs")) {
            if let Some(word) = refused_word(part, source) {
                findings.push(at_line(source, 1, format!("`{word}` in the name of a file")));
            }
        }
        for item in items(&source.code).into_iter().filter(|item| !item.is_given) {
            let refused = refused_word(item.name, source).map(str::to_owned);
            let inner = item.is_public && split(item.name).any(|word| word == "inner");
            if let Some(word) = refused.or(inner.then(|| "inner".to_owned())) {
                let reason = format!("`{word}` in the name of `{}`: it says nothing", item.name);
                findings.push(at_byte(source, item.at, reason));
            }
        }
    }
    findings
}

fn refused_word(name: &str, source: &Source) -> Option<&'static str> {
    if GIVEN.iter().any(|(given, place)| *given == name && source.is_in(&[place])) {
        return None;
    }
    if name.starts_with("do_") {
        return Some("do_");
    }
    let found = split(name).find_map(|word| REFUSED.iter().find(|refused| **refused == word))?;
    let is_of_http = found.starts_with("handler") && source.is_in(&["server/src/http"]);
    let is_of_the_contract = name.ends_with("Info") && source.is_in(&["client/src/api"]);
    (!is_of_http && !is_of_the_contract).then_some(found)
}

/// The words of `snake_case` and `CamelCase`, in lower case.
fn split(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::new();
    let mut was_lower = false;
    for letter in name.chars() {
        if letter == '_' || (letter.is_uppercase() && was_lower) {
            spaced.push(' ');
        }
        if letter != '_' {
            spaced.extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase() || letter.is_numeric();
    }
    spaced.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// The name of an item, where it stands, and whether it is `pub` without restriction.
pub(crate) struct Item<'code> {
    pub(crate) name: &'code str,
    pub(crate) at: usize,
    is_public: bool,
    is_given: bool,
}

const ITEMS: &[&str] =
    &["fn", "struct", "enum", "trait", "mod", "const", "static", "type", "union"];

pub(crate) fn items(code: &str) -> Vec<Item<'_>> {
    let all: Vec<(usize, &str)> = words(code).collect();
    let given = trait_implementations(code);
    let mut items = Vec::new();
    for (number, pair) in all.windows(2).enumerate() {
        let [(keyword_at, keyword), (at, name)] = [pair[0], pair[1]];
        let gap = &code[keyword_at + keyword.len()..at];
        let is_lifetime = code[..keyword_at].ends_with('\'');
        let is_item = ITEMS.contains(&keyword) && gap.chars().all(char::is_whitespace);
        // `const fn f`: the item is the function.
        if is_item && !is_lifetime && !matches!(name, "fn" | "unsafe" | "async" | "mut" | "_") {
            let is_given = given.iter().any(|block| block.contains(&at));
            items.push(Item { name, at, is_public: is_public(code, &all[..number]), is_given });
        }
    }
    items
}

/// The blocks of `impl Trait for Type`, where names are the trait's.
fn trait_implementations(code: &str) -> Vec<Range<usize>> {
    let starts = words(code).filter(|(_, word)| *word == "impl");
    let blocks = starts.map(|(at, _)| at..item_end(code, at));
    let is_of_trait = |block: &Range<usize>| {
        let head = code[block.clone()].split('{').next().unwrap_or_default();
        words(head).any(|(_, word)| word == "for")
    };
    blocks.filter(is_of_trait).collect()
}

/// Does `pub`, perhaps with `const`, `async` or `unsafe` behind it, stand before the next word?
fn is_public(code: &str, before: &[(usize, &str)]) -> bool {
    let mut qualifiers = before.iter().rev();
    let word =
        qualifiers.find(|(_, word)| !matches!(*word, "const" | "async" | "unsafe" | "extern"));
    word.is_some_and(|(at, word)| *word == "pub" && !code[at + 3..].trim_start().starts_with('('))
}
