//! Who speaks to whom: the identity at the front of every message between replicas.
//!
//! A message is decoded no further before its envelope was compared: cluster, generation, group
//! and target must be ours, and the sender's incarnation must be the one we know, or a later one
//! that has shown it continues the earlier. It names the start of the target that its sender has
//! accepted: so a replica answers only who has accepted it, and a rolled-back one answers nobody.
//! A wiped, copied or rolled-back folder, a removed replica's old process and a wrong address all
//! end here.
//!
//! Not here: what is remembered of the others across our own restarts (`acquaintances`).

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use client::types::{ClusterId, Generation, Incarnation, ReplicaId};
use migrations::latest::GenerationRow;

/// The version of the protocol between replicas.
pub(super) const PROTOCOL_VERSION: u8 = 1;
/// The one consensus group that is shipped.
const GROUP: u32 = 0;
/// First bytes of every message.
const MAGIC: [u8; 3] = *b"QPR";
/// Bytes of an envelope.
pub(super) const ENVELOPE_BYTES: usize =
    3 + 1 + 4 + 16 + 4 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + CHECK_BYTES;
/// The check at its end.
const CHECK_BYTES: usize = 4;

/// Who this replica is, in this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which life of the cluster: raised by a recovery after the loss of a majority.
    pub generation: Generation,
    /// The replica.
    pub replica: ReplicaId,
    /// This start of it.
    pub incarnation: Incarnation,
}

impl Identity {
    /// The generation as disks and memberships keep it.
    pub fn generation_row(&self) -> GenerationRow {
        GenerationRow { number: self.generation.number, random: self.generation.random }
    }
}

/// As it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unchecked;
/// Compared with who we are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked;

/// The identity of a message. Only a `Checked` one can be acted on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope<Stage> {
    sender: Identity,
    target: ReplicaId,
    /// The start of the target that the sender has accepted; none in an introduction.
    accepted: Option<Incarnation>,
    stage: PhantomData<Stage>,
}

/// Why a message is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a message of this protocol, or cut short.
    #[error("this is not a message between replicas")]
    Malformed,
    /// Another version of the protocol.
    #[error("this version of the protocol is not spoken here")]
    Version,
    /// Another cluster or group.
    #[error("the message is for another cluster")]
    Cluster,
    /// Another life of this cluster.
    #[error("the message is from another generation of this cluster")]
    Generation,
    /// A generation of this cluster that ended: without its sender, a later one was begun.
    #[error("a later generation of this cluster was begun without this replica")]
    Superseded,
    /// Meant for another replica: the address is wrong.
    #[error("the message is for another replica")]
    Target,
    /// The sender's start number lies behind one that was seen: a rolled-back or old folder.
    #[error("a later start of this replica was seen: this folder is a copy or was rolled back")]
    OlderIncarnation,
    /// The same start number with another random part: two copies of one folder run.
    #[error("another process runs as this start of this replica: one folder is a copy")]
    CopiedIncarnation,
    /// A start that has not introduced itself yet.
    #[error("this start of the replica has not introduced itself")]
    Stranger,
    /// The sender has not accepted this start of the one it asks.
    #[error("the sender has not accepted this start of ours")]
    NotAccepted,
    /// The sender is in no membership that is known here, and knows of none that is newer.
    #[error("the replica is no member")]
    NoMember,
    /// The sender was a member, and is none any more.
    #[error("this replica was removed from the group")]
    Removed,
    /// The sender's folder does not show the start that is remembered here.
    #[error("this folder does not continue the one that is remembered here")]
    NotContinued,
    /// The sender's journal ends before what it acknowledged to us.
    #[error("this folder is behind what it acknowledged")]
    Behind,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Malformed,
        Self::Version,
        Self::Cluster,
        Self::Generation,
        Self::Superseded,
        Self::Target,
        Self::OlderIncarnation,
        Self::CopiedIncarnation,
        Self::Stranger,
        Self::NotAccepted,
        Self::NoMember,
        Self::Removed,
        Self::NotContinued,
        Self::Behind,
    ];

    /// Its name on the wire and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Cluster => "cluster",
            Self::Generation => "generation",
            Self::Superseded => "superseded",
            Self::Target => "target",
            Self::OlderIncarnation => "older_incarnation",
            Self::CopiedIncarnation => "copied_incarnation",
            Self::Stranger => "stranger",
            Self::NotAccepted => "not_accepted",
            Self::NoMember => "no_member",
            Self::Removed => "removed",
            Self::NotContinued => "not_continued",
            Self::Behind => "behind",
        }
    }

    /// The refusal of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.name() == name)
    }

    /// The sender's folder must not serve if a majority says so: it is a copy, was rolled back, or is of a group that
    /// goes on without it. Or it was removed, which anybody may say.
    pub fn condemns(self) -> bool {
        match self {
            Self::OlderIncarnation
            | Self::CopiedIncarnation
            | Self::NotContinued
            | Self::Superseded
            | Self::Behind
            | Self::Removed => true,
            Self::Malformed
            | Self::Version
            | Self::Cluster
            | Self::Generation
            | Self::Target
            | Self::Stranger
            | Self::NotAccepted
            | Self::NoMember => false,
        }
    }
}

