//! What a change would do: looked up, told, and not done.
//!
//! Invariant: a rehearsal that would be refused fails as the change would, with the same exit code.
//! Between it and the change somebody else may change the log: it tells of this moment.
//!
//! Not here: deleting and trimming, whose effect the service tells itself.

use client::Log;
use client::api::logs::{Settings, SettingsPatch};
use client::types::{CursorName, Fence, LogName, LogSettings, Position};
use serde::Serialize;

use super::output::Table;
use super::service;
use super::{Context, Exit, Failure};

/// What a change would do.
#[derive(Debug, Serialize)]
struct Effect<T: Serialize> {
    dry_run: bool,
    log: LogName,
    /// What would be done.
    would: &'static str,
    /// How it is now; none if it is not there.
    before: Option<T>,
    /// How it would be; none if it would not be there.
    after: Option<T>,
}

impl<T: Serialize> Effect<T> {
    fn tell(&self, context: &Context, say: impl Fn(&T) -> String) -> Result<(), Failure> {
        let or_none = |value: &Option<T>| value.as_ref().map_or("none".to_owned(), &say);
        Ok(context.output.value(self, |effect| {
            Table::pairs()
                .pair("log", effect.log.to_string())
                .pair("would", effect.would)
                .pair("before", or_none(&effect.before))
                .pair("after", or_none(&effect.after))
        })?)
    }
}

/// Would create a log.
pub(super) async fn create(
    log: &Log,
    settings: LogSettings,
    context: &Context,
) -> Result<(), Failure> {
    let after = Settings::from(&settings);
    let before = match log.describe().await {
        Ok(found) if found.settings != after => {
            return Err(Failure::new(
                Exit::Condition,
                format!("`{}` is there already", log.name()),
            )
            .because("it has other settings")
            .hint(format!("quorate logs show {}", log.name())));
        }
        Ok(found) => Some(found.settings),
        Err(error) if service::is_unknown_log(&error) => None,
        Err(error) => return Err(service::failed_on(log.name(), error)),
    };
    let would = if before.is_some() { "change nothing" } else { "create it" };
    effect(log, would, before, Some(after)).tell(context, settings_in_words)
}

/// Would change settings.
pub(super) async fn set(log: &Log, patch: SettingsPatch, context: &Context) -> Result<(), Failure> {
    let before = describe(log).await?.settings;
    let after = Settings::from(&patch.apply(&before.clone().into()));
    let would = if before == after { "change nothing" } else { "change its settings" };
    effect(log, would, Some(before), Some(after)).tell(context, settings_in_words)
}

/// Would seal a log.
pub(super) async fn seal(log: &Log, context: &Context) -> Result<(), Failure> {
    let found = describe(log).await?;
    let say = |sealed: bool| if sealed { "sealed" } else { "open" };
    let would = if found.sealed { "change nothing" } else { "end it for ever" };
    let (before, after) = (say(found.sealed), say(true));
    effect(log, would, Some(before), Some(after)).tell(context, |text| (*text).to_owned())
}

/// Would set a fence, or take it away.
pub(super) async fn fence(
    log: &Log,
    fence: Option<Fence>,
    context: &Context,
) -> Result<(), Failure> {
    let before = describe(log).await?.fence;
    let would = match (&before, &fence) {
        (before, after) if before == after => "change nothing",
        (_, Some(_)) => "set its fence",
        (_, None) => "take its fence away",
    };
    effect(log, would, before, fence).tell(context, ToString::to_string)
}

/// Would store where a consumer is.
pub(super) async fn set_cursor(
    log: &Log,
    cursor: &CursorName,
    position: Position,
    context: &Context,
) -> Result<(), Failure> {
    let tail = describe(log).await?.tail;
    if position > tail {
        return Err(Failure::new(Exit::Condition, "the position lies beyond the tail")
            .because(format!("the tail of `{}` is {tail}", log.name())));
    }
    let before = cursor_of(log, cursor).await?;
    let would = if before == Some(position) { "change nothing" } else { "store it" };
    effect(log, would, before, Some(position)).tell(context, ToString::to_string)
}

/// Would forget where a consumer is.
pub(super) async fn delete_cursor(
    log: &Log,
    cursor: &CursorName,
    context: &Context,
) -> Result<(), Failure> {
    let before = cursor_of(log, cursor).await?;
    let would = if before.is_some() { "delete it" } else { "change nothing" };
    effect(log, would, before, None).tell(context, ToString::to_string)
}

fn effect<T: Serialize>(
    log: &Log,
    would: &'static str,
    before: Option<T>,
    after: Option<T>,
) -> Effect<T> {
    Effect { dry_run: true, log: log.name().clone(), would, before, after }
}

async fn describe(log: &Log) -> Result<client::api::logs::LogDescription, Failure> {
    log.describe().await.map_err(|error| service::failed_on(log.name(), error))
}

async fn cursor_of(log: &Log, cursor: &CursorName) -> Result<Option<Position>, Failure> {
    log.cursor(cursor).await.map_err(|error| service::failed_on(log.name(), error))
}

fn settings_in_words(settings: &Settings) -> String {
    let text = serde_json::to_string(settings).unwrap_or_default();
    if text == "{}" { "the defaults".to_owned() } else { text }
}
