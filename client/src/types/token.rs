//! What may stand in an opaque token that travels in an HTTP header: visible ASCII, 1 to 128 bytes.
//!
//! Producer ids, fences and idempotency keys share this rule, and so one error.
//!
//! Not here: what such a token means (`producer`, `cursor`).

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 128;

/// Why a text is no token.
///
/// ```
/// use quorate_client::types::{ProducerId, TokenError};
///
/// assert_eq!(ProducerId::new("till 7"), Err(TokenError::NotVisible));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("it has {bytes} bytes, more than {TOKEN_BYTES_MAX}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Something else than visible ASCII.
    #[error("it may hold visible ASCII only, without blanks")]
    NotVisible,
}

pub(super) fn check(text: &str) -> Result<(), TokenError> {
    if text.is_empty() {
        return Err(TokenError::Empty);
    }
    if text.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong { bytes: text.len() });
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::NotVisible);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_ascii_of_a_bounded_length_is_a_token() {
        assert_eq!(check("a-1:\"x\""), Ok(()));
        assert_eq!(check(&"x".repeat(TOKEN_BYTES_MAX)), Ok(()));
        assert_eq!(check(""), Err(TokenError::Empty));
        assert_eq!(check(&"x".repeat(129)), Err(TokenError::TooLong { bytes: 129 }));
        for text in ["a b", "a\n", "ä", "\u{7f}"] {
            assert_eq!(check(text), Err(TokenError::NotVisible), "{text:?}");
        }
    }
}
