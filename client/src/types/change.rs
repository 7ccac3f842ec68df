//! Changes of the membership: which one, and what an operator says who overrides a check.
//!
//! Not here: what a change does (`api::changes`).

use super::newtype::{checked_text, number};

number! {
    /// Which change of the membership: counted from 1, the same number for ever.
    ChangeId
}

/// Longest text typed to override a check, in bytes.
pub const TYPED_BYTES_MAX: usize = 512;
/// Shortest reason for overriding a check, in bytes, blanks at its ends not counted.
pub const REASON_BYTES_MIN: usize = 3;
/// Longest reason for overriding a check, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

checked_text! {
    /// What an operator typed to override a check: 1–512 bytes without control characters.
    Typed, TypedError, check_typed, r"^[^\x00-\x1f\x7f-\x9f]*$", 1..=TYPED_BYTES_MAX
}

checked_text! {
    /// Why a check was overridden: one line of 3–1024 bytes without control characters.
    Reason, ReasonError, check_reason, r"^[^\x00-\x1f\x7f-\x9f]*$", 3..=REASON_BYTES_MAX
}

/// Why a text cannot have been typed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// Nothing there, or longer than [`TYPED_BYTES_MAX`].
    #[error("what is typed has 1 to {TYPED_BYTES_MAX} bytes, not {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// It would not be shown as it is.
    #[error("what is typed may not hold control characters")]
    Control,
}

/// Why a text is no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReasonError {
    /// Shorter than [`REASON_BYTES_MIN`] without blanks, or longer than [`REASON_BYTES_MAX`].
    #[error("a reason has {REASON_BYTES_MIN} to {REASON_BYTES_MAX} bytes, not {bytes}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// It would not be shown as it is.
    #[error("a reason is one line without control characters")]
    Control,
}

fn check_typed(text: &str) -> Result<(), TypedError> {
    if text.is_empty() || text.len() > TYPED_BYTES_MAX {
        return Err(TypedError::Length { bytes: text.len() });
    }
    if text.chars().any(char::is_control) { Err(TypedError::Control) } else { Ok(()) }
}

fn check_reason(text: &str) -> Result<(), ReasonError> {
    let bytes = text.trim().len();
    if bytes < REASON_BYTES_MIN {
        return Err(ReasonError::Length { bytes });
    }
    if text.len() > REASON_BYTES_MAX {
        return Err(ReasonError::Length { bytes: text.len() });
    }
    if text.chars().any(char::is_control) { Err(ReasonError::Control) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something_in_one_line() {
        assert!(Reason::new("old").is_ok());
        assert_eq!(Reason::new("ok "), Err(ReasonError::Length { bytes: 2 }));
        assert_eq!(Reason::new(&"x".repeat(1025)), Err(ReasonError::Length { bytes: 1025 }));
        assert_eq!(Reason::new("one\ntwo"), Err(ReasonError::Control));
    }

    #[test]
    fn what_is_typed_is_a_short_line() {
        assert!(Typed::new("3").is_ok());
        assert_eq!(Typed::new(""), Err(TypedError::Length { bytes: 0 }));
        assert_eq!(Typed::new(&"x".repeat(513)), Err(TypedError::Length { bytes: 513 }));
        assert_eq!(Typed::new("3\u{7}"), Err(TypedError::Control));
    }
}
