//! [`Client`]: the way to a cluster, and what concerns the cluster as a whole.
//!
//! A client is cheap to clone; clones share connections, what is known of the leader, and the
//! budget for repetitions.
//!
//! Not here: what is done with one log (`log`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use reqwest::{Method, Request, Response};

use tower::{Layer, Service};

use super::error::Error;
use super::layers::{HttpService, LayerError, Layers};
use super::log::Log;
use super::retry::RetryPolicy;
use super::transport::{Call, Effect, LeaderHints, Stream, Transport, TransportOptions};
use crate::api::activity::{ActivityList, ActivityQuery};
use crate::api::audit::{AuditReport, ScrubReport};
use crate::api::checkpoints::{
    ArchiveQuery, CheckpointInfo, CheckpointList, CheckpointRequest, SnapshotInfo, SnapshotList,
};
use crate::api::cluster::{BootstrapAnswer, BootstrapRequest, ClusterStatus, Joiner, JoinerList};
use crate::api::logs::{ListQuery, LogList};
use crate::api::paths;
use crate::api::performance::{Performance, PerformanceQuery, Step};
use crate::api::plans::{Plan, Wish};
use crate::api::transfers::{TransferChange, TransferInfo, TransferList};
use crate::types::{CheckpointLabel, EntryIndex, LogName, ReplicaAddr};

/// Longest author, in bytes: the service keeps no more of it.
const AUTHOR_MAX: usize = 200;

