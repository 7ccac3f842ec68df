//! What an operator calls a checkpoint.
//!
//! Not here: a checkpoint itself, which is named by the index of its entry.

use super::newtype::checked_text;

/// Longest label of a checkpoint, in bytes.
pub const CHECKPOINT_LABEL_BYTES_MAX: usize = 128;

checked_text! {
    /// The label of a checkpoint: 1–128 bytes of text without control characters.
    CheckpointLabel, CheckpointLabelError, check_label,
    r"^[^\x00-\x1f\x7f-\x9f]*$", 1..=CHECKPOINT_LABEL_BYTES_MAX
}

/// Why a text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointLabelError {
    /// Nothing there.
    #[error("a label may not be empty")]
    Empty,
    /// Longer than [`CHECKPOINT_LABEL_BYTES_MAX`].
    #[error("a label may have at most {CHECKPOINT_LABEL_BYTES_MAX} bytes, not {bytes}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A control character.
    #[error("a label may not hold the control character {letter:?}")]
    Control {
        /// The first such character.
        letter: char,
    },
}

fn check_label(label: &str) -> Result<(), CheckpointLabelError> {
    if label.is_empty() {
        return Err(CheckpointLabelError::Empty);
    }
    if label.len() > CHECKPOINT_LABEL_BYTES_MAX {
        return Err(CheckpointLabelError::TooLong { bytes: label.len() });
    }
    match label.chars().find(|letter| letter.is_control()) {
        Some(letter) => Err(CheckpointLabelError::Control { letter }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_short_line_of_text() {
        assert!(CheckpointLabel::new("before the import, 2 May").is_ok());
        assert_eq!(CheckpointLabel::new(""), Err(CheckpointLabelError::Empty));
        let control = Err(CheckpointLabelError::Control { letter: '\n' });
        assert_eq!(CheckpointLabel::new("a\nb"), control);
        let long = "x".repeat(129);
        assert_eq!(CheckpointLabel::new(&long), Err(CheckpointLabelError::TooLong { bytes: 129 }));
    }
}
