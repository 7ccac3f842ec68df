//! The token by which a caller keeps its place: opaque text that fits one history only.
//!
//! It holds generation, log id and position, so a token from before the log was deleted and made
//! anew, or from before a recovery, never matches. It is the `id` of server-sent events, what
//! `Last-Event-ID` brings back, and the `ETag` of a log.
//!
//! Not here: whether a token still matches, which the server decides.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, BufMut};

use crate::types::{Generation, LogId, Position};

/// Version of the token, its first byte.
const VERSION: u8 = 1;
/// Version, number and random part of the generation, log, position.
const BYTES: usize = 1 + 4 + 8 + 8 + 8;

/// A place in one log of one history.
///
/// ```
/// use quorate_client::api::resume::ResumeToken;
/// use quorate_client::types::{Generation, LogId, Position};
///
/// let token = ResumeToken {
///     generation: Generation { number: 1, random: 7 },
///     log_id: LogId::new(3),
///     next: Position::new(17),
/// };
/// assert_eq!(token.to_string().parse(), Ok(token));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResumeToken {
    /// The history.
    pub generation: Generation,
    /// The log.
    pub log_id: LogId,
    /// The next position wanted; in an `ETag`, the tail.
    pub next: Position,
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; BYTES];
        let mut rest = &mut bytes[..];
        rest.put_u8(VERSION);
        rest.put_u32(self.generation.number);
        rest.put_u64(self.generation.random);
        rest.put_u64(self.log_id.get());
        rest.put_u64(self.next.get());
        let mut text = [0; BYTES.div_ceil(3) * 4];
        let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).expect("the text has room");
        f.pad(std::str::from_utf8(&text[..length]).expect("base64 is ASCII"))
    }
}

impl ResumeToken {
    /// The token in the `ETag` of a log or of a read. Behind a full stop stands what tells apart two forms of the same.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
        tag.split_once('.').map_or(tag, |(token, _)| token).parse().ok()
    }
}

/// A text that is no token of this service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token that this service gave out")]
pub struct ResumeTokenError;

impl FromStr for ResumeToken {
    type Err = ResumeTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; BYTES];
        let length =
            URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| ResumeTokenError)?;
        let mut rest = &bytes[..];
        if length != BYTES || rest.get_u8() != VERSION {
            return Err(ResumeTokenError);
        }
        Ok(Self {
            generation: Generation { number: rest.get_u32(), random: rest.get_u64() },
            log_id: LogId::new(rest.get_u64()),
            next: Position::new(rest.get_u64()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_tokens_given_out_are_taken() {
        for text in ["", "42", "AQ", "!", &"A".repeat(39), &"A".repeat(400)] {
            assert_eq!(text.parse::<ResumeToken>(), Err(ResumeTokenError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_token_survives_text(number: u32, random: u64, log: u64, next: u64) {
            let token = ResumeToken {
                generation: Generation { number, random },
                log_id: LogId::new(log),
                next: Position::new(next),
            };
            let text = token.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(text.parse(), Ok(token));
        }

        #[test]
        fn no_text_breaks_a_token(text in "\\PC{0,60}") {
            if let Ok(token) = text.parse::<ResumeToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }
}
