//! What makes a retry safe: who appends, in which life, and which batch it is.
//!
//! A producer numbers its batches from 0. The service keeps the last few numbers with their
//! positions, so a batch sent twice is stored once. A new life of the same producer raises its
//! epoch, which shuts the old life out.
//!
//! Not here: the window of remembered sequences, which is replicated state of the service.

use super::newtype::{checked_text, number};
use super::token::{self, TokenError};

checked_text! {
    /// Who appends, over restarts: visible ASCII, 1–128 bytes.
    ProducerId, TokenError, token::check, "^[!-~]+$", 1..=token::TOKEN_BYTES_MAX
}

number! {
    /// Which life of a producer. A higher one claims the id.
    ProducerEpoch
}

number! {
    /// The number of a producer's batch within its epoch, from 0 without gaps.
    Sequence
}

impl Sequence {
    /// The first batch of an epoch.
    pub const ZERO: Self = Self(0);

    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a producer sends fewer than 2^64 batches"))
    }
}

checked_text! {
    /// What makes one call of a one-off caller safe to repeat: visible ASCII, 1–128 bytes.
    IdempotencyKey, TokenError, token::check, "^[!-~]+$", 1..=token::TOKEN_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_have_no_gaps() {
        assert_eq!(Sequence::ZERO.next(), Sequence::new(1));
    }

    #[test]
    fn ids_are_checked_in_json_too() {
        assert!(serde_json::from_str::<ProducerId>("\"a b\"").is_err());
        let id: ProducerId = serde_json::from_str("\"a-b\"").unwrap();
        assert_eq!(id, ProducerId::new("a-b").unwrap());
        assert!(IdempotencyKey::new("").is_err());
    }
}
