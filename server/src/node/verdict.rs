//! The verdict: can the group take appends, how many more replicas may fail, and why not more.
//!
//! One sentence, the same for people, scripts and readiness. It is computed from what a replica
//! knows and never from what it hopes: a voter that was not heard recently counts as lost, and while
//! two sets of voters decide together, the weaker one counts.
//!
//! Not here: where the knowledge comes from (`status`), and how it looks on a page.

use std::collections::BTreeSet;
use std::time::Duration;

/// What a replica knows of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Situation {
    /// The replica that judges.
    pub(super) ourselves: u64,
    /// The sets of voters: one, or two while the membership is joint.
    pub(super) voters: Vec<BTreeSet<u64>>,
    /// The voters that answered recently, ourselves included.
    pub(super) here: BTreeSet<u64>,
    /// Those who told that their disk is full.
    pub(super) full: BTreeSet<u64>,
    /// Our disk has been slow for some time.
    pub(super) is_limping: bool,
    /// How long the longest silent voter has been silent, if that is known.
    pub(super) silence: Option<Duration>,
    /// Who leads, and whether we are sure that it still does.
    pub(super) leadership: Lead,
    /// Why the leader takes no appends although it could, if so.
    pub(super) pause: Option<Pause>,
}

/// What is known of the leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lead {
    /// Nobody is known to lead.
    #[default]
    Nobody,
    /// We lead, and a quorum confirmed it recently.
    Ours,
    /// We lead by name, and no quorum answers.
    Unconfirmed,
    /// Another replica is said to lead, and does not answer our question.
    Hearsay(u64),
}

/// Why a leader that could take appends takes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// The disk is too full.
    DiskFull,
    /// So many disks of others are too full that no majority has room.
    DisksFull,
    /// What is acknowledged is not kept fast enough.
    FlusherLagging,
    /// It is stopping.
    Stopping,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Whether appends are taken now, as far as this replica can know.
    pub(super) can_append: bool,
    /// How many more voters may fail, whichever they are, while appends are still taken.
    pub(super) tolerance: u32,
    /// All of it in a sentence or two.
    pub(super) sentence: String,
    /// Why it is no better.
    pub(super) reasons: Vec<String>,
}

impl Situation {
    /// Judges.
    pub(super) fn judge(&self) -> Judgement {
        match self.leadership {
            Lead::Ours => self.judge_led(),
            Lead::Unconfirmed => self.without_majority(self.reach()),
            // Whether one leads is not known either, as long as nobody is known.
            Lead::Nobody if self.all().is_empty() => stopped(self.reach()),
            Lead::Nobody => self.without_majority(format!("no replica leads; {}", self.reach())),
            Lead::Hearsay(leader) => Judgement {
                can_append: false,
                tolerance: 0,
                sentence: format!(
                    "Not taking appends as far as replica {} knows: replica {leader} is said to lead and does not answer it.",
                    self.ourselves
                ),
                reasons: vec!["only the leader knows whom it reaches".to_owned()],
            },
        }
    }

    fn judge_led(&self) -> Judgement {
        let Some(spare) = self.spare() else {
            return self.without_majority(self.reach());
        };
        match self.pause {
            Some(Pause::DiskFull) => stopped("the leader's disk is full".to_owned()),
            Some(Pause::DisksFull) => stopped("no majority has room on its disks".to_owned()),
            Some(Pause::FlusherLagging) => {
                stopped("the leader's disk does not keep up; it will go on by itself".to_owned())
            }
            Some(Pause::Stopping) => stopped("the leader is stopping".to_owned()),
            None => self.taking(spare),
        }
    }

    /// Stopped, and which set of voters lacks whom; with the last way out where that is one.
    fn without_majority(&self, why: String) -> Judgement {
        let mut judged = stopped(why);
        let is_lacking =
            |voters: &&BTreeSet<u64>| voters.intersection(&self.here).count() <= voters.len() / 2;
        let lacking: Vec<_> = self.voters.iter().filter(is_lacking).collect();
        if self.voters.len() > 1 {
            for voters in &lacking {
                let (ids, lost) = (ids(voters.iter()), ids(voters.difference(&self.here)));
                judged.reasons.push(format!(
                    "a change of the voters is under way and needs a majority of {ids} too: {lost} not reached"
                ));
            }
        }
        if !lacking.is_empty() {
            judged.reasons.push(
                "if a majority never comes back, what is left can be recovered: quorate recover"
                    .to_owned(),
            );
        }
        judged
    }

