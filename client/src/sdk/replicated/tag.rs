//! What the records of commands carry beside the command: whose it is, and which one.
//!
//! A record without a tag is a command of somebody who does not wait for its output, such as an append from the
//! command line. A barrier is no command: it is there for its place alone.
//!
//! Not here: what a barrier shuts out (`ledger`).

use std::fmt;
use std::sync::Arc;

use crate::types::{Headers, NewRecord, Record};

/// The header of a command: `instance.number`.
const COMMAND: &str = "quorate-command";
/// The header of a barrier: whose it is.
const BARRIER: &str = "quorate-barrier";

/// One instance of a replicated state machine, told from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InstanceId(Arc<str>);

impl InstanceId {
    /// One that nobody had before.
    pub(super) fn random() -> Self {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the system gives random numbers");
        Self(format!("{:032x}", u128::from_be_bytes(random)).into())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The command of that number of ours.
    Ours(u64),
    /// A command of somebody.
    Theirs,
    /// No command.
    Barrier,
}

impl Tag {
    /// What a record is to an instance.
    pub(super) fn of(record: &Record, instance: &InstanceId) -> Self {
        if record.headers.get(BARRIER).is_some() {
            return Self::Barrier;
        }
        let text = record.headers.get(COMMAND).and_then(|value| std::str::from_utf8(value).ok());
        let number = text
            .and_then(|text| text.strip_prefix(&*instance.0))
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|number| number.parse().ok());
        number.map_or(Self::Theirs, Self::Ours)
    }
}

/// The record of a command.
pub(super) fn command(
    instance: &InstanceId,
    number: u64,
    body: impl Into<bytes::Bytes>,
) -> NewRecord {
    NewRecord::new(body).with_headers(header(COMMAND, &format!("{instance}.{number}")))
}

/// The record of a barrier.
pub(super) fn barrier(instance: &InstanceId) -> NewRecord {
    NewRecord::default().with_headers(header(BARRIER, &instance.to_string()))
}

fn header(name: &str, value: &str) -> Headers {
    Headers::from_pairs([(name, value)]).expect("a short name and value make a header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Position, Timestamp};

    fn stored(new: NewRecord) -> Record {
        let NewRecord { headers, body } = new;
        Record { position: Position::ZERO, time: Timestamp::EPOCH, headers, body }
    }

    #[test]
    fn a_command_is_known_by_the_instance_that_gave_it_alone() {
        let (us, them) = (InstanceId::random(), InstanceId::random());
        let record = stored(command(&us, 17, "x"));
        assert_eq!(Tag::of(&record, &us), Tag::Ours(17));
        assert_eq!(Tag::of(&record, &them), Tag::Theirs);
    }

    #[test]
    fn a_record_of_anybody_is_a_command_and_a_barrier_is_none() {
        let us = InstanceId::random();
        assert_eq!(Tag::of(&stored(NewRecord::new("x")), &us), Tag::Theirs);
        assert_eq!(Tag::of(&stored(barrier(&InstanceId::random())), &us), Tag::Barrier);
    }
}
