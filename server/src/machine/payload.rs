//! What an entry of the journal carries: nothing, a command, or a membership.
//!
//! A payload is bytes together with their SHA-256. It is hashed once, where it is made or read from
//! the wire, and the same hash is then kept by the journal, compared by repair and mixed into the
//! rolling digest. Cloning shares the bytes.
//!
//! Not here: what the bytes of a command mean (`command`), or how an entry lies on disk
//! (`storage::journal`).

use std::fmt;

use bytes::Bytes;
use client::types::Digest;
use migrations::latest::commands;
use sha2::{Digest as _, Sha256};

/// The bytes of a command or of a membership, with their SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// The encoded command or membership.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`, as the journal keeps it.
    pub hash: Digest,
}

impl Payload {
    /// Whether it is an append: of all commands the one that takes room.
    pub fn is_append(&self) -> bool {
        commands::is_append(&self.bytes)
    }

    /// Hashes `bytes`. This is the only place where a payload is hashed before it is written.
    pub fn new(bytes: Bytes) -> Self {
        let hash = Digest::new(Sha256::digest(&bytes).into());
        Self { bytes, hash }
    }

    /// Whether the bytes still are what the hash says.
    pub fn is_intact(&self) -> bool {
        Digest::new(Sha256::digest(&self.bytes).into()) == self.hash
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes, {})", self.bytes.len(), self.hash)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What an entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryBody {
    /// The first entry of a leader; changes nothing.
    Blank,
    /// A command to the machine.
    Command(Payload),
    /// An encoded membership.
    Membership(Payload),
}

impl EntryBody {
    /// The payload, unless this is a blank entry.
    pub fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Blank => None,
            Self::Command(payload) | Self::Membership(payload) => Some(payload),
        }
    }

    /// How many bytes the payload has.
    pub fn payload_bytes(&self) -> usize {
        self.payload().map_or(0, |payload| payload.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_payload_is_no_longer_intact() {
        let mut payload = Payload::new(Bytes::from_static(b"command"));
        assert!(payload.is_intact());
        payload.bytes = Bytes::from_static(b"commanD");
        assert!(!payload.is_intact());
    }
}
