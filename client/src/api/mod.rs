//! The wire, version 1: routes, headers, bodies and errors, as plain structs with public fields.
//!
//! Whatever a client sends or gets is defined here once, for the server and for every caller.
//! Requests are read strictly, answers leniently: a request with an unknown member is a mistake, an
//! answer with one comes from a later version.
//!
//! Not here: what the words mean (`types`), and how requests are sent (`sdk`).

pub mod header;
pub mod media;
pub mod paths;

pub mod error;
mod remedy;

pub mod logs;

pub mod conditions;
pub mod frame;
pub mod reading;
pub mod records;
pub mod resume;

pub mod changes;
pub mod cluster;
pub mod performance;
pub mod plans;
pub mod transfers;

pub mod activity;
pub mod audit;
pub mod checkpoints;

pub mod settings;

#[cfg(feature = "schema")]
pub mod openapi;

mod object;
mod text;

pub use object::Object;
pub use text::{
    DurationError, format_duration, headers_from_ascii, headers_to_ascii, parse_duration,
};

/// Version of the wire.
pub const VERSION: u32 = 1;