/// The way to a cluster.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::Client;
///
/// let quorate = Client::connect("http://127.0.0.1:7001,http://127.0.0.1:7002").await?;
/// let log = quorate.log("orders".parse()?);
/// log.create(&Default::default()).await?;
/// let appended = log.append("hello").await?;
/// println!("at {}", appended.first);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// A client with default settings that knows these addresses, separated by commas, and asks
    /// one of them for the others.
    pub async fn connect(seeds: &str) -> Result<Self, Error> {
        let client = Self::builder().seeds(seeds)?.build()?;
        let status = client.status().await?;
        client.transport.learn(&status);
        Ok(client)
    }

    /// A client that asks this one replica, tries every call once and follows no hints: what it
    /// answers is what that replica answered.
    pub fn single(replica: ReplicaAddr) -> Result<Self, Error> {
        let mut builder = Self::builder().retry(RetryPolicy::none());
        builder.options.seeds.push(replica);
        builder.options.leader = LeaderHints::Ignored;
        builder.build()
    }

    /// Settings for a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            options: TransportOptions {
                seeds: Vec::new(),
                connect_timeout: Duration::from_secs(1),
                attempt_timeout: Duration::from_secs(5),
                retry: RetryPolicy::default(),
                leader: LeaderHints::Followed,
                author: None,
                layers: Layers::default(),
            },
        }
    }

    /// A log of this name, which need not exist yet.
    pub fn log(&self, name: LogName) -> Log {
        Log::new(self.clone(), name)
    }

    /// One page of the logs, in the order of names.
    pub async fn logs(&self, query: &ListQuery) -> Result<LogList, Error> {
        let target = list_target(paths::LOGS, query);
        self.send(&Call::read(target)).await?.json()
    }

    /// The cluster as the replica that answers sees it.
    pub async fn status(&self) -> Result<ClusterStatus, Error> {
        self.send(&Call::read(paths::CLUSTER.to_owned())).await?.json()
    }

    /// Processes that wait to join.
    pub async fn joiners(&self) -> Result<Vec<Joiner>, Error> {
        let answer = self.send(&Call::read(paths::JOINERS.to_owned())).await?;
        Ok(answer.json::<JoinerList>()?.joiners)
    }

    /// What a change of the membership would mean, and whether it is safe. Changes nothing.
    pub async fn plan(&self, wish: &Wish) -> Result<Plan, Error> {
        let call = Call::change(Method::POST, paths::PLANS.to_owned(), Effect::Repeatable);
        self.send(&call.json(wish)).await?.json()
    }

    /// What the replica that answers did lately, and how long it took.
    pub async fn performance(&self, step: Step) -> Result<Performance, Error> {
        let query = PerformanceQuery { step }.to_query();
        let call = Call::read(format!("{}?{query}", paths::PERFORMANCE));
        self.send(&call).await?.json()
    }

    /// State transfers of the replica that answers, newest first.
    pub async fn transfers(&self) -> Result<Vec<TransferInfo>, Error> {
        let answer = self.send(&Call::read(paths::TRANSFERS.to_owned())).await?;
        Ok(answer.json::<TransferList>()?.transfers)
    }

    /// Changes how fast a transfer goes that the replica which is asked receives.
    pub async fn turn_transfer(
        &self,
        id: &str,
        change: &TransferChange,
    ) -> Result<TransferInfo, Error> {
        let call = Call::change(Method::PATCH, paths::transfer(id), Effect::Repeatable);
        self.send(&call.json(change)).await?.json()
    }

    /// Makes the process that is asked the first replica of a new cluster.
    pub async fn bootstrap(&self, request: &BootstrapRequest) -> Result<BootstrapAnswer, Error> {
        let call = Call::change(Method::POST, paths::BOOTSTRAP.to_owned(), Effect::Once);
        self.send(&call.json(request)).await?.json()
    }

    /// The checkpoints that are remembered, oldest first.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, Error> {
        let answer = self.send(&Call::read(paths::CHECKPOINTS.to_owned())).await?;
        Ok(answer.json::<CheckpointList>()?.checkpoints)
    }

    /// Makes a checkpoint. It comes back certified, unless that takes more than some seconds. With a
    /// label it is kept until it is released. Not repeated if its outcome is unknown: it would make
    /// two.
    pub async fn make_checkpoint(
        &self,
        label: Option<CheckpointLabel>,
    ) -> Result<CheckpointInfo, Error> {
        let call = Call::change(Method::POST, paths::CHECKPOINTS.to_owned(), Effect::Once);
        self.send(&call.json(&CheckpointRequest { label })).await?.json()
    }

    /// The snapshots that the replica which answers keeps, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>, Error> {
        let answer = self.send(&Call::read(paths::SNAPSHOTS.to_owned())).await?;
        Ok(answer.json::<SnapshotList>()?.snapshots)
    }

    /// One of them, with what is in it.
    pub async fn snapshot(&self, checkpoint: EntryIndex) -> Result<SnapshotInfo, Error> {
        self.send(&Call::read(paths::snapshot(checkpoint))).await?.json()
    }

    /// A backup of one of them, of all logs or of some: a file, piece by piece. It breaks off with an
    /// error if records are trimmed before they were sent.
    pub async fn archive(
        &self,
        checkpoint: EntryIndex,
        query: &ArchiveQuery,
    ) -> Result<Archive, Error> {
        let target = format!("{}?{}", paths::archive(checkpoint), query.to_query());
        Ok(Archive { stream: self.transport.open(&Call::read(target)).await? })
    }

    /// Keeps a checkpoint and its snapshots no longer than the service itself needs them.
    pub async fn release_snapshot(&self, checkpoint: EntryIndex) -> Result<(), Error> {
        let target = paths::snapshot(checkpoint);
        self.send(&Call::change(Method::DELETE, target, Effect::Once)).await.map(drop)
    }

    /// Whether the replicas hold the same, as far as the leader has compared them.
    pub async fn audit(&self) -> Result<AuditReport, Error> {
        self.send(&Call::read(paths::AUDIT.to_owned())).await?.json()
    }

    /// How far the replica that answers is with reading all again that it keeps.
    pub async fn scrub_report(&self) -> Result<ScrubReport, Error> {
        self.send(&Call::read(paths::SCRUB.to_owned())).await?.json()
    }

    /// Has the replica that answers begin with that now.
    pub async fn scrub(&self) -> Result<ScrubReport, Error> {
        let call = Call::change(Method::POST, paths::SCRUB.to_owned(), Effect::Repeatable);
        self.send(&call).await?.json()
    }

    /// Whether the replica that answers can serve now.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        let answer = self.send(&Call::read(paths::READY.to_owned()).once()).await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(503) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One page of who did what, newest first.
    pub async fn activity(&self, query: &ActivityQuery) -> Result<ActivityList, Error> {
        let target = format!("{}?{}", paths::ACTIVITY, query.to_query());
        self.send(&Call::read(target)).await?.json()
    }

    pub(super) async fn send(&self, call: &Call) -> Result<super::transport::Answer, Error> {
        self.transport.send(call).await
    }

    pub(super) async fn open(&self, call: &Call) -> Result<Stream, Error> {
        self.transport.open(call).await
    }

    pub(super) fn retry(&self) -> &RetryPolicy {
        self.transport.retry()
    }
}

