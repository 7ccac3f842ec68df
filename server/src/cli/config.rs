//! `quorate config`: write, check and show the settings of a replica.
//!
//! Not here: what the settings are and how they are checked (`crate::config`).

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::Table;
use super::serve::{Settings, refused};
use super::{Failure, Output};
use crate::config::{Config, KEYS, Key, Layers, Start, example};

/// What `quorate config` can do.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print a commented file with every setting at its default.
    Init,
    /// Check a file alone, without this machine's environment.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show the effective settings of file, environment and flags.
    Show(ShowArguments),
}

/// What `quorate config show` takes.
#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    settings: Settings,
    /// Say where each value comes from.
    #[arg(long)]
    origin: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    key: &'static str,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// A setting for a program; `default` is empty if it follows from others.
#[derive(Debug, Serialize)]
struct Described {
    key: &'static str,
    default: &'static str,
    expected: String,
    about: &'static str,
}

#[derive(Debug, Serialize)]
struct Checked {
    file: PathBuf,
    ok: bool,
}

pub(super) fn run(command: ConfigCommand, output: Output) -> Result<(), Failure> {
    match command {
        ConfigCommand::Init => init(output),
        ConfigCommand::Check { file } => check(file, output),
        ConfigCommand::Show(arguments) => show(&arguments, output),
    }
}

fn init(output: Output) -> Result<(), Failure> {
    let about = |key: &'static Key| Described {
        key: key.name,
        default: key.default,
        expected: key.kind.expected(),
        about: key.about,
    };
    let keys: Vec<Described> = KEYS.iter().map(about).collect();
    Ok(output.document(&keys, |_| example())?)
}

fn check(file: PathBuf, output: Output) -> Result<(), Failure> {
    Config::build(&Layers::new().file(&file), Start::Resume).map_err(|errors| {
        let hint = "quorate config init   # prints every setting";
        Failure { next: Some(hint.to_owned()), ..refused(errors) }
    })?;
    let checked = Checked { file, ok: true };
    Ok(output.value(&checked, |checked| {
        Table::pairs().pair(&checked.file.display().to_string(), "ok")
    })?)
}

fn show(arguments: &ShowArguments, output: Output) -> Result<(), Failure> {
    let layers = arguments.settings.layers()?;
    for notice in layers.notices() {
        output.note(&format!("note: {notice}"));
    }
    let config = Config::build(&layers, Start::Resume)
        .map_err(|errors| Failure { next: None, ..refused(errors) })?;
    let shown: Vec<Shown> = config
        .effective(&layers)
        .into_iter()
        .map(|setting| Shown {
            key: setting.key,
            value: setting.value,
            origin: arguments.origin.then(|| setting.origin.to_string()),
        })
        .collect();
    let head: &[&'static str] =
        if arguments.origin { &["key", "value", "origin"] } else { &["key", "value"] };
    Ok(output.list(&shown, head, |setting| {
        let mut row = vec![setting.key.to_owned(), setting.value.clone()];
        row.extend(setting.origin.clone());
        row
    })?)
}
