//! The best that could be had: the same HTTP, three journals in one process, and no consensus.
//!
//! An append is acknowledged when two of three journals hold it durably, as three replicas would;
//! what is missing is the machine, the network between replicas, and openraft. Hence the ratio of a
//! group's figures to these says what consensus costs, on any machine.
//!
//! Not here: the load (`quorate bench` sends the same to this as to a group). Nothing can be read.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use axum::Json;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path as PathPart, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use client::api::records::{Appended, batch_from_json, batch_from_ndjson};
use client::api::{frame, media, paths};
use client::types::{
    Batch, BatchLimits, EntryId, EntryIndex, LogId, LogName, NewRecord, Position, Term, Timestamp,
};
use tokio::runtime;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower::ServiceExt;

use crate::listen;
use crate::listen::{ListenOptions, Listening};
use crate::machine::{EntryBody, Payload};
use crate::metrics::{Door, Metrics};
use crate::storage::disk::RealDisk;
use crate::storage::journal::{Entry, Journal, JournalIdentity, JournalOptions, Opening};
use crate::world::{Chance, Clock};

const JOURNALS: u64 = 3;
const QUORUM: usize = 2;
/// Entries under way; what arrives meanwhile is gathered into the next.
const ENTRIES_MAX: usize = 2;
const ENTRY_BYTES_MAX: usize = 1 << 20;
const WAITING_MAX: usize = 4096;
const BODY_BYTES_MAX: usize = 8 << 20;

/// A running ceiling. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Ceiling {
    addr: SocketAddr,
    folder: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ceiling {
    /// Starts one whose journals lie under this folder, on threads of its own.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let folder = folder.join(format!(".quorate-ceiling-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let mut ceiling =
            Self { addr: ([127, 0, 0, 1], 0).into(), folder, stop: None, thread: None };
        let journals = ceiling.journals()?;
        let (stop, stopped) = oneshot::channel();
        let (told, addr) = std::sync::mpsc::channel();
        ceiling.stop = Some(stop);
        ceiling.thread = Some(thread::spawn(move || {
            if let Err(error) = run(&journals, &told, stopped) {
                // Whoever waits for the address gets the reason instead.
                told.send(Err(error)).ok();
            }
        }));
        ceiling.addr = addr.recv().map_err(|_gone| io::ErrorKind::BrokenPipe)??;
        Ok(ceiling)
    }

    /// Where it answers.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn journals(&self) -> io::Result<Vec<Journal>> {
        (1..=JOURNALS)
            .map(|replica| {
                let folder = self.folder.join(replica.to_string());
                std::fs::create_dir(&folder)?;
                let identity = JournalIdentity { cluster: [0; 16], replica };
                let options = JournalOptions::new(Clock::real(), Chance::from_system());
                match Journal::open(Arc::new(RealDisk), &folder, identity, options) {
                    Ok(Opening::Whole(journal)) => Ok(journal),
                    Ok(Opening::Damaged(_)) => Err(io::Error::other("a new journal is damaged")),
                    Err(error) => Err(io::Error::other(error)),
                }
            })
            .collect()
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell in the end.
            thread.join().ok();
        }
        // What stays behind is empty of meaning.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn run(
    journals: &[Journal],
    told: &std::sync::mpsc::Sender<io::Result<SocketAddr>>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = listen::bind(([127, 0, 0, 1], 0).into())?;
        told.send(listener.local_addr()).map_err(|_gone| io::ErrorKind::BrokenPipe)?;
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let router = axum::Router::new()
            .route(paths::RECORDS, post(append))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(sender);
        let listening = Listening {
            listener,
            door: Door::Clients,
            options: ListenOptions::default(),
            metrics: Metrics::new(),
            clock: Clock::real(),
        };
        let answer = move |request: http::Request<Body>| {
            let router = router.clone();
            async move { router.oneshot(request).await.unwrap_or_else(|never| match never {}) }
        };
        let stop = async { drop(stopped.await) };
        tokio::select! {
            _cut = listening.serve(answer, stop) => {}
            () = commit(waiting, journals) => {}
        }
        Ok(())
    })
}

/// One append on its way.
struct Waiting {
    log: LogName,
    batch: Batch,
    answer: oneshot::Sender<Appended>,
}

