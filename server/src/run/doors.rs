//! The doors of one replica: bound before anything is changed on disk, answering from then on.
//!
//! The client door is served by the same listener from the first moment to the last. Until there is a
//! node it says what the process waits for; from then on it is the node's. So nobody who asks early is
//! left without an answer, and no connection is lost when the replica begins to serve.
//!
//! Not here: what is answered (`http`, `peer`).

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::RunError;
use crate::http::{Front, WaitingFront};
use crate::listen::{self, Listening};
use crate::world::World;

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
    pub(super) fn open(world: &World, listening: Listening, waiting: WaitingFront) -> Self {
        let serving = Arc::new(OnceLock::<Front>::new());
        let current = serving.clone();
        let answer = move |request| {
            let (current, waiting) = (current.clone(), waiting.clone());
            async move {
                match current.get() {
                    Some(front) => front.answer(request).await,
                    None => waiting.answer(request).await,
                }
            }
        };
        Self { serving, served: Served::begin("client door", world, listening, answer) }
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

/// One door being served until it is told to close.
pub(super) struct Served {
    close: watch::Sender<bool>,
    closed: watch::Receiver<bool>,
}

impl Served {
    pub(super) fn begin<A, F>(
        name: &'static str,
        world: &World,
        listening: Listening,
        answer: A,
    ) -> Self
    where
        A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (close, mut told) = watch::channel(false);
        let (ended, closed) = watch::channel(false);
        world.tasks.spawn_to_end(name, async move {
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
