//! The name under which somebody acts from this browser: said once, kept in a cookie, told in the activity.
//!
//! Not here: how it travels (`viewer`), and who may do what: nobody is asked yet.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use client::api::error::{ErrorCode, Problem};
use http::header::SET_COOKIE;
use serde::Deserialize;

use crate::asked::{Query, Sent};
use crate::backend::Backend;
use crate::error;
use crate::format;
use crate::frame::{self, Frame, Notice, Section};
use crate::grade::Grade;
use crate::viewer::{NAME_MAX, Viewer, ViewerName, cookie};

#[derive(Template)]
#[template(path = "name.html")]
struct NamePage {
    frame: Frame,
    notice: Option<Notice>,
    kept: Option<String>,
    typed: String,
    letters_max: usize,
}

/// What came of the form before.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    done: String,
}

/// The fields of the form; an empty name is none.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SentName {
    #[serde(default)]
    name: String,
}

async fn page<B: Backend>(
    backend: &B,
    viewer: Viewer,
    notice: Option<Notice>,
    problem: Option<&Problem>,
    typed: Option<&str>,
) -> Response {
    let kept = viewer.name.map(|name| name.as_str().to_owned());
    let page = NamePage {
        frame: Frame::now_or_unknown(backend, Section::Activity).await,
        notice: notice.or_else(|| problem.map(Notice::refused)),
        typed: format::visible(typed.or(kept.as_deref()).unwrap_or_default()),
        kept,
        letters_max: NAME_MAX,
    };
    frame::page(error::status(problem), &page)
}

/// The page.
pub(crate) async fn show<B: Backend>(
    State(backend): State<B>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Response {
    let notice = match asked.done.as_str() {
        "kept" => Some(Notice::new(Grade::Ok, "This browser keeps it", "")),
        "forgotten" => Some(Notice::new(Grade::Ok, "Forgotten", "")),
        _ => None,
    };
    page(&backend, viewer, notice, None, None).await
}

/// Has the browser keep what was typed, or forget what it keeps.
pub(crate) async fn keep<B: Backend>(
    State(backend): State<B>,
    viewer: Viewer,
    Sent(sent): Sent<SentName>,
) -> Response {
    let name = ViewerName::new(&sent.name);
    if name.is_none() && !sent.name.trim().is_empty() {
        let detail =
            format!("a name has up to {NAME_MAX} letters of ASCII, digits, blanks and . _ - + @");
        let problem = Problem::new(ErrorCode::InvalidParameter).with_detail(detail);
        return page(&backend, viewer, None, Some(&problem), Some(&sent.name)).await;
    }
    let done = if name.is_some() { "kept" } else { "forgotten" };
    let cookie = [(SET_COOKIE, cookie(name.as_ref()))];
    (cookie, Redirect::to(&format!("/name?done={done}"))).into_response()
}
