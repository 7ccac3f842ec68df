//! Diagnostics: where the lines of `tracing` go, and which of them.
//!
//! On a terminal they are for people, otherwise one JSON object per line for programs; both go to
//! standard error, because standard output belongs to what a command prints. The filter is given, not
//! read from the environment: `config` decides where it comes from.
//!
//! Not here: metrics, which encode themselves (`metrics`), and what is worth a line.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is shown when nothing else was asked for.
pub const FILTER_DEFAULT: &str = "info,openraft=warn,hyper=warn,h2=warn,reqwest=warn";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people if standard error is a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// Which lines, and how they look.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// Directives of a filter, as in `info,quorate::node=debug`.
    pub filter: String,
    /// How a line looks.
    pub format: Format,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self { filter: FILTER_DEFAULT.to_owned(), format: Format::Auto }
    }
}

/// Why diagnostics were not started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be understood.
    #[error("filter {filter:?} is not understood")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else already receives the lines of this process.
    #[error("diagnostics were started twice")]
    StartedTwice,
}

/// Sends diagnostics of the whole process to standard error from now on.
pub fn start(options: &TelemetryOptions) -> Result<(), TelemetryError> {
    let started = match options.format {
        Format::Text => text(options, io::stderr)?.try_init(),
        Format::Auto if io::stderr().is_terminal() => text(options, io::stderr)?.try_init(),
        Format::Auto | Format::Json => json(options, io::stderr)?.try_init(),
    };
    started.map_err(|_already| TelemetryError::StartedTwice)
}

fn filter(options: &TelemetryOptions) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(&options.filter)
        .map_err(|source| TelemetryError::Filter { filter: options.filter.clone(), source })
}

fn text<W>(options: &TelemetryOptions, to: W) -> Result<impl SubscriberInitExt, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let is_terminal = io::stderr().is_terminal();
    Ok(tracing_subscriber::fmt()
        .with_env_filter(filter(options)?)
        .with_ansi(is_terminal)
        .with_target(false)
        .with_writer(to)
        .finish())
}

fn json<W>(options: &TelemetryOptions, to: W) -> Result<impl SubscriberInitExt, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    Ok(tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter(options)?)
        .with_writer(to)
        .finish())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_programs_is_one_object_with_its_fields() {
        let lines = Lines::default();
        let to = lines.clone();
        let options = TelemetryOptions::default();
        let dispatch: tracing::Dispatch = json(&options, move || to.clone()).unwrap().into();
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(replica = 3, "ready\nand\u{1b}[31m quoted");
            tracing::debug!("not shown by default");
        });
        let written = lines.0.lock().unwrap().clone();
        let line: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(line["replica"], 3);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused_by_name() {
        let options = TelemetryOptions { filter: "quorate=loud".to_owned(), ..Default::default() };
        let error = start(&options).unwrap_err();
        assert!(error.to_string().contains("quorate=loud"), "{error}");
    }
}
