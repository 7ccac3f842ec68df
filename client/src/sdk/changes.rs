//! Changes of the membership, as [`Admin`] plans, begins, shows and cancels them, and [`ChangeWatch`].
//!
//! A change that is under way does not need whoever began it: it goes on by itself. A wish is bound to the
//! epoch of its plan, so a repetition of an attempt whose answer was lost begins no second change: it is
//! refused, and the change that the first attempt began is looked up.
//!
//! Not here: what a plan checks (the service does).

use std::time::Duration;

use futures_util::stream::{self, Stream};
use reqwest::Method;
use tokio::time::sleep;

use super::admin::Admin;
use super::error::{Error, Outcome};
use super::events::Events;
use super::kinds::ChangeError;
#[cfg(doc)]
use super::kinds::ChangeErrorKind;
use super::transport::{Call, Effect};
use crate::api::changes::{Change, ChangeList, ChangeRequest, ChangeStage, ChangesQuery, Override};
use crate::api::cluster::{Joiner, JoinerList};
use crate::api::error::ErrorCode;
use crate::api::plans::{Plan, Wish};
use crate::api::{header, media, paths};
use crate::types::{ChangeId, Epoch};

/// Between the end of an answer that told a change and the next question.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Among so many of the newest changes, one whose beginning was not answered is looked for.
const LOOK_BACK: u32 = 10;

impl Admin {
    /// Processes that wait to join.
    pub async fn joiners(&self) -> Result<Vec<Joiner>, ChangeError> {
        let answer = self.send(&Call::read("joiners", paths::JOINERS)).await?;
        Ok(answer.json::<JoinerList>()?.joiners)
    }

