//! The sources as tidy sees them: files, their code without comments and literals, the paths they name.
//!
//! A rule that looked at plain text would trip over words in comments and strings, so every file is
//! kept twice: as it is, and with the contents of comments and literals blanked out. Both have the
//! same length, so a place in one is the same place in the other.
//!
//! Not here: what is allowed (`rules`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// All the files tidy looks at, by their path from the root with forward slashes.
pub(crate) struct Tree {
    pub(crate) sources: Vec<Source>,
    /// Everything that is no Rust source: scripts, fixtures, assets, recorded digests.
    pub(crate) others: Vec<Other>,
}

/// A file that is no Rust source.
pub(crate) struct Other {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

/// One Rust file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with the contents of comments and literals blanked out.
    pub(crate) code: String,
    /// `code` without what is only compiled for tests.
    pub(crate) shipped: String,
    /// Every path that `code` names.
    pub(crate) named: Vec<Named>,
    /// Every path that `shipped` names.
    pub(crate) shipped_named: Vec<Named>,
}

/// A path such as `std::fs::File` and the line it is named on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) path: String,
}

impl Named {
    /// Is it `prefix`, or something below `prefix`?
    pub(crate) fn is_within(&self, prefix: &str) -> bool {
        self.path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// Does it end in the segments of `suffix`?
    pub(crate) fn ends_with(&self, suffix: &str) -> bool {
        self.path.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with("::"))
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split("::")
    }
}

impl Tree {
    /// The files of `folders` below `root`.
    pub(crate) fn walk(root: &Path, folders: &[&str]) -> Self {
        let mut files = Vec::new();
        for folder in folders {
            collect(&root.join(folder), &mut files);
        }
        files.sort();
        let named = files.iter().map(|file| {
            let bytes =
                fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let path = file.strip_prefix(root).expect("it was found below the root");
            (path.to_str().expect("our file names are UTF-8").replace('\\', "/"), bytes)
        });
        Self::of_files(named)
    }

    /// A tree of made-up sources, for the tests of the rules.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self::of_files(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).into())))
    }

    fn of_files(files: impl Iterator<Item = (String, Vec<u8>)>) -> Self {
        let mut tree = Self { sources: Vec::new(), others: Vec::new() };
        for (path, bytes) in files {
            if Path::new(&path).extension().is_some_and(|kind| kind == "rs") {
                let text = String::from_utf8(bytes).expect("Rust sources are UTF-8");
                tree.sources.push(Source::new(path, text));
            } else {
                tree.others.push(Other { path, bytes });
            }
        }
        tree.forget_files_of_tests();
        tree
    }

    pub(crate) fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }

    /// A file behind `#[cfg(test)] mod name;` ships as little as an inline test module.
    fn forget_files_of_tests(&mut self) {
        let files: BTreeSet<String> =
            self.sources.iter().flat_map(Source::test_only_files).collect();
        for source in &mut self.sources {
            if files.contains(&source.path) {
                source.shipped = blanked(&source.code);
                source.shipped_named.clear();
            }
        }
    }
}

impl Source {
    pub(crate) fn new(path: String, text: String) -> Self {
        let code = blank_comments_and_literals(&text);
        let is_test = path.starts_with("e2e/")
            || path.contains("/tests/")
            || path.contains("/examples/")
            || path.ends_with("/tests.rs");
        let shipped = if is_test { blanked(&code) } else { without_tests(&code) };
        let (named, shipped_named) = (paths(&code), paths(&shipped));
        Self { path, text, code, shipped, named, shipped_named }
    }

    /// `server`, `client` and so on.
    pub(crate) fn package(&self) -> &str {
        self.path.split('/').next().expect("splitting yields at least one part")
    }

    /// The file's name without `.rs`.
    pub(crate) fn stem(&self) -> &str {
        let file = self.path.rsplit('/').next().expect("splitting yields at least one part");
        file.trim_end_matches(".rs")
    }

    /// Is the file below one of these folders, or one of these files?
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| is_below(&self.path, place))
    }

    /// The place of this file in its crate: `server/src/http/records.rs` is `[http, records]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let Some((_, inside)) = self.path.split_once("/src/") else { return Vec::new() };
        let mut parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
            parts.pop();
        }
        parts
    }

    fn test_only_files(&self) -> Vec<String> {
        let Some((package, _)) = self.path.split_once("/src/") else { return Vec::new() };
        let folder = [format!("{package}/src")]
            .into_iter()
            .chain(self.module().iter().map(ToString::to_string))
            .collect::<Vec<_>>()
            .join("/");
        let mut files = Vec::new();
        for item in test_items(&self.code) {
            let words: Vec<&str> = self.code[item].split_whitespace().collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "mod" && pair[1].ends_with(';')) {
                let name = pair[1].trim_end_matches(';');
                files.extend([format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]);
            }
        }
        files
    }
}