    fn taking(&self, spare: u32) -> Judgement {
        let (all, lost) = (self.all().len(), self.lost());
        let more = format!("You can lose {spare} more and keep appending");
        let sentence = match (spare, lost.is_empty(), all) {
            (0, false, _) => {
                let silence = self.silence_of(&lost);
                format!("Taking appends, but one more failure stops them: {silence}.")
            }
            (0, true, 1) => {
                "Taking appends. 1 replica votes: if it fails, appends stop until it is back."
                    .to_owned()
            }
            (0, true, _) => format!(
                "Taking appends, but one more failure stops them: {all} replicas vote, and all are needed."
            ),
            (_, true, _) => format!("Taking appends. {all} of {all} replicas vote. {more}."),
            (_, false, _) => format!("Taking appends. {more}: {}.", self.silence_of(&lost)),
        };
        Judgement { can_append: true, tolerance: spare, sentence, reasons: self.reasons(&lost) }
    }

    /// Why no more may fail than can.
    fn reasons(&self, lost: &[u64]) -> Vec<String> {
        let mut reasons = Vec::new();
        if !lost.is_empty() {
            reasons.push(self.silence_of(lost));
        }
        let full: Vec<_> = self.all().intersection(&self.full).copied().collect();
        if !full.is_empty() {
            let noun = if full.len() == 1 { "replica" } else { "replicas" };
            reasons.push(format!("no room on the disk of {noun} {}", list(&full)));
        }
        if self.is_limping {
            reasons.push("the leader's disk is slow".to_owned());
        }
        if self.voters.len() > 1 {
            reasons.push("a change of the voters is under way: both sets are needed".to_owned());
        }
        if self.all().len() < 3 {
            reasons.push("fewer than 3 replicas vote".to_owned());
        }
        reasons
    }

    /// How many more may fail, whichever they are. None: there is no quorum now.
    fn spare(&self) -> Option<u32> {
        let spares = self.voters.iter().map(|voters| {
            let here = voters.intersection(&self.here).count();
            here.checked_sub(voters.len() / 2 + 1)
        });
        let weakest = spares.min().flatten()?;
        u32::try_from(weakest).ok()
    }

    fn all(&self) -> BTreeSet<u64> {
        self.voters.iter().flatten().copied().collect()
    }

    fn lost(&self) -> Vec<u64> {
        self.all().difference(&self.here).copied().collect()
    }

    /// Whom we reach, in words.
    fn reach(&self) -> String {
        let all = self.all();
        let reached: Vec<_> = all.intersection(&self.here).copied().collect();
        let others: Vec<_> = reached.iter().copied().filter(|id| *id != self.ourselves).collect();
        let (ourselves, votes) = (self.ourselves, all.len());
        if all.is_empty() {
            // It has its number from a group, so there is one.
            return format!("replica {ourselves} is starting and does not know yet who votes");
        }
        let only = if others.is_empty() {
            "only itself".to_owned()
        } else {
            format!("only itself and {}", list(&others))
        };
        format!("replica {ourselves} reaches {only} ({} of {votes})", reached.len())
    }

    fn silence_of(&self, lost: &[u64]) -> String {
        let (noun, verb) = if lost.len() == 1 { ("replica", "has") } else { ("replicas", "have") };
        let ids = list(lost);
        match self.silence {
            Some(silence) => {
                format!("{noun} {ids} {verb} not answered for {} s", silence.as_secs().max(1))
            }
            None => format!("{noun} {ids} {verb} not answered"),
        }
    }
}

fn stopped(why: String) -> Judgement {
    let sentence = format!("Not taking appends: {why}.");
    Judgement { can_append: false, tolerance: 0, sentence, reasons: vec![why] }
}

fn ids<'a>(ids: impl Iterator<Item = &'a u64>) -> String {
    list(&ids.copied().collect::<Vec<_>>())
}

