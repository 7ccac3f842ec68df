//! What replicas tell each other of what they hold: digests, at named entries.
//!
//! A question names an entry; the answer is a digest, *not yet*, or *not known any more*. Two of them
//! can be asked: the digest of the state at a checkpoint, which is told only once that state is
//! flushed, and the rolling digest over what was executed, for the newest entries.
//!
//! Not here: what is concluded from the answers (`node::checkpoint`, `node::audit`).

use bytes::{Buf as _, BufMut as _, Bytes};
use client::types::{Digest, EntryIndex, ReplicaId};

use super::client::{PeerError, Peers};
use super::codec::{Malformed, Message};
use super::paths;
use super::transport::{Purpose, Transport};
use crate::storage::state::Attestation;

impl Message for Attestation {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::NotYet => out.put_u8(0),
            Self::Unknown => out.put_u8(1),
            Self::Digest(digest) => {
                out.put_u8(2);
                out.put_slice(digest.as_bytes());
            }
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        match bytes.try_get_u8() {
            Ok(0) => Ok(Self::NotYet),
            Ok(1) => Ok(Self::Unknown),
            Ok(2) if bytes.remaining() >= 32 => {
                let mut digest = [0; 32];
                bytes.copy_to_slice(&mut digest);
                Ok(Self::Digest(Digest::new(digest)))
            }
            _ => Err(Malformed::new("an attestation")),
        }
    }
}

impl<T: Transport> Peers<T> {
    /// Asks a replica for the digest of its state at a checkpoint.
    pub async fn attestation(
        &self,
        replica: ReplicaId,
        checkpoint: EntryIndex,
    ) -> Result<Attestation, PeerError> {
        self.ask_digest(replica, paths::ATTESTATION, checkpoint).await
    }

    /// Asks a replica for its rolling digest at an entry.
    pub async fn rolling_digest(
        &self,
        replica: ReplicaId,
        entry: EntryIndex,
    ) -> Result<Attestation, PeerError> {
        self.ask_digest(replica, paths::ROLLING_DIGEST, entry).await
    }

    async fn ask_digest(
        &self,
        replica: ReplicaId,
        path: &str,
        entry: EntryIndex,
    ) -> Result<Attestation, PeerError> {
        let address = self.address(replica).ok_or(PeerError::Unknown)?;
        let progress = self.timings().election_max * 2;
        self.ask(Purpose::Questions, replica, &address, path, &entry, progress).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attestation_comes_back_and_nothing_else_is_one() {
        for told in
            [Attestation::NotYet, Attestation::Unknown, Attestation::Digest(Digest::new([7; 32]))]
        {
            let mut out = Vec::new();
            told.encode(&mut out);
            assert_eq!(Attestation::decode_whole(out.clone().into()).unwrap(), told);
            out.push(0);
            assert!(Attestation::decode_whole(out.into()).is_err());
        }
        for wrong in [&[][..], &[3], &[2; 32]] {
            assert!(Attestation::decode_whole(Bytes::copy_from_slice(wrong)).is_err());
        }
    }
}
