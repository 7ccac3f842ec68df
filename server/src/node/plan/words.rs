//! How a plan says things: names, numbers, sizes and times in words; and the same wish as a command.
//!
//! Not here: what is said (`group`, `newcomers`, `leavers`).

use std::fmt::Display;
use std::time::Duration;

use client::api::changes::ChangeRequest;
use client::api::paths;
use client::api::plans::{MemberName, Wish};
use client::types::{Epoch, ReplicaAddr, ReplicaId};

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    match all.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `replica 2`, `replicas 2 and 3`.
pub(super) fn replicas(ids: &[ReplicaId]) -> String {
    let noun = if ids.len() == 1 { "replica" } else { "replicas" };
    format!("{noun} {}", list(ids))
}

/// A member as it is spoken of: `replica 2`, or the address at which it waits.
pub(super) fn member(name: &MemberName) -> String {
    match name {
        MemberName::Replica(id) => format!("replica {id}"),
        MemberName::Joiner(addr) => addr.to_string(),
    }
}

/// `none`, or the number.
pub(super) fn how_many(count: impl TryInto<u64>) -> String {
    match count.try_into() {
        Ok(0) => "none".to_owned(),
        Ok(count) => count.to_string(),
        Err(_) => "all".to_owned(),
    }
}

/// `1 replica votes`, `3 replicas vote`.
pub(super) fn votes(count: usize) -> String {
    if count == 1 { "1 replica votes".to_owned() } else { format!("{count} replicas vote") }
}

/// The same with its first letter large.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.starts_with("http") => first.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// A size.
pub(in crate::node) fn bytes(count: u64) -> String {
    bytesize::ByteSize(count).display().iec().to_string()
}

/// A time in the one unit that suits it.
pub(in crate::node) fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        secs if secs < 120 => format!("{secs} s"),
        secs if secs < 7_200 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3_600),
    }
}

/// A round trip.
pub(super) fn round_trip(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

/// The wish as a command line.
pub(super) fn command(wish: &Wish, epoch: Epoch) -> String {
    format!("quorate cluster {wish} --if-epoch {epoch}")
}

/// The wish as a call of `curl` to this front door.
pub(super) fn curl(wish: &Wish, epoch: Epoch, front: &ReplicaAddr) -> String {
    let request = ChangeRequest { wish: wish.clone(), overrides: Vec::new() };
    // Numbers and addresses alone: nothing that a shell would take apart.
    let body = serde_json::to_string(&request).expect("a wish is plain JSON");
    format!(
        "curl -X POST {front}{} -H 'content-type: application/json' -H 'if-match: \"{epoch}\"' -d '{body}'",
        paths::CHANGES
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_named_as_people_do() {
        let id = |number| ReplicaId::new(number).unwrap();
        assert_eq!(replicas(&[id(2)]), "replica 2");
        assert_eq!(replicas(&[id(2), id(3), id(4)]), "replicas 2, 3 and 4");
        assert_eq!(sentence("replica 2 is here"), "Replica 2 is here");
        assert_eq!(sentence("http://d:7001 is here"), "http://d:7001 is here");
        assert_eq!((how_many(0_u32), how_many(2_u32)), ("none".to_owned(), "2".to_owned()));
    }

    #[test]
    fn figures_come_in_the_unit_that_suits_them() {
        assert_eq!(time(Duration::from_millis(250)), "250 ms");
        assert_eq!(time(Duration::from_secs(31)), "31 s");
        assert_eq!(time(Duration::from_mins(10)), "10 min");
        assert_eq!(time(Duration::from_hours(5)), "5 h");
        assert_eq!(round_trip(2_149), "2.1 ms");
        assert_eq!(bytes(28 << 30), "28.0 GiB");
    }
}
