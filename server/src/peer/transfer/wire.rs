//! The messages of a state transfer as bytes.
//!
//! ```text
//! offer         vote, entry, number, manifest's length and hash  ->  under way | ready | installed | refused | failed
//! manifest      number, offset                                   ->  the next bytes of it
//! confirmed                                                     ->  certified checkpoints that are the same there
//! kept          entry of a checkpoint, offset                    ->  its length, the next bytes of it
//! tile hashes   spans of tiles of a level                        ->  per span as many hashes as are there
//! records       spans of positions, a limit                      ->  per span as many records as are there and fit
//! ```
//!
//! An offer is repeated until it is decided; every other question can be asked of any replica, again and in any order.
//! Not here: what is asked when (`receive`), and where the answers come from (`send`).

use bytes::{Buf as _, BufMut as _, Bytes};
use client::types::{Digest, EntryId, EntryIndex, LogId, Position, ReplicaId};

use crate::peer::codec::{
    Malformed, Message, count, put_id, put_vote, take_bool, take_count, take_digest, take_id,
    take_u8, take_u32, take_u64, take_vote,
};
use crate::raft::types::RaftVote;

/// The most spans in one question.
pub(super) const SPANS_MAX: u32 = 256;
/// Members that an offer names.
const PLACES_MAX: u32 = 4096;
/// The most hashes in one answer.
pub(super) const HASHES_MAX: u32 = 32 * 1024;
/// Checkpoints that are told of.
const CONFIRMED_MAX: u32 = 4096;
/// The most bytes of a reason.
const REASON_BYTES_MAX: usize = 300;

/// A leader offers its state to a replica that lacks entries which are purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct Offer {
    /// The leader's vote.
    pub(in crate::peer) vote: RaftVote,
    /// The entry whose state it is.
    pub(in crate::peer) entry: EntryId,
    /// Which offer of this start of the leader.
    pub(in crate::peer) number: u64,
    /// Bytes of the manifest.
    pub(in crate::peer) manifest_bytes: u64,
    /// Hash of the manifest.
    pub(in crate::peer) manifest_hash: Digest,
    /// It may be installed when all is there: the leader's journal goes on from its entry.
    pub(in crate::peer) may_install: bool,
    /// Where the members are found: a newcomer knows nobody yet.
    pub(in crate::peer) places: Vec<(ReplicaId, String)>,
}

/// How far an offer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) enum OfferAnswer {
    /// Records are being fetched.
    UnderWay {
        /// Bytes in all; zero until that is known.
        total: u64,
        /// Bytes of these that are here.
        done: u64,
        /// An operator holds it.
        is_paused: bool,
    },
    /// All is there, and nothing is installed yet.
    Ready,
    /// The state is installed, or was not needed. With the vote of the one who says so.
    Installed(RaftVote),
    /// Another leader is known, with this vote.
    Refused(RaftVote),
    /// It came to nothing. What was fetched is kept.
    Failed(String),
}

/// Asks the one who offers for bytes of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer) struct ManifestQuestion {
    pub(in crate::peer) number: u64,
    pub(in crate::peer) offset: u64,
}

/// Bytes of a manifest; none if that offer is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct ManifestPart(pub(in crate::peer) Bytes);

/// The checkpoints that are certified to be what they are at whoever answers, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct ConfirmedAnswer(pub(in crate::peer) Vec<(EntryIndex, Digest)>);

/// Asks whoever keeps the manifest of a checkpoint for bytes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer) struct KeptQuestion {
    pub(in crate::peer) checkpoint: EntryIndex,
    pub(in crate::peer) offset: u64,
}

/// Bytes of a manifest as it is kept; none if it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct KeptPart {
    /// How many there are in all.
    pub(in crate::peer) total: u64,
    pub(in crate::peer) bytes: Bytes,
}

/// Tiles `[from, until)` of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer) struct TileSpan {
    pub(in crate::peer) log: LogId,
    pub(in crate::peer) level: u8,
    pub(in crate::peer) from: u64,
    pub(in crate::peer) until: u64,
}

