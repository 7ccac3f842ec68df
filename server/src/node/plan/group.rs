//! The checks that look at the group as a whole: its voters before and after (P1, P2, P3, P5), who leads (P4, P13), and
//! other changes (P12).
//!
//! Not here: those about who comes (`newcomers`) and who leaves (`leavers`).

use client::api::plans::{Check, CheckId, MemberName};
use client::types::ReplicaId;

use super::grounds::UnderWay;
use super::limits::LEADERS_SEEN_WITHIN;
use super::{Scene, block, block_unless, note, pass, warn, words};

impl Scene<'_> {
    pub(super) fn of_the_group(&self) -> Vec<Check> {
        let mut checks = vec![self.majority_now(), self.no_other_change(), self.stability()];
        if self.meanwhile.is_some() {
            checks.extend([self.tolerance_after(), self.majority_after(), self.parity()]);
        }
        checks.extend(self.leadership());
        checks
    }

    /// P1.
    fn tolerance_after(&self) -> Check {
        let (before, after) = (self.now.tolerates, self.after.tolerates);
        let voters = words::votes(self.after.voters.len());
        if before >= 1 && after < 1 {
            let losers = self.target.losers(self.grounds);
            let typed: Vec<_> = losers.iter().map(ToString::to_string).collect();
            return block_unless(
                typed.join(" "),
                CheckId::P1,
                format!(
                    "Afterwards {voters} and none may fail, where {before} might before: appends stop at the first \
                     fault."
                ),
                "Add a replica first, or replace instead of removing.",
            );
        }
        let line = format!("Afterwards {voters} and {} may fail.", words::how_many(after));
        if after < 1 { note(CheckId::P1, line) } else { pass(CheckId::P1, line) }
    }

    /// P2.
    fn majority_now(&self) -> Check {
        let voters = &self.now.voters;
        let missing: Vec<_> = voters.iter().filter(|member| !self.counts_now(member)).collect();
        let here = voters.len() - missing.len();
        let line = format!("{here} of {} voters are here and caught up", voters.len());
        match self.absence(&missing) {
            None => {
                pass(CheckId::P2, format!("All {} voters are here and caught up.", voters.len()))
            }
            Some(absence) if self.now.has_majority => {
                pass(CheckId::P2, format!("{line}, which is a majority: {absence}."))
            }
            Some(absence) => block(
                CheckId::P2,
                format!("Only {line}, which is no majority: {absence}."),
                format!("Bring {} back first.", names(&missing)),
            ),
        }
    }

    /// P3.
    fn majority_after(&self) -> Check {
        let voters = &self.after.voters;
        let missing: Vec<_> =
            voters.iter().filter(|member| !self.grounds.will_count(member)).collect();
        let ready = voters.len() - missing.len();
        let line = format!("{ready} of {} voters are ready", voters.len());
        match self.absence(&missing) {
            None => pass(CheckId::P3, format!("Afterwards all {} voters are ready.", voters.len())),
            Some(absence) if self.after.has_majority => {
                pass(CheckId::P3, format!("Afterwards {line}, which is a majority: {absence}."))
            }
            Some(absence) => block(
                CheckId::P3,
                format!(
                    "Afterwards only {line}, which is no majority, so the change would stop the group at once: \
                     {absence}."
                ),
                format!("Bring {0} back, or remove or replace {0} instead.", names(&missing)),
            ),
        }
    }

    /// P4.
    fn leadership(&self) -> Option<Check> {
        if let Some(id) = self.target.leads {
            return Some(self.fit_to_lead(id));
        }
        if !self.leader_goes() {
            let is_asked = !self.target.leaves.is_empty();
            let line = format!("Replica {} leads and stays.", self.grounds.leader);
            return is_asked.then(|| pass(CheckId::P4, line));
        }
        let leader = self.grounds.leader;
        Some(note(
            CheckId::P4,
            match self.successor {
                Some(next) => format!(
                    "Replica {leader} leads and will have no vote: leadership goes to replica {next} first."
                ),
                None => format!(
                    "Replica {leader} leads and will have no vote: it leads until the new voters decide alone, and \
                     they elect one of them."
                ),
            },
        ))
    }

    fn fit_to_lead(&self, id: ReplicaId) -> Check {
        let name = MemberName::Replica(id);
        if let Some(absence) = Some(&name).filter(|name| !self.counts_now(name)) {
            let absence = self.absence(&[absence]).unwrap_or_default();
            let line = format!("Replica {id} cannot lead now: {absence}.");
            return block(CheckId::P4, line, "Bring it back first, or name another one.");
        }
        let is_fit = self.grounds.replicas.get(&id).is_some_and(|standing| standing.is_fit_to_lead);
        if !is_fit {
            let line = format!(
                "Replica {id} is not fit to lead: its disk is full or slow, or it is quarantined."
            );
            return block(CheckId::P4, line, "Name another one.");
        }
        let leader = self.grounds.leader;
        note(CheckId::P4, format!("Leadership goes from replica {leader} to replica {id}."))
    }

    /// P5.
    fn parity(&self) -> Check {
        let (before, after) = (self.now.voters.len(), self.after.voters.len());
        if before == after {
            return pass(CheckId::P5, format!("The number of voters stays {after}."));
        }
        if after.is_multiple_of(2) {
            return warn(
                CheckId::P5,
                format!("{after} voters tolerate no more failures than {}.", after - 1),
                "Wish for an odd number: one more, one less, or replace.",
            );
        }
        pass(CheckId::P5, format!("Afterwards the number of voters is odd: {after}."))
    }

    /// P12.
    fn no_other_change(&self) -> Check {
        match self.grounds.under_way {
            None => pass(CheckId::P12, "No other change is under way."),
            Some(UnderWay { change: Some(id) }) => block(
                CheckId::P12,
                format!("Change {id} is under way, and one is made at a time."),
                format!("Wait until change {id} is over, or cancel it."),
            ),
            Some(UnderWay { change: None }) => block(
                CheckId::P12,
                "The membership is just being changed.",
                "Plan again in a moment.",
            ),
        }
    }

    /// P13.
    fn stability(&self) -> Check {
        let count = self.grounds.leaders_lately;
        let within = words::time(LEADERS_SEEN_WITHIN);
        if count > 1 {
            let line =
                format!("There were {count} leaders within {within}: leadership is not stable.");
            return warn(
                CheckId::P13,
                line,
                "Find out why, or wait until one has led for a minute.",
            );
        }
        pass(CheckId::P13, format!("One leader within {within}."))
    }

    fn counts_now(&self, member: &MemberName) -> bool {
        match member {
            MemberName::Replica(id) => self.grounds.is_caught_up(*id),
            MemberName::Joiner(_) => false,
        }
    }

    /// Why these do not count, if there are any.
    fn absence(&self, missing: &[&MemberName]) -> Option<String> {
        let reasons = missing.iter().filter_map(|member| match member {
            MemberName::Replica(id) => Some(self.absence_of(*id)),
            MemberName::Joiner(_) => None,
        });
        Some(words::list(reasons)).filter(|reasons| !reasons.is_empty())
    }

    fn absence_of(&self, id: ReplicaId) -> String {
        let Some(standing) = self.grounds.replicas.get(&id) else {
            return format!("replica {id} is not known");
        };
        match standing.silence {
            None => format!("replica {id} has never answered this leader"),
            Some(silence) if !self.grounds.is_here(id) => {
                format!("replica {id} has not answered for {}", words::time(silence))
            }
            Some(_) => format!(
                "replica {id} is {} entries and {} behind",
                standing.lag_entries,
                words::bytes(standing.lag_bytes)
            ),
        }
    }
}

fn names(members: &[&MemberName]) -> String {
    words::list(members.iter().map(|member| words::member(member)))
}
