//! Where values come from: file, then environment, then flags.
//!
//! Invariant: every value knows its origin, the later layer wins, and a key that nobody knows is an
//! error with its place, never ignored. Values are text here; `Config` gives them their types.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::keys;
use super::keys::{KEYS, Key};

/// Variables of the environment that begin like ours and set nothing of a replica.
const OTHER_VARIABLES: &[&str] = &[
    "QUORATE_CONFIG",
    "QUORATE_ENDPOINT",
    "QUORATE_OUTPUT",
    "QUORATE_STATE_DIR",
    "QUORATE_TIMEOUT",
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// It follows from other settings.
    Derived,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived => f.write_str("derived"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The text.
    pub text: String,
    /// Who wrote it.
    pub origin: Origin,
}

/// All that was given, by key.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
    notices: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Layers {
    /// Nothing given yet: the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, as the lowest layer.
    #[must_use]
    pub fn file(self, path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(source) => self.failed(ConfigError::Unreadable {
                path: path.to_owned(),
                reason: source.to_string(),
            }),
        }
    }

    /// Adds the text of a file.
    #[must_use]
    pub fn text(mut self, path: &Path, text: &str) -> Self {
        let (table, faults) = DeTable::parse_recoverable(text);
        if let Some(fault) = faults.first() {
            let line = fault.span().map_or(1, |span| line_of(text, span.start));
            let reason = fault.message().to_owned();
            return self.failed(ConfigError::Syntax { path: path.to_owned(), line, reason });
        }
        self.table(&Place { path, text }, "", table.get_ref());
        self
    }

    fn table(&mut self, place: &Place<'_>, prefix: &str, table: &DeTable<'_>) {
        for (leaf, value) in table {
            let name = if prefix.is_empty() {
                leaf.get_ref().to_string()
            } else {
                format!("{prefix}.{}", leaf.get_ref())
            };
            let origin = place.origin(leaf.span().start);
            match (value.get_ref(), keys::find(&name)) {
                (DeValue::Table(below), None) if is_section(&name) => {
                    self.table(place, &name, below);
                }
                (_, None) => self.errors.push(ConfigError::UnknownKey {
                    origin: origin.to_string(),
                    suggestion: keys::nearest(&name),
                    key: name,
                }),
                (value, Some(key)) => self.value(key, value, origin),
            }
        }
    }

    fn value(&mut self, key: &'static Key, value: &DeValue<'_>, origin: Origin) {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(switch) => switch.to_string(),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.errors.push(ConfigError::BadValue {
                    origin: origin.to_string(),
                    key: key.name,
                    reason: format!("expected {}", key.kind.expected()),
                });
                return;
            }
        };
        self.given.insert(key.name, Given { text, origin });
    }

    /// Adds the environment, over the file. A variable that begins like ours and means nothing is
    /// told and not refused: an orchestrator sets some of that kind for a service of our name.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let known: BTreeMap<String, &'static Key> =
            KEYS.iter().map(|key| (key.variable(), key)).collect();
        for (variable, text) in variables {
            if let Some(key) = known.get(&variable) {
                let origin = Origin::Environment(variable);
                self.given.insert(key.name, Given { text, origin });
            } else if variable.starts_with("QUORATE_")
                && !OTHER_VARIABLES.contains(&variable.as_str())
            {
                self.notices.push(format!("{variable} is set, but there is no such setting"));
            }
        }
        self
    }

    /// Adds a value of the command line, over everything else.
    #[must_use]
    pub fn flag(mut self, name: &str, flag: &str, text: impl Into<String>) -> Self {
        let origin = Origin::Flag(flag.to_owned());
        if let Some(key) = keys::find(name) {
            self.given.insert(key.name, Given { text: text.into(), origin });
            return self;
        }
        let suggestion = keys::nearest(name);
        self.failed(ConfigError::UnknownKey {
            origin: origin.to_string(),
            key: name.to_owned(),
            suggestion,
        })
    }

    /// What was given for that key, or its default.
    pub fn get(&self, key: &Key) -> Given {
        self.given.get(key.name).cloned().unwrap_or_else(|| Given {
            text: key.default.to_owned(),
            origin: if key.default.is_empty() { Origin::Derived } else { Origin::Default },
        })
    }

    /// Whether somebody gave a value for that key.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Oddities that stop nobody.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What was wrong in the layers themselves.
    pub(super) fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    fn failed(mut self, error: ConfigError) -> Self {
        self.errors.push(error);
        self
    }
}

/// A file being read: turns a byte offset into a line.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn origin(&self, offset: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: line_of(self.text, offset) }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section() == name)
}
