//! The doors of one replica: bound before anything is changed on disk, answering from then on.
//!
//! The client door is served by the same listener from the first moment to the last. Until there is a
//! node it says what the process waits for; from then on it is the node's. So nobody who asks early is
//! left without an answer, and no connection is lost when the replica begins to serve. The peer door opens later: when
//! something has to be repaired, or when the node is ready for messages.
//!
//! Not here: what is answered (`http`, `peer`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::RunError;
use crate::http::{Front, WaitingFront};
use crate::listen::{self, Listening};
use crate::world::Tasks;

/// Between two tries to take a connection that is turned away.
const TURNED_AWAY_PAUSE: Duration = Duration::from_millis(100);

/// Binds an address.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    listen::bind(address).map_err(|error| RunError::Listen { address, error })
}

/// The client door.
pub(super) struct ClientDoor {
    serving: Arc<OnceLock<Front>>,
    served: Served,
}

impl ClientDoor {
    /// Opens it; until it is given to a node, `waiting` answers.
    pub(super) fn open(tasks: &Tasks, listening: Listening, waiting: WaitingFront) -> Self {
        let serving = Arc::new(OnceLock::<Front>::new());
        let current = serving.clone();
        let answer = move |request| {
            let (current, waiting) = (current.clone(), waiting.clone());
            async move {
                match current.get() {
                    Some(front) => front.answer(request).await,
                    None => Box::pin(waiting.answer(request)).await,
                }
            }
        };
        Self { serving, served: Served::begin("client door", tasks, listening, answer) }
    }

    /// From now on this front answers.
    pub(super) fn serve(&self, front: Front) {
        assert!(self.serving.set(front).is_ok(), "a process has one node");
    }

    /// Lets requests under way finish, as long as the door's options allow.
    pub(super) async fn end(&mut self) {
        self.served.end().await;
    }
}

/// The peer door: closed until there is something to answer, then served by whatever was given to it last.
pub(super) struct PeerDoor {
    tasks: Tasks,
    router: Arc<Mutex<Router>>,
    listening: Option<Listening>,
    served: Option<Served>,
}

impl PeerDoor {
    /// A door that is bound; who comes waits until it is served.
    pub(super) fn new(tasks: &Tasks, listening: Listening) -> Self {
        let (tasks, listening) = (tasks.clone(), Some(listening));
        Self { tasks, router: Arc::default(), listening, served: None }
    }

    /// Takes connections and ends them at once, until it is dropped: whoever tries sees that this process is reached.
    /// Untaken, they would fill the queue, and after that nobody would get through.
    pub(super) fn turn_away(&self) -> impl Future<Output = Infallible> {
        let listening = self.listening.as_ref();
        async move {
            let Some(listening) = listening else { return std::future::pending().await };
            loop {
                if listening.listener.accept().await.is_err() {
                    // Out of descriptors, perhaps.
                    listening.clock.sleep(TURNED_AWAY_PAUSE).await;
                }
            }
        }
    }

    /// From now on these routes answer.
    pub(super) fn serve(&mut self, router: Router) {
        *self.router.lock().unwrap_or_else(PoisonError::into_inner) = router;
        let Some(listening) = self.listening.take() else { return };
        let current = self.router.clone();
        let answer = move |request| {
            let router = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                let service = router.into_service::<Body>();
                service.oneshot(request).await.unwrap_or_else(|never| match never {})
            }
        };
        self.served = Some(Served::begin("peer door", &self.tasks, listening, answer));
    }

    /// Lets requests under way finish, as long as the door's options allow.
    pub(super) async fn end(&mut self) {
        if let Some(served) = &mut self.served {
            served.end().await;
        }
    }
}

/// One door being served until it is told to close.
pub(super) struct Served {
    close: watch::Sender<bool>,
    closed: watch::Receiver<bool>,
}

impl Served {
    pub(super) fn begin<A, F>(
        name: &'static str,
        tasks: &Tasks,
        listening: Listening,
        answer: A,
    ) -> Self
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (close, mut told) = watch::channel(false);
        let (ended, closed) = watch::channel(false);
        tasks.spawn_to_end(name, async move {
            let stop = async {
                // If nobody can tell any more, it is time as well.
                drop(told.wait_for(|is_told| *is_told).await);
            };
            let cut = listening.serve(answer, stop).await;
            tracing::debug!(door = name, cut, "door closed");
            ended.send_replace(true);
        });
        Self { close, closed }
    }

    /// Lets requests under way finish, as long as the door's options allow.
    pub(super) async fn end(&mut self) {
        self.close.send_replace(true);
        drop(self.closed.wait_for(|is_closed| *is_closed).await);
    }
}