/// Asks for hashes of tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct TilesQuestion(pub(in crate::peer) Vec<TileSpan>);

/// Per span the hashes that are there, from its first on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct TilesAnswer(pub(in crate::peer) Vec<Vec<Digest>>);

/// Records `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer) struct RecordSpan {
    pub(in crate::peer) log: LogId,
    pub(in crate::peer) from: Position,
    pub(in crate::peer) until: Position,
}

/// Asks for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct RecordsQuestion {
    pub(in crate::peer) spans: Vec<RecordSpan>,
    /// The answer ends when it has so many bytes.
    pub(in crate::peer) bytes_max: u32,
}

/// Records of the first spans, in order: `{ u32 length, u64 time, untimed record }`. One that is empty says that its
/// first record is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::peer) struct RecordsAnswer(pub(in crate::peer) Vec<Bytes>);

/// The same as it is given: the records of a span in parts that follow each other.
#[derive(Debug)]
pub(in crate::peer) struct RecordsGiven(pub(in crate::peer) Vec<Vec<Bytes>>);

impl RecordsGiven {
    /// The bytes of the answer, in parts.
    pub(in crate::peer) fn into_parts(self) -> Vec<Bytes> {
        let head = |value: usize| Bytes::copy_from_slice(&count(value).to_le_bytes());
        let mut out = vec![head(self.0.len())];
        for parts in self.0 {
            out.push(head(parts.iter().map(Bytes::len).sum()));
            out.extend(parts);
        }
        out
    }
}

impl Message for Offer {
    fn encode(&self, out: &mut Vec<u8>) {
        put_vote(out, &self.vote);
        put_id(out, &self.entry);
        out.put_u64_le(self.number);
        out.put_u64_le(self.manifest_bytes);
        out.put_slice(self.manifest_hash.as_bytes());
        out.put_u8(u8::from(self.may_install));
        out.put_u32_le(count(self.places.len()));
        for (replica, address) in &self.places {
            out.put_u64_le(replica.get());
            put_bytes(out, address.as_bytes());
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Self {
            vote: take_vote(bytes)?,
            entry: take_id(bytes)?,
            number: take_u64(bytes)?,
            manifest_bytes: take_u64(bytes)?,
            manifest_hash: take_digest(bytes)?,
            may_install: take_bool(bytes)?,
            places: take_places(bytes)?,
        })
    }
}

fn take_places(bytes: &mut Bytes) -> Result<Vec<(ReplicaId, String)>, Malformed> {
    let count = take_count(bytes, PLACES_MAX, 8 + 4)?;
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        let replica = ReplicaId::new(take_u64(bytes)?).ok_or(Malformed("a replica"))?;
        let address = String::from_utf8(take_bytes(bytes)?.into());
        places.push((replica, address.map_err(|_| Malformed("an address"))?));
    }
    Ok(places)
}

impl Message for OfferAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::UnderWay { total, done, is_paused } => {
                out.put_u8(0);
                out.put_u64_le(*total);
                out.put_u64_le(*done);
                out.put_u8(u8::from(*is_paused));
            }
            Self::Ready => out.put_u8(1),
            Self::Installed(vote) => {
                out.put_u8(2);
                put_vote(out, vote);
            }
            Self::Refused(vote) => {
                out.put_u8(3);
                put_vote(out, vote);
            }
            Self::Failed(reason) => {
                out.put_u8(4);
                let length = reason.floor_char_boundary(REASON_BYTES_MAX);
                put_bytes(out, &reason.as_bytes()[..length]);
            }
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        match take_u8(bytes)? {
            0 => Ok(Self::UnderWay {
                total: take_u64(bytes)?,
                done: take_u64(bytes)?,
                is_paused: take_bool(bytes)?,
            }),
            1 => Ok(Self::Ready),
            2 => Ok(Self::Installed(take_vote(bytes)?)),
            3 => Ok(Self::Refused(take_vote(bytes)?)),
            4 => {
                let reason = take_bytes(bytes)?;
                if reason.len() > REASON_BYTES_MAX {
                    return Err(Malformed("a long reason"));
                }
                let reason = String::from_utf8(reason.into()).map_err(|_| Malformed("a reason"))?;
                Ok(Self::Failed(reason))
            }
            _ => Err(Malformed("an unknown answer to an offer")),
        }
    }
}

