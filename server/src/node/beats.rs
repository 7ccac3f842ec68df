//! When somebody who watches the group should look again: every second, and at once when it matters.
//!
//! It matters when somebody else leads, the members are others, a change has come further, a replica falls silent or is
//! heard again, or the verdict is another one. Of most of this only the leader knows, so any other replica asks it, again
//! and again. As long as nobody watches, nothing is looked at and nobody is asked.
//!
//! Not here: what is seen then (`status`).

use std::time::Duration;

use client::api::cluster::ClusterStatus;
use client::types::{EntryId, ReplicaId};
use migrations::latest::changes::StageRow;
use tokio::sync::watch;

use super::Node;

/// Between two beats, if nothing happens.
const BEAT: Duration = Duration::from_secs(1);
/// How often is looked at what nobody tells by itself.
const LOOK: Duration = Duration::from_millis(100);
/// How long a leader may take to answer; until then, what is known here is not looked at.
const ASK_WITHIN: Duration = Duration::from_millis(500);

/// A time to look again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Counts the beats.
    pub number: u64,
    /// Counts those that came because of something.
    pub stirs: u64,
}

/// Beats, for one who watches.
#[derive(Debug)]
pub struct Beats {
    told: watch::Receiver<Beat>,
}

impl Beats {
    /// The present one at first, then waits for the next one; none once the replica stops.
    pub async fn next(&mut self) -> Option<Beat> {
        self.told.changed().await.ok()?;
        Some(*self.told.borrow_and_update())
    }
}

impl Node {
    /// The beats from now on.
    pub fn beats(&self) -> Beats {
        let mut told = self.core.beats.clone();
        told.mark_changed();
        Beats { told }
    }

    fn sight(&self, status: &ClusterStatus) -> Sight {
        let under_way = self.core.probes.membership_changes.under_way();
        Sight {
            members: self.core.membership.borrow().entry,
            change: under_way.map(|(change, row)| (change, row.stage)),
            verdict: (status.verdict.can_append, status.verdict.tolerance),
            silent: silent(status),
            leader: status.leader,
            joiners: status.joiners.len(),
        }
    }
}

/// What is worth a beat when it changes.
#[derive(Debug, PartialEq, Eq)]
struct Sight {
    leader: Option<ReplicaId>,
    members: Option<EntryId>,
    change: Option<(u64, StageRow)>,
    verdict: (bool, u32),
    silent: Vec<ReplicaId>,
    joiners: usize,
}

fn silent(status: &ClusterStatus) -> Vec<ReplicaId> {
    let silent = status.replicas.iter().filter(|replica| !replica.is_reachable);
    silent.map(|replica| replica.id).collect()
}

/// Beats until the replica stops: then nobody is told any more.
pub(super) async fn beat(node: Node, beats: watch::Sender<Beat>) {
    let clock = &node.core.world.clock;
    let mut leadership = node.core.leadership.clone();
    let mut membership = node.core.membership.clone();
    let (mut seen, mut due) = (node.sight(&node.status_here()), clock.after(BEAT));
    loop {
        // One receiver is the node's own, for those who come.
        let is_watched = beats.receiver_count() > 1;
        let look = async {
            clock.sleep(if is_watched { LOOK } else { BEAT }).await;
            if is_watched { node.status_within(ASK_WITHIN).await } else { node.status_here() }
        };
        let status = tokio::select! {
            () = node.stopping() => return,
            // A question to whoever led before is given up.
            Ok(()) = leadership.changed() => node.status_here(),
            Ok(()) = membership.changed() => node.status_here(),
            status = look => status,
        };
        if !is_watched && beats.receiver_count() == 1 {
            continue;
        }
        let now = node.sight(&status);
        let has_stirred = now != seen;
        if has_stirred || clock.now() >= due {
            (seen, due) = (now, clock.after(BEAT));
            beats.send_modify(|beat| {
                beat.number += 1;
                beat.stirs += u64::from(has_stirred);
            });
        }
    }
}
