//! [`Cluster`]: replicas that form a group, and what a test does to them.
//!
//! The group forms as any other: the first replica founds it, the others ask to join and are admitted.
//!
//! Not here: one replica (`replica`).

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::api::cluster::ClusterStatus;
use client::types::{LogName, LogSettings, ReplicaAddr};
use client::{Client, Log};
use server::config::Start;
use server::run::Leaving;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::error::Error;
use crate::replica::{Replica, joining};

/// Longer than anything takes that comes at all.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// A cluster inside this process. It ends when it is dropped, and leaves nothing behind.
///
/// Replicas are numbered from 0. All that is done to them takes `&self`, so that tasks of a test can share the cluster.
#[derive(Debug)]
pub struct Cluster {
    replicas: Mutex<Vec<Replica>>,
    client: Client,
    // Removed when the replicas have ended: fields are dropped in this order.
    folder: TempDir,
}

impl Cluster {
    /// Three replicas that all vote and take appends: one of them may fail.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = quorate_testkit::Cluster::start().await?;
    /// assert_eq!(cluster.urls().len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(3).await
    }

    /// A single replica, for tests to which failures do not matter.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = quorate_testkit::Cluster::start_single().await?;
    /// cluster.log("orders").await?.append("hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start_single() -> Result<Self, Error> {
        Self::start_with(1).await
    }

    async fn start_with(count: u32) -> Result<Self, Error> {
        let folder = TempDir::with_prefix("quorate-testkit-")?;
        let mut replicas = Vec::new();
        for number in 0..count as usize {
            replicas.push(Replica::new(number, folder.path().join(format!("replica-{number}")))?);
        }
        let urls: Vec<_> = replicas.iter().map(|replica| replica.url().to_owned()).collect();
        let client = Client::builder().seeds(&urls.join(","))?.build()?;
        replicas[0].start(Start::Bootstrap { voters_expected: count })?;
        let cluster = Self { replicas: Mutex::new(replicas), client, folder };
        // Who asks too early waits before it asks again.
        cluster.until("the first replica leads", async || cluster.leader_now().await).await?;
        for replica in cluster.replicas().iter_mut().skip(1) {
            replica.start(joining(&urls[0]))?;
        }
        cluster.healed().await?;
        Ok(cluster)
    }

    /// A client of the cluster, with default settings.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A log of this name, made if it is not there.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = quorate_testkit::Cluster::start_single().await?;
    /// let log = cluster.log("orders").await?;
    /// assert_eq!(log.tail().await?.get(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn log(&self, name: &str) -> Result<Log, Error> {
        let log = self.client.log(LogName::new(name)?);
        log.create(&LogSettings::default()).await.map_err(client::Error::from)?;
        Ok(log)
    }

    /// Where clients reach each replica, in the order of numbers, whether it runs or not.
    pub fn urls(&self) -> Vec<String> {
        self.replicas().iter().map(|replica| replica.url().to_owned()).collect()
    }

    /// Where the replicas keep their files, while the cluster lives.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether this replica runs.
    pub fn is_running(&self, replica: usize) -> bool {
        self.replicas().get(replica).is_some_and(Replica::is_running)
    }

    /// Why this replica ended by itself, if it did.
    pub fn failure(&self, replica: usize) -> Option<String> {
        self.replicas().get(replica).and_then(Replica::failure)
    }

    /// The replica that leads. Waits for an election if there is none.
    pub async fn leader(&self) -> Result<usize, Error> {
        self.until("a replica leads", async || self.leader_now().await).await
    }

    /// Kills the replica that leads, and tells which one that was.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = quorate_testkit::Cluster::start().await?;
    /// let killed = cluster.kill_leader().await?;
    /// assert_ne!(cluster.leader().await?, killed);
    /// cluster.restart(killed).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn kill_leader(&self) -> Result<usize, Error> {
        let leader = self.leader().await?;
        self.kill(leader).await?;
        Ok(leader)
    }

    /// Kills a replica: it hands nothing on and answers nobody any more. Does nothing if it does not run.
    pub async fn kill(&self, replica: usize) -> Result<(), Error> {
        self.leave(replica, Leaving::AtOnce).await
    }

    /// Stops a replica as an operator would: it hands leadership on and finishes what is under way. Does nothing if it
    /// does not run.
    pub async fn stop(&self, replica: usize) -> Result<(), Error> {
        self.leave(replica, Leaving::InOrder).await
    }

    async fn leave(&self, replica: usize, leaving: Leaving) -> Result<(), Error> {
        let left = {
            let mut replicas = self.replicas();
            let no_such = Error::NoSuchReplica { replica };
            replicas.get_mut(replica).ok_or(no_such)?.leave(leaving)
        };
        left.await;
        Ok(())
    }

    /// Starts a replica again, with the files that it has and where it was, and waits until it answers. One that runs is
    /// stopped first.
    pub async fn restart(&self, replica: usize) -> Result<(), Error> {
        self.stop(replica).await?;
        self.replicas()[replica].start(Start::Resume)?;
        self.until("the replica is ready", async || self.is_ready(replica).await.then_some(()))
            .await
    }

    /// Waits until every replica votes, answers, and has all that the leader has. Comes to nothing while one is down.
    pub async fn healed(&self) -> Result<(), Error> {
        self.until("all replicas vote and lag nothing", async || {
            self.is_healed().await.then_some(())
        })
        .await
    }

    async fn is_healed(&self) -> bool {
        let Some(leader) = self.leader_now().await else { return false };
        let Some(status) = self.status(leader).await else { return false };
        let count = self.replicas().len();
        let whole = status.replicas.iter().filter(|replica| {
            let is_level = replica.lag.is_none_or(|lag| lag.entries == 0);
            replica.role.is_voter() && replica.is_reachable && is_level
        });
        if !status.verdict.can_append || whole.count() != count {
            return false;
        }
        for replica in 0..count {
            if !self.is_ready(replica).await {
                return false;
            }
        }
        true
    }

    async fn is_ready(&self, replica: usize) -> bool {
        match self.single(replica) {
            Some(client) => client.admin().is_ready().await.unwrap_or(false),
            None => false,
        }
    }

    /// The replica that leads in the highest term, if one does.
    async fn leader_now(&self) -> Option<usize> {
        let mut newest = None;
        let count = self.replicas().len();
        for number in 0..count {
            let Some(status) = self.status(number).await else { continue };
            let leads = status.leader.is_some() && status.leader == status.this_replica;
            if leads && newest.is_none_or(|(term, _)| status.term > term) {
                newest = Some((status.term, number));
            }
        }
        newest.map(|(_, number)| number)
    }

    async fn status(&self, replica: usize) -> Option<ClusterStatus> {
        self.single(replica)?.admin().status().await.ok()
    }

    /// A client of this one replica, if it runs.
    fn single(&self, replica: usize) -> Option<Client> {
        let replicas = self.replicas();
        let replica = replicas.get(replica).filter(|replica| replica.is_running())?;
        let addr = ReplicaAddr::new(replica.url()).expect("the address of a socket is one");
        Client::single(addr).ok()
    }

    /// Looks until there is something to see, or a replica has ended by itself.
    async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        loop {
            if let Some(seen) = look().await {
                return Ok(seen);
            }
            for replica in self.replicas().iter() {
                if let Some(reason) = replica.failure() {
                    return Err(replica.ended(reason));
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(Error::TimedOut { what: what.to_owned(), waited: begun.elapsed() });
            }
            sleep(PAUSE).await;
        }
    }

    fn replicas(&self) -> MutexGuard<'_, Vec<Replica>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All at once; each is waited for when it is dropped.
        for replica in self.replicas().iter_mut() {
            drop(replica.leave(Leaving::AtOnce));
        }
    }
}
