//! A gate before consensus: open, but for the moment in which leadership is handed over.
//!
//! While it is closed nothing new is proposed, and `emptied` tells when everything that went through
//! before has come back. So a planned hand-over leaves nobody with an unknown outcome.
//!
//! Not here: what those who are held back do (they wait for their turn, or for another leader).

use tokio::sync::watch;

/// Who may pass. A clone is the same gate.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_closed: bool,
    inside: u64,
}

impl Gate {
    /// Open, and nobody is inside.
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// Lets one through, if the gate is open.
    pub(super) fn enter(&self) -> Option<Pass> {
        let mut is_in = false;
        self.state.send_if_modified(|state| {
            is_in = !state.is_closed;
            state.inside += u64::from(is_in);
            // Nobody waits for an arrival.
            false
        });
        is_in.then(|| Pass { gate: self.clone() })
    }

    /// Holds back everybody who is not yet inside.
    pub(super) fn close(&self) {
        self.state.send_modify(|state| state.is_closed = true);
    }

    /// Lets pass again.
    pub(super) fn open(&self) {
        self.state.send_modify(|state| state.is_closed = false);
    }

    /// Ends when nobody is inside.
    pub(super) async fn emptied(&self) {
        // The sender lives as long as this borrow: waiting cannot fail.
        self.state.subscribe().wait_for(|state| state.inside == 0).await.ok();
    }
}

/// Proof that its owner is inside.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Gate,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state.send_if_modified(|state| {
            state.inside -= 1;
            state.inside == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_holds_back_and_tells_when_it_is_empty() {
        let gate = Gate::new();
        let inside = gate.enter().unwrap();
        gate.close();
        assert!(gate.enter().is_none());
        let emptied = gate.emptied();
        let mut emptied = std::pin::pin!(emptied);
        assert!(futures_util::poll!(&mut emptied).is_pending());
        drop(inside);
        emptied.await;
        gate.open();
        assert!(gate.enter().is_some());
    }
}
