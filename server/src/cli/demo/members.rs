//! `quorate demo add`, `remove` and `replace`: the changes of `quorate cluster`, for the replicas of a demo.
//!
//! What a demo does beside them: somebody waits to join, and whoever has left makes room for the next one.
//!
//! Not here: carrying a change out (`cli::changes`), and the processes (`stage`).

use std::time::Duration;

use client::Client;
use client::api::cluster::ClusterStatus;
use client::api::plans::Wish;
use client::types::{ReplicaAddr, ReplicaId};

use super::control::{self, Answer, Ask, Who};
use super::whereabouts::Whereabouts;
use crate::cli::changes::{self, Manner};
use crate::cli::logs::Rehearsal;
use crate::cli::{Context, Exit, Failure, service};
use crate::world::Clock;

const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What is to become of the replicas.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// One more.
    Add,
    /// One less.
    Remove(Option<Who>),
    /// Another one instead.
    Replace(Option<Who>),
}

/// Carries it out, and has the next one wait to join.
pub(super) async fn change(
    wanted: Wanted,
    rehearsal: Rehearsal,
    context: &Context,
) -> Result<(), Failure> {
    let client = service::connect_to(Whereabouts::running()?.endpoints, context)?;
    let wish = match wanted {
        Wanted::Add => {
            Wish::Add { joiners: vec![spare(&client, context).await?], as_learner: false }
        }
        Wanted::Remove(who) => Wish::Remove { replicas: vec![replica(&client, who).await?] },
        Wanted::Replace(who) => {
            let replica = replica(&client, who).await?;
            Wish::Replace { replica, by: spare(&client, context).await? }
        }
    };
    let manner = Manner::of_a_demo(rehearsal);
    let carried = changes::carry_out(&client, &wish, &manner, context).await;
    if !rehearsal.dry_run
        && let Answer::Refused(reason) = control::ask(Ask::Spare).await?
    {
        context.output.note(&format!("nobody else waits to join: {reason}"));
    }
    carried
}

/// Who waits to join, once the group knows.
async fn spare(client: &Client, context: &Context) -> Result<ReplicaAddr, Failure> {
    let addr = match control::ask(Ask::Spare).await? {
        Answer::Waiting(addr) => addr,
        Answer::Refused(reason) => {
            return Err(Failure::new(Exit::Condition, reason).hint("quorate demo remove"));
        }
        Answer::Done(_) | Answer::Shown(_) => {
            return Err(Failure::new(Exit::Failed, "the demo does not say who waits to join"));
        }
    };
    let waits = async {
        loop {
            let joiners = client.admin().joiners().await.map_err(service::failed)?;
            if joiners.iter().any(|joiner| joiner.addr == addr) {
                return Ok(addr.clone());
            }
            Clock::real().sleep(ASK_AGAIN).await;
        }
    };
    Clock::real().within(context.timeout, waits).await.unwrap_or_else(|_expired| {
        Err(Failure::new(Exit::Unavailable, format!("{addr} does not ask to join"))
            .hint("quorate demo status"))
    })
}

/// Which replica is meant.
async fn replica(client: &Client, who: Option<Who>) -> Result<ReplicaId, Failure> {
    let status = client.admin().status().await.map_err(service::failed)?;
    let found = match who {
        Some(Who::Replica(id)) => ReplicaId::new(id),
        Some(Who::Leader) => status.leader,
        None => youngest(&status),
    };
    found.ok_or_else(|| {
        Failure::new(Exit::NotFound, "there is no such replica").hint("quorate demo status")
    })
}

/// The replica that came last, of those that do not lead.
fn youngest(status: &ClusterStatus) -> Option<ReplicaId> {
    let replicas = status.replicas.iter().map(|replica| replica.id);
    replicas.filter(|id| Some(*id) != status.leader).max()
}
