//! Profiles: what a person wants every command to assume, in files below `~/.config/quorate/`.
//!
//! ```text
//! flag > environment > profile > a running demo > default
//! ```
//!
//! `NAME.toml` is taken with `--profile NAME`; `default.toml`, if it is there, without. A profile says
//! where a command goes, on whose behalf, and how it answers, and nothing about a replica: that is its own file.
//!
//! Not here: the settings of a replica (`crate::config`).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Failure, Format};

/// The profile that is taken if none is named.
const DEFAULT: &str = "default";

/// What a profile can say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// Where replicas can be reached.
    #[serde(default)]
    pub(super) endpoint: Endpoints,
    /// How answers are written.
    #[serde(default)]
    pub(super) output: Option<Format>,
    /// On whose behalf commands act.
    #[serde(default, rename = "as")]
    pub(super) author: Option<String>,
}

/// One address, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Endpoints {
    One(String),
    Many(Vec<String>),
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Endpoints {
    /// All of them; within one text they are separated by commas, as on a command line.
    pub(super) fn all(self) -> Vec<String> {
        match self {
            Self::One(text) => text.split(',').map(str::to_owned).collect(),
            Self::Many(all) => all,
        }
    }
}

impl Profile {
    /// The profile of that name, or the default one, if there is one.
    pub(super) fn read(name: Option<&str>) -> Result<Self, Failure> {
        match folder(|variable| std::env::var_os(variable)) {
            Some(folder) => Self::read_in(&folder, name),
            None if name.is_some() => Err(Failure::usage("there is no place for profiles")
                .because("neither XDG_CONFIG_HOME nor HOME is set")),
            None => Ok(Self::default()),
        }
    }

    fn read_in(folder: &Path, name: Option<&str>) -> Result<Self, Failure> {
        if let Some(name) = name.filter(|name| !is_plain(name)) {
            return Err(Failure::usage(format!("--profile {name}"))
                .because("a profile is named by letters, digits, `-` and `_`"));
        }
        let path = folder.join(format!("{}.toml", name.unwrap_or(DEFAULT)));
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                Failure::usage(format!("{} cannot be used", path.display()))
                    .because(error.to_string().trim_end())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.is_none() => {
                Ok(Self::default())
            }
            Err(error) => Err(Failure::usage(format!("{} cannot be read", path.display()))
                .because(error)
                .hint(format!("mkdir -p {0} && $EDITOR {1}", folder.display(), path.display()))),
        }
    }
}

fn is_plain(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    !name.is_empty() && name.chars().all(is_plain)
}

/// Where profiles lie.
fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let of = |name: &str| variable(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = of("XDG_CONFIG_HOME").or_else(|| Some(of("HOME")?.join(".config")))?;
    Some(config.join("quorate"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

    #[test]
    fn a_profile_says_where_to_go_and_how_to_answer() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name| Profile::read_in(folder.path(), name);
        assert_eq!(read(None), Ok(Profile::default()), "none is needed");
        let text = "endpoint = [\"a:1\", \"b:2\"]\noutput = \"json\"\nas = \"ada\"\n";
        std::fs::write(folder.path().join("work.toml"), text).unwrap();
        let work = read(Some("work")).unwrap();
        assert_eq!((work.output, work.author.as_deref()), (Some(Format::Json), Some("ada")));
        assert_eq!(work.endpoint.all(), ["a:1", "b:2"]);
        std::fs::write(folder.path().join("default.toml"), "endpoint = \"a:1,b:2\"").unwrap();
        assert_eq!(read(None).unwrap().endpoint.all(), ["a:1", "b:2"]);
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bad.toml"), "endpiont = \"a:1\"").unwrap();
        for (name, word) in [("bad", "endpiont"), ("../bad", "letters"), ("absent", "No such file")]
        {
            let failure = Profile::read_in(folder.path(), Some(name)).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains(word), "{failure}");
        }
    }

    #[test]
    fn profiles_lie_where_the_desktop_says() {
        let of = |set: &'static [(&str, &str)]| {
            folder(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
        };
        assert_eq!(of(&[("HOME", "/h")]), Some(PathBuf::from("/h/.config/quorate")));
        let both = of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(both, Some(PathBuf::from("/x/quorate")));
        assert_eq!(of(&[("HOME", "")]), None);
    }
}
