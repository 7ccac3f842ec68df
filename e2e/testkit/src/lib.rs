//! A Quorate cluster inside one process, for tests: real replicas, real files, no set-up.
//!
//! ```
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cluster = quorate_testkit::Cluster::start().await?;
//!     let log = cluster.log("orders").await?;
//!     log.append("hello").await?;
//!
//!     let killed = cluster.kill_leader().await?; // the other two go on
//!     log.append("still here").await?;
//!     cluster.restart(killed).await?;
//!
//!     assert_eq!(log.tail().await?.get(), 2);
//!     Ok(())
//! }
//! ```
//!
//! - **It is the service**: the same code that `quorate serve` runs, with its journal, its elections and its HTTP doors on
//!   ports of the loopback that nobody else has. The replicas keep their files in a temporary folder, which is removed when
//!   the [`Cluster`] is dropped.
//! - **It stays out of the way**: replicas have threads of their own, so a test may use any runtime. No signal is caught,
//!   no line is printed; install a `tracing` subscriber to see what the replicas say. A replica that cannot go on ends by
//!   itself ([`Cluster::failure`] says why), and the test goes on.
//! - **A kill is not `kill -9`**: the replica hands nothing on, answers nobody any more, and what is under way is cut,
//!   but its files are closed. For crashes of processes and disks there are the tests of Quorate itself.

mod cluster;
mod error;
mod place;
mod replica;

pub use cluster::Cluster;
pub use error::Error;
