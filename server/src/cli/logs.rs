//! `quorate logs` and `quorate cursors`: what is done with a log besides its records.
//!
//! Invariant: every change tells with `--dry-run` what it would do, and changes nothing; what drops
//! records or cannot be undone asks for `--yes`.

use std::time::Duration;

use clap::{Args, Subcommand};
use client::api::logs::{Cursor, Dropped, ListQuery, LogDescription, LogSummary, SettingsPatch};
use client::types::{CursorName, Fence, LogName, LogSettings, Position, Timestamp, TimestampError};
use client::{Client, Log};
use serde::Serialize;

use super::output;
use super::output::Table;
use super::rehearse;
use super::service;
use super::{Context, Exit, Failure, duration, size};

/// Entries of one page of a list.
const PAGE: u32 = 1000;

/// What `quorate logs` can do.
#[derive(Debug, Subcommand)]
pub(super) enum LogsCommand {
    /// List the logs.
    List {
        /// Only names that begin like this.
        #[arg(long)]
        prefix: Option<String>,
    },
    /// Create a log; creating it again with the same settings is no error.
    Create {
        /// The log.
        log: LogName,
        #[command(flatten)]
        settings: SettingsArguments,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Show a log: its positions, size, settings and digest.
    Show {
        /// The log.
        log: LogName,
    },
    /// Change settings of a log; `none` takes one away.
    Set {
        /// The log.
        log: LogName,
        #[command(flatten)]
        settings: PatchArguments,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Drop the oldest records.
    Trim {
        /// The log.
        log: LogName,
        /// The first position to keep.
        #[arg(long, value_name = "POSITION")]
        to: u64,
        #[command(flatten)]
        consent: Consent,
    },
    /// End a log: no more appends, ever.
    Seal {
        /// The log.
        log: LogName,
        #[command(flatten)]
        consent: Consent,
    },
    /// Set a fence, so that appends naming another are refused; or take it away.
    Fence {
        /// The log.
        log: LogName,
        /// The fence.
        #[arg(required_unless_present = "clear")]
        fence: Option<Fence>,
        /// Take the fence away.
        #[arg(long, conflicts_with = "fence")]
        clear: bool,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Delete a log and all its records.
    Delete {
        /// The log.
        log: LogName,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What `quorate cursors` can do.
#[derive(Debug, Subcommand)]
pub(super) enum CursorsCommand {
    /// List the cursors of a log.
    List {
        /// The log.
        log: LogName,
    },
    /// Show one.
    Show {
        /// The log.
        log: LogName,
        /// The cursor.
        cursor: CursorName,
    },
    /// Store a position.
    Set {
        /// The log.
        log: LogName,
        /// The cursor.
        cursor: CursorName,
        /// The next position its consumer wants.
        position: u64,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
    /// Delete one.
    Delete {
        /// The log.
        log: LogName,
        /// The cursor.
        cursor: CursorName,
        #[command(flatten)]
        rehearsal: Rehearsal,
    },
}

/// Settings of a new log.
#[derive(Debug, Args)]
pub(super) struct SettingsArguments {
    /// Records older than this are trimmed, at the latest when they are older by an eighth (an hour at most).
    #[arg(long, value_parser = duration, value_name = "TIME")]
    retention_age: Option<Duration>,
    /// The oldest records beyond this size are trimmed, at the latest when they exceed it by an eighth (64 MiB at most).
    #[arg(long, value_parser = size, value_name = "SIZE")]
    retention_bytes: Option<u64>,
    /// The media type that a single record is served with.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The longest body of a record.
    #[arg(long, value_parser = size, value_name = "SIZE")]
    record_bytes_max: Option<u64>,
    /// The log is deleted once nobody has used it for so long; appending is use, and so is changing its settings.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    ttl: Option<Duration>,
    /// The log is deleted at this time, in RFC 3339.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
}

/// Settings to change.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct PatchArguments {
    /// Records older than this are trimmed, at the latest when they are older by an eighth (an hour at most); `none` keeps them.
    #[arg(long, value_parser = or_none(duration), value_name = "TIME")]
    retention_age: Option<Choice<Duration>>,
    /// The oldest records beyond this size are trimmed, at the latest when they exceed it by an eighth (64 MiB at most); `none` keeps them.
    #[arg(long, value_parser = or_none(size), value_name = "SIZE")]
    retention_bytes: Option<Choice<u64>>,
    /// The media type that a single record is served with, or `none`.
    #[arg(long, value_parser = or_none(|text| Ok(text.to_owned())), value_name = "TYPE")]
    content_type: Option<Choice<String>>,
    /// The longest body of a record, or `none`.
    #[arg(long, value_parser = or_none(size), value_name = "SIZE")]
    record_bytes_max: Option<Choice<u64>>,
    /// The log is deleted once nobody has used it for so long; `none` keeps it.
    #[arg(long, value_parser = or_none(duration), value_name = "TIME")]
    ttl: Option<Choice<Duration>>,
    /// The log is deleted at this time, in RFC 3339; `none` keeps it.
    #[arg(long, value_parser = or_none(moment), value_name = "TIME")]
    expires_at: Option<Choice<Timestamp>>,
}

/// A value, or the word that takes it away.
#[derive(Debug, Clone)]
struct Choice<T>(Option<T>);

fn or_none<T>(
    parse: impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<Choice<T>, String> + Clone + Send + Sync + 'static {
    move |text| if text == "none" { Ok(Choice(None)) } else { Ok(Choice(Some(parse(text)?))) }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error: TimestampError| error.to_string())
}

/// Whether a change is only rehearsed.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Rehearsal {
    /// Only tell what it would do.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Consent to what cannot be undone.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Consent {
    /// Do it; it cannot be undone.
    #[arg(long)]
    pub(super) yes: bool,
    /// Only tell what it would do.
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
}

impl SettingsArguments {
    fn settings(self) -> LogSettings {
        LogSettings {
            retention_age: self.retention_age,
            retention_bytes: self.retention_bytes,
            content_type: self.content_type,
            record_bytes_max: self.record_bytes_max,
            ttl: self.ttl,
            expires_at: self.expires_at,
        }
    }
}

impl PatchArguments {
    fn patch(self) -> SettingsPatch {
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        SettingsPatch {
            retention_age_ms: self.retention_age.map(|age| age.0.map(millis)),
            retention_bytes: self.retention_bytes.map(|bytes| bytes.0),
            content_type: self.content_type.map(|content_type| content_type.0),
            record_bytes_max: self.record_bytes_max.map(|bytes| bytes.0),
            ttl_ms: self.ttl.map(|ttl| ttl.0.map(millis)),
            expires_at: self.expires_at.map(|time| time.0),
        }
    }
}

/// Runs `quorate logs …`.
pub(super) async fn run(command: LogsCommand, context: &Context) -> Result<(), Failure> {
    let client = service::connect(context)?;
    match command {
        LogsCommand::List { prefix } => list(&client, prefix, context).await,
        LogsCommand::Create { log, settings, rehearsal } if rehearsal.dry_run => {
            rehearse::create(&client.log(log), settings.settings(), context).await
        }
        LogsCommand::Create { log, settings, rehearsal: _ } => {
            let created = client.log(log.clone()).create(&settings.settings()).await;
            let created = created.map_err(|error| service::failed_on(&log, error))?;
            let said = if created.is_new { "created" } else { "was there, with the same settings" };
            context.output.note(&format!("{} {said}", created.log.log));
            described(&created.log, context)
        }
        LogsCommand::Show { log } => {
            let found = client.log(log.clone()).describe().await;
            described(&found.map_err(|error| service::failed_on(&log, error))?, context)
        }
        LogsCommand::Set { log, settings, rehearsal } if rehearsal.dry_run => {
            rehearse::set(&client.log(log), settings.patch(), context).await
        }
        LogsCommand::Set { log, settings, rehearsal: _ } => {
            let changed = client.log(log.clone()).configure(&settings.patch()).await;
            described(&changed.map_err(|error| service::failed_on(&log, error))?, context)
        }
        LogsCommand::Trim { log, to, consent } => {
            trim(&client.log(log), Position::new(to), consent, context).await
        }
        LogsCommand::Seal { log, consent } if consent.dry_run => {
            rehearse::seal(&client.log(log), context).await
        }
        LogsCommand::Seal { log, consent } => seal(&client.log(log), consent.yes, context).await,
        LogsCommand::Fence { log, fence, clear: _, rehearsal } if rehearsal.dry_run => {
            rehearse::fence(&client.log(log), fence, context).await
        }
        LogsCommand::Fence { log, fence, clear: _, rehearsal: _ } => {
            let set = client.log(log.clone()).set_fence(fence.clone()).await;
            set.map_err(|error| service::failed_on(&log, error))?;
            let said = FenceSaid { log, fence };
            Ok(context.output.value(&said, |said| {
                let fence =
                    said.fence.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
                Table::pairs().pair("log", said.log.to_string()).pair("fence", fence)
            })?)
        }
        LogsCommand::Delete { log, consent } => delete(&client.log(log), consent, context).await,
    }
}

#[derive(Debug, Serialize)]
struct CursorDeleted {
    log: LogName,
    cursor: CursorName,
}

#[derive(Debug, Serialize)]
struct FenceSaid {
    log: LogName,
    fence: Option<Fence>,
}

async fn list(client: &Client, prefix: Option<String>, context: &Context) -> Result<(), Failure> {
    let mut logs: Vec<LogSummary> = Vec::new();
    let mut query = ListQuery { prefix, limit: Some(PAGE), ..ListQuery::default() };
    loop {
        let page = client.logs(&query).await.map_err(service::failed)?;
        logs.extend(page.logs);
        let Some(next) = page.next else { break };
        query.after = Some(next.to_string());
    }
    let head = ["log", "first", "tail", "bytes", "sealed"];
    Ok(context.output.list(&logs, &head, |log| {
        vec![
            log.log.to_string(),
            log.first.to_string(),
            log.tail.to_string(),
            output::bytes(log.bytes),
            if log.sealed { "yes" } else { "no" }.to_owned(),
        ]
    })?)
}

fn described(log: &LogDescription, context: &Context) -> Result<(), Failure> {
    Ok(context.output.value(log, |log| {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
        let settings = &log.settings;
        let span = |millis: Option<u64>| {
            let millis = millis.map(|millis| i64::try_from(millis).unwrap_or(i64::MAX));
            millis.map(|millis| format!("{:#}", jiff::SignedDuration::from_millis(millis)))
        };
        Table::pairs()
            .pair("log", log.log.to_string())
            .pair("id", log.log_id.to_string())
            .pair("positions", format!("[{}, {})", log.first, log.tail))
            .pair("bytes", output::bytes(log.bytes))
            .pair("created", log.created.to_string())
            .pair("last append", or_none(log.last_time.map(|time| time.to_string())))
            .pair("sealed", if log.sealed { "yes" } else { "no" })
            .pair("fence", or_none(log.fence.as_ref().map(ToString::to_string)))
            .pair("retention age", or_none(span(settings.retention_age_ms)))
            .pair("retention bytes", or_none(settings.retention_bytes.map(output::bytes)))
            .pair("content type", or_none(settings.content_type.clone()))
            .pair("record bytes max", or_none(settings.record_bytes_max.map(output::bytes)))
            .pair("deleted when unused for", or_none(span(settings.ttl_ms)))
            .pair("deleted at", or_none(settings.expires_at.map(|time| time.to_string())))
            .pair("root", log.root.to_string())
    })?)
}

async fn trim(log: &Log, to: Position, consent: Consent, context: &Context) -> Result<(), Failure> {
    let effect = log.would_trim(to).await.map_err(|error| service::failed_on(log.name(), error))?;
    if !consent.dry_run {
        agreed(consent.yes, &effect, &format!("quorate logs trim {} --to {to} --yes", log.name()))?;
        let done = log.trim(to).await.map_err(|error| service::failed_on(log.name(), error))?;
        return dropped(&done, context);
    }
    dropped(&effect, context)
}

async fn delete(log: &Log, consent: Consent, context: &Context) -> Result<(), Failure> {
    let effect = log.would_delete().await.map_err(|error| service::failed_on(log.name(), error))?;
    if !consent.dry_run {
        agreed(consent.yes, &effect, &format!("quorate logs delete {} --yes", log.name()))?;
        let done = log.delete().await.map_err(|error| service::failed_on(log.name(), error))?;
        return dropped(&done, context);
    }
    dropped(&effect, context)
}

async fn seal(log: &Log, yes: bool, context: &Context) -> Result<(), Failure> {
    if !yes {
        return Err(Failure::new(
            Exit::Unsafe,
            format!("`{}` would take no more appends, ever", log.name()),
        )
        .hint(format!("quorate logs seal {} --yes", log.name())));
    }
    let sealed = log.seal().await.map_err(|error| service::failed_on(log.name(), error))?;
    Ok(context.output.value(&sealed, |sealed| {
        Table::pairs().pair("sealed", sealed.log.to_string()).pair("tail", sealed.tail.to_string())
    })?)
}

/// Nothing to drop needs no consent.
fn agreed(yes: bool, effect: &Dropped, command: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let what = format!(
        "this would drop {} ({}) for good",
        output::counted(effect.records, "record"),
        output::bytes(effect.bytes)
    );
    Err(Failure::new(Exit::Unsafe, what).hint(command))
}

fn dropped(effect: &Dropped, context: &Context) -> Result<(), Failure> {
    Ok(context.output.value(effect, |effect| {
        let verb = if effect.dry_run { "would drop" } else { "dropped" };
        Table::pairs()
            .pair("log", effect.log.to_string())
            .pair(
                verb,
                format!(
                    "{}, {}",
                    output::counted(effect.records, "record"),
                    output::bytes(effect.bytes)
                ),
            )
            .pair("positions", format!("[{}, {})", effect.first, effect.tail))
    })?)
}

/// Runs `quorate cursors …`.
pub(super) async fn cursors(command: CursorsCommand, context: &Context) -> Result<(), Failure> {
    let client = service::connect(context)?;
    match command {
        CursorsCommand::List { log } => list_cursors(&client.log(log), context).await,
        CursorsCommand::Show { log, cursor } => {
            let found = client.log(log.clone()).cursor(&cursor).await;
            let found = found.map_err(|error| service::failed_on(&log, error))?;
            let position = found.ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("`{log}` has no cursor `{cursor}`"))
                    .hint(format!("quorate cursors list {log}"))
            })?;
            show_cursor(&Cursor { log, name: cursor, position }, context)
        }
        CursorsCommand::Set { log, cursor, position, rehearsal } if rehearsal.dry_run => {
            let position = Position::new(position);
            rehearse::set_cursor(&client.log(log), &cursor, position, context).await
        }
        CursorsCommand::Set { log, cursor, position, rehearsal: _ } => {
            let position = Position::new(position);
            let set = client.log(log.clone()).set_cursor(&cursor, position).await;
            set.map_err(|error| service::failed_on(&log, error))?;
            show_cursor(&Cursor { log, name: cursor, position }, context)
        }
        CursorsCommand::Delete { log, cursor, rehearsal } if rehearsal.dry_run => {
            rehearse::delete_cursor(&client.log(log), &cursor, context).await
        }
        CursorsCommand::Delete { log, cursor, rehearsal: _ } => {
            let deleted = client.log(log.clone()).delete_cursor(&cursor).await;
            deleted.map_err(|error| service::failed_on(&log, error))?;
            let deleted = CursorDeleted { log, cursor };
            Ok(context.output.value(&deleted, |deleted| {
                Table::pairs()
                    .pair("log", deleted.log.to_string())
                    .pair("deleted", deleted.cursor.to_string())
            })?)
        }
    }
}

async fn list_cursors(log: &Log, context: &Context) -> Result<(), Failure> {
    let mut cursors: Vec<Cursor> = Vec::new();
    let mut query = ListQuery { limit: Some(PAGE), ..ListQuery::default() };
    loop {
        let page = log.cursors(&query).await;
        let page = page.map_err(|error| service::failed_on(log.name(), error))?;
        cursors.extend(page.cursors);
        let Some(next) = page.next else { break };
        query.after = Some(next.to_string());
    }
    Ok(context.output.list(&cursors, &["cursor", "position"], |cursor| {
        vec![cursor.name.to_string(), cursor.position.to_string()]
    })?)
}

fn show_cursor(cursor: &Cursor, context: &Context) -> Result<(), Failure> {
    Ok(context.output.value(cursor, |cursor| {
        Table::pairs()
            .pair("log", cursor.log.to_string())
            .pair("cursor", cursor.name.to_string())
            .pair("position", cursor.position.to_string())
    })?)
}