/// Is `path` the file `place`, or a file below the folder `place`?
pub(crate) fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The line that the byte at `at` stands on, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Every path that `code` names, with the groups of its `use` statements taken apart.
pub(crate) fn paths(code: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        if is_word(first) {
            let (chain, after) = take_path(rest);
            push_paths(chain, line, &mut found);
            line += chain.matches('\n').count();
            rest = after;
        } else {
            line += usize::from(first == '\n');
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// Every word of `code`, with the place it starts at.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.split(|letter| !is_word(letter)).filter(|word| !word.is_empty()).map(|word| {
        // Slices of one allocation: the difference of their addresses is the place in `code`.
        (word.as_ptr().addr() - code.as_ptr().addr(), word)
    })
}

/// Where the bracket that opens at `open` is closed: the place behind its partner.
pub(crate) fn behind_bracket(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in code[open..].char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder that opens can be listed").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}

/// A path at the start of `text`, up to and including a group `{..}` behind its last `::`.
fn take_path(text: &str) -> (&str, &str) {
    let mut end = 0;
    loop {
        end += text[end..].find(|letter| !is_word(letter)).unwrap_or(text.len() - end);
        let behind = text[end..].trim_start();
        let Some(behind) = behind.strip_prefix("::") else { break };
        let next = text.len() - behind.trim_start().len();
        if text[next..].starts_with('{') {
            end = behind_bracket(text, next);
            break;
        }
        if !text[next..].starts_with(is_word) {
            break;
        }
        end = next;
    }
    text.split_at(end)
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`; `a as b` is `a`; `a::{self}` is `a`.
fn push_paths(chain: &str, line: usize, found: &mut Vec<Named>) {
    let Some(open) = chain.find('{') else {
        let path: String = chain.split_whitespace().collect();
        found.push(Named { line, path: path.trim_end_matches("::self").to_owned() });
        return;
    };
    let prefix: String = chain[..open].split_whitespace().collect();
    let mut start = open + 1;
    let mut depth = 0_usize;
    for (at, letter) in chain.char_indices().skip_while(|(at, _)| *at <= open) {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let element = chain[start..at].trim();
                let element = if element.contains('{') {
                    element
                } else {
                    element.split_once(" as ").map_or(element, |(name, _)| name)
                };
                if !element.is_empty() {
                    let skipped = chain[..start].matches('\n').count();
                    let indent = chain[start..at].len() - chain[start..at].trim_start().len();
                    let indent = chain[start..start + indent].matches('\n').count();
                    push_paths(&format!("{prefix}{element}"), line + skipped + indent, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// `code` with everything under `#[cfg(test)]` blanked out.
fn without_tests(code: &str) -> String {
    let mut shipped = code.to_owned();
    for item in test_items(code) {
        let blank = blanked(&code[item.clone()]);
        shipped.replace_range(item, &blank);
    }
    shipped
}

/// The places of the items that are compiled for tests alone, attribute included.
fn test_items(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(").map(|at| from + at) {
        let attribute_end = behind_bracket(code, at + 1);
        from = attribute_end;
        let attribute = &code[at..attribute_end];
        if words(attribute).any(|(_, word)| word == "test") && !attribute.contains("not(test)") {
            from = item_end(code, attribute_end);
            items.push(at..from);
        }
    }
    items
}

/// Where the item that starts at `from` ends: behind its `;` or its block.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(letter) = code[at..].chars().next() {
        match letter {
            ';' => return at + 1,
            '{' => return behind_bracket(code, at),
            '(' | '[' => at = behind_bracket(code, at),
            other => at += other.len_utf8(),
        }
    }
    code.len()
}

/// `text` with the contents of comments, strings and characters replaced by spaces.
fn blank_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_length(rest),
            '"' => string_length(rest),
            '\'' => character_length(rest),
            _ if is_word(first) => {
                let word = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
                let literal = raw_string_length(rest, word);
                if literal == 0 {
                    code.push_str(&rest[..word]);
                    rest = &rest[word..];
                    continue;
                }
                literal
            }
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push_str(&blanked(&rest[..length]));
            rest = &rest[length..];
        }
    }
    code
}

/// As many bytes as `text`, all blank, with the line breaks kept.
fn blanked(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

/// A character literal; 0 for a lifetime, which has no closing quote.
fn character_length(text: &str) -> usize {
    let mut letters = text.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => {
            let behind_escaped =
                letters.next().map_or(text.len(), |(at, letter)| at + letter.len_utf8());
            text[behind_escaped..].find('\'').map_or(0, |close| behind_escaped + close + 1)
        }
        Some(_) => match letters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// `r"..."`, `br#"..."#`, `cr"..."`: the length of such a literal, if the first word begins one.
fn raw_string_length(text: &str, word: usize) -> usize {
    if !matches!(&text[..word], "r" | "br" | "cr") {
        return 0;
    }
    let hashes = text[word..].len() - text[word..].trim_start_matches('#').len();
    if !text[word + hashes..].starts_with('"') {
        return 0;
    }
    let closing = format!("\"{}", "#".repeat(hashes));
    let start = word + hashes + 1;
    text[start..].find(&closing).map_or(text.len(), |at| start + at + closing.len())
}
