//! What must hold for an append to happen, and what makes it safe to repeat: from headers and back.
//!
//! The same headers mean the same to every replica and to the SDK, because only this file reads and
//! writes them. A header that makes no sense is refused; none is ignored.
//!
//! A log's `ETag` is `"token.rest"`, of which the token counts here: it names the tail. The tag of a
//! read is weak and that of a record begins otherwise, so neither passes for a tail.
//!
//! Not here: whether a condition holds, which the machine decides.

use std::fmt::Display;
use std::str::FromStr;

use super::header;
use super::resume::ResumeToken;
use crate::types::{
    Fence, Generation, IdempotencyKey, LogId, Position, ProducerEpoch, ProducerId, Sequence,
};

/// Conditions of an append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The log's tail must be this.
    pub tail: Option<Position>,
    /// The log's fence must be this.
    pub fence: Option<Fence>,
    /// The name must still mean this log.
    pub log_id: Option<LogId>,
    /// The cluster's history must still be this one.
    pub generation: Option<Generation>,
    /// Which batch of which producer this is.
    pub producer: Option<ProducerBatch>,
    /// What makes this one call safe to repeat.
    pub key: Option<IdempotencyKey>,
}

/// Which batch of which life of which producer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducerBatch {
    /// Who.
    pub id: ProducerId,
    /// Which life.
    pub epoch: ProducerEpoch,
    /// Which batch.
    pub sequence: Sequence,
}

impl Conditions {
    /// Whether repeating an append under these conditions stores it once only.
    ///
    /// An expected tail alone does not make it so: a repetition would be told that the tail
    /// differs, although it was the first try that moved it.
    pub const fn make_retries_safe(&self) -> bool {
        self.producer.is_some() || self.key.is_some()
    }

    /// Reads the conditions out of a request's headers, which `value_of` finds by name.
    pub fn from_headers<'a>(
        value_of: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Self, ConditionError> {
        let mut conditions = Self {
            fence: parse(&value_of, header::FENCE)?,
            log_id: parse(&value_of, header::LOG_ID)?,
            producer: producer(&value_of)?,
            ..Self::default()
        };
        if let Some(key) = value_of(header::IDEMPOTENCY_KEY) {
            let key = unquote(key).unwrap_or(key);
            conditions.key =
                Some(IdempotencyKey::new(key).map_err(invalid(header::IDEMPOTENCY_KEY))?);
        }
        let if_match = value_of(header::IF_MATCH);
        let if_none_match = value_of(header::IF_NONE_MATCH);
        match (if_match, if_none_match) {
            (Some(_), Some(_)) => return Err(ConditionError::TwoTails),
            (Some(tag), None) => conditions.set_tail(tag)?,
            (None, Some("*")) => conditions.tail = Some(Position::ZERO),
            (None, Some(_)) => {
                return Err(ConditionError::Header {
                    name: header::IF_NONE_MATCH,
                    reason: "only * has a meaning here".to_owned(),
                });
            }
            (None, None) => {}
        }
        Ok(conditions)
    }

    fn set_tail(&mut self, tag: &str) -> Result<(), ConditionError> {
        let refused = |reason: &str| ConditionError::Header {
            name: header::IF_MATCH,
            reason: reason.to_owned(),
        };
        let tag = unquote(tag).ok_or_else(|| refused("a tail is given in quotes, as in \"42\""))?;
        if let Ok(tail) = tag.parse() {
            self.tail = Some(tail);
            return Ok(());
        }
        // Behind a full stop stands what tells apart two states with the same tail.
        let token = tag.split_once('.').map_or(tag, |(token, _)| token);
        let token: ResumeToken =
            token.parse().map_err(|_| refused("neither a position nor an ETag of this service"))?;
        if self.log_id.is_some_and(|log_id| log_id != token.log_id) {
            return Err(refused("the ETag belongs to another log than Quorate-Log-Id says"));
        }
        self.tail = Some(token.next);
        self.log_id = Some(token.log_id);
        self.generation = Some(token.generation);
        Ok(())
    }

    /// Writes the conditions as headers of a request.
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        let mut push = |name, value: &dyn Display| headers.push((name, value.to_string()));
        match (self.tail, self.log_id, self.generation) {
            (Some(next), Some(log_id), Some(generation)) => {
                let tag = ResumeToken { generation, log_id, next };
                push(header::IF_MATCH, &format_args!("\"{tag}\""));
            }
            (Some(tail), ..) => push(header::IF_MATCH, &format_args!("\"{tail}\"")),
            (None, ..) => {}
        }
        if let Some(log_id) = self.log_id {
            push(header::LOG_ID, &log_id);
        }
        if let Some(fence) = &self.fence {
            push(header::FENCE, fence);
        }
        if let Some(batch) = &self.producer {
            push(header::PRODUCER_ID, &batch.id);
            push(header::PRODUCER_EPOCH, &batch.epoch);
            push(header::PRODUCER_SEQUENCE, &batch.sequence);
        }
        if let Some(key) = &self.key {
            push(header::IDEMPOTENCY_KEY, key);
        }
        headers
    }
}

