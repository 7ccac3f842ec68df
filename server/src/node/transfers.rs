//! State transfers that this replica takes part in: what they are at, and how fast they may go.
//!
//! Not here: how state is transferred (`peer::transfer`).

use client::api::transfers::{TransferChange, TransferInfo};

use super::Node;
use crate::peer::transfer::NotChanged;

impl Node {
    /// The transfers under way here and those that ended lately, newest first.
    pub fn transfers(&self) -> Vec<TransferInfo> {
        self.core.peers.board().list()
    }

    /// One of them.
    pub fn transfer(&self, id: &str) -> Option<TransferInfo> {
        self.core.peers.board().get(id)
    }

    /// Changes how fast a transfer goes that this replica receives, holds it or lets it go.
    pub fn turn_transfer(
        &self,
        id: &str,
        change: TransferChange,
    ) -> Result<TransferInfo, NotChanged> {
        self.core.peers.board().turn(id, |pace| {
            if let Some(bytes_per_second) = change.bytes_per_second {
                pace.bytes_per_second = bytes_per_second;
            }
            pace.is_paused = change.paused.unwrap_or(pace.is_paused);
        })
    }
}
