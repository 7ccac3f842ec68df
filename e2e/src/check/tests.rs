//! Each check finds the violation planted for it, and says which.
//!
//! A history is told call by call: who, from when to when, and what came of it. The sound story below
//! passes; each test breaks one promise in it.

use super::*;
use crate::history::{Action, Appended, Call, Final, Level, Moment, Outcome, Page, Stamp, Value};

const LOG: &str = "orders";
/// What all replicas say of their state in a sound story.
const AGREED: [(&str, &str); 4] = [
    ("root of orders", "aa"),
    ("cursors of orders", "reader at 3"),
    ("rolling digest at entry 9", "bb"),
    ("membership", "voters 1, 2, 3 since epoch 4"),
];

#[derive(Default)]
struct Story(History);

impl Story {
    fn call(mut self, who: &str, times: (u64, u64), action: Action) -> Self {
        let (asked, answered) = (Moment(times.0), Moment(times.1));
        self.0.calls.push(Call { who: who.to_owned(), asked, answered, action });
        self
    }

    /// `who` appends the letters as its batch `sequence`.
    fn append(
        self,
        (who, sequence): (&str, u64),
        times: (u64, u64),
        letters: &str,
        outcome: Outcome<Appended>,
    ) -> Self {
        let stamp = Some(Stamp { producer: who.to_owned(), epoch: 0, sequence });
        let action =
            Action::Append { log: LOG.to_owned(), values: values(letters), stamp, outcome };
        self.call(who, times, action)
    }

    /// `who` reads from `from` and is shown the letters, and `tail`.
    fn read(self, who: &str, times: (u64, u64), (from, letters, tail): (u64, &str, u64)) -> Self {
        let page = Page { records: placed(from, letters), tail: Some(tail), replica: 1 };
        let (level, outcome) = (Level::Linearizable, Outcome::Done(page));
        self.call(who, times, Action::Read { log: LOG.to_owned(), from, level, outcome })
    }

    /// Replicas 1, 2 and 3 hold the letters in the end.
    fn finals(mut self, letters: &str) -> Self {
        for replica in 1..=3 {
            self = self.held(replica, letters);
        }
        self
    }

    fn held(self, replica: u64, letters: &str) -> Self {
        self.held_from(replica, 0, letters)
    }

    /// The same, of a log that is trimmed up to `trim`.
    fn held_from(self, replica: u64, trim: u64, letters: &str) -> Self {
        let records = placed(trim, letters);
        let tail = trim + records.len() as u64;
        let holds = Final { replica, trim, tail, records };
        let story = self.call("tester", (900, 900), Action::Final { log: LOG.to_owned(), holds });
        AGREED.iter().fold(story, |story, (name, value)| story.state(replica, name, value))
    }

    /// What a replica says of its state in the end.
    fn state(self, replica: u64, name: &str, value: &str) -> Self {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.call("tester", (900, 900), Action::Fact { replica, name, value })
    }

    fn check(&self) -> Verdict {
        check(&self.0, &Coverage { replicas: 3, ..Coverage::default() })
    }

    /// Is this promise found broken, and does its text say so in these words?
    fn assert_found(&self, broken: Check, words: &str) {
        let Verdict::Failed(findings) = self.check() else {
            panic!("it was found {:?}", self.check())
        };
        let found = findings.iter().find(|finding| finding.check == broken);
        let text =
            found.unwrap_or_else(|| panic!("{broken:?} is not among {findings:?}")).to_string();
        assert!(text.contains(words), "{text}");
    }
}

fn value(letter: char) -> Value {
    Value::of(letter.to_string().as_bytes())
}

fn values(letters: &str) -> Vec<Value> {
    letters.chars().map(value).collect()
}

fn placed(from: u64, letters: &str) -> Vec<(u64, Value)> {
    (from..).zip(values(letters)).collect()
}

fn done(first: u64, next: u64) -> Outcome<Appended> {
    Outcome::Done(Appended { first, next })
}

fn unknown() -> Outcome<Appended> {
    Outcome::Unknown { reason: "connection lost".to_owned() }
}

fn not_done() -> Outcome<Appended> {
    Outcome::NotDone { reason: "no leader".to_owned() }
}

/// Two producers, a reader, one append of unknown outcome that happened, one that did not.
fn sound() -> Story {
    Story::default()
        .append(("p", 0), (10, 20), "ab", done(0, 2))
        .append(("q", 0), (15, 40), "c", done(2, 3))
        .read("r", (50, 60), (0, "abc", 3))
        .append(("p", 1), (30, 70), "de", unknown())
        .append(("p", 1), (75, 80), "de", done(3, 5))
        .append(("q", 1), (80, 95), "xy", not_done())
        .append(("q", 1), (100, 110), "xy", unknown())
        .append(("s", 0), (100, 110), "z", unknown())
        .read("r", (120, 130), (3, "de", 5))
}

