//! The newest version: all that the server imports of the formats.

pub use crate::v1::values::{GenerationRow, MembershipRow, NodeRow};
pub use crate::v1::{
    Malformed, activity, backup, changes, checkpoints, commands, frames, installed, kept, manifest,
    met, quarantine, records, tables, values,
};
