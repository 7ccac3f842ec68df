//! Tasks with a name and an owner, and the one bridge to blocking calls.
//!
//! Every task is spawned here and ends when its owner does: a `Tasks` cancels those that only serve
//! and waits for those that must finish, and the two free functions are for owners that end their
//! task by closing what it waits on. A task of a `Tasks` that panics is reported, and `failed` says
//! so to `run`, which ends the process: broken code does not go on half.
//!
//! Not here: the two threads that block for good, the journal's writer and the flusher.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span};

/// A blocking call did not come back: it panicked, or the runtime is going away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("blocking call did not finish")]
pub struct BlockingFailed;

/// Runs `work` until it ends by itself: its owner closes what it waits on.
pub fn spawn<F>(name: &'static str, work: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    drop(tokio::spawn(work.instrument(info_span!("task", task = name))));
}

/// Runs a blocking call on storage beside the tasks and waits for its result.
///
/// The call is not interrupted if the caller goes away: what it began, it ends.
pub async fn blocking<T, F>(call: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(_joined) => Err(io::Error::other("blocking call did not finish")),
    }
}

/// The tasks of one replica. A clone is the same set.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    failed: watch::Sender<Option<&'static str>>,
    /// Whose threads run them; none: those of whoever spawns.
    threads: Option<Handle>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            failed: watch::Sender::new(None),
            threads: None,
        }
    }

    /// The same set, but what is spawned here runs on these threads.
    #[must_use]
    pub fn on(&self, threads: Handle) -> Self {
        Self { threads: Some(threads), ..self.clone() }
    }

    /// The same set, but what is spawned here runs where the tasks of `others` do.
    #[must_use]
    pub fn beside(&self, others: &Self) -> Self {
        Self { threads: others.threads.clone(), ..self.clone() }
    }

    /// A set of its own that is stopped with this one, or before it.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stopping: self.stopping.child_token(),
            failed: self.failed.clone(),
            threads: self.threads.clone(),
        }
    }

    /// Runs `work` until it ends or the set is stopped, whichever comes first.
    pub fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.track(name, async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Runs `work` to its end; a stop waits for it. It may look at [`Tasks::stopping`] itself.
    pub fn spawn_to_end<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.track(name, work);
    }

    /// Runs a blocking call beside the tasks and waits for its result.
    ///
    /// The call is not interrupted if the caller goes away: what it began, it ends.
    pub async fn blocking<T, F>(&self, call: F) -> Result<T, BlockingFailed>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        tokio::task::spawn_blocking(call).await.map_err(|_joined| BlockingFailed)
    }

    /// Ends when the set is being stopped.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether the set is being stopped.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends when a task has panicked, with its name.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(name) = *failed.borrow_and_update() {
                return name;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks every task to end and waits for them, at most `limit`. False: some were still running.
    pub async fn stop(&self, limit: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }

    fn track<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let failed = self.failed.clone();
        let guarded = async move {
            // A panic is not recovered from: it is told to `run`, which ends the process.
            if std::panic::AssertUnwindSafe(work).catch_unwind().await.is_err() {
                error!(task = name, "task panicked");
                failed.send_replace(Some(name));
            }
        };
        let guarded = guarded.instrument(info_span!("task", task = name));
        match &self.threads {
            Some(threads) => drop(self.tracker.spawn_on(guarded, threads)),
            None => drop(self.tracker.spawn(guarded)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_ends_what_only_serves_and_waits_for_what_must_finish() {
        let tasks = Tasks::new();
        let (done, finished) = tokio::sync::oneshot::channel();
        tasks.spawn("endless", std::future::pending());
        let seen = tasks.clone();
        tasks.spawn_to_end("thorough", async move {
            seen.stopping().await;
            done.send(()).unwrap();
        });
        assert!(tasks.stop(Duration::from_secs(5)).await);
        assert_eq!(finished.await, Ok(()));
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_ever() {
        let tasks = Tasks::new();
        tasks.spawn_to_end("stuck", std::future::pending());
        assert!(!tasks.stop(Duration::from_millis(5)).await);
    }

    #[test]
    fn what_runs_on_threads_of_its_own_never_waits_for_others() {
        let (ours, theirs) = [(); 2]
            .map(|()| {
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
            })
            .into();
        let tasks = Tasks::new();
        let callers = tasks.on(theirs.handle().clone());
        ours.block_on(async {
            let (release, held) = std::sync::mpsc::channel::<()>();
            let (taken, is_taken) = tokio::sync::oneshot::channel();
            // It keeps their only thread, as thousands of callers would.
            callers.spawn_to_end("busy", async move {
                taken.send(()).unwrap();
                held.recv().ok();
            });
            is_taken.await.unwrap();
            let (done, finished) = tokio::sync::oneshot::channel();
            tasks.spawn_to_end("quick", async move { done.send(()).unwrap() });
            assert_eq!(finished.await, Ok(()));
            drop(release);
            tasks.tracker.close();
            tasks.tracker.wait().await;
        });
    }

    #[tokio::test]
    async fn a_panic_is_told_by_name() {
        let tasks = Tasks::new();
        tasks.spawn("broken", async { panic!("planted") });
        assert_eq!(tasks.failed().await, "broken");
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent() {
        let tasks = Tasks::new();
        let child = tasks.child();
        assert!(tasks.stop(Duration::from_secs(1)).await);
        assert!(child.is_stopping());
    }

    #[tokio::test]
    async fn a_blocking_call_gives_its_result_or_says_that_it_failed() {
        let tasks = Tasks::new();
        assert_eq!(tasks.blocking(|| 7).await, Ok(7));
        assert_eq!(tasks.blocking(|| panic!("planted")).await, Err::<(), _>(BlockingFailed));
    }
}
