//! Logs: their names, the ids behind the names, and what can be set on one.
//!
//! A [`LogName`] was checked once and is trusted from then on: it can stand in a path without a
//! part that means another place. A deleted and re-created name is another log, with another
//! [`LogId`].
//!
//! Not here: what a log holds (`record`), and its settings as JSON (`api::logs`).

use std::time::Duration;

use super::newtype::{checked_text, number};
use super::time::Timestamp;

/// Longest log name, in bytes.
pub const LOG_NAME_BYTES_MAX: usize = 255;

checked_text! {
    /// The name of a log: 1–255 bytes of ASCII letters, digits and `. _ - : /`, where `/` separates
    /// parts and no part is empty, `.` or `..`.
    ///
    /// ```
    /// use quorate_client::types::LogName;
    ///
    /// assert!(LogName::new("shop/orders:2026").is_ok());
    /// assert!(LogName::new("shop//orders").is_err());
    /// ```
    LogName, LogNameError, check_name,
    r"^(\.{0,2}[A-Za-z0-9_:-][A-Za-z0-9._:-]*|\.{3}[A-Za-z0-9._:-]*)(/(\.{0,2}[A-Za-z0-9_:-][A-Za-z0-9._:-]*|\.{3}[A-Za-z0-9._:-]*))*$", 1..=LOG_NAME_BYTES_MAX
}

impl LogName {
    /// Whether the name belongs to the service itself.
    pub fn is_reserved(&self) -> bool {
        self.as_str().starts_with('_')
    }
}

/// Why a text is no log name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogNameError {
    /// Nothing there.
    #[error("a log name may not be empty")]
    Empty,
    /// Longer than [`LOG_NAME_BYTES_MAX`].
    #[error("a log name may have at most {LOG_NAME_BYTES_MAX} bytes, not {bytes}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A letter that is not allowed.
    #[error("a log name may hold ASCII letters, digits and . _ - : / only, not {letter:?}")]
    Letter {
        /// The first such letter.
        letter: char,
    },
    /// Two slashes in a row, or one at either end.
    #[error("a log name may not have an empty part between slashes")]
    EmptyPart,
    /// A part that means another place in a path.
    #[error("a log name may not have a part . or ..")]
    DotPart,
}

fn check_name(name: &str) -> Result<(), LogNameError> {
    if name.is_empty() {
        return Err(LogNameError::Empty);
    }
    if name.len() > LOG_NAME_BYTES_MAX {
        return Err(LogNameError::TooLong { bytes: name.len() });
    }
    let is_allowed = |letter: &char| letter.is_ascii_alphanumeric() || "._-:/".contains(*letter);
    if let Some(letter) = name.chars().find(|letter| !is_allowed(letter)) {
        return Err(LogNameError::Letter { letter });
    }
    for part in name.split('/') {
        match part {
            "" => return Err(LogNameError::EmptyPart),
            "." | ".." => return Err(LogNameError::DotPart),
            _ => {}
        }
    }
    Ok(())
}

number! {
    /// What a log is called by the service: given at creation and never given again.
    LogId
}

/// What can be set on a log. Nothing is set by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogSettings {
    /// Records older than this are trimmed.
    pub retention_age: Option<Duration>,
    /// The oldest records beyond this many bytes are trimmed.
    pub retention_bytes: Option<u64>,
    /// What the bodies are: the media type a single record is served with.
    pub content_type: Option<String>,
    /// Longest body of a record. Never more than the service allows anyway.
    pub record_bytes_max: Option<u64>,
    /// The log is deleted once nobody has used it for so long. Creating it, appending to it, sealing it and
    /// changing its settings is use; so is a read through the Durable Streams protocol.
    pub ttl: Option<Duration>,
    /// The log is deleted at this time.
    pub expires_at: Option<Timestamp>,
}

impl LogSettings {
    /// When a log with these settings is deleted that was used at `used` and not since; never if nothing says so.
    pub fn deadline(&self, used: Timestamp) -> Option<Timestamp> {
        let idle = self.ttl.map(|ttl| {
            let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            Timestamp::new(used.as_millis().saturating_add(ttl))
        });
        match (idle, self.expires_at) {
            (Some(idle), Some(fixed)) => Some(idle.min(fixed)),
            (idle, fixed) => idle.or(fixed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_could_mean_another_place_is_refused() {
        let cases = [
            ("", LogNameError::Empty),
            ("/", LogNameError::EmptyPart),
            ("/a", LogNameError::EmptyPart),
            ("a/", LogNameError::EmptyPart),
            ("a//b", LogNameError::EmptyPart),
            (".", LogNameError::DotPart),
            ("a/../b", LogNameError::DotPart),
            ("a/./b", LogNameError::DotPart),
            ("a b", LogNameError::Letter { letter: ' ' }),
            ("a%2Fb", LogNameError::Letter { letter: '%' }),
            ("größe", LogNameError::Letter { letter: 'ö' }),
            ("a\0", LogNameError::Letter { letter: '\0' }),
        ];
        for (name, error) in cases {
            assert_eq!(LogName::new(name), Err(error), "{name:?}");
        }
        assert_eq!(LogName::new(&"x".repeat(256)), Err(LogNameError::TooLong { bytes: 256 }));
        assert!(LogName::new(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn a_name_with_dots_inside_a_part_is_fine() {
        for name in ["...", "a.b", ".a", "..a/b..", "A-Z_0:9"] {
            assert!(LogName::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_of_the_service_start_with_an_underscore() {
        assert!(LogName::new("_audit").unwrap().is_reserved());
        assert!(!LogName::new("audit_").unwrap().is_reserved());
    }

    #[test]
    fn a_bad_name_is_refused_in_json_too() {
        assert!(serde_json::from_str::<LogName>("\"a//b\"").is_err());
        let name: LogName = serde_json::from_str("\"a\\u002fb\"").unwrap();
        assert_eq!(name.as_str(), "a/b");
    }

    proptest! {
        #[test]
        fn a_name_survives_text_and_json(name in "[A-Za-z0-9_:-]{1,20}(/[A-Za-z0-9_:-]{1,20}){0,5}") {
            let name = LogName::new(&name).unwrap();
            prop_assert_eq!(&name.to_string().parse::<LogName>().unwrap(), &name);
            let json = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<LogName>(&json).unwrap(), name);
        }
    }
}
