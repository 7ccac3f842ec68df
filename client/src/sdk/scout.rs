//! What is found out beside the calls: who the members are, and which of the addresses that were told can be used from
//! here. No call waits for it.
//!
//! Not here: what follows from it (`endpoints`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::endpoints::{Endpoints, Members};
use super::layers::HttpService;
use super::transport::send;
use crate::api::cluster::ClusterStatus;
use crate::api::paths;
use crate::types::ReplicaAddr;

/// Asks beside the calls.
#[derive(Debug)]
pub(super) struct Scout {
    questions: Arc<Questions>,
    endpoints: Arc<Mutex<Endpoints>>,
    /// The question for the members. It ends with the client.
    asking: Mutex<JoinSet<()>>,
    /// Who is tried out. It ends with the client.
    trying: Mutex<JoinSet<()>>,
}

/// What it asks with.
#[derive(Debug)]
struct Questions {
    http: reqwest::Client,
    way_out: HttpService,
    limit: Duration,
}

impl Scout {
    pub(super) fn new(
        http: reqwest::Client,
        way_out: HttpService,
        limit: Duration,
        endpoints: Arc<Mutex<Endpoints>>,
    ) -> Self {
        let questions = Arc::new(Questions { http, way_out, limit });
        Self { questions, endpoints, asking: Mutex::default(), trying: Mutex::default() }
    }

    /// Asks whoever answered just now for the members, unless somebody is being asked.
    pub(super) fn ask_for_members(&self, endpoint: &ReplicaAddr) {
        let mut asking = without_the_done(&self.asking);
        if !asking.is_empty() {
            return;
        }
        let (questions, endpoints, endpoint) =
            (Arc::clone(&self.questions), Arc::clone(&self.endpoints), endpoint.clone());
        asking.spawn(async move {
            // Without an answer, the next call that is answered brings the next question.
            let Some(members) = questions.members(&endpoint).await else { return };
            tracing::debug!(?members, "learned who the members are");
            let untried = {
                let mut endpoints = locked(&endpoints);
                endpoints.learn(members);
                endpoints.take_untried()
            };
            questions.try_out(untried, &endpoints).await;
        });
    }

    /// Tries out whoever is known by word only.
    pub(super) fn try_out(&self) {
        let untried = locked(&self.endpoints).take_untried();
        if untried.is_empty() {
            return;
        }
        let (questions, endpoints) = (Arc::clone(&self.questions), Arc::clone(&self.endpoints));
        without_the_done(&self.trying)
            .spawn(async move { questions.try_out(untried, &endpoints).await });
    }
}

impl Questions {
    async fn members(&self, endpoint: &ReplicaAddr) -> Option<Members> {
        let question = self.http.get(format!("{endpoint}{}", paths::CLUSTER));
        let answer = send(self.way_out.clone(), question, self.limit).await.ok()?;
        let body = timeout(self.limit, answer.bytes()).await.ok()?.ok()?;
        Members::of(&serde_json::from_slice::<ClusterStatus>(&body).ok()?)
    }

    async fn try_out(&self, untried: Vec<ReplicaAddr>, endpoints: &Mutex<Endpoints>) {
        let all = untried.iter().map(async |addr| {
            let told = self.members(addr).await;
            let works = told.is_some_and(|told| locked(endpoints).tried(addr, &told));
            if !works {
                locked(endpoints).tried_in_vain(addr);
            }
            tracing::debug!(%addr, works, "tried out an address that was told");
        });
        join_all(all).await;
    }
}

fn without_the_done(tasks: &Mutex<JoinSet<()>>) -> MutexGuard<'_, JoinSet<()>> {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    while tasks.try_join_next().is_some() {}
    tasks
}

pub(super) fn locked(endpoints: &Mutex<Endpoints>) -> MutexGuard<'_, Endpoints> {
    endpoints.lock().expect("nothing panics while it holds the endpoints")
}