impl Message for ManifestQuestion {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.number);
        out.put_u64_le(self.offset);
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Self { number: take_u64(bytes)?, offset: take_u64(bytes)? })
    }
}

impl Message for ManifestPart {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.0);
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        take_bytes(bytes).map(Self)
    }
}

impl Message for ConfirmedAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(count(self.0.len()));
        for (checkpoint, digest) in &self.0 {
            out.put_u64_le(checkpoint.get());
            out.put_slice(digest.as_bytes());
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let count = take_count(bytes, CONFIRMED_MAX, 8 + 32)?;
        let one = |_| Ok((EntryIndex::new(take_u64(bytes)?), take_digest(bytes)?));
        (0..count).map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl Message for KeptQuestion {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.checkpoint.get());
        out.put_u64_le(self.offset);
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Self { checkpoint: EntryIndex::new(take_u64(bytes)?), offset: take_u64(bytes)? })
    }
}

impl Message for KeptPart {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.total);
        put_bytes(out, &self.bytes);
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        Ok(Self { total: take_u64(bytes)?, bytes: take_bytes(bytes)? })
    }
}

impl Message for TilesQuestion {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(count(self.0.len()));
        for span in &self.0 {
            out.put_u64_le(span.log.get());
            out.put_u8(span.level);
            out.put_u64_le(span.from);
            out.put_u64_le(span.until);
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let mut left = u64::from(HASHES_MAX);
        let spans = take_spans(bytes, 25, |bytes| {
            let span = TileSpan {
                log: LogId::new(take_u64(bytes)?),
                level: take_u8(bytes)?,
                from: take_u64(bytes)?,
                until: take_u64(bytes)?,
            };
            let length = span.until.checked_sub(span.from).ok_or(Malformed("a span of tiles"))?;
            left = left.checked_sub(length).ok_or(Malformed("too many tiles"))?;
            Ok(span)
        })?;
        Ok(Self(spans))
    }
}

impl Message for TilesAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(count(self.0.len()));
        for hashes in &self.0 {
            out.put_u32_le(count(hashes.len()));
            for hash in hashes {
                out.put_slice(hash.as_bytes());
            }
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let spans = take_spans(bytes, 4, |bytes| {
            let count = take_count(bytes, HASHES_MAX, 32)?;
            (0..count).map(|_| take_digest(bytes)).collect()
        })?;
        Ok(Self(spans))
    }
}

impl Message for RecordsQuestion {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.bytes_max);
        out.put_u32_le(count(self.spans.len()));
        for span in &self.spans {
            out.put_u64_le(span.log.get());
            out.put_u64_le(span.from.get());
            out.put_u64_le(span.until.get());
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        let bytes_max = take_u32(bytes)?;
        let spans = take_spans(bytes, 24, |bytes| {
            let span = RecordSpan {
                log: LogId::new(take_u64(bytes)?),
                from: Position::new(take_u64(bytes)?),
                until: Position::new(take_u64(bytes)?),
            };
            if span.from < span.until { Ok(span) } else { Err(Malformed("a span of records")) }
        })?;
        Ok(Self { spans, bytes_max })
    }
}

impl Message for RecordsAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(8 + self.0.iter().map(|part| 4 + part.len()).sum::<usize>());
        out.put_u32_le(count(self.0.len()));
        for part in &self.0 {
            put_bytes(out, part);
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        take_spans(bytes, 4, take_bytes).map(Self)
    }
}

