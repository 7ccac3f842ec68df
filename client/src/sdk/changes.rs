//! Changes of the membership, as [`Client`] begins, shows and cancels them, and [`ChangeWatch`].
//!
//! A change that is under way does not need whoever began it: it goes on by itself. A wish is bound to the
//! epoch of its plan, so a repetition of an attempt whose answer was lost begins no second change: it is
//! refused, and the change that the first attempt began is looked up.
//!
//! Not here: what a wish would mean ([`Client::plan`]).

use std::time::Duration;

use reqwest::Method;
use tokio::time::sleep;

use super::client::Client;
use super::error::{Error, Outcome};
use super::events::Events;
use super::transport::{Call, Effect};
use crate::api::changes::{Change, ChangeList, ChangeRequest, ChangeStage, ChangesQuery};
use crate::api::error::ErrorCode;
use crate::api::{header, media, paths};
use crate::types::{ChangeId, Epoch};

/// Between the end of an answer that told a change and the next question.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Among so many of the newest changes, one whose beginning was not answered is looked for.
const LOOK_BACK: u32 = 10;

impl Client {
    /// Begins a change of the membership by the plan that was made for this epoch. It goes on by itself.
    ///
    /// Refused with `stale_plan` if the membership is another one by now, and a fresh plan; with
    /// `plan_blocked` or `override_missing` if a check forbids it.
    pub async fn begin_change(
        &self,
        request: &ChangeRequest,
        epoch: Epoch,
    ) -> Result<Change, Error> {
        let call = Call::change(Method::POST, paths::CHANGES.to_owned(), Effect::Repeatable);
        let call = call.header(header::IF_MATCH, &format!("\"{epoch}\""))?.json(request);
        match self.send(&call).await {
            Ok(answer) => answer.json(),
            Err(error) if error.outcome() == Outcome::Unknown => {
                self.begun_before(request, epoch).await.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The change that an attempt began whose answer was lost, if it is found.
    async fn begun_before(&self, request: &ChangeRequest, epoch: Epoch) -> Option<Change> {
        let query = ChangesQuery { limit: Some(LOOK_BACK), ..ChangesQuery::default() };
        let list = self.changes(&query).await.ok()?;
        list.changes.into_iter().find(|change| {
            let is_cancelled =
                matches!(change.stage, ChangeStage::Cancelling | ChangeStage::Cancelled);
            let is_ours = change.wish == request.wish && change.overrides == request.overrides;
            is_ours && change.epoch == epoch && !is_cancelled
        })
    }

    /// One change, with what it waits for.
    pub async fn change(&self, id: ChangeId) -> Result<Change, Error> {
        self.send(&Call::read(paths::change(id))).await?.json()
    }

    /// One page of the changes, newest first, as far as the replica that answers has heard of them.
    pub async fn changes(&self, query: &ChangesQuery) -> Result<ChangeList, Error> {
        let target = format!("{}?{}", paths::CHANGES, query.to_query());
        self.send(&Call::read(target)).await?.json()
    }

    /// Gives a change up that is not decided yet. Those who came leave again, which takes a moment.
    ///
    /// Refused with `change_is_joint` where there is no way back, and with `change_ended` after its end.
    pub async fn cancel_change(&self, id: ChangeId) -> Result<Change, Error> {
        let call = Call::change(Method::DELETE, paths::change(id), Effect::Repeatable);
        match self.send(&call).await {
            Ok(answer) => answer.json(),
            // The attempt whose answer was lost may have cancelled it.
            Err(error)
                if error.outcome() == Outcome::Unknown
                    && error.code() == Some(ErrorCode::ChangeEnded) =>
            {
                let change = self.change(id).await.ok();
                change.filter(|change| change.stage == ChangeStage::Cancelled).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The change that [`cancel_change`](Self::cancel_change) would give up.
    pub async fn would_cancel_change(&self, id: ChangeId) -> Result<Change, Error> {
        let target = format!("{}?dry_run=true", paths::change(id));
        self.send(&Call::change(Method::DELETE, target, Effect::None)).await?.json()
    }

    /// Watches a change until it is over.
    pub fn watch_change(&self, id: ChangeId) -> ChangeWatch {
        ChangeWatch { client: self.clone(), id, events: None, last: None }
    }
}

/// A change that is watched, at one replica after the other. Whoever stops asking stops watching; the change goes on.
#[derive(Debug)]
pub struct ChangeWatch {
    client: Client,
    id: ChangeId,
    events: Option<Events>,
    last: Option<Change>,
}

impl ChangeWatch {
    /// The change as soon as it is another than was told last, the first time as it is now. Nothing after
    /// its end.
    ///
    /// Safe to cancel: what was not told yet is told by the next call.
    pub async fn next(&mut self) -> Result<Option<Change>, Error> {
        loop {
            if self.last.as_ref().is_some_and(|last| last.stage.is_over()) {
                return Ok(None);
            }
            let events = if let Some(events) = &mut self.events {
                events
            } else {
                let call = Call::read(paths::change(self.id)).header("accept", media::EVENTS)?;
                self.events.insert(Events::new(self.client.open(&call).await?))
            };
            match events.next().await {
                Ok(Some(event)) if event.name == Change::EVENT => {
                    let change = serde_json::from_str(&event.data)
                        .map_err(|error| Error::protocol(error.to_string(), Outcome::NotDone))?;
                    if self.is_news(&change) {
                        self.last = Some(change.clone());
                        return Ok(Some(change));
                    }
                }
                Ok(Some(_)) => {}
                // It was told by a replica that is gone, or leads no more: others tell how it goes on.
                Ok(None) | Err(_) => {
                    self.events = None;
                    sleep(ASK_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Whether it was not told before; nothing is that is further back.
    fn is_news(&self, change: &Change) -> bool {
        self.last.as_ref().is_none_or(|last| change != last && change.stage >= last.stage)
    }
}
