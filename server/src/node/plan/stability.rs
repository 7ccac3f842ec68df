//! How often leadership moved lately.
//!
//! Every replica watches who leads, so that one that has just taken over knows whom it follows.
//!
//! Not here: elections (`raft`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::types::{ReplicaId, Term};

use super::super::Core;
use crate::world::Instant;

/// So many are remembered; more within a minute are many enough.
const REMEMBERED_MAX: usize = 16;

/// Who led, and since when.
#[derive(Debug, Default)]
pub(in crate::node) struct LeadersSeen {
    seen: Mutex<VecDeque<(ReplicaId, Term, Instant)>>,
}

impl LeadersSeen {
    fn note(&self, leader: ReplicaId, term: Term, now: Instant) {
        // A panic while it was held left whole entries behind.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.back().is_some_and(|(last, of, _)| (*last, *of) == (leader, term)) {
            return;
        }
        if seen.len() == REMEMBERED_MAX {
            seen.pop_front();
        }
        seen.push_back((leader, term, now));
    }

    /// How many led at some time within this.
    pub(super) fn count(&self, within: Duration, now: Instant) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |since: &Instant| now.saturating_duration_since(*since) < within;
        let new = seen.iter().filter(|(.., since)| is_new(since)).count();
        // Whoever led before them still did when that time began.
        new + usize::from(new < seen.len())
    }
}

/// Takes note of every leader.
pub(in crate::node) async fn watch_leaders(core: Arc<Core>) {
    let mut leadership = core.leadership.clone();
    loop {
        let (leader, term) = {
            let now = leadership.borrow_and_update();
            (now.leader, now.term)
        };
        if let Some(leader) = leader {
            core.leaders_seen.note(leader, term, core.world.clock.now());
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_of_the_last_minute_are_counted_with_the_one_before_them() {
        let (seen, start) = (LeadersSeen::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let minute = Duration::from_mins(1);
        assert_eq!(seen.count(minute, at(0)), 0);
        let note = |id, term, secs| {
            seen.note(ReplicaId::new(id).unwrap(), Term::new(term), at(secs));
        };
        note(1, 1, 0);
        note(1, 1, 5);
        assert_eq!(seen.count(minute, at(10)), 1, "it is the same one");
        note(2, 2, 100);
        assert_eq!(seen.count(minute, at(101)), 2);
        assert_eq!(seen.count(minute, at(161)), 1);
        for term in 3..30 {
            note(1 + term % 2, term, 170);
        }
        assert_eq!(seen.count(minute, at(171)), REMEMBERED_MAX);
    }
}