fn take_spans<T>(
    bytes: &mut Bytes,
    least_bytes: usize,
    mut take: impl FnMut(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = take_count(bytes, SPANS_MAX, least_bytes)?;
    (0..count).map(|_| take(bytes)).collect()
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(count(bytes.len()));
    out.put_slice(bytes);
}

fn take_bytes(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = usize::try_from(take_u32(bytes)?).map_err(|_| Malformed("a length"))?;
    if bytes.remaining() < length {
        return Err(Malformed("bytes cut short"));
    }
    Ok(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use client::types::Term;

    use super::*;

    fn comes_back<M: Message + PartialEq + std::fmt::Debug>(message: &M) {
        let mut out = Vec::new();
        message.encode(&mut out);
        let bytes = Bytes::from(out);
        assert_eq!(&M::decode_whole(bytes.clone()).unwrap(), message);
        for length in 0..bytes.len() {
            assert!(
                M::decode_whole(bytes.slice(..length)).is_err(),
                "{length} bytes of {message:?}"
            );
        }
    }

    #[test]
    fn every_message_comes_back_whole_or_not_at_all() {
        let vote = RaftVote::new(4, 2);
        let (log, digest) = (LogId::new(7), Digest::new([9; 32]));
        comes_back(&Offer {
            vote,
            entry: EntryId::new(Term::new(3), 1, EntryIndex::new(55)),
            number: 6,
            manifest_bytes: 1 << 40,
            manifest_hash: digest,
            may_install: true,
            places: vec![(ReplicaId::FIRST, "http://127.0.0.1:8001".to_owned())],
        });
        comes_back(&OfferAnswer::UnderWay { total: 10, done: 3, is_paused: true });
        comes_back(&OfferAnswer::Ready);
        comes_back(&OfferAnswer::Installed(vote));
        comes_back(&OfferAnswer::Refused(vote));
        comes_back(&OfferAnswer::Failed("no source".to_owned()));
        comes_back(&ManifestQuestion { number: 1, offset: 2 });
        comes_back(&ManifestPart(Bytes::from_static(b"rows")));
        comes_back(&ConfirmedAnswer(vec![
            (EntryIndex::new(3), digest),
            (EntryIndex::new(8), digest),
        ]));
        comes_back(&KeptQuestion { checkpoint: EntryIndex::new(3), offset: 9 });
        comes_back(&KeptPart { total: 80, bytes: Bytes::from_static(b"packed") });
        comes_back(&TilesQuestion(vec![TileSpan { log, level: 1, from: 3, until: 9 }]));
        comes_back(&TilesAnswer(vec![vec![digest, digest], Vec::new()]));
        let (from, until) = (Position::new(1), Position::new(300));
        let spans = vec![RecordSpan { log, from, until }];
        comes_back(&RecordsQuestion { spans, bytes_max: 4096 });
        comes_back(&RecordsAnswer(vec![Bytes::from_static(b"abc"), Bytes::new()]));
    }

    #[test]
    fn records_given_in_parts_are_the_same_answer() {
        let part = Bytes::from_static;
        let given = RecordsGiven(vec![vec![part(b"ab"), part(b"c")], Vec::new()]);
        let mut parts = given.into_parts();
        let told = RecordsAnswer::decode_whole(parts.concat().into()).unwrap();
        assert_eq!(told, RecordsAnswer(vec![part(b"abc"), Bytes::new()]));
        crate::peer::intake::seal_parts(&mut parts);
        let unsealed = crate::peer::intake::unseal(parts.concat().into()).unwrap();
        assert_eq!(RecordsAnswer::decode_whole(unsealed).unwrap(), told);
    }

    #[test]
    fn a_question_for_too_much_is_refused() {
        let encoded = |message: &TilesQuestion| {
            let mut out = Vec::new();
            message.encode(&mut out);
            TilesQuestion::decode_whole(out.into())
        };
        let span = |from, until| TileSpan { log: LogId::new(1), level: 0, from, until };
        let most = u64::from(HASHES_MAX);
        assert!(encoded(&TilesQuestion(vec![span(0, most)])).is_ok());
        assert!(encoded(&TilesQuestion(vec![span(0, most), span(0, 1)])).is_err());
        assert!(encoded(&TilesQuestion(vec![span(5, 4)])).is_err());
        assert!(encoded(&TilesQuestion(vec![span(0, 1); 257])).is_err());
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let mut out = Vec::new();
        OfferAnswer::Failed("ä".repeat(400)).encode(&mut out);
        assert!(matches!(OfferAnswer::decode_whole(out.into()), Ok(OfferAnswer::Failed(_))));
    }
}
