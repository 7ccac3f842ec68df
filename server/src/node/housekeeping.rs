//! What a node looks after by itself: a leader that gets nowhere or has no room, producers long gone.
//!
//! Proposals are made only while this replica leads, and only if there was something to look at
//! since the last one: an idle group writes nothing.
//!
//! Not here: the disk (`disk`), admitting replicas (`admission`), checkpoints, the audit, and what logs
//! let go of (`retention`), which have files of their own.

use std::sync::Arc;
use std::time::Duration;

use client::types::EntryIndex;
use tracing::{debug, warn};

use super::audit::audit;
use super::checkpoint::look_after_checkpoints;
use super::purge::purge;
use super::{
    Core, Node, ReplaceDead, disk, expiry, plan, quarantine, replacement, retention, scrub,
};
use crate::machine::ExpireProducers;

/// How often a leader looks whether its proposals get anywhere.
const STALL_INTERVAL: Duration = Duration::from_millis(250);
/// How often a leader asks the others what only they know.
const FACTS_INTERVAL: Duration = Duration::from_secs(2);

impl Node {
    /// Starts the tasks that look after this replica.
    pub(super) fn start_housekeeping(&self) {
        let tasks = &self.core.tasks;
        tasks.spawn("checkpoints", look_after_checkpoints(self.clone()));
        tasks.spawn("audit", audit(self.clone()));
        tasks.spawn("scrub", scrub::scrub(self.clone()));
        tasks.spawn("repair", scrub::repair_what_is_found(self.clone()));
        tasks.spawn("purging", purge(self.clone()));
        tasks.spawn("quarantine", quarantine::watch(self.clone()));
        tasks.spawn("renewal", quarantine::renew(self.clone()));
        tasks.spawn("disk watch", disk::watch(Arc::clone(&self.core)));
        tasks.spawn("stall watch", watch_stalls(self.clone()));
        tasks.spawn("facts of others", ask_for_facts(self.clone()));
        tasks.spawn("leaders seen", plan::watch_leaders(Arc::clone(&self.core)));
        tasks.spawn("expiry", expire(Arc::clone(&self.core)));
        tasks.spawn("retention", retention::enforce(self.clone()));
        tasks.spawn("log expiry", expiry::enforce(self.clone()));
        if self.core.options.replace_dead != ReplaceDead::Off {
            tasks.spawn("dead voters", replacement::look_after_the_dead(self.clone()));
        }
    }
}

/// A leader that commits nothing, although somebody else could, steps aside; so does one whose disk limps, as long as
/// another one's is better.
async fn watch_stalls(node: Node) {
    let core = &*node.core;
    let clock = &core.world.clock;
    let mut leadership = core.leadership.clone();
    let (mut applied, mut moved) = (None, clock.now());
    loop {
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        // The batcher may be late to hear what became of its proposals: it waits for its turn among the callers.
        let applied_now = *core.applied.borrow();
        if applied_now != applied {
            (applied, moved) = (applied_now, clock.now());
        }
        let still = core.pulse.still_for().min(clock.since(moved));
        if still >= core.stall_max() {
            match node.give_up_leadership().await {
                Ok(leader) => warn!(?still, %leader, "nothing was committed, leadership given up"),
                Err(reason) => debug!(?still, %reason, "nothing is committed"),
            }
        } else if core.is_limping() {
            // What was told two seconds ago does not say whose disk is better now.
            node.refresh_facts().await;
            let unfit = &core.slow_replicas() | &core.full_replicas();
            match node.hand_over_but_to(&unfit).await {
                Ok(leader) => warn!(%leader, "disk slow, leadership handed over"),
                Err(reason) => debug!(%reason, "disk slow, nobody to lead instead"),
            }
        }
        clock.sleep(STALL_INTERVAL).await;
    }
}

async fn ask_for_facts(node: Node) {
    let mut leadership = node.core.leadership.clone();
    loop {
        if !leadership.borrow_and_update().here {
            node.forget_facts();
        }
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        node.refresh_facts().await;
        if node.core.is_alone_full() {
            match node.hand_over_but_to(&node.core.full_replicas()).await {
                Ok(leader) => warn!(%leader, "disk full, leadership handed over"),
                Err(reason) => debug!(%reason, "disk full, nobody to lead instead"),
            }
        }
        let (least, min) = (node.core.least_room(), node.core.options.disk_free_min);
        let pause = disk::ask_again_after(least, min, FACTS_INTERVAL);
        node.core.world.clock.sleep(pause).await;
    }
}

/// Forgets producers that appended nothing for long, while a majority agrees on what time it is.
async fn expire(core: Arc<Core>) {
    let mut leadership = core.leadership.clone();
    let mut looked_at: Option<EntryIndex> = None;
    loop {
        core.world.clock.sleep(core.options.housekeeping_interval).await;
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        if core.state.worked() <= looked_at || !core.clocks.is_agreed(&core.world.clock) {
            continue;
        }
        // The same whoever leads; before the group is founded there is nobody to forget.
        let Some(founding) = (core.probes.founding)() else { continue };
        let idle = founding.limits.producer_idle_max;
        let command = ExpireProducers { stamp: core.proposer.stamp(), idle };
        match core.proposer.propose(command, core.options.command_deadline).await {
            Ok(expired) if expired.producer_count > 0 => {
                debug!(producers = expired.producer_count, "producers forgotten");
            }
            Ok(_) => {}
            Err(reason) => debug!(%reason, "producers not looked at"),
        }
        looked_at = *core.applied.borrow();
    }
}
