//! What users hang on a log by name: a cursor, the log's fence, and the order key of an append.
//!
//! A cursor's name is a part of a path, so it has no slash and is neither `.` nor `..`. A fence is
//! opaque: it is only ever compared. Order keys are compared byte by byte.
//!
//! Not here: the position a cursor holds.

use super::newtype::checked_text;
use super::token::{self, TokenError};

/// Longest cursor name, in bytes.
pub const CURSOR_NAME_BYTES_MAX: usize = 128;

checked_text! {
    /// The name of a cursor: 1–128 bytes of ASCII letters, digits and `. _ -`, but not `.` or `..`.
    CursorName, CursorNameError, check_name,
    r"^(\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*|\.{3}[A-Za-z0-9._-]*)$", 1..=CURSOR_NAME_BYTES_MAX
}

/// Why a text is no cursor name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorNameError {
    /// Nothing there.
    #[error("a cursor name may not be empty")]
    Empty,
    /// Longer than [`CURSOR_NAME_BYTES_MAX`].
    #[error("a cursor name may have at most {CURSOR_NAME_BYTES_MAX} bytes, not {bytes}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A letter that is not allowed.
    #[error("a cursor name may hold ASCII letters, digits and . _ - only, not {letter:?}")]
    Letter {
        /// The first such letter.
        letter: char,
    },
    /// `.` or `..`, which mean another place in a path.
    #[error("a cursor may not be named . or ..")]
    Dots,
}

fn check_name(name: &str) -> Result<(), CursorNameError> {
    if name.is_empty() {
        return Err(CursorNameError::Empty);
    }
    if name.len() > CURSOR_NAME_BYTES_MAX {
        return Err(CursorNameError::TooLong { bytes: name.len() });
    }
    let is_allowed = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
    if let Some(letter) = name.chars().find(|letter| !is_allowed(letter)) {
        return Err(CursorNameError::Letter { letter });
    }
    if matches!(name, "." | "..") {
        return Err(CursorNameError::Dots);
    }
    Ok(())
}

checked_text! {
    /// The opaque token set on a log: an append that names another is refused. Visible ASCII,
    /// 1–128 bytes.
    Fence, TokenError, token::check, "^[!-~]+$", 1..=token::TOKEN_BYTES_MAX
}

checked_text! {
    /// The place of an append in an order of its writers' own: an append with one is refused unless its key sorts,
    /// byte by byte, behind that of the last append to the log that had one. Visible ASCII, 1–128 bytes.
    OrderKey, TokenError, token::check, "^[!-~]+$", 1..=token::TOKEN_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_name_is_one_part_of_a_path() {
        assert!(CursorName::new("billing.v2-a_b").is_ok());
        assert_eq!(CursorName::new(""), Err(CursorNameError::Empty));
        assert_eq!(CursorName::new(".."), Err(CursorNameError::Dots));
        assert_eq!(CursorName::new("a/b"), Err(CursorNameError::Letter { letter: '/' }));
        assert_eq!(CursorName::new("a:b"), Err(CursorNameError::Letter { letter: ':' }));
        let long = "x".repeat(129);
        assert_eq!(CursorName::new(&long), Err(CursorNameError::TooLong { bytes: 129 }));
    }
}