fn producer<'a>(
    value_of: &impl Fn(&'static str) -> Option<&'a str>,
) -> Result<Option<ProducerBatch>, ConditionError> {
    let id = parse(value_of, header::PRODUCER_ID)?;
    let epoch = parse::<ProducerEpoch>(value_of, header::PRODUCER_EPOCH)?;
    let sequence = parse::<Sequence>(value_of, header::PRODUCER_SEQUENCE)?;
    match (id, epoch, sequence) {
        (None, None, None) => Ok(None),
        (Some(id), Some(epoch), Some(sequence)) => Ok(Some(ProducerBatch { id, epoch, sequence })),
        _ => Err(ConditionError::HalfAProducer),
    }
}

fn parse<'a, T: FromStr<Err: Display>>(
    value_of: &impl Fn(&'static str) -> Option<&'a str>,
    name: &'static str,
) -> Result<Option<T>, ConditionError> {
    value_of(name).map(|text| text.parse().map_err(invalid(name))).transpose()
}

fn invalid<E: Display>(name: &'static str) -> impl FnOnce(E) -> ConditionError {
    move |error| ConditionError::Header { name, reason: error.to_string() }
}

fn unquote(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.is_empty())
}

/// Why headers are no conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// A header that makes no sense.
    #[error("header {name}: {reason}")]
    Header {
        /// Which.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// Two expectations of the tail.
    #[error("if-match and if-none-match contradict each other")]
    TwoTails,
    /// Some of a producer's headers, but not all.
    #[error("producer-id, producer-epoch and producer-seq come together or not at all")]
    HalfAProducer,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Conditions, ConditionError> {
        Conditions::from_headers(|name| {
            headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
        })
    }

    #[test]
    fn conditions_survive_their_headers() {
        let producer = ProducerBatch {
            id: ProducerId::new("p-1").unwrap(),
            epoch: ProducerEpoch::new(2),
            sequence: Sequence::ZERO,
        };
        let plain = Conditions {
            tail: Some(Position::new(7)),
            fence: Some(Fence::new("f").unwrap()),
            log_id: Some(LogId::new(3)),
            producer: Some(producer),
            key: Some(IdempotencyKey::new("k").unwrap()),
            generation: None,
        };
        let bound =
            Conditions { generation: Some(Generation { number: 1, random: 9 }), ..plain.clone() };
        for conditions in [Conditions::default(), plain, bound] {
            let headers = conditions.to_headers();
            let back = Conditions::from_headers(|name| {
                headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
            });
            assert_eq!(back, Ok(conditions));
        }
    }

    #[test]
    fn if_none_match_means_that_nothing_was_ever_appended() {
        assert_eq!(read(&[("if-none-match", "*")]).unwrap().tail, Some(Position::ZERO));
    }

    #[test]
    fn a_key_may_stand_in_quotes() {
        let quoted = read(&[("idempotency-key", "\"k\"")]).unwrap();
        assert_eq!(quoted, read(&[("idempotency-key", "k")]).unwrap());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for headers in [
            &[("if-match", "42")][..],
            &[("if-match", "\"\"")],
            &[("if-match", "\"x\"")],
            &[("if-match", "*")],
            &[("if-match", "\"+7\"")],
            &[("if-match", "\"007\"")],
            &[("if-match", "W/\"AQAAAAEAAAAAAAAAKgAAAAAAAAADAAAAAAAAAAk\"")],
            &[("if-match", "\"record.AQAAAAEAAAAAAAAAKgAAAAAAAAADAAAAAAAAAAk\"")],
            &[("producer-id", "p"), ("producer-epoch", "1"), ("producer-seq", "+1")],
            &[("if-none-match", "\"42\"")],
            &[("if-match", "\"1\""), ("if-none-match", "*")],
            &[("producer-id", "p")],
            &[("producer-id", "p"), ("producer-epoch", "1")],
            &[("producer-id", "p"), ("producer-epoch", "-1"), ("producer-seq", "0")],
            &[("producer-id", ""), ("producer-epoch", "1"), ("producer-seq", "0")],
            &[("idempotency-key", "")],
            &[("idempotency-key", "a b")],
            &[("quorate-fence", "a b")],
            &[("quorate-log-id", "x")],
        ] {
            assert!(read(headers).is_err(), "{headers:?}");
        }
    }
}
