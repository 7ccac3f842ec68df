//! [`Ticket`]: what a submitted record will have come to.
//!
//! The records of a batch share one fate, so a ticket is a place in it and costs no allocation.
//!
//! Not here: who decides (`lane`).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use tokio::sync::oneshot;

use super::error::{ProduceError, ProduceFailure};
use crate::sdk::error::Outcome;
use crate::types::{LogId, Position, Timestamp};

/// A record on its way. Waiting for it tells where it is stored; whoever does not want to know may
/// drop it.
///
/// ```no_run
/// # async fn run(producer: quorate_client::Producer) -> Result<(), quorate_client::ProduceError> {
/// let first = producer.submit("first").await?;
/// let second = producer.submit("second").await?;
/// // Both are under way; what is known of the second is known of the first.
/// assert!(first.await?.position < second.await?.position);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a ticket tells whether the record was stored"]
pub struct Ticket {
    fate: Fate,
    index: u32,
}

/// Where a record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position, which is final.
    pub position: Position,
    /// The time that it got.
    pub time: Timestamp,
    /// Which log of the name.
    pub log_id: LogId,
}

/// What became of a batch.
pub(super) type Verdict = Result<Stored, ProduceError>;

/// What becomes of a batch, for those who wait for it.
pub(super) type Fate = Shared<oneshot::Receiver<Verdict>>;

/// A fate, and who seals it.
pub(super) fn fate() -> (oneshot::Sender<Verdict>, Fate) {
    let (seal, fate) = oneshot::channel();
    (seal, fate.shared())
}

impl Ticket {
    pub(super) const fn new(fate: Fate, index: u32) -> Self {
        Self { fate, index }
    }
}

impl Future for Ticket {
    type Output = Result<Stored, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let index = u64::from(self.index);
        self.fate.poll_unpin(context).map(|sealed| {
            let interrupted = || ProduceError::new(ProduceFailure::Interrupted, Outcome::Unknown);
            let first = sealed.unwrap_or_else(|_| Err(interrupted()))?;
            Ok(Stored { position: first.position.advance(index), ..first })
        })
    }
}
