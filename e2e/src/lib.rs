//! The proof of Quorate: real processes, real sockets, and the promises over what they answered.
//!
//! A test starts a `Cluster` of `quorate serve` processes, lets a seeded workload run against it while
//! it does harm, and hands the history of all calls to `check`, which states the promises once. A run
//! that did not meet the harm it was meant to meet is inconclusive, never passed.
//!
//! Not here: the inside of the server. What a test knows of it, it was told by the front door.

pub mod balancer;
pub mod browser;
pub mod bulk;
pub mod chance;
pub mod check;
pub mod checkpoint;
pub mod cluster;

pub mod contract;
pub mod counter;
pub mod delivery;
pub mod figures;
pub mod folder;
pub mod foreign;
pub mod history;
pub mod link;
pub mod membership;
pub mod node;
pub mod process;
pub mod python;
pub mod rest;
pub mod scale;
pub mod volume;
pub mod wait;
pub mod workload;