async fn append(
    State(sender): State<mpsc::Sender<Waiting>>,
    PathPart(log): PathPart<LogName>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(batch) = batch(&headers, body) else { return StatusCode::BAD_REQUEST.into_response() };
    let (answer, appended) = oneshot::channel();
    if sender.send(Waiting { log, batch, answer }).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match appended.await {
        Ok(appended) => Json(appended).into_response(),
        Err(_lost) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn batch(headers: &HeaderMap, body: Bytes) -> Option<Batch> {
    let limits = BatchLimits::default();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match content_type {
        Some(media::JSON) => batch_from_json(&body, &limits).ok(),
        Some(media::NDJSON) => batch_from_ndjson(&body, &limits).ok(),
        Some(media::FRAMES) => frame::read_append(body, &limits).ok(),
        Some(_) | None => Batch::single(&NewRecord::new(body), &limits).ok(),
    }
}

/// Gathers what waits into entries, and answers once a quorum of journals holds them.
async fn commit(mut waiting: mpsc::Receiver<Waiting>, journals: &[Journal]) {
    let clock = Clock::real();
    let under_way = Arc::new(Semaphore::new(ENTRIES_MAX));
    let mut next = Position::ZERO;
    let mut index = 0;
    let mut gathered = Vec::new();
    while waiting.recv_many(&mut gathered, WAITING_MAX).await > 0 {
        let permit = Arc::clone(&under_way).acquire_owned().await;
        let mut bytes: usize = gathered.iter().map(|one| one.batch.run().len()).sum();
        while bytes < ENTRY_BYTES_MAX
            && let Ok(one) = waiting.try_recv()
        {
            bytes += one.batch.run().len();
            gathered.push(one);
        }
        let time = Timestamp::new(clock.wall_millis());
        let mut run = BytesMut::with_capacity(bytes);
        let answers = gathered.drain(..).map(|one| {
            run.extend_from_slice(one.batch.run());
            let first = next;
            next = first.advance(one.batch.count().into());
            (one.answer, appended(one.log, first, next, time))
        });
        let answers: Vec<_> = answers.collect();
        index += 1;
        let id = EntryId { term: Term::new(1), leader: 1, index: EntryIndex::new(index) };
        let body = EntryBody::Command(Payload::new(run.freeze()));
        let quorum = Arc::new(Quorum {
            durable: AtomicUsize::new(0),
            answers: Mutex::new(Some((answers, permit.ok()))),
        });
        for journal in journals {
            let quorum = Arc::clone(&quorum);
            let entry = Entry { id, body: body.clone() };
            journal.append(vec![entry], Box::new(move |done| quorum.note(&done)));
            // Nobody reads them here, so memory need not hold more than what is not yet durable.
            journal.note_applied(index);
        }
    }
}

fn appended(log: LogName, first: Position, next: Position, time: Timestamp) -> Appended {
    let log_id = LogId::new(1);
    Appended { log, log_id, first, next, tail: next, time, replayed: false }
}

/// The answers that wait for a quorum of journals, and the room that their entry takes.
struct Quorum {
    durable: AtomicUsize,
    #[allow(clippy::type_complexity, reason = "said once, right here")]
    answers: Mutex<
        Option<(
            Vec<(oneshot::Sender<Appended>, Appended)>,
            Option<tokio::sync::OwnedSemaphorePermit>,
        )>,
    >,
}

impl Quorum {
    fn note(&self, done: &io::Result<()>) {
        if done.is_err() || self.durable.fetch_add(1, Ordering::AcqRel) + 1 != QUORUM {
            return;
        }
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (answer, appended) in answers.into_iter().flat_map(|(answers, _permit)| answers) {
            // Whoever went away needs no answer.
            answer.send(appended).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn appends_are_acknowledged_with_their_positions_and_the_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let ceiling = Ceiling::start(folder.path()).unwrap();
        let mut stream = TcpStream::connect(ceiling.addr()).await.unwrap();
        for first in 0..3 {
            let ask =
                "POST /v1/logs/bench/records HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let count = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..count]);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(
                answer.contains(&format!("\"first\":{first},\"next\":{}", first + 1)),
                "{answer}"
            );
        }
        drop(stream);
        drop(ceiling);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
