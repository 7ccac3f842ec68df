//! The checks that look at who leaves and at who is left: spread (P15) and silence (P16).
//!
//! Not here: that leadership is handed over (`group`).

use std::collections::BTreeMap;

use client::api::plans::{Check, CheckId, MemberName};
use client::types::ReplicaId;

use super::limits::SILENCE_MAX;
use super::{Scene, pass, warn, words};

impl Scene<'_> {
    pub(super) fn of_leavers(&self) -> Vec<Check> {
        let leaves = &self.target.leaves;
        let Some(_) = leaves.first() else { return Vec::new() };
        let dead: Vec<_> = leaves.iter().copied().filter(|id| self.is_dead(*id)).collect();
        let mut checks: Vec<_> = dead.iter().map(|id| self.silent(*id)).collect();
        if dead.is_empty() {
            let verb = if leaves.len() == 1 { "answers" } else { "answer" };
            let line = format!("{} {verb} and will be told.", words::replicas(leaves));
            checks.push(pass(CheckId::P16, words::sentence(&line)));
        }
        checks.push(self.spread());
        checks
    }

    fn is_dead(&self, id: ReplicaId) -> bool {
        let silence = self.grounds.replicas.get(&id).and_then(|standing| standing.silence);
        silence.is_none_or(|silence| silence >= SILENCE_MAX)
    }

    /// P16.
    fn silent(&self, id: ReplicaId) -> Check {
        let silence = self.grounds.replicas.get(&id).and_then(|standing| standing.silence);
        let since = match silence {
            Some(silence) => format!("has not answered for {}", words::time(silence)),
            None => "has never answered this leader".to_owned(),
        };
        warn(
            CheckId::P16,
            format!(
                "Replica {id} {since}: it cannot be told that it leaves, and appends it took that no majority has are \
                 given up."
            ),
            "See that its process does not come back; if it does, the others refuse it.",
        )
    }

    /// P15.
    fn spread(&self) -> Check {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for member in &self.target.voters {
            let (host, zone) = self.place(member);
            *places.entry(format!("on host {host}")).or_default() += 1;
            if !zone.is_empty() {
                *places.entry(format!("in zone {zone}")).or_default() += 1;
            }
        }
        let voters = self.target.voters.len();
        let stops = |count: usize| voters - count < voters / 2 + 1;
        let gravest = places.iter().filter(|(_, count)| voters > 1 && stops(**count));
        match gravest.max_by_key(|(_, count)| **count) {
            Some((place, count)) => warn(
                CheckId::P15,
                format!(
                    "Afterwards {count} of {voters} voters stand {place}: its loss stops appends."
                ),
                "Add a replica that stands elsewhere.",
            ),
            None => pass(CheckId::P15, "Afterwards no single host or zone holds too many voters."),
        }
    }

    /// Host and zone of a member.
    pub(super) fn place(&self, member: &MemberName) -> (String, String) {
        match member {
            MemberName::Replica(id) => {
                let standing = self.grounds.replicas.get(id);
                standing.map(|it| (it.peer_addr.host().to_owned(), it.zone.clone()))
            }
            MemberName::Joiner(addr) => {
                let joiner = self.grounds.joiner(addr);
                joiner.map(|it| (it.peer_addr.host().to_owned(), it.zone.to_string()))
            }
        }
        .unwrap_or_default()
    }
}
