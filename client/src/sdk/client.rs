//! [`Client`]: the way to a cluster.
//!
//! A client is cheap to clone; clones share connections, what is known of the leader, and the
//! budget for repetitions.
//!
//! Not here: what is done with one log (`log`), and with the cluster as a whole (`admin`).

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Request, Response};
use tower::{Layer, Service};

use super::admin::Admin;
use super::error::Error;
use super::kinds::LogError;
use super::layers::{HttpService, LayerError, Layers};
use super::log::Log;
use super::retry::RetryPolicy;
use super::transport::{Answer, Call, LeaderHints, Stream, Transport, TransportOptions};
use crate::api::logs::{ListQuery, LogList};
use crate::api::paths;
use crate::types::{LogName, ReplicaAddr};

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
/// println!("{}", quorate.admin().status().await?.verdict.sentence);
/// for log in quorate.logs(&Default::default()).await?.logs {
///     println!("{} ends at {}", log.log, log.tail);
/// }
///
/// // One replica and no other, asked once: for tools and tests.
/// let third = Client::single("http://127.0.0.1:7003".parse()?)?;
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
        let status = client.admin().status().await?;
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
                #[cfg(feature = "tls")]
                roots: Vec::new(),
            },
        }
    }

    /// A log of this name, which need not exist yet.
    pub fn log(&self, name: LogName) -> Log {
        Log::new(self.clone(), name)
    }

    /// One page of the logs, in the order of names.
    pub async fn logs(&self, query: &ListQuery) -> Result<LogList, LogError> {
        let target = list_target(paths::LOGS, query);
        Ok(self.send(&Call::read("logs", target)).await?.json()?)
    }

    /// What concerns the cluster as a whole: its status, its membership, its checkpoints and backups.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        self.transport.send(call).await
    }

    pub(super) async fn open(&self, call: &Call) -> Result<Stream, Error> {
        self.transport.open(call).await
    }

    pub(super) fn retry(&self) -> &RetryPolicy {
        self.transport.retry()
    }
}

/// The target of a list.
pub(super) fn list_target(path: &str, query: &ListQuery) -> String {
    format!("{path}?{}", query.to_query())
}

/// Settings for a [`Client`].
///
/// ```
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use quorate_client::{Client, RetryPolicy};
///
/// let quorate = Client::builder()
///     .seeds("http://a:7001, http://b:7001")?
///     .seed("http://c:7001".parse()?)
///     .connect_timeout(Duration::from_millis(500))
///     .attempt_timeout(Duration::from_secs(2))
///     .retry(RetryPolicy { deadline: Duration::from_secs(10), ..RetryPolicy::default() })
///     .author("billing@example.org")?
///     .build()?;
/// # Ok(())
/// # }
/// # run().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    options: TransportOptions,
}

impl ClientBuilder {
    /// Adds addresses of replicas, or of whatever stands before them, separated by commas; `http://` may be left out.
    /// `https://` needs the feature `tls`; if all are, nothing is ever sent in plain text.
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

    /// Trusts these certificates, in PEM, beside those that the system trusts: who has signed an `https://` address.
    ///
    /// ```no_run
    /// # fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::Client;
    ///
    /// let ours = std::fs::read("/etc/ssl/our-ca.pem")?;
    /// let quorate =
    ///     Client::builder().seeds("https://logs.example.org")?.root_certificates(&ours)?.build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, Error> {
        let roots = super::tls::roots(pem);
        let wrong = |reason| Error::usage(format!("these are no certificates in PEM: {reason}"));
        self.options.roots.extend(roots.map_err(wrong)?);
        Ok(self)
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
        let secret = Client::builder().seeds("https://logs.example").unwrap().build();
        assert_eq!(secret.is_ok(), cfg!(feature = "tls"), "{secret:?}");
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
