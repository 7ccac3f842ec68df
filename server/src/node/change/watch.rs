//! A change that somebody watches: as it is, and then whenever it is another.
//!
//! What a change waits for is known to whoever carries it out, so only the leader tells; elsewhere, and once this replica
//! leads no more, the watch is over, and whoever asks again is told from then on. Nothing is kept for anybody: what was
//! between two looks is not told. Progress of the same step is told less often than all else.
//!
//! Not here: how events travel (`http`).

use std::time::Duration;

use client::api::changes::Change;
use client::api::reading::Consistency;
use client::types::ChangeId;

use crate::node::Node;
use crate::node::error::ReadError;
use crate::node::follow::FollowerPlace;
use crate::world::Instant;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The least time between two words on the same step.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// Without news it is said so often that the watch goes on: more often than a caller waits for a piece of an answer.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// A change being watched. Dropping it ends the watch.
pub struct ChangeWatch {
    node: Node,
    change: ChangeId,
    last: Option<(Change, Instant)>,
    _place: FollowerPlace,
}

/// What comes next while a change is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeWatchEvent {
    /// The change is this by now.
    Changed(Box<Change>),
    /// Nothing new, and the watch goes on.
    Alive,
}

impl Node {
    /// Watches a change as of now; none if there is no such change.
    pub async fn watch_change(&self, change: ChangeId) -> Result<Option<ChangeWatch>, ReadError> {
        let place = self.take_follower_place()?;
        // A leader that was just elected may not have applied what is known of it.
        self.be_fresh(Consistency::Linearizable).await?;
        let watched = self.membership_change(change).map(|_| ChangeWatch {
            node: self.clone(),
            change,
            last: None,
            _place: place,
        });
        Ok(watched)
    }
}

impl ChangeWatch {
    /// Waits for what comes next: nothing after the end of the change, or if it is told elsewhere from now on.
    pub async fn next(&mut self) -> Option<ChangeWatchEvent> {
        if self.last.as_ref().is_some_and(|(change, _)| change.stage.is_over()) {
            return None;
        }
        let core = &*self.node.core;
        let clock = &core.world.clock;
        let alive = clock.after(ALIVE_EVERY);
        loop {
            if !core.leadership.borrow().here || self.node.is_stopping() {
                return None;
            }
            let (now, change) = (clock.now(), self.node.membership_change(self.change)?);
            let told =
                self.last.as_ref().map(|(last, at)| (last, now.saturating_duration_since(*at)));
            if is_due(&change, told) {
                self.last = Some((change.clone(), now));
                return Some(ChangeWatchEvent::Changed(Box::new(change)));
            }
            if now >= alive {
                return Some(ChangeWatchEvent::Alive);
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether it is to be told, after what was told last and how long ago.
fn is_due(change: &Change, told: Option<(&Change, Duration)>) -> bool {
    let Some((last, since)) = told else { return true };
    change != last
        && (since >= PROGRESS_EVERY || without_progress(change) != without_progress(last))
}

/// The change, but for what it says of the step that it is at.
fn without_progress(change: &Change) -> Change {
    let mut bare = Change { waits_for: None, ..change.clone() };
    bare.steps.iter_mut().for_each(|step| step.detail = None);
    bare
}

#[cfg(test)]
mod tests {
    use client::api::changes::{ChangeStage, ChangeStep, StepState};
    use client::api::plans::Wish;
    use client::types::{Epoch, Timestamp};

    use super::*;

    fn change(stage: ChangeStage, waits_for: &str) -> Change {
        let waits_for = Some(waits_for.to_owned());
        let step = ChangeStep {
            name: "catching up".to_owned(),
            state: StepState::Active,
            detail: waits_for.clone(),
        };
        Change {
            id: ChangeId::new(18),
            wish: Wish::Remove { replicas: Vec::new() },
            stage,
            epoch: Epoch::new(23),
            began: Timestamp::new(0),
            ended: None,
            by: String::new(),
            from: None,
            overrides: Vec::new(),
            joins: Vec::new(),
            leaves: Vec::new(),
            voters: Vec::new(),
            waits_for,
            steps: vec![step],
            outcome: None,
            can_cancel: true,
        }
    }

    #[test]
    fn a_stage_is_told_at_once_and_progress_five_times_a_second() {
        let (tenth, fifth) = (Duration::from_millis(100), Duration::from_millis(200));
        let (ten, eleven) =
            (change(ChangeStage::Joining, "10 %"), change(ChangeStage::Joining, "11 %"));
        assert!(is_due(&ten, None));
        assert!(!is_due(&ten, Some((&ten, fifth))));
        assert!(!is_due(&eleven, Some((&ten, tenth))));
        assert!(is_due(&eleven, Some((&ten, fifth))));
        assert!(is_due(&change(ChangeStage::Joint, "10 %"), Some((&ten, Duration::ZERO))));
    }
}
