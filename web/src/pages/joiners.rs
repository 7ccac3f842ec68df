//! The processes that wait to join, and the change under way: parts of several pages.
//!
//! What a change waits for is asked of the leader, but only if it is there: a page about a group without one must not
//! wait for it.
//!
//! Not here: what becomes of them (`plan`, `change`).

use client::api::changes::{Change, ChangesQuery};
use client::api::cluster::{ClusterStatus, JoinFolder, Joiner, Replacement};
use client::api::plans::Wish;

use crate::backend::Backend;
use crate::format;
use crate::replica::or_nothing;

use super::wish;

/// A process that waits to join.
#[derive(Debug)]
pub(crate) struct JoinerRow {
    pub(crate) addr: String,
    pub(crate) zone: String,
    pub(crate) folder: &'static str,
    pub(crate) free: String,
    pub(crate) version: String,
    pub(crate) since: String,
    pub(crate) as_learner: bool,
    /// The page of the plan to let it in.
    pub(crate) plan: String,
}

impl From<&Joiner> for JoinerRow {
    fn from(joiner: &Joiner) -> Self {
        let zone = Some(format::visible(joiner.zone.as_str())).filter(|zone| !zone.is_empty());
        let wish = Wish::Add { joiners: vec![joiner.addr.clone()], as_learner: joiner.as_learner };
        Self {
            plan: wish::plan_of(&wish).unwrap_or_default(),
            addr: format::visible(joiner.addr.as_str()),
            zone: or_nothing(zone),
            folder: match joiner.folder {
                Some(JoinFolder::Empty) => "empty",
                Some(JoinFolder::Replica { .. }) => "of a replica",
                Some(JoinFolder::Foreign) => "something else",
                None => "not told",
            },
            free: or_nothing(joiner.free_bytes.map(format::size)),
            version: format::visible(&joiner.version),
            since: format::moment(joiner.since),
            as_learner: joiner.as_learner,
        }
    }
}

/// Those who wait, the longest first.
pub(crate) fn rows(status: &ClusterStatus) -> Vec<JoinerRow> {
    status.joiners.iter().map(JoinerRow::from).collect()
}

/// Whether somebody leads who answers.
pub(crate) fn has_leader(status: &ClusterStatus) -> bool {
    let leader = status.replicas.iter().find(|replica| Some(replica.id) == status.leader);
    leader.is_some_and(|leader| leader.is_reachable)
}

/// A spare that could take the place of a voter that has been silent for long.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) what: String,
    pub(crate) sentence: String,
    pub(crate) plan: Option<String>,
}

impl From<&Replacement> for Proposal {
    fn from(replacement: &Replacement) -> Self {
        Self {
            what: wish::in_words(&replacement.wish),
            sentence: format::visible(&replacement.sentence),
            plan: wish::plan_of(&replacement.wish),
        }
    }
}

/// The change under way, in short.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) id: String,
    pub(crate) what: String,
    pub(crate) stage: String,
    pub(crate) waits_for: Option<String>,
}

impl From<&Change> for UnderWay {
    fn from(change: &Change) -> Self {
        Self {
            id: change.id.to_string(),
            what: wish::in_words(&change.wish),
            stage: change.stage.to_string(),
            waits_for: change.waits_for.as_deref().map(format::visible),
        }
    }
}

/// The change that is not over, if there is one: with what it waits for, if the leader tells.
pub(crate) async fn under_way<B: Backend>(backend: &B, status: &ClusterStatus) -> Option<UnderWay> {
    let newest = ChangesQuery { limit: Some(1), ..ChangesQuery::default() };
    let newest = backend.changes(newest).await.ok()?.changes.into_iter().next()?;
    if newest.stage.is_over() {
        return None;
    }
    let told = if has_leader(status) { backend.change(newest.id).await.ok() } else { None };
    Some(UnderWay::from(&told.unwrap_or(newest)))
}