#[test]
fn a_sound_history_passes_and_is_counted() {
    let summary = sound().finals("abcdez").check().assert_passed();
    let expected = Summary {
        done: 3,
        not_done: 1,
        unknown_happened: 2,
        unknown_not_happened: 1,
        reads: 2,
        faults: 0,
    };
    assert_eq!(summary, expected);
}

#[test]
fn a_position_that_shows_two_values_is_found() {
    let story = sound().finals("abcde").read("s", (200, 210), (2, "xde", 5));
    story.assert_found(Check::UniqueCell, "position 2 held");
}

#[test]
fn a_position_acknowledged_twice_is_found() {
    let story = sound().append(("t", 0), (200, 210), "f", done(4, 5)).finals("abcde");
    story.assert_found(Check::UniqueCell, "position 4 was given to");
}

#[test]
fn an_acknowledged_record_lost_at_the_end_is_found() {
    sound().finals("abcd").assert_found(Check::NoLoss, "lost a record at the end: position 4");
}

#[test]
fn an_acknowledged_record_lost_in_the_middle_on_one_replica_is_found() {
    let story = sound().held(1, "abcde").held(2, "axcde").held(3, "abcde");
    story.assert_found(Check::NoLoss, "on replica 2 lost a record in the middle: position 1");
}

#[test]
fn an_acknowledged_record_lost_from_the_prefix_is_found() {
    let records = placed(2, "cde");
    let holds = Final { replica: 1, trim: 0, tail: 5, records };
    let action = Action::Final { log: LOG.to_owned(), holds };
    let story = sound().call("tester", (900, 900), action).held(2, "abcde");
    story.assert_found(Check::NoLoss, "of its prefix: position 0");
}

#[test]
fn a_trimmed_record_is_not_lost() {
    let mut story = sound();
    for replica in 1..=3 {
        story = story.held_from(replica, 2, "cde");
    }
    assert_eq!(story.check().assert_passed().done, 3);
}

#[test]
fn a_record_that_nobody_appended_is_found() {
    sound().finals("abcde!").assert_found(Check::NoPhantom, "nobody appended it");
}

#[test]
fn a_record_whose_append_was_not_done_is_found() {
    let story = sound().append(("t", 0), (150, 160), "n", not_done()).finals("abcden");
    story.assert_found(Check::NoPhantom, "was answered not done");
}

#[test]
fn a_retried_batch_stored_twice_is_found() {
    sound().finals("abcdede").assert_found(Check::NoDuplicate, "at positions [3, 5]");
}

#[test]
fn a_retry_answered_with_other_positions_is_found() {
    let story = sound().append(("p", 1), (130, 140), "de", done(6, 8)).finals("abcde");
    story.assert_found(Check::NoDuplicate, "producer p epoch 0 sequence 1 with position 3");
}

#[test]
fn an_append_that_overtook_an_earlier_one_is_found() {
    let story = Story::default()
        .append(("p", 0), (10, 20), "a", done(1, 2))
        .append(("q", 0), (30, 40), "b", done(0, 1))
        .finals("ba");
    story.assert_found(Check::RealTimeOrder, "position 0 was asked for by q");
}

#[test]
fn appends_that_overlap_may_lie_in_either_order() {
    let story = Story::default()
        .append(("p", 0), (10, 30), "a", done(1, 2))
        .append(("q", 0), (30, 40), "b", done(0, 1))
        .finals("ba");
    assert_eq!(story.check().assert_passed().done, 2);
}

#[test]
fn a_stale_read_called_linearizable_is_found() {
    let story = sound().read("s", (200, 210), (0, "abc", 3)).finals("abcde");
    story.assert_found(Check::FreshReads, "was shown tail 3, though");
}

#[test]
fn a_linearizable_read_that_takes_back_what_another_showed_is_found() {
    let story = Story::default()
        .append(("p", 0), (10, 90), "a", done(0, 1))
        .read("r", (20, 30), (0, "a", 1))
        .read("s", (40, 50), (0, "", 0))
        .finals("a");
    story.assert_found(Check::FreshReads, "though r was shown tail 1");
}

#[test]
fn a_local_read_may_be_stale_but_not_go_back_at_its_replica() {
    let local = |tail, replica, letters| {
        let page = Page { records: placed(0, letters), tail: Some(tail), replica };
        let outcome = Outcome::Done(page);
        Action::Read { log: LOG.to_owned(), from: 0, level: Level::Local, outcome }
    };
    let stale = sound().call("s", (200, 210), local(3, 2, "abc")).finals("abcde");
    assert_eq!(stale.check().assert_passed().reads, 3);
    let elsewhere = stale.call("s", (220, 230), local(2, 3, "ab"));
    assert_eq!(elsewhere.check().assert_passed().reads, 4);
    let back = elsewhere.call("s", (240, 250), local(2, 2, "ab"));
    back.assert_found(Check::Monotonic, "s was shown tail 3");
}

