//! The task that reads the log and applies what it brings, for as long as the instance lives.
//!
//! Where somebody waits for a record that does not come, it asks anew: the replica that it reads from may be cut off.
//! Where the log was trimmed under it, it goes on from the newest snapshot.
//!
//! Not here: what applying is (`instance`), what snapshots look like (`shelf`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::error::EndReason;
use super::instance::Instance;
use super::machine::StateMachine;
use super::shelf::Shelf;
use crate::api::error::ErrorCode;
use crate::api::reading::ReadFrom;
use crate::sdk::error::Error;
use crate::sdk::follow::Follow;

/// How many bytes are asked for at once.
const PAGE_BYTES_MAX: u64 = 1 << 20;
/// How long somebody waits in vain before the log is asked anew.
const LAG_MAX: Duration = Duration::from_millis(300);
/// The same, if it was asked anew and brought nothing: then it is the service that needs time.
const LAG_MAX_AFTER: Duration = Duration::from_secs(5);
/// How long to wait after an error that passes.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads and applies until the instance ends.
pub(super) async fn run<S: StateMachine>(instance: Arc<Instance<S>>, shelf: Shelf) {
    if let Err(why) = follow(&instance, &shelf).await {
        instance.end(&why);
    }
}

async fn follow<S: StateMachine>(instance: &Instance<S>, shelf: &Shelf) -> Result<(), EndReason> {
    let mut follow = begin(instance);
    let mut lag_max = LAG_MAX;
    loop {
        let page = tokio::select! {
            page = follow.next_page() => page,
            () = lags(instance, lag_max) => {
                lag_max = LAG_MAX_AFTER;
                follow = begin(instance);
                continue;
            }
        };
        match page {
            Ok(Some(records)) => {
                instance.apply(&records).await?;
                lag_max = LAG_MAX;
            }
            Ok(None) => {
                instance.complete();
                return Ok(());
            }
            Err(error) if error.code() == Some(ErrorCode::Trimmed) => {
                catch_up(instance, shelf).await?;
                follow = begin(instance);
            }
            Err(error) if error.is_retryable() => {
                tracing::debug!(log = %instance.log.name(), %error, "the log cannot be read at the moment");
                sleep(PAUSE).await;
            }
            Err(error) => return Err(EndReason::Call(Arc::new(error.into()))),
        }
    }
}

fn begin<S: StateMachine>(instance: &Instance<S>) -> Follow {
    let follow = instance.log.follow(ReadFrom::Position(instance.applied()));
    follow.of_log(instance.log_id, instance.generation).bytes_max(PAGE_BYTES_MAX)
}

/// Ends when somebody has waited so long for a record.
async fn lags<S: StateMachine>(instance: &Instance<S>, lag_max: Duration) {
    let applied = instance.applied();
    let mut wanted = instance.wanted();
    // The sender lives as long as the instance.
    drop(wanted.wait_for(|wanted| *wanted > applied).await);
    sleep(lag_max).await;
}

/// Goes on from the newest snapshot: what is needed next was trimmed.
async fn catch_up<S: StateMachine>(instance: &Instance<S>, shelf: &Shelf) -> Result<(), EndReason> {
    let needed = instance.applied();
    loop {
        match look_back(instance, shelf).await {
            Ok(Some(first)) => return Err(EndReason::HistoryLost { needed, first }),
            Ok(None) => {
                let applied = instance.applied();
                tracing::debug!(log = %instance.log.name(), %needed, %applied, "went on from a snapshot");
                return Ok(());
            }
            Err(error) if error.is_retryable() => sleep(PAUSE).await,
            Err(error) => return Err(EndReason::Call(Arc::new(error))),
        }
    }
}

/// The first position that is there, if no snapshot leads to it.
async fn look_back<S: StateMachine>(
    instance: &Instance<S>,
    shelf: &Shelf,
) -> Result<Option<crate::types::Position>, Error> {
    if let Some((applied, state)) = shelf.restore::<S>().await?
        && instance.jump(applied, state).await
    {
        return Ok(None);
    }
    let first = instance.log.describe_of(instance.log_id).await?.first;
    Ok((first > instance.applied()).then_some(first))
}