    /// What a change of the membership would mean, and whether it is safe. Changes nothing.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::api::plans::Wish;
    ///
    /// let waiting = admin.joiners().await?.into_iter().map(|joiner| joiner.addr).collect();
    /// let plan = admin.plan(&Wish::Add { joiners: waiting, as_learner: false }).await?;
    /// for check in &plan.checks {
    ///     println!("{} {:?} {}", check.id, check.level, check.line);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan(&self, wish: &Wish) -> Result<Plan, ChangeError> {
        let call = Call::change("plan", Method::POST, paths::PLANS, Effect::Repeatable);
        Ok(self.send(&call.json(wish)).await?.json()?)
    }

    /// Begins the change of a plan, with what overrides the checks of it that block. It goes on by itself.
    ///
    /// Nothing begins that was not planned: it is refused as [`StalePlan`](ChangeErrorKind::StalePlan) if the
    /// membership is another one by now, and as [`Blocked`](ChangeErrorKind::Blocked) or
    /// [`OverrideMissing`](ChangeErrorKind::OverrideMissing) if a check forbids it. Each time
    /// [`fresh_plan`](ChangeError::fresh_plan) is the plan as it is now.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::ChangeErrorKind;
    /// use quorate_client::api::changes::Override;
    /// use quorate_client::api::plans::Wish;
    /// use quorate_client::types::{Reason, Typed};
    ///
    /// let plan = admin.plan(&Wish::Remove { replicas: vec!["3".parse()?] }).await?;
    /// let blocking = plan.checks.iter().filter_map(|check| {
    ///     // What has to be typed is shown to somebody who knows why.
    ///     let typed = Typed::new(check.type_to_override.as_ref()?).ok()?;
    ///     let reason = Reason::new("its disk is broken").ok()?;
    ///     Some(Override { check: check.id, typed, reason })
    /// });
    /// match admin.apply(&plan, blocking.collect()).await {
    ///     Ok(change) => println!("change {} is under way", change.id),
    ///     Err(error) if error.kind() == ChangeErrorKind::StalePlan => {
    ///         println!("somebody was faster; now it would be {:?}", error.fresh_plan());
    ///     }
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn apply(
        &self,
        plan: &Plan,
        overrides: Vec<Override>,
    ) -> Result<Change, ChangeError> {
        let request = ChangeRequest { wish: plan.wish.clone(), overrides };
        let epoch = plan.epoch;
        let call = Call::change("apply", Method::POST, paths::CHANGES, Effect::Repeatable);
        let call = call.header(header::IF_MATCH, &format!("\"{epoch}\""))?.json(&request);
        match self.send(&call).await {
            Ok(answer) => Ok(answer.json()?),
            Err(error) if error.outcome() == Outcome::Unknown => {
                self.begun_before(&request, epoch).await.ok_or(error.into())
            }
            Err(error) => Err(error.into()),
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
    pub async fn change(&self, id: ChangeId) -> Result<Change, ChangeError> {
        Ok(self.send(&Call::read("change", paths::change(id))).await?.json()?)
    }

    /// One page of the changes, newest first, as far as the replica that answers has heard of them.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// for change in admin.changes(&Default::default()).await?.changes {
    ///     println!("{} {} {}", change.id, change.wish, change.stage);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn changes(&self, query: &ChangesQuery) -> Result<ChangeList, ChangeError> {
        let target = format!("{}?{}", paths::CHANGES, query.to_query());
        Ok(self.send(&Call::read("changes", target)).await?.json()?)
    }

    /// Gives a change up that is not decided yet. Those who came leave again, which takes a moment.
    ///
    /// Refused as [`PastCancelling`](ChangeErrorKind::PastCancelling) where there is no way back, and as
    /// [`Ended`](ChangeErrorKind::Ended) after its end.
    ///
    /// ```no_run
    /// # async fn run(admin: quorate_client::Admin) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::types::ChangeId;
    ///
    /// let id = ChangeId::new(18);
    /// if admin.would_cancel_change(id).await?.can_cancel {
    ///     admin.cancel_change(id).await?;
    /// }
    /// println!("{}", admin.change(id).await?.stage);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel_change(&self, id: ChangeId) -> Result<Change, ChangeError> {
        let target = paths::change(id);
        let call = Call::change("cancel_change", Method::DELETE, target, Effect::Repeatable);
        match self.send(&call).await {
            Ok(answer) => Ok(answer.json()?),
            // The attempt whose answer was lost may have cancelled it.
            Err(error)
                if error.outcome() == Outcome::Unknown
                    && error.code() == Some(ErrorCode::ChangeEnded) =>
            {
                let change = self.change(id).await.ok();
                let cancelled = change.filter(|change| change.stage == ChangeStage::Cancelled);
                cancelled.ok_or(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The change that [`cancel_change`](Self::cancel_change) would give up.
    pub async fn would_cancel_change(&self, id: ChangeId) -> Result<Change, ChangeError> {
        let target = format!("{}?dry_run=true", paths::change(id));
        let call = Call::change("would_cancel_change", Method::DELETE, target, Effect::None);
        Ok(self.send(&call).await?.json()?)
    }

    /// Watches a change until it is over.
    pub fn watch_change(&self, id: ChangeId) -> ChangeWatch {
        ChangeWatch { admin: self.clone(), id, events: None, last: None }
    }
}

/// A change that is watched, at one replica after the other. Whoever stops asking stops watching; the change goes on.
///
/// ```no_run
/// # async fn run(
/// #     admin: quorate_client::Admin,
/// #     plan: quorate_client::api::plans::Plan,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let begun = admin.apply(&plan, Vec::new()).await?;
/// let mut watch = admin.watch_change(begun.id);
/// while let Some(change) = watch.next().await? {
///     println!("{} waits for {:?}", change.stage, change.waits_for);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChangeWatch {
    admin: Admin,
    id: ChangeId,
    events: Option<Events>,
    last: Option<Change>,
}

impl ChangeWatch {
    /// The change as soon as it is another than was told last, the first time as it is now. Nothing after
    /// its end. It goes on over broken connections and changes of the leader; after an error, which says that nobody
    /// could be asked for long, it can be called again.
    ///
    /// Safe to cancel: what was not told yet is told by the next call.
    pub async fn next(&mut self) -> Result<Option<Change>, ChangeError> {
        loop {
            if self.last.as_ref().is_some_and(|last| last.stage.is_over()) {
                return Ok(None);
            }
            let events = if let Some(events) = &mut self.events {
                events
            } else {
                let call = Call::read("watch_change", paths::change(self.id));
                let call = call.header("accept", media::EVENTS)?;
                self.events.insert(Events::new(self.admin.open(&call).await?))
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

    /// The changes as a stream. It ends after an error that no patience helps, and after the end of the change.
    ///
    /// ```no_run
    /// # async fn run(watch: quorate_client::ChangeWatch) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::TryStreamExt as _;
    ///
    /// let stages: Vec<_> = watch.into_stream().map_ok(|change| change.stage).try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stream(self) -> impl Stream<Item = Result<Change, ChangeError>> + Send {
        stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            match watch.next().await.transpose()? {
                Err(error) if !error.is_retryable() => Some((Err(error), None)),
                told => Some((told, Some(watch))),
            }
        })
    }

    /// Whether it was not told before; nothing is that is further back.
    fn is_news(&self, change: &Change) -> bool {
        self.last.as_ref().is_none_or(|last| change != last && change.stage >= last.stage)
    }
}
