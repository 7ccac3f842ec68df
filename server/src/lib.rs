//! The replica: floors, upper ones stand on lower ones.
//!
//! ```text
//! 8  cli        the command line
//! 7  run, config, listen, telemetry
//! 6  http       decode, call, encode
//! 5  node       what a replica can do
//! 4  peer       both ends of the wire between replicas
//! 3  raft       the wall around openraft
//! 2  storage    journal, state, disk
//! 1  machine    commands in, outcomes and deltas out
//! 0  world, metrics
//! ```
//!
//! Calls go down, watches come up; `tidy` refuses an import the other way.

pub mod cli;
pub mod config;
pub mod http;
pub mod listen;
pub mod machine;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod raft;
pub mod run;
pub mod storage;
pub mod telemetry;
pub mod world;