impl Envelope<Unchecked> {
    /// The front of a message to `target`, of which this start was accepted.
    pub(super) fn new(sender: Identity, target: ReplicaId, accepted: Option<Incarnation>) -> Self {
        Self { sender, target, accepted, stage: PhantomData }
    }

    /// Writes it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.put_slice(&MAGIC);
        out.put_u8(PROTOCOL_VERSION);
        out.put_u32_le(GROUP);
        out.put_slice(self.sender.cluster.as_bytes());
        out.put_u32_le(self.sender.generation.number);
        out.put_u64_le(self.sender.generation.random);
        out.put_u64_le(self.sender.replica.get());
        out.put_u64_le(self.sender.incarnation.start);
        out.put_u64_le(self.sender.incarnation.random);
        out.put_u64_le(self.target.get());
        // Starts count from 1.
        out.put_u64_le(self.accepted.map_or(0, |accepted| accepted.start));
        out.put_u64_le(self.accepted.map_or(0, |accepted| accepted.random));
        // A changed bit must not pass for a copied or an older folder.
        let check = crc32c::crc32c(&out[begin..]);
        out.put_u32_le(check);
    }

    /// Reads it.
    pub(super) fn decode(mut message: Bytes) -> Result<Self, Refusal> {
        if message.len() != ENVELOPE_BYTES || message[..3] != MAGIC {
            return Err(Refusal::Malformed);
        }
        let check = message.split_off(ENVELOPE_BYTES - CHECK_BYTES);
        if crc32c::crc32c(&message).to_le_bytes() != check[..] {
            return Err(Refusal::Malformed);
        }
        message.advance(3);
        if message.get_u8() != PROTOCOL_VERSION {
            return Err(Refusal::Version);
        }
        if message.get_u32_le() != GROUP {
            return Err(Refusal::Cluster);
        }
        let mut cluster = [0; 16];
        message.copy_to_slice(&mut cluster);
        let generation = Generation { number: message.get_u32_le(), random: message.get_u64_le() };
        let replica = ReplicaId::new(message.get_u64_le()).ok_or(Refusal::Malformed)?;
        let incarnation = Incarnation { start: message.get_u64_le(), random: message.get_u64_le() };
        let target = ReplicaId::new(message.get_u64_le()).ok_or(Refusal::Malformed)?;
        let accepted = Incarnation { start: message.get_u64_le(), random: message.get_u64_le() };
        let accepted = (accepted.start > 0).then_some(accepted);
        let sender =
            Identity { cluster: ClusterId::new(cluster), generation, replica, incarnation };
        Ok(Self { sender, target, accepted, stage: PhantomData })
    }

    /// Compares everything that needs no memory of the sender.
    pub(super) fn check(self, ours: &Identity) -> Result<Envelope<Checked>, Refusal> {
        if self.sender.cluster != ours.cluster {
            return Err(Refusal::Cluster);
        }
        if self.sender.generation.number < ours.generation.number {
            return Err(Refusal::Superseded);
        }
        if self.sender.generation != ours.generation {
            return Err(Refusal::Generation);
        }
        if self.target != ours.replica {
            return Err(Refusal::Target);
        }
        let Self { sender, target, accepted, .. } = self;
        Ok(Envelope { sender, target, accepted, stage: PhantomData })
    }
}