#[test]
fn a_scan_with_a_gap_is_found() {
    let records = vec![(0, value('a')), (2, value('c'))];
    let outcome = Outcome::Done(Page { records, tail: Some(5), replica: 1 });
    let action = Action::Read { log: LOG.to_owned(), from: 0, level: Level::Linearizable, outcome };
    let story = sound().call("s", (200, 210), action).finals("abcde");
    story.assert_found(Check::Monotonic, "was shown position 2 where 1 belongs");
}

#[test]
fn a_producer_whose_batches_changed_places_is_found() {
    let story = Story::default()
        .append(("p", 0), (10, 50), "a", done(1, 2))
        .append(("p", 1), (20, 50), "b", done(0, 1))
        .finals("ba");
    story.assert_found(Check::Monotonic, "sequence 0 at position 1, and then");
}

#[test]
fn a_batch_that_vanished_between_two_of_its_producer_is_found() {
    let story = Story::default()
        .append(("p", 0), (10, 20), "a", done(0, 1))
        .append(("p", 1), (30, 40), "b", unknown())
        .append(("p", 2), (50, 60), "c", done(1, 2))
        .finals("ac");
    story.assert_found(Check::Monotonic, "sequence 2 at 1");
}

#[test]
fn replicas_that_differ_after_healing_are_found() {
    let story = sound().held(1, "abcde").held(2, "abcde").held(3, "abcdez");
    story.assert_found(Check::Convergence, "on replica 3");
    for (name, value) in AGREED {
        let story = sound().finals("abcde").state(4, name, "else");
        let words = format!("{name} is {value} on replica 3 and else on replica 4");
        story.assert_found(Check::Convergence, &words);
    }
}

#[test]
fn replicas_that_were_not_compared_at_one_entry_are_inconclusive() {
    let mut story = sound().finals("abcde");
    for call in &mut story.0.calls {
        if let Action::Fact { replica: 2, name, .. } = &mut call.action
            && name.starts_with("rolling digest")
        {
            *name = "rolling digest at entry 10".to_owned();
        }
    }
    let Verdict::Inconclusive(reasons) = story.check() else {
        panic!("it was {:?}", story.check())
    };
    assert_eq!(reasons, ["no rolling digest at ... was told by 3 replicas"]);
}

#[test]
fn an_unknown_batch_stored_by_half_is_found() {
    let story = sound().finals("abcdex");
    story.assert_found(Check::UnknownResolves, "in pieces");
}

#[test]
fn a_run_that_met_too_little_is_inconclusive() {
    let story = sound().finals("abcde");
    for (required, reason) in [
        (
            Coverage {
                faults: BTreeMap::from([("kill leader".to_owned(), 1)]),
                ..Coverage::default()
            },
            "kill leader happened 0 times, not 1",
        ),
        (Coverage { replicas: 4, ..Coverage::default() }, "on 3 replicas, not 4"),
        (Coverage { appends: 4, ..Coverage::default() }, "3 appends were acknowledged"),
        (Coverage { reads: 3, ..Coverage::default() }, "2 reads were answered"),
    ] {
        let Verdict::Inconclusive(reasons) = check(&story.0, &required) else {
            panic!("{required:?} was met")
        };
        assert!(reasons.iter().any(|other| other.contains(reason)), "{reasons:?}");
    }
}

#[test]
fn nothing_done_after_the_fault_is_inconclusive() {
    let fault = Action::Fault { kind: "kill leader".to_owned() };
    let story = sound().finals("abcde").call("tester", (500, 500), fault);
    let required = Coverage {
        faults: BTreeMap::from([("kill leader".to_owned(), 1)]),
        appends: 1,
        ..Coverage::default()
    };
    let Verdict::Inconclusive(reasons) = check(&story.0, &required) else {
        panic!("no append followed the fault")
    };
    assert_eq!(reasons, ["0 appends were acknowledged since the first fault, not 1"]);
}

#[test]
fn many_findings_are_told_shortly() {
    let story = Story::default().finals("abcdefghijklmnopqrst");
    let Verdict::Failed(findings) = story.check() else { panic!("all of these are phantoms") };
    assert_eq!(findings.len(), FINDINGS_TOLD_MAX);
    assert!(findings[FINDINGS_TOLD_MAX - 1].text.ends_with("(and 10 more of this check)"));
}
