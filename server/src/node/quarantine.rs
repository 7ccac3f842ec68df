//! A replica whose state is not the certified one cuts itself off, takes the certified one anew, and is back once that
//! matches.
//!
//! It answers no read, attests nothing, takes no lead and stands for no election; its journal is whole and goes on
//! acknowledging and voting, so that a fault of one machine does not cost the quorum. What it was is thrown away, and
//! the state of the checkpoint that it differed at is taken from the others; the next checkpoint has to be the same here.
//! If it is not, something is wrong with this replica that no state can cure: it stays cut off, and is to be replaced.
//! All of it shows in status, log and metrics, and outlives a restart.
//!
//! Not here: finding the difference (`checkpoint`, `audit`), and how the state gets here (`peer::transfer`).

use std::time::Duration;

use client::api::cluster::{QuarantineInfo, QuarantineStage};
use tracing::{debug, error, info, warn};

use super::Node;
use super::error::NotFresh;
use crate::storage::state::{Quarantine, Stage};

/// How often a replica looks at itself.
const INTERVAL: Duration = Duration::from_millis(100);
/// After this time a caller may ask again, better another replica.
const RETRY: Duration = Duration::from_secs(1);
/// After an attempt to take the state anew that came to nothing.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Cuts this replica off while its state is known to be wrong.
pub(super) async fn watch(node: Node) {
    let core = &*node.core;
    let mut told: Option<Quarantine> = None;
    loop {
        if let Some(compared) = core.state.compared() {
            core.metrics.checkpoint_certified(compared.checkpoint.get());
        }
        let known = core.state.quarantine();
        if known != told {
            tell(known, told);
            told = known;
            core.metrics.state_diverged(known.is_some());
            core.raft.set_electable(known.is_none());
            let state = core.state.clone();
            if let Ok(Err(reason)) = core.tasks.blocking(move || state.keep_quarantine()).await {
                error!(%reason, "what is known of a state that differs is not kept");
            }
        }
        if known.is_some()
            && core.leadership.borrow().here
            && let Err(reason) = node.give_up_leadership().await
        {
            debug!(%reason, "leadership not given up yet");
        }
        core.world.clock.sleep(INTERVAL).await;
    }
}

/// Takes the certified state in place of one that differs.
pub(super) async fn renew(node: Node) {
    let core = &*node.core;
    loop {
        core.world.clock.sleep(INTERVAL).await;
        let Some(known) = core.state.quarantine() else { continue };
        // Whoever leads still owes others the outcome of what is agreed on.
        if known.stage != Stage::Differs || core.leadership.borrow().here {
            continue;
        }
        match core.renewer.renew(known.checkpoint, known.certified).await {
            Ok(()) => {}
            Err(reason) => {
                warn!(checkpoint = %known.checkpoint, %reason, "state not taken anew yet");
                core.world.clock.sleep(TRY_AGAIN_AFTER).await;
            }
        }
    }
}

fn tell(known: Option<Quarantine>, told: Option<Quarantine>) {
    let Some(known) = known else {
        info!("state matches the certified one, replica back from quarantine");
        return;
    };
    let Quarantine { checkpoint, certified, stage } = known;
    match stage {
        Stage::Differs if told.is_some_and(|told| told.stage == stage) => {}
        Stage::Differs => error!(
            %checkpoint,
            %certified,
            "state differs from the certified one, replica quarantined"
        ),
        Stage::Renewed(entry) => {
            info!(%entry, "state taken anew, replica quarantined until the next checkpoint matches");
        }
        Stage::Hopeless(entry) => error!(
            %checkpoint,
            %certified,
            taken_anew = %entry,
            "state differs again after it was taken anew: replica to be replaced under a new id"
        ),
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

/// What a status says of it.
pub(super) fn shown(quarantine: &Quarantine, is_renewing: bool) -> QuarantineInfo {
    let (stage, renewed) = match quarantine.stage {
        Stage::Differs if is_renewing => (QuarantineStage::Renewing, None),
        Stage::Differs => (QuarantineStage::Differs, None),
        Stage::Renewed(entry) => (QuarantineStage::Renewed, Some(entry)),
        Stage::Hopeless(entry) => (QuarantineStage::ToBeReplaced, Some(entry)),
    };
    QuarantineInfo { stage, checkpoint: quarantine.checkpoint, renewed }
}
