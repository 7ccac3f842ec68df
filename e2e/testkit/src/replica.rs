//! One replica, on threads of its own.
//!
//! Its runtime is made and torn down on one thread, which belongs to nobody's runtime; so a test may start and kill
//! replicas from wherever it runs.
//!
//! Not here: how a group forms (`cluster`).

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use client::types::ReplicaAddr;
use server::config::{Config, Layers, Start};
use server::run::{Bound, Leaving, serve_bound};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use crate::error::Error;
use crate::place::Port;

/// Threads of one replica.
const THREADS: usize = 2;
/// How long what is left of a killed replica may take to end.
const CUT_OFF_MAX: Duration = Duration::from_secs(5);
/// What a replica of a test needs less of than one that serves.
const SETTINGS: [(&str, &str); 5] = [
    ("journal.segment_bytes", "8MiB"),
    ("state.cache_bytes", "16MiB"),
    ("state.flush_bytes", "4MiB"),
    ("state.unflushed_bytes_max", "8MiB"),
    ("limits.disk_free_min", "64MiB"),
];

/// One replica, running or not.
#[derive(Debug)]
pub(crate) struct Replica {
    number: usize,
    folder: PathBuf,
    /// Where clients and where other replicas reach it.
    doors: Arc<Mutex<Doors>>,
    url: String,
    life: Option<Life>,
}

#[derive(Debug)]
struct Doors {
    clients: Port,
    peers: Port,
}

/// A replica that runs, or did until it ended by itself.
#[derive(Debug)]
struct Life {
    leave: Option<oneshot::Sender<Leaving>>,
    over: watch::Receiver<Option<Over>>,
    thread: Option<JoinHandle<()>>,
}

/// How a life ended.
#[derive(Clone, Debug)]
struct Over {
    failure: Option<String>,
}

impl Replica {
    /// One that does not run yet, with a folder and ports of its own.
    pub(crate) fn new(number: usize, folder: PathBuf) -> io::Result<Self> {
        let doors = Doors { clients: Port::free()?, peers: Port::free()? };
        let url = format!("http://{}", doors.clients.addr());
        Ok(Self { number, folder, doors: Arc::new(Mutex::new(doors)), url, life: None })
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Starts it: as it was left, or for the first time as `start` says.
    pub(crate) fn start(&mut self, start: Start) -> Result<(), Error> {
        let mut doors = lock(&self.doors);
        let config = self.config(&doors, start)?;
        let listeners = (doors.clients.listen()?, doors.peers.listen()?);
        drop(doors);
        let (leave, told) = oneshot::channel();
        let (tell, over) = watch::channel(None);
        let doors = Arc::clone(&self.doors);
        let thread = std::thread::Builder::new().name(format!("replica {}", self.number));
        let thread = thread.spawn(move || {
            let failure = live(config, listeners, told).err();
            let mut doors = lock(&doors);
            // A port that another process has taken is seen when the replica is started again.
            drop((doors.clients.hold(), doors.peers.hold()));
            drop(doors);
            tell.send_replace(Some(Over { failure }));
        })?;
        self.life = Some(Life { leave: Some(leave), over, thread: Some(thread) });
        Ok(())
    }

    fn config(&self, doors: &Doors, start: Start) -> Result<Config, Error> {
        let folder = self.folder.display().to_string();
        let given = [
            ("data", folder.as_str()),
            ("listen", &doors.clients.addr().to_string()),
            ("peer_listen", &doors.peers.addr().to_string()),
        ]
        .into_iter()
        .chain(SETTINGS)
        .fold(Layers::new(), |layers, (key, value)| layers.flag(key, "testkit", value));
        Config::build(&given, start).map_err(|errors| self.ended(errors.to_string()))
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.over.borrow().is_none())
    }

    /// Why it ended by itself, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.life.as_ref().and_then(|life| life.over.borrow().clone()).and_then(|over| over.failure)
    }

    /// Tells it to leave. What comes back ends when it has.
    pub(crate) fn leave(&mut self, leaving: Leaving) -> impl Future<Output = ()> + use<> {
        let mut over = None;
        if let Some(life) = &mut self.life {
            if let Some(leave) = life.leave.take() {
                // It may have ended by itself.
                leave.send(leaving).ok();
            }
            over = Some(life.over.clone());
        }
        async move {
            if let Some(mut over) = over {
                // If its thread is gone, so is the replica.
                drop(over.wait_for(Option::is_some).await);
            }
        }
    }

    pub(crate) fn ended(&self, reason: String) -> Error {
        Error::Ended { replica: self.number, reason }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.leave(Leaving::AtOnce));
        let thread = self.life.as_mut().and_then(|life| life.thread.take());
        if let Some(thread) = thread {
            // Its folder is about to be removed.
            drop(thread.join());
        }
    }
}

/// How a replica that has no folder yet begins, beside the one that answers there.
pub(crate) fn joining(first: &str) -> Start {
    let door = ReplicaAddr::new(first).expect("the address of a socket is one");
    Start::Join { doors: vec![door], as_learner: false }
}

/// A whole life, from the first thread to the last.
fn live(
    config: Config,
    (clients, peers): (TcpListener, TcpListener),
    told: oneshot::Receiver<Leaving>,
) -> Result<(), String> {
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        let callers = Handle::current();
        let bound = Bound::given(clients, peers, &callers).map_err(|error| error.to_string())?;
        // If nobody can tell it any more, it is time to leave.
        let told = async { told.await.unwrap_or(Leaving::AtOnce) };
        let served = serve_bound(config, bound, &callers, told);
        Box::pin(served).await.map(drop).map_err(|error| error.to_string())
    });
    runtime.shutdown_timeout(CUT_OFF_MAX);
    ended
}

fn lock(doors: &Mutex<Doors>) -> MutexGuard<'_, Doors> {
    doors.lock().unwrap_or_else(PoisonError::into_inner)
}
