//! A replica whose state is not the certified one cuts itself off.
//!
//! It answers no read, attests nothing, takes no lead and stands for no election; its journal is whole
//! and goes on acknowledging and voting, so that a fault of one machine does not cost the quorum. It
//! says so in status, log and metrics, and is back as soon as it matches a certified checkpoint.
//!
//! Not here: finding the difference (`checkpoint`, `audit`).

use std::time::Duration;

use tracing::{debug, error, info};

use super::Node;
use super::error::NotFresh;

/// How often a replica looks at itself.
const INTERVAL: Duration = Duration::from_millis(100);
/// After this time a caller may ask again, better another replica.
const RETRY: Duration = Duration::from_secs(1);

/// Cuts this replica off while its state is known to be wrong.
pub(super) async fn watch(node: Node) {
    let core = &*node.core;
    let mut was_diverged = false;
    loop {
        if let Some(compared) = core.state.compared() {
            core.metrics.checkpoint_certified(compared.checkpoint.get());
        }
        let is_diverged = core.state.is_diverged();
        if is_diverged != was_diverged {
            was_diverged = is_diverged;
            core.metrics.state_diverged(is_diverged);
            core.raft.set_electable(!is_diverged);
            match core.state.compared() {
                Some(compared) if is_diverged => error!(
                    checkpoint = %compared.checkpoint,
                    certified = %compared.certified,
                    "state differs from the certified one, replica quarantined"
                ),
                _ => info!("state matches the certified one, replica back from quarantine"),
            }
        }
        if is_diverged
            && core.leadership.borrow().here
            && let Err(reason) = node.give_up_leadership().await
        {
            debug!(%reason, "leadership not given up yet");
        }
        core.world.clock.sleep(INTERVAL).await;
    }
}

impl Node {
    /// Refuses what only a state that is right can answer.
    pub(super) fn check_state(&self) -> Result<(), NotFresh> {
        if self.core.state.is_diverged() {
            return Err(NotFresh::Quarantined { retry_after: RETRY });
        }
        Ok(())
    }
}
