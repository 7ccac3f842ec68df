//! Bytes at rest, blocking: the journal, which makes an acknowledgement durable, and the state,
//! which keeps what was agreed. Both stand on the same small seam.
//!
//! Not here: agreement (`raft`), and what a command means (`machine`).

pub mod disk;
mod error;
#[cfg(test)]
pub(crate) mod faults;
pub mod journal;
pub mod met;
pub mod overlay;
pub mod state;

pub use self::error::StorageError;
