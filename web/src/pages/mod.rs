//! The pages, in the order of the navigation.
//!
//! A page is a file with three parts: what the template shows, how it comes from the contract's type, and
//! the handler. Its template has the same name.
//!
//! Not here: the frame around every page (`frame`).

mod activity;
mod acts;
mod append;
mod change;
mod changes;
mod checkpoints;
mod joiners;
mod log_settings;
mod logs;
mod name;
pub(crate) mod overview;
pub(crate) mod performance;
mod plan;
mod record;
mod records;
mod reference;
mod replica;
mod replicas;
mod search;
mod settings;
pub(crate) mod waiting;
mod wish;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::backend::Backend;

/// Longest form, in bytes.
const FORM_BYTES_MAX: usize = 64 << 10;
/// Longest form that brings a record: the longest record, and what stands around it.
const RECORD_FORM_BYTES_MAX: usize = (1 << 20) + FORM_BYTES_MAX;

/// The pages about who is a replica, and what became of that.
pub(crate) fn of_members<B: Backend>() -> Router<B> {
    Router::new()
        .route("/replicas", get(replicas::show::<B>))
        .route("/replicas/{id}", get(replica::show::<B>))
        .route("/changes", get(changes::show::<B>))
        .route("/changes/new", get(plan::show::<B>).post(plan::begin::<B>))
        .route("/changes/{id}", get(change::show::<B>).post(change::cancel::<B>))
        .route("/changes/{id}/pace", get(change::back).post(change::turn::<B>))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

/// The pages about logs and what is kept of them, about acts and settings, and the reference.
pub(crate) fn of_logs<B: Backend>() -> Router<B> {
    Router::new()
        .route("/logs", get(logs::show::<B>).post(logs::create::<B>))
        .route("/new-log", get(logs::show_new::<B>))
        .route("/logs/{log}", get(records::show::<B>))
        .route("/logs/{log}/settings", get(log_settings::show::<B>).post(log_settings::change::<B>))
        .route("/logs/{log}/trim", post(log_settings::trim::<B>))
        .route("/logs/{log}/seal", post(log_settings::seal::<B>))
        .route("/logs/{log}/delete", post(log_settings::delete::<B>))
        .route("/checkpoints", get(checkpoints::show::<B>).post(checkpoints::make::<B>))
        .route("/checkpoints/release", get(checkpoints::back).post(checkpoints::release::<B>))
        .route("/checkpoints/scrub", get(checkpoints::back).post(checkpoints::scrub::<B>))
        .route("/activity", get(activity::show::<B>))
        .route("/name", get(name::show::<B>).post(name::keep::<B>))
        .route("/settings", get(settings::show::<B>))
        .route("/docs/api", get(reference::show::<B>))
        .route("/docs/errors/{code}", get(reference::show_code::<B>))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .route(
            "/logs/{log}/append",
            get(append::show::<B>)
                .post(append::append::<B>)
                .layer(DefaultBodyLimit::max(RECORD_FORM_BYTES_MAX)),
        )
        .route("/logs/{log}/{position}", get(record::show::<B>))
}
