//! Which start of a replica runs where it is found: tells a replica that started again from a running replica's copied
//! folder.
//!
//! A copy shows every start that its original showed, so whoever never met the original in this start cannot tell them
//! apart by what they remember. But only one of them answers at the address that the membership gives. So before a start
//! is met, that address is asked; the question needs no acquaintance. Nobody answers there when the original ended, and
//! then its folder may go on elsewhere.
//!
//! An original that is frozen, or cut off from whoever asks, does not answer either. Then what is remembered decides
//! alone.
//!
//! Not here: what is remembered (`acquaintances`).

use client::types::{Incarnation, ReplicaId};

use super::client::Peers;
use super::codec::Message;
use super::envelope::Refusal;
use super::paths;
use super::transport::{Purpose, Transport};

impl<T: Transport> Peers<T> {
    /// Refuses a start that is to be met if another one of its replica runs where that replica is found.
    pub(super) async fn check_alone(
        &self,
        replica: ReplicaId,
        start: Incarnation,
    ) -> Result<(), Refusal> {
        if self.acquaintances().accepted_for_repair(replica) == Some(start) {
            return Ok(());
        }
        match self.running(replica).await {
            Some(running) if running.start > start.start => Err(Refusal::OlderIncarnation),
            Some(running) if running != start => Err(Refusal::CopiedIncarnation),
            Some(_) | None => Ok(()),
        }
    }

    /// The start that answers where a replica is found. It is waited for no longer than whoever introduces itself
    /// waits for us.
    async fn running(&self, replica: ReplicaId) -> Option<Incarnation> {
        let address = self.address(replica)?;
        let message = self.message(replica, None, &());
        let patience = self.timings().heartbeat * 2;
        let asked = self.call(Purpose::Questions, &address, paths::PRESENT, message, patience);
        let answer = self.clock().within(patience, asked).await.ok()?.ok()?;
        Incarnation::decode_whole(answer).ok()
    }
}
