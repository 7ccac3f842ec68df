//! What a measurement runs against: addresses, logs that exist, and requests built once.
//!
//! Not here: the load itself (`load`), and what comes out of it (`report`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use client::api::{frame, media, paths};
use client::types::{Batch, BatchLimits, LogName, NewRecord};

use super::connection::{Connection, Head, request};
use super::load::{Load, LogLoad, Towards, connect, leader};
use super::{Arguments, BodyFormat};
use crate::cli::endpoint;
use crate::cli::{Context, Exit, Failure};

/// Addresses and logs, ready to be measured.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) seeds: Vec<SocketAddr>,
    pub(super) towards: Towards,
    pub(super) logs: Vec<LogLoad>,
}

impl Target {
    /// Finds the group and makes sure that the logs exist.
    pub(super) async fn prepare(arguments: &Arguments, context: &Context) -> Result<Self, Failure> {
        let mut seeds = Vec::new();
        for addr in endpoint::resolve(&context.endpoints)? {
            let found = tokio::net::lookup_host((addr.host(), addr.port())).await;
            seeds.extend(
                found.map_err(|error| unreachable_at(addr.as_str()).because(error))?.next(),
            );
        }
        let towards = if arguments.any { Towards::Any } else { Towards::Leader };
        let target = Self { seeds, towards, logs: logs(arguments)? };
        let mut connection = target.connection().await?;
        for log in &target.logs {
            let path = log.records_path.trim_end_matches("/records");
            let ask = request("PUT", path, "bench", &[("content-type", media::JSON)], b"{}");
            let (head, body) = connection.fetch(&ask).await?;
            // A log that exists with other settings does as well.
            if !matches!(head.status, 200 | 201 | 409) {
                return Err(
                    refused(&head, &body).because("the log of the measurement is created first")
                );
            }
        }
        Ok(target)
    }

    /// The ceiling has one address, and takes every log.
    pub(super) fn of_ceiling(addr: SocketAddr, arguments: &Arguments) -> Result<Self, Failure> {
        Ok(Self { seeds: vec![addr], towards: Towards::Any, logs: logs(arguments)? })
    }

    /// A connection to whom the measurement is meant for, whichever replica can be reached.
    pub(super) async fn connection(&self) -> Result<Connection, Failure> {
        let mut reason = None;
        for seed in &self.seeds {
            let found = match self.towards {
                Towards::Any => Ok(None),
                Towards::Leader => leader(*seed).await,
            };
            let opened = match found {
                Ok(leader) => connect(leader.unwrap_or(*seed)).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(connection) => return Ok(connection),
                Err(error) => reason = Some(format!("{seed}: {error}")),
            }
        }
        let what = "no replica can be reached";
        Err(Failure::new(Exit::Unavailable, what)
            .because(reason.unwrap_or_else(|| "no address was given".to_owned()))
            .hint("quorate demo   # or say --endpoint http://HOST:PORT"))
    }

    /// The load that the arguments ask for.
    pub(super) fn load(&self, arguments: &Arguments) -> Load {
        Load {
            seeds: self.seeds.clone(),
            towards: self.towards,
            clients: arguments.clients,
            reads_percent: arguments.mix,
            logs: self.logs.clone(),
            batch: arguments.batch,
            read_query: format!("&limit={}&consistency={}", arguments.batch, arguments.consistency),
            refused_wait: arguments.refused_wait,
            warm_up: arguments.warm_up,
            duration: arguments.duration,
        }
    }
}

/// What a replica said instead of doing it.
pub(super) fn refused(head: &Head, body: &[u8]) -> Failure {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let detail =
        problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or("no reason given");
    let exit = if head.status >= 500 { Exit::Unavailable } else { Exit::Failed };
    Failure::new(exit, format!("status {}: {detail}", head.status))
}

fn unreachable_at(addr: &str) -> Failure {
    Failure::new(Exit::Unavailable, format!("{addr} cannot be found"))
}

fn logs(arguments: &Arguments) -> Result<Vec<LogLoad>, Failure> {
    (0..arguments.logs)
        .map(|number| {
            let name = if arguments.logs == 1 {
                arguments.log.clone()
            } else {
                format!("{}-{number}", arguments.log)
            };
            let name = LogName::new(&name)
                .map_err(|error| Failure::usage(format!("--log {name}")).because(error))?;
            Ok(LogLoad {
                records_path: paths::records(&name),
                append: append(&name, arguments)?,
                tail: Arc::new(AtomicU64::new(0)),
            })
        })
        .collect()
}

/// The append as it goes over the wire, every time the same.
pub(super) fn append(log: &LogName, arguments: &Arguments) -> Result<Bytes, Failure> {
    let record_bytes = usize::try_from(arguments.record_bytes).unwrap_or(usize::MAX);
    let text: String = letters().take(record_bytes).collect();
    let batch = arguments.batch as usize;
    let (content_type, body) = match arguments.body_format() {
        BodyFormat::Raw => (media::BYTES, text.into_bytes()),
        BodyFormat::Json => {
            let records = vec![serde_json::json!({ "data": text }); batch];
            (media::JSON, serde_json::json!({ "records": records }).to_string().into_bytes())
        }
        BodyFormat::Ndjson => {
            let line = serde_json::json!({ "data": text }).to_string() + "\n";
            (media::NDJSON, line.repeat(batch).into_bytes())
        }
        BodyFormat::Frames => (media::FRAMES, frames(text.as_bytes(), batch)?),
    };
    Ok(request("POST", &paths::records(log), "bench", &[("content-type", content_type)], &body))
}

/// One frame with so many records of this body.
fn frames(body: &[u8], count: usize) -> Result<Vec<u8>, Failure> {
    let record = NewRecord::new(Bytes::copy_from_slice(body));
    let limits = BatchLimits {
        records_max: count,
        bytes_max: usize::MAX,
        record_bytes_max: usize::MAX,
        ..BatchLimits::default()
    };
    let batch = Batch::new(std::iter::repeat_n(&record, count), &limits)
        .map_err(|error| Failure::usage("such a batch cannot be").because(error))?;
    Ok(frame::append_frame(&batch).to_vec())
}

/// Text that does not repeat soon, without drawing lots.
fn letters() -> impl Iterator<Item = char> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap_or(0))
    })
}