impl Envelope<Checked> {
    /// Who sent the message.
    pub(super) fn sender(&self) -> Identity {
        self.sender
    }

    /// Lets the message in if its sender has accepted this start of ours.
    pub(super) fn check_accepted(&self, ours: &Identity) -> Result<(), Refusal> {
        if self.accepted == Some(ours.incarnation) { Ok(()) } else { Err(Refusal::NotAccepted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(replica: u64) -> Identity {
        Identity {
            cluster: ClusterId::new([7; 16]),
            generation: Generation { number: 1, random: 9 },
            replica: ReplicaId::new(replica).unwrap(),
            incarnation: Incarnation { start: 3, random: 11 },
        }
    }

    fn sent(sender: Identity, target: u64) -> Bytes {
        let mut out = Vec::new();
        let accepted = Some(identity(target).incarnation);
        Envelope::new(sender, ReplicaId::new(target).unwrap(), accepted).encode(&mut out);
        assert_eq!(out.len(), ENVELOPE_BYTES, "the envelope has a fixed length");
        out.into()
    }

    fn received(message: Bytes) -> Result<Identity, Refusal> {
        Envelope::decode(message)?.check(&identity(2)).map(|envelope| envelope.sender())
    }

    #[test]
    fn a_message_of_our_group_to_us_is_let_in() {
        assert_eq!(received(sent(identity(1), 2)), Ok(identity(1)));
    }

    #[test]
    fn another_cluster_generation_or_target_is_refused() {
        let foreign = Identity { cluster: ClusterId::new([8; 16]), ..identity(1) };
        assert_eq!(received(sent(foreign, 2)), Err(Refusal::Cluster));
        let older = Identity { generation: Generation { number: 0, random: 9 }, ..identity(1) };
        assert_eq!(received(sent(older, 2)), Err(Refusal::Superseded));
        let later = Identity { generation: Generation { number: 2, random: 9 }, ..identity(1) };
        assert_eq!(received(sent(later, 2)), Err(Refusal::Generation));
        let other_history =
            Identity { generation: Generation { number: 1, random: 8 }, ..identity(1) };
        assert_eq!(received(sent(other_history, 2)), Err(Refusal::Generation));
        assert_eq!(received(sent(identity(1), 3)), Err(Refusal::Target));
    }

    #[test]
    fn anything_shorter_or_other_is_malformed() {
        let whole = sent(identity(1), 2);
        for length in 0..whole.len() {
            assert_eq!(received(whole.slice(..length)), Err(Refusal::Malformed), "{length} bytes");
        }
        let mut other = whole.to_vec();
        other[0] ^= 1;
        assert_eq!(received(other.into()), Err(Refusal::Malformed));
        for at in 0..whole.len() {
            let mut changed = whole.to_vec();
            changed[at] ^= 0x08;
            assert_eq!(received(changed.into()), Err(Refusal::Malformed), "byte {at}");
        }
        let mut later = whole[..ENVELOPE_BYTES - CHECK_BYTES].to_vec();
        later[3] = PROTOCOL_VERSION + 1;
        later.extend_from_slice(&crc32c::crc32c(&later).to_le_bytes());
        assert_eq!(received(later.into()), Err(Refusal::Version));
    }

    #[test]
    fn only_who_has_accepted_this_very_start_is_answered() {
        let ours = identity(2);
        let Incarnation { start, random } = ours.incarnation;
        let accepted = |accepted| {
            let mut out = Vec::new();
            Envelope::new(identity(1), ours.replica, accepted).encode(&mut out);
            let envelope = Envelope::decode(out.into()).unwrap().check(&ours).unwrap();
            envelope.check_accepted(&ours)
        };
        assert_eq!(accepted(Some(ours.incarnation)), Ok(()));
        let others = [
            None,
            Some(Incarnation { start: start - 1, random }),
            Some(Incarnation { start, random: random + 1 }),
        ];
        for other in others {
            assert_eq!(accepted(other), Err(Refusal::NotAccepted), "{other:?}");
        }
    }

    #[test]
    fn every_refusal_is_found_again_by_its_name() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_name(refusal.name()), Some(refusal));
        }
        assert_eq!(Refusal::from_name("friendly"), None);
    }
}
