//! Settings: what this replica runs with, and where each value comes from.
//!
//! Not here: changing them. They are read at the start, from flags, the environment and a file.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use client::api::settings::{EffectiveSetting, SettingList};
use http::StatusCode;

use crate::asked::Door;
use crate::backend::Backend;
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Section};

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    frame: Frame,
    parts: Vec<Part>,
    given: usize,
    command: String,
    url: String,
}

/// The settings of one section of the file.
struct Part {
    name: String,
    rows: Vec<SettingRow>,
}

/// A setting.
struct SettingRow {
    key: String,
    value: String,
    origin: String,
    is_given: bool,
    about: String,
}

impl From<EffectiveSetting> for SettingRow {
    fn from(setting: EffectiveSetting) -> Self {
        let visible = |text: &str| format::visible(text);
        Self {
            key: visible(&setting.key),
            value: visible(&setting.value),
            origin: visible(&setting.origin),
            is_given: setting.is_given,
            about: visible(&setting.about),
        }
    }
}

/// The page.
pub(crate) async fn show<B: Backend>(State(backend): State<B>, door: Door) -> Response {
    let SettingList { settings } = match backend.settings().await {
        Ok(settings) => settings,
        Err(problem) => return error::of_problem(&backend, &problem).await,
    };
    let given = settings.iter().filter(|setting| setting.is_given).count();
    let mut parts: Vec<Part> = Vec::new();
    for setting in settings {
        let name = setting.key.split_once('.').map_or("", |(section, _)| section);
        let name = if name.is_empty() { "replica" } else { name };
        if parts.last().is_none_or(|part| part.name != name) {
            parts.push(Part { name: format::visible(name), rows: Vec::new() });
        }
        if let Some(part) = parts.last_mut() {
            part.rows.push(setting.into());
        }
    }
    let frame = Frame::now_or_unknown(&backend, Section::Settings).await;
    let page = Settings { frame, parts, given, command: door.command(), url: door.url() };
    frame::page(StatusCode::OK, &page)
}
