//! How linearizable reads learn from where they are safe: one round for all who wait.
//!
//! A read that begins after a round began joins the next one, because only what was acknowledged
//! before the question is in the answer. Few rounds run at once; whoever arrives meanwhile shares
//! the next. On the leader a round is the leader's own; elsewhere it is a question to the leader.
//!
//! Not here: waiting until the index is applied here, and the read itself (`read`).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use client::types::EntryIndex;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::error::NotFresh;

/// So many rounds run at once, before those who arrive share one.
const ROUNDS_MAX: usize = 2;
/// One round answers at most so many; the others share the next.
const READS_PER_ROUND_MAX: usize = 16_384;
/// After this time a reader may try again.
const RETRY: Duration = Duration::from_millis(200);

type Answer = oneshot::Sender<Result<EntryIndex, NotFresh>>;

/// Asks for a safe index.
pub(super) trait AskIndex: Send + Sync + 'static {
    /// An index that covers all that was acknowledged before the call. Has a deadline of its own.
    fn ask(&self) -> impl Future<Output = Result<EntryIndex, NotFresh>> + Send;
}

/// Where linearizable reads ask. A clone asks the same.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    entry: mpsc::Sender<Answer>,
}

impl Rounds {
    /// The rounds, and the task that runs them; at most `waiting_max` reads wait for a round.
    pub(super) fn new<A: AskIndex>(
        asker: A,
        waiting_max: usize,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (entry, queue) = mpsc::channel(waiting_max);
        (Self { entry }, run(Arc::new(asker), queue))
    }

    /// An index that covers all that was acknowledged before the call.
    pub(super) async fn safe_index(&self) -> Result<EntryIndex, NotFresh> {
        let (answer, receiver) = oneshot::channel();
        match self.entry.try_send(answer) {
            Ok(()) => receiver.await.unwrap_or(Err(NotFresh::Stopping)),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(NotFresh::Overloaded { retry_after: RETRY })
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotFresh::Stopping),
        }
    }
}

async fn run<A: AskIndex>(asker: Arc<A>, mut queue: mpsc::Receiver<Answer>) {
    let mut rounds = FuturesUnordered::new();
    let mut waiting = Vec::new();
    loop {
        if rounds.len() >= ROUNDS_MAX {
            // Full: those who arrive gather in the queue without waking this task.
            rounds.next().await;
            continue;
        }
        tokio::select! {
            biased;
            Some(()) = rounds.next(), if !rounds.is_empty() => {}
            count = queue.recv_many(&mut waiting, READS_PER_ROUND_MAX) => {
                if count == 0 {
                    return;
                }
                rounds.push(round(Arc::clone(&asker), std::mem::take(&mut waiting)));
            }
        }
    }
}

async fn round<A: AskIndex>(asker: Arc<A>, waiting: Vec<Answer>) {
    let index = asker.ask().await;
    for answer in waiting {
        // A reader that went away meanwhile does not want to know.
        answer.send(index).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    struct Leader {
        asked: Arc<AtomicU64>,
        may_answer: Arc<Semaphore>,
    }

    impl AskIndex for Leader {
        async fn ask(&self) -> Result<EntryIndex, NotFresh> {
            let round = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.may_answer.acquire().await.unwrap().forget();
            Ok(EntryIndex::new(round))
        }
    }

    #[tokio::test]
    async fn reads_that_wait_share_a_round() {
        let asked = Arc::new(AtomicU64::new(0));
        let may_answer = Arc::new(Semaphore::new(0));
        let leader = Leader { asked: Arc::clone(&asked), may_answer: Arc::clone(&may_answer) };
        let (rounds, task) = Rounds::new(leader, 1_000);
        let task = tokio::spawn(task);
        let reads: Vec<_> = (0..100)
            .map(|_| {
                let rounds = rounds.clone();
                tokio::spawn(async move { rounds.safe_index().await })
            })
            .collect();
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        may_answer.add_permits(100);
        for read in reads {
            assert!(read.await.unwrap().is_ok());
        }
        assert!(asked.load(Ordering::SeqCst) <= 4, "a hundred reads need few rounds");
        drop(rounds);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_read_never_takes_the_answer_of_a_round_that_began_before_it() {
        let asked = Arc::new(AtomicU64::new(0));
        let may_answer = Arc::new(Semaphore::new(0));
        let leader = Leader { asked: Arc::clone(&asked), may_answer: Arc::clone(&may_answer) };
        let (rounds, task) = Rounds::new(leader, 1_000);
        drop(tokio::spawn(task));
        let first = tokio::spawn({
            let rounds = rounds.clone();
            async move { rounds.safe_index().await }
        });
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let second = tokio::spawn(async move { rounds.safe_index().await });
        while asked.load(Ordering::SeqCst) == 1 {
            tokio::task::yield_now().await;
        }
        may_answer.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok(EntryIndex::new(1)));
        assert_eq!(second.await.unwrap(), Ok(EntryIndex::new(2)));
    }

    #[tokio::test]
    async fn beyond_the_limit_a_read_is_told_to_come_back() {
        let leader =
            Leader { asked: Arc::new(AtomicU64::new(0)), may_answer: Arc::new(Semaphore::new(0)) };
        let (rounds, task) = Rounds::new(leader, 1);
        let (_keeps, _task) = (rounds.clone(), task);
        let waits = rounds.safe_index();
        let mut waits = std::pin::pin!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(rounds.safe_index().await, Err(NotFresh::Overloaded { retry_after: RETRY }));
    }
}