/// A backup on its way. Only a file that came to its end is one.
#[derive(Debug)]
pub struct Archive {
    stream: Stream,
}

impl Archive {
    /// The next bytes of the file; nothing after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.stream.next().await
    }
}

/// The target of a list.
pub(super) fn list_target(path: &str, query: &ListQuery) -> String {
    format!("{path}?{}", query.to_query())
}

/// Settings for a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    options: TransportOptions,
}

impl ClientBuilder {
    /// Adds addresses of replicas, separated by commas; `http://` may be left out.
    pub fn seeds(mut self, seeds: &str) -> Result<Self, Error> {
        for seed in seeds.split(',').map(str::trim).filter(|seed| !seed.is_empty()) {
            let seed = seed.trim_end_matches('/');
            let addr = if seed.contains("://") {
                ReplicaAddr::new(seed)
            } else {
                ReplicaAddr::new(&format!("http://{seed}"))
            };
            self.options
                .seeds
                .push(addr.map_err(|error| Error::usage(format!("{seed}: {error}")))?);
        }
        Ok(self)
    }

    /// Adds the address of a replica.
    #[must_use]
    pub fn seed(mut self, addr: ReplicaAddr) -> Self {
        self.options.seeds.push(addr);
        self
    }

    /// How long to wait for a connection; 1 s by default.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How long to wait for the answer to one attempt; 5 s by default. A read that waits gets its
    /// wait on top.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = timeout;
        self
    }

    /// On whose behalf everything is asked: what is done is told so in the activity of the cluster, and nothing proves it.
    /// A mailbox such as `ada@example.org`, or a name: 1 to 200 characters of ASCII that can be seen, and blanks. Without
    /// one it is told as done by somebody.
    pub fn author(mut self, author: &str) -> Result<Self, Error> {
        let author = author.trim();
        let is_plain = author.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let fits = (1..=AUTHOR_MAX).contains(&author.len());
        let value = HeaderValue::from_str(author).ok().filter(|_| is_plain && fits);
        let wrong =
            || Error::usage(format!("{author:?} is no author: at most 200 letters of ASCII"));
        self.options.author = Some(value.ok_or_else(wrong)?);
        Ok(self)
    }

    /// Puts a layer around what sends requests, outside of those before it: to sign them, to count them,
    /// to carry a trace on. It sees every attempt. An error of its own, like an answer that does not
    /// come, counts as one after which the request may have been done, and is tried again.
    ///
    /// ```no_run
    /// use quorate_client::Client;
    /// use quorate_client::sdk::reqwest::Request;
    ///
    /// # fn run() -> Result<(), quorate_client::Error> {
    /// let signed = tower::util::MapRequestLayer::new(|mut request: Request| {
    ///     request.headers_mut().insert("authorization", "Bearer 17".parse().unwrap());
    ///     request
    /// });
    /// let quorate = Client::builder().seeds("http://a:7001")?.layer(signed).build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<HttpService> + Send + Sync + 'static,
        L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Error: Into<LayerError>,
        <L::Service as Service<Request>>::Future: Send,
    {
        self.options.layers.push(layer);
        self
    }

    /// When to try again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = policy;
        self
    }

    /// The client. Nothing is sent yet.
    pub fn build(self) -> Result<Client, Error> {
        Ok(Client { transport: Arc::new(Transport::new(self.options)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_needs_an_address_that_is_one() {
        assert!(Client::builder().build().is_err());
        assert!(Client::builder().seeds("not an address").is_err());
        assert!(Client::builder().seeds("127.0.0.1:7001, http://b:1/").unwrap().build().is_ok());
    }

    #[test]
    fn an_author_is_plain_text_that_fits_into_a_header() {
        for author in ["ada", "Ada <ada@example.org>", &"x".repeat(200)] {
            assert!(Client::builder().author(author).is_ok(), "{author}");
        }
        for author in ["", " ", "a\r\nb: c", "Zo\u{eb}", "a\tb", &"x".repeat(201)] {
            assert!(Client::builder().author(author).is_err(), "{author:?}");
        }
    }
}
