//! Header names, in lower case as HTTP/2 has them; and the one header value with a form of its own.
//!
//! ```
//! use quorate_client::api::{header, media};
//!
//! // What a program in whatever language sends to append at one tail only.
//! let head = format!("content-type: {}\r\n{}: \"17\"\r\n", media::NDJSON, header::IF_MATCH);
//! assert_eq!(head, "content-type: application/x-ndjson\r\nif-match: \"17\"\r\n");
//! ```
//!
//! Not here: the headers of a record, which are part of what is stored (`types::Headers`).

use std::fmt;
use std::str::FromStr;

use crate::types::{EntryIndex, parse_number};

/// Asked: append only at this tail, given in quotes as a number or as the `ETag` of the log.
pub const IF_MATCH: &str = "if-match";
/// Asked: `*` means append only if nothing was ever appended. With GET: only if the `ETag` differs.
pub const IF_NONE_MATCH: &str = "if-none-match";
/// Asked: append only if the log's fence is this one.
pub const FENCE: &str = "quorate-fence";
/// Asked: only if the name still means this log. Told: which log it was.
pub const LOG_ID: &str = "quorate-log-id";
/// Asked: who appends.
pub const PRODUCER_ID: &str = "producer-id";
/// Asked: which life of the producer.
pub const PRODUCER_EPOCH: &str = "producer-epoch";
/// Asked: the number of the producer's batch.
pub const PRODUCER_SEQUENCE: &str = "producer-seq";
/// Asked: what makes this one call safe to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Told: `true` if the batch was stored by an earlier request.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// Asked: where a follow goes on, an opaque token.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// Asked: `redirect` to be sent to the leader instead of being forwarded.
pub const PREFER: &str = "prefer";
/// Asked by a replica that forwards: this request was forwarded already, by that replica.
pub const FORWARDED: &str = "quorate-forwarded";
/// Asked: name this request so in diagnostics. Told: how it was named.
pub const REQUEST_ID: &str = "x-request-id";

/// Told: the membership's epoch.
pub const EPOCH: &str = "quorate-epoch";
/// Told: the replica that answered.
pub const SERVED_BY: &str = "quorate-served-by";
/// Told: how fresh the answer is, see [`AsOf`].
pub const AS_OF: &str = "quorate-as-of";
/// Told: where the leader answers, as a base address.
pub const LEADER: &str = "quorate-leader";
/// Told: seconds until another try makes sense; the problem document has milliseconds.
pub const RETRY_AFTER: &str = "retry-after";
/// Told: the log's first readable position.
pub const FIRST: &str = "quorate-first";
/// Told: the position after the last one in this answer.
pub const NEXT: &str = "quorate-next";
/// Told: the log's tail as this answer saw it.
pub const TAIL: &str = "quorate-tail";
/// Told with a list or a read: how many names or records it holds at most, as asked or as capped.
pub const LIMIT: &str = "quorate-limit";
/// Told: `true` if the log is sealed, so that nothing will come behind its tail.
pub const SEALED: &str = "quorate-sealed";
/// Told with a single record: its position.
pub const POSITION: &str = "quorate-position";
/// Told with a single record: its time.
pub const TIME: &str = "quorate-time";
/// Told with a single record: its headers, as a JSON list of pairs.
pub const RECORD_HEADERS: &str = "quorate-record-headers";

/// How fresh an answer is: `entry=42`, or `entry=42, age_ms=7, lag=3` from a local read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The last entry applied when the answer was made.
    pub entry: EntryIndex,
    /// Milliseconds since this replica last heard of the leader, for a local read.
    pub age_ms: Option<u64>,
    /// Entries known to be committed and not yet applied, for a local read.
    pub lag: Option<u64>,
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry={}", self.entry)?;
        if let Some(age_ms) = self.age_ms {
            write!(f, ", age_ms={age_ms}")?;
        }
        if let Some(lag) = self.lag {
            write!(f, ", lag={lag}")?;
        }
        Ok(())
    }
}

/// A text that does not say how fresh an answer is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form entry=42, age_ms=7, lag=3")]
pub struct AsOfError;

impl FromStr for AsOf {
    type Err = AsOfError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut entry, mut age_ms, mut lag) = (None, None, None);
        for part in text.split(',') {
            let (name, number) = part.trim().split_once('=').ok_or(AsOfError)?;
            let number = parse_number(number).map_err(|_| AsOfError)?;
            match name {
                "entry" => entry = Some(EntryIndex::new(number)),
                "age_ms" => age_ms = Some(number),
                "lag" => lag = Some(number),
                // A later version may say more.
                _ => {}
            }
        }
        Ok(Self { entry: entry.ok_or(AsOfError)?, age_ms, lag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_survives_text() {
        for (age_ms, lag) in [(None, None), (Some(7), Some(3)), (None, Some(0))] {
            let as_of = AsOf { entry: EntryIndex::new(42), age_ms, lag };
            assert_eq!(as_of.to_string().parse(), Ok(as_of));
        }
        assert_eq!("lag=3".parse::<AsOf>(), Err(AsOfError));
        assert_eq!("".parse::<AsOf>(), Err(AsOfError));
    }
}