/// `1`, `1 and 2`, `1, 2 and 3`.
fn list(ids: &[u64]) -> String {
    match ids {
        [] => String::new(),
        [only] => only.to_string(),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(u64::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    fn led(voters: &[&[u64]], here: &[u64]) -> Situation {
        Situation {
            ourselves: 2,
            voters: voters.iter().map(|ids| set(ids)).collect(),
            here: set(here),
            full: BTreeSet::new(),
            is_limping: false,
            silence: Some(Duration::from_secs(14)),
            leadership: Lead::Ours,
            pause: None,
        }
    }

    fn without_leader(leadership: Lead, here: &[u64]) -> Situation {
        Situation { leadership, ..led(&[&[1, 2, 3, 4, 5]], here) }
    }

    fn paused(pause: Pause) -> Situation {
        Situation { pause: Some(pause), ..led(&[&[1, 2, 3]], &[1, 2, 3]) }
    }

    #[test]
    fn each_situation_has_its_sentence_and_tolerance() {
        let cases = [
            (
                led(&[&[1, 2, 3, 4, 5]], &[1, 2, 3, 4, 5]),
                (true, 2),
                "Taking appends. 5 of 5 replicas vote. You can lose 2 more and keep appending.",
            ),
            (
                led(&[&[1, 2, 3, 4, 5]], &[1, 2, 3, 4]),
                (true, 1),
                "Taking appends. You can lose 1 more and keep appending: replica 5 has not answered for 14 s.",
            ),
            (
                led(&[&[1, 2, 3, 4, 5]], &[1, 2, 3]),
                (true, 0),
                "Taking appends, but one more failure stops them: replicas 4 and 5 have not answered for 14 s.",
            ),
            (
                led(&[&[1, 2, 3, 4, 5]], &[2, 3]),
                (false, 0),
                "Not taking appends: replica 2 reaches only itself and 3 (2 of 5).",
            ),
            (
                led(&[&[2]], &[2]),
                (true, 0),
                "Taking appends. 1 replica votes: if it fails, appends stop until it is back.",
            ),
            (
                led(&[&[1, 2]], &[1, 2]),
                (true, 0),
                "Taking appends, but one more failure stops them: 2 replicas vote, and all are needed.",
            ),
            (
                without_leader(Lead::Nobody, &[2]),
                (false, 0),
                "Not taking appends: no replica leads; replica 2 reaches only itself (1 of 5).",
            ),
            (
                without_leader(Lead::Unconfirmed, &[2, 3]),
                (false, 0),
                "Not taking appends: replica 2 reaches only itself and 3 (2 of 5).",
            ),
            (
                without_leader(Lead::Hearsay(4), &[2]),
                (false, 0),
                "Not taking appends as far as replica 2 knows: replica 4 is said to lead and does not answer it.",
            ),
            (paused(Pause::DiskFull), (false, 0), "Not taking appends: the leader's disk is full."),
            (
                paused(Pause::DisksFull),
                (false, 0),
                "Not taking appends: no majority has room on its disks.",
            ),
            (
                paused(Pause::FlusherLagging),
                (false, 0),
                "Not taking appends: the leader's disk does not keep up; it will go on by itself.",
            ),
            (paused(Pause::Stopping), (false, 0), "Not taking appends: the leader is stopping."),
            (
                Situation { ourselves: 2, ..Situation::default() },
                (false, 0),
                "Not taking appends: replica 2 is starting and does not know yet who votes.",
            ),
        ];
        for (situation, expected, sentence) in cases {
            let judged = situation.judge();
            assert_eq!(judged.sentence, sentence);
            assert_eq!((judged.can_append, judged.tolerance), expected, "{sentence}");
        }
    }

    #[test]
    fn while_two_sets_decide_the_weaker_one_counts() {
        let judged = led(&[&[1, 2, 3], &[2, 3, 4, 5, 6]], &[1, 2, 3, 4]).judge();
        assert_eq!((judged.can_append, judged.tolerance), (true, 0));
        let judged = led(&[&[1, 2, 3], &[4, 5, 6]], &[1, 2, 3, 4]).judge();
        assert!(!judged.can_append);
    }

    #[test]
    fn what_is_no_better_says_why() {
        assert_eq!(led(&[&[1, 2, 3]], &[1, 2, 3]).judge().reasons, Vec::<String>::new());
        let mut one_is_full = led(&[&[1, 2, 3]], &[1, 2, 3]);
        one_is_full.full = BTreeSet::from([3]);
        let judged = one_is_full.judge();
        assert_eq!(judged.reasons, ["no room on the disk of replica 3"]);
        assert!(judged.can_append, "a full follower is not a full leader");
        let judged = led(&[&[1, 2], &[2, 3]], &[1, 2]).judge();
        let lacking = "a change of the voters is under way and needs a majority of 2 and 3 too: 3 not reached";
        let last = "if a majority never comes back, what is left can be recovered: quorate recover";
        assert_eq!(judged.reasons, ["replica 2 reaches only itself and 1 (2 of 3)", lacking, last]);
        let judged = led(&[&[1, 2, 3]], &[2]).judge();
        assert_eq!(judged.reasons, ["replica 2 reaches only itself (1 of 3)", last]);
        let judged = led(&[&[1, 2]], &[1, 2]).judge();
        assert_eq!(judged.reasons, ["fewer than 3 replicas vote"]);
    }

    #[test]
    fn names_are_listed_as_people_do() {
        assert_eq!(list(&[1]), "1");
        assert_eq!(list(&[1, 2, 3]), "1, 2 and 3");
    }
}
