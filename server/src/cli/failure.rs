//! Why a command failed: what happened, why, and the next command to type.
//!
//! Invariant: every failure has one of the documented exit codes, so that a script can decide
//! without reading text. "Not done" is never said of an append whose outcome is unknown.

use std::fmt;
use std::io;

use serde::Serialize;

/// The exit codes, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Done.
    Ok,
    /// Anything without a code of its own.
    Failed,
    /// The command line or the settings are wrong.
    Usage,
    /// The log, cursor or replica does not exist.
    NotFound,
    /// A condition did not hold, or a name is taken.
    Condition,
    /// Nobody could answer; certainly not done.
    Unavailable,
    /// Refused because it would not be safe.
    Unsafe,
    /// It may have been done, or not.
    Unknown,
    /// The storage of this replica is broken.
    Storage,
    /// This folder must not start: its identity is not what the group knows.
    Identity,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Condition => 4,
            Self::Unavailable => 5,
            Self::Unsafe => 6,
            Self::Unknown => 7,
            Self::Storage => 74,
            Self::Identity => 75,
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The exit code, in words.
    pub exit: Exit,
    /// What happened.
    #[serde(rename = "error")]
    pub what: String,
    /// Why, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The next command to type, if there is one.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, next: None }
    }

    /// The command line is wrong.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds the next command to type.
    #[must_use]
    pub fn hint(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Whether whoever read our output has gone, which is nobody's fault.
    pub fn is_closed_pipe(&self) -> bool {
        self.exit == Exit::Ok
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for (label, text) in [("why", &self.why), ("try", &self.next)] {
            if let Some(text) = text {
                let indented = text.replace('\n', "\n       ");
                write!(f, "\n  {label}: {indented}")?;
            }
        }
        Ok(())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "the reader of the output has gone");
        }
        Self::new(Exit::Failed, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let failure = Failure::new(Exit::NotFound, "there is no log `orders`")
            .because("logs are created before they are used")
            .hint("quorate logs create orders");
        assert_eq!(
            failure.to_string(),
            "error: there is no log `orders`\n  why: logs are created before they are used\n  try: quorate logs create orders"
        );
        assert_eq!(
            serde_json::to_string(&failure).unwrap(),
            r#"{"exit":"not_found","error":"there is no log `orders`","why":"logs are created before they are used","try":"quorate logs create orders"}"#
        );
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::NotFound,
            Exit::Condition,
            Exit::Unavailable,
            Exit::Unsafe,
            Exit::Unknown,
            Exit::Storage,
            Exit::Identity,
        ]
        .map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 74, 75]);
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_closed_pipe());
        assert_eq!(failure.exit.code(), 0);
    }
}
