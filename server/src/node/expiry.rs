//! Logs that are deleted by themselves: unused for their time to live, or at a time that was set.
//!
//! The leader looks at an interval and proposes those that seem due; the machine deletes a log only if its time has come
//! by the machine's own clock, so a use or a change of settings that was ordered before keeps it. Until then a log whose
//! time has come is there like any other: it goes within two intervals. As with records that are too old, nothing goes
//! unless a majority agrees with this clock.
//!
//! An append begins the time to live again by itself, and so does ending the log. A reader has to say so ([`Node::renew_log`]), which is replicated
//! only if a part of the time has passed (`RENEWED_PART`): a log goes by so much earlier at most than its last reader
//! would have it.
//!
//! Not here: records that are too old (`retention`), and what deleting a log means (`machine`).

use std::time::Duration;

use migrations::latest::commands::EXPIRING_LOGS_MAX;
use tracing::debug;

use super::Node;
use super::append::LogTarget;
use super::error::ChangeLogError;
use super::logs::target;
use crate::machine::{ExpireLogs, LogView, RenewLog};

/// A time to live is begun again by a reader once this part of it has passed.
const RENEWED_PART: u32 = 16;

/// Has logs go whose time has come, while this replica leads.
pub(super) async fn enforce(node: Node) {
    let mut leadership = node.core.leadership.clone();
    loop {
        node.core.world.clock.sleep(node.core.options.expiry_interval).await;
        if leadership.wait_for(|leadership| leadership.here).await.is_err() {
            return;
        }
        node.expire_logs().await;
    }
}

impl Node {
    async fn expire_logs(&self) {
        let Some(now) = self.agreed_time() else { return };
        let logs = self.core.state.due(now, EXPIRING_LOGS_MAX);
        if logs.is_empty() {
            return;
        }
        let expire = ExpireLogs { stamp: self.stamp(), logs };
        match self.core.proposer.propose_once(expire, self.core.options.command_deadline).await {
            Ok(0) => {}
            Ok(logs) => debug!(logs, "deleted, as their time has come"),
            Err(reason) => debug!(%reason, "logs are not deleted yet"),
        }
    }

    /// Says that somebody reads a log, so that its time to live begins again. Costs nothing if the log has none, or if
    /// little of it has passed; else only the leader can do it.
    pub async fn renew_log(&self, log: &LogTarget) -> Result<(), ChangeLogError> {
        let view = self.core.state.view(&log.name);
        // Of a log that is not there any more, the read tells.
        let view = view.filter(|view| log.id.is_none_or(|id| id == view.id));
        let Some(view) = view.filter(|view| self.is_renewal_due(view)) else { return Ok(()) };
        let log = target(&view);
        self.change(RenewLog { stamp: self.stamp(), log }).await??;
        Ok(())
    }

    fn is_renewal_due(&self, view: &LogView) -> bool {
        let Some(ttl) = view.settings.ttl else { return false };
        let unused = self.stamp().as_millis().saturating_sub(view.used().as_millis());
        Duration::from_millis(unused) >= ttl / RENEWED_PART
    }
}
