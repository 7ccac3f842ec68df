//! How good something is: a class, a mark and a word, never a colour alone.
//!
//! Not here: how a verdict is reached (the server decides).

use client::api::cluster::Verdict;

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// It goes on, and somebody should look.
    Warn,
    /// It does not go on.
    Bad,
    /// Nothing is known, or nothing has begun.
    Unknown,
}

impl Grade {
    /// How good the group is.
    pub(crate) fn of(verdict: &Verdict) -> Self {
        match (verdict.can_append, verdict.tolerance) {
            (false, _) => Self::Bad,
            (true, 0) => Self::Warn,
            (true, _) => Self::Ok,
        }
    }

    /// The class that colours it.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }

    /// The mark before its words.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Ok => "●",
            Self::Warn => "▲",
            Self::Bad => "■",
            Self::Unknown => "◌",
        }
    }
}
