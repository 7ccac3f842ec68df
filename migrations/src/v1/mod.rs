//! Version 1: what every byte in a data folder means. Frozen once released.
//!
//! ```text
//! marker                  see `marker`; the same envelope in every version
//! groups/0/journal/       segments of frames: entries, votes, marks (`frames`, `commands`)
//! groups/0/state.redb     tables of what was applied (`tables`, `records`, `values`, `manifest`)
//! met                     whom this replica has met (`met`)
//! a log of the service    who did what (`activity`)
//! a backup                a file of its own, in nobody's folder (`backup`)
//! ```
//!
//! Numbers are little-endian, except in keys, whose order counts. Every variable part has a length
//! before it and a bound; reading never panics and says what is malformed.

pub mod activity;
pub mod backup;
pub mod changes;
pub mod checkpoints;
pub mod commands;
mod fields;
pub mod frames;
pub mod installed;
pub mod kept;
pub mod manifest;
mod members;
pub mod met;
pub mod quarantine;
pub mod records;
pub mod tables;
pub mod values;

pub use fields::Malformed;
