//! How a process becomes a replica: it founds a group, or asks a member to be let in.
//!
//! Both are explicit, and a folder without a marker does nothing else. Founding can be taken up again
//! after a crash: the same founding twice is one. Asking again with the same nonce is the same
//! request, so a process that asks does so until it is told who it is.
//!
//! Not here: whom a leader lets in (`admission`), and writing the marker (`run`).

use std::sync::Arc;
use std::time::Duration;

use client::api::cluster::{Admission, JoinAnswer, JoinRequest, PeerAddr, Reach};
use client::api::plans::WISH_MEMBERS_MAX;
use client::types::{ReplicaAddr, Timestamp};
use futures_util::future::join_all;
use migrations::latest::NodeRow;

use super::error::{AskError, BootstrapError};
use super::gate::Gate;
use super::propose::{Proposer, Stamps};
use crate::machine::{Author, Found, Founding, Rejection};
use crate::peer::join::{self, JoinError};
use crate::peer::reach::round_trip;
use crate::raft::{BuildError, Raft};
use crate::world::{Instant, World};

/// The shortest pause between two questions of a process that asks to join.
const ASK_PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two questions.
const ASK_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Founds a group of this replica alone, or finishes a founding that was begun.
///
/// Agreement must be built and running on an empty folder, or on one whose founding was not
/// finished. Returns when the group takes appends.
pub async fn bootstrap(
    raft: &Raft,
    world: &World,
    myself: NodeRow,
    founding: Founding,
    limit: Duration,
) -> Result<(), BootstrapError> {
    let deadline = world.clock.after(limit);
    let author = Author { by: "bootstrap".to_owned(), from: String::new() };
    match raft.initialize(myself).await {
        // Begun before: the machine knows whether it was finished, and as whom.
        Ok(()) | Err(BuildError::AlreadyFounded) => {}
        Err(BuildError::Timings(reason) | BuildError::Stored(reason)) => {
            return Err(BootstrapError::Refused { reason });
        }
    }
    wait_until_leading(raft, world, deadline).await?;
    let stamp = Timestamp::new(world.clock.wall_millis());
    let stamps = Stamps { clock: world.clock.clone(), clocks: Arc::default() };
    let proposer = Proposer::new(raft.clone(), Gate::new(), stamps);
    let left = deadline.saturating_duration_since(world.clock.now());
    match proposer.propose_for(author, Found { stamp, founding }, left).await {
        Ok(Ok(())) => Ok(()),
        // By an earlier start of ours, perhaps with other settings: those hold.
        Ok(Err(Rejection::AlreadyFounded { cluster })) if cluster == founding.cluster => Ok(()),
        Ok(Err(Rejection::AlreadyFounded { cluster })) => {
            Err(BootstrapError::AlreadyFounded { cluster })
        }
        Ok(Err(rejection)) => Err(BootstrapError::Refused { reason: rejection.to_string() }),
        Err(_unserved) => Err(BootstrapError::Unfinished),
    }
}

async fn wait_until_leading(
    raft: &Raft,
    world: &World,
    deadline: Instant,
) -> Result<(), BootstrapError> {
    let mut leadership = raft.leadership();
    let mut membership = raft.membership();
    let ready = async {
        leadership.wait_for(|leadership| leadership.here).await.is_ok()
            && membership.wait_for(|membership| membership.is_committed).await.is_ok()
    };
    match world.clock.until(deadline, ready).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(BootstrapError::Unfinished),
    }
}

/// Asks these members, one after the other, until one says that this process is a replica. Each time it tells what its
/// clock shows, whom it reaches, and what `look` finds.
pub async fn ask_to_join(
    world: &World,
    members: &[ReplicaAddr],
    mut request: JoinRequest,
    look: impl AsyncFn(&mut JoinRequest),
    patience: Duration,
) -> Result<Admission, AskError> {
    let deadline = world.clock.after(patience);
    let mut last = "no member was named".to_owned();
    for member in members.iter().cycle() {
        look(&mut request).await;
        request.time = Some(Timestamp::new(world.clock.wall_millis()));
        let (pause, reason) = match join::ask(member, &request).await {
            Ok(JoinAnswer::Admitted(admission)) => return Ok(admission),
            Ok(JoinAnswer::Waiting { retry_after_ms, peers }) => {
                request.reaches = try_to_reach(world, &peers).await;
                (Duration::from_millis(retry_after_ms), "not admitted yet".to_owned())
            }
            Err(JoinError::Refused { reason, .. }) => return Err(AskError::Refused { reason }),
            Err(JoinError::Unavailable { reason, .. }) => (ASK_PAUSE_MIN, reason),
        };
        tracing::debug!(%member, reason, "waiting to join");
        last = reason;
        let again = world.clock.after(pause.clamp(ASK_PAUSE_MIN, ASK_PAUSE_MAX));
        if again >= deadline {
            break;
        }
        tokio::select! {
            () = world.clock.sleep_until(again) => {}
            () = world.tasks.stopping() => return Err(AskError::Stopping),
        }
    }
    Err(AskError::GaveUp { last })
}

/// How this process reaches the members, all tried at once.
async fn try_to_reach(world: &World, peers: &[PeerAddr]) -> Vec<Reach> {
    let tried = peers.iter().take(WISH_MEMBERS_MAX).map(async |peer| {
        let took = round_trip(&world.clock, &peer.peer_addr).await;
        let micros = |took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Reach { id: peer.id, round_trip_us: took.map(micros) }
    });
    join_all(tried).await
}
