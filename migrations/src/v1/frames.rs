//! The journal's bytes: the head of a segment, and the head of a frame.
//!
//! Numbers are little-endian. A segment is one page of head, then frames, each at a multiple of eight:
//! a head, then a payload filled up with zeros. Frames count from 1 through all segments.
//!
//! ```text
//! segment head, 256 bytes, the rest of its page is zeros
//!   0  magic "quorumsg"     8  u32 version       12  u32 check: CRC32C of bytes 16..256
//!  16  cluster [16]        32  u64 replica       40  u64 number of this segment
//!  48  salt [16]           64  salt of the segment before [16], zeros for the first
//!  80  u64 first frame     88  u32 flags: 1 vote, 2 vote committed, 4 purged, 8 committed, 16 last
//!  96  vote: u64 term, u64 leader               112  purged entry: u64 index, term, leader
//! 136  committed entry    160  last entry       184  back hash of what follows [32]
//! 216  zeros
//! and all 256 bytes once more at 2048, so that one bad sector does not cost the salt
//!
//! frame head, 128 bytes
//!   0  u32 check: CRC32C of salt, u64 offset in the file, bytes 4..128
//!   4  u8 kind              5  u8 flags: 1 an id or vote is there, 2 vote committed, 4 next salt,
//!                                   8 a purged entry
//!   6  u16 zero             8  first half of the salt [8]
//!  16  u64 frame number    24  u64 known durable: every frame up to it was synced before
//!  32  u64 index           40  u64 term          48  u64 leader
//!  56  u32 payload length  60  u32 zero
//!  64  SHA-256 of the payload [32]; in a durable mark that ends its segment: salt of the next [16];
//!      in what was forgotten: u64 frames, then the purged entry: u64 index, term, leader;
//!      in what was given up: u64 frames
//!  96  back hash [32]
//!
//! back hash = SHA-256("quorate entry" || u8 kind || u64 index || u64 term || u64 leader
//!                     || u32 length || payload hash) of the entry before; zeros before the first
//! ```
//!
//! The salt is drawn anew for each use of a file, so what a recycled file held before, or a record
//! that imitates a frame, passes for none. The back hash covers only what every replica has.

use sha2::{Digest, Sha256};

/// Where the first frame of a segment begins.
pub const SEGMENT_HEAD_BYTES: usize = 4096;
/// The head of a frame.
pub const FRAME_HEAD_BYTES: usize = 128;
/// Frames begin at multiples of this.
pub const FRAME_ALIGNMENT: usize = 8;
/// The longest payload that a frame may carry.
pub const PAYLOAD_BYTES_MAX: u32 = 64 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"quorumsg";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 256;
/// Where the head of a segment is repeated, in its page.
const COPY_AT: usize = 2048;

/// What makes the frames of one use of a file its own.
pub type Salt = [u8; 16];
/// A hash as it lies in the journal.
pub type Hash = [u8; 32];

/// Why bytes are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The check does not fit: torn, damaged, or never written.
    #[error("bad check")]
    Check,
    /// The check fits, the content does not: written by something newer, or by a bug.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

/// Which entry, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRow {
    /// Its place.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// That leader.
    pub leader: u64,
}

/// A vote, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteRow {
    /// For which term.
    pub term: u64,
    /// For whom.
    pub leader: u64,
    /// Whether a quorum granted it.
    pub is_committed: bool,
}

/// What kind of entry a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Nothing.
    Blank,
    /// A command.
    Command,
    /// A membership.
    Membership,
}

/// The head of an entry: all of it is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead {
    /// What its payload is.
    pub kind: EntryKind,
    /// Which entry.
    pub id: EntryRow,
    /// Bytes of payload.
    pub length: u32,
    /// SHA-256 of the payload; zeros for a blank entry.
    pub hash: Hash,
}

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameBody {
    /// An entry; its payload follows.
    Entry(EntryHead),
    /// This replica voted.
    Vote(VoteRow),
    /// So far was known to be committed.
    Committed(Option<EntryRow>),
    /// Entries behind this one no longer exist.
    TruncateAfter(Option<EntryRow>),
    /// Entries up to this one are let go.
    Purged(EntryRow),
    /// Everything before was synced. Repeats the vote. At the end of a segment: names the next one.
    DurableMark {
        /// The vote that stands.
        vote: Option<VoteRow>,
        /// Salt of the next segment, if this is the last frame of its own.
        next: Option<Salt>,
    },
    /// In place of frames that were damaged, and of which nothing is needed any more. Its back hash is that of the last
    /// entry up to its end.
    Forgotten(Forgotten),
    /// In place of damage that was given up: from here to the end that the journal had, so many frames, this one
    /// included, no longer exist. The next one counts on from there. Repeats the vote.
    GivenUp {
        /// How many frames.
        frames: u64,
        /// The vote that stands.
        vote: Option<VoteRow>,
    },
}

/// What stands for frames of which nothing is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// So many frames; the next one counts on from there.
    pub frames: u64,
    /// So many bytes behind this head mean nothing.
    pub length: u32,
    /// The last entry at its end; of one that was lost, only the index is known.
    pub last: Option<EntryRow>,
    /// Entries up to this one are let go.
    pub purged: Option<EntryRow>,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Its number, from 1, without a gap.
    pub number: u64,
    /// Every frame up to this number was durable before this one was written.
    pub known_durable: u64,
    /// Hash of the head of the entry before.
    pub back_hash: Hash,
    /// What it says.
    pub body: FrameBody,
}

/// What held when a segment began, so that older ones may be let go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The vote.
    pub vote: Option<VoteRow>,
    /// Up to where entries were let go.
    pub purged: Option<EntryRow>,
    /// Up to where entries were known to be committed.
    pub committed: Option<EntryRow>,
    /// The last entry.
    pub last: Option<EntryRow>,
    /// Hash of the head of the last entry.
    pub back_hash: Hash,
}

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHead {
    /// Whose journal it is.
    pub cluster: [u8; 16],
    /// Of which replica.
    pub replica: u64,
    /// Which segment, from 1.
    pub number: u64,
    /// Of this use of the file.
    pub salt: Salt,
    /// Of the segment before.
    pub previous_salt: Salt,
    /// Number of the first frame.
    pub first_frame: u64,
    /// What held when it began.
    pub standing: Standing,
}

/// How many bytes a frame with such a payload takes.
pub const fn frame_bytes(length: u32) -> u64 {
    let length = length as u64;
    FRAME_HEAD_BYTES as u64 + length.next_multiple_of(FRAME_ALIGNMENT as u64)
}

impl EntryHead {
    /// What the next entry keeps as its back hash.
    pub fn back_hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"quorate entry");
        hasher.update([self.kind.code()]);
        hasher.update(self.id.index.to_le_bytes());
        hasher.update(self.id.term.to_le_bytes());
        hasher.update(self.id.leader.to_le_bytes());
        hasher.update(self.length.to_le_bytes());
        hasher.update(self.hash);
        hasher.finalize().into()
    }
}

impl EntryKind {
    const fn code(self) -> u8 {
        match self {
            Self::Blank => 1,
            Self::Command => 2,
            Self::Membership => 3,
        }
    }
}

const VOTE: u8 = 4;
const COMMITTED: u8 = 5;
const TRUNCATE_AFTER: u8 = 6;
const PURGED: u8 = 7;
const DURABLE_MARK: u8 = 8;
const FORGOTTEN: u8 = 9;
const GIVEN_UP: u8 = 10;

const HAS_ID: u8 = 1;
const IS_COMMITTED: u8 = 2;
const HAS_NEXT: u8 = 4;
const HAS_PURGED: u8 = 8;

impl FrameHead {
    /// As bytes, for this offset of a segment of this salt.
    pub fn encode(&self, salt: &Salt, offset: u64) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[8..16].copy_from_slice(&salt[..8]);
        put_u64(&mut bytes, 16, self.number);
        put_u64(&mut bytes, 24, self.known_durable);
        bytes[96..].copy_from_slice(&self.back_hash);
        self.body.encode(&mut bytes);
        let check = frame_check(&bytes, salt, offset);
        bytes[..4].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// From bytes that lie at this offset of a segment of this salt.
    pub fn decode(
        bytes: &[u8; FRAME_HEAD_BYTES],
        salt: &Salt,
        offset: u64,
    ) -> Result<Self, FrameFault> {
        if !is_candidate(bytes, salt) || get_u32(bytes, 0) != frame_check(bytes, salt, offset) {
            return Err(FrameFault::Check);
        }
        Ok(Self {
            number: get_u64(bytes, 16),
            known_durable: get_u64(bytes, 24),
            back_hash: get_hash(bytes, 96),
            body: FrameBody::decode(bytes)?,
        })
    }

    /// How many bytes the frame takes, payload and filling included.
    pub const fn bytes(&self) -> u64 {
        frame_bytes(self.payload_length())
    }

    /// How many bytes of payload follow the head.
    pub const fn payload_length(&self) -> u32 {
        match &self.body {
            FrameBody::Entry(entry) => entry.length,
            FrameBody::Forgotten(forgotten) => forgotten.length,
            FrameBody::Vote(_)
            | FrameBody::Committed(_)
            | FrameBody::TruncateAfter(_)
            | FrameBody::Purged(_)
            | FrameBody::DurableMark { .. }
            | FrameBody::GivenUp { .. } => 0,
        }
    }
}

/// Whether bytes might be a frame head of this salt: a quick look before the check.
pub fn is_candidate(bytes: &[u8], salt: &Salt) -> bool {
    bytes.get(8..16) == Some(&salt[..8])
}

impl FrameBody {
    fn encode(&self, bytes: &mut [u8; FRAME_HEAD_BYTES]) {
        match self {
            Self::Entry(entry) => {
                assert!(entry.length <= PAYLOAD_BYTES_MAX, "no reader takes a longer payload");
                bytes[4] = entry.kind.code();
                put_entry(bytes, 32, &entry.id);
                bytes[56..60].copy_from_slice(&entry.length.to_le_bytes());
                bytes[64..96].copy_from_slice(&entry.hash);
            }
            Self::Vote(vote) => put_frame(bytes, VOTE, None, Some(vote)),
            Self::Committed(id) => put_frame(bytes, COMMITTED, id.as_ref(), None),
            Self::TruncateAfter(id) => put_frame(bytes, TRUNCATE_AFTER, id.as_ref(), None),
            Self::Purged(id) => put_frame(bytes, PURGED, Some(id), None),
            Self::DurableMark { vote, next } => {
                put_frame(bytes, DURABLE_MARK, None, vote.as_ref());
                if let Some(salt) = next {
                    bytes[5] |= HAS_NEXT;
                    bytes[64..80].copy_from_slice(salt);
                }
            }
            Self::Forgotten(forgotten) => {
                put_frame(bytes, FORGOTTEN, forgotten.last.as_ref(), None);
                bytes[56..60].copy_from_slice(&forgotten.length.to_le_bytes());
                put_u64(bytes, 64, forgotten.frames);
                if let Some(purged) = &forgotten.purged {
                    bytes[5] |= HAS_PURGED;
                    put_entry(bytes, 72, purged);
                }
            }
            Self::GivenUp { frames, vote } => {
                put_frame(bytes, GIVEN_UP, None, vote.as_ref());
                put_u64(bytes, 64, *frames);
            }
        }
    }

    fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Result<Self, FrameFault> {
        let flags = bytes[5];
        let id = get_entry(bytes, 32);
        let vote =
            VoteRow { term: id.term, leader: id.leader, is_committed: flags & IS_COMMITTED != 0 };
        let has_id = flags & HAS_ID != 0;
        match bytes[4] {
            1..=3 => EntryHead::decode(bytes, id).map(Self::Entry),
            VOTE if has_id => Ok(Self::Vote(vote)),
            COMMITTED => Ok(Self::Committed(has_id.then_some(id))),
            TRUNCATE_AFTER => Ok(Self::TruncateAfter(has_id.then_some(id))),
            PURGED if has_id => Ok(Self::Purged(id)),
            DURABLE_MARK => {
                let next = (flags & HAS_NEXT != 0).then(|| get_salt(bytes, 64));
                Ok(Self::DurableMark { vote: has_id.then_some(vote), next })
            }
            FORGOTTEN => Ok(Self::Forgotten(Forgotten {
                frames: get_u64(bytes, 64),
                length: get_u32(bytes, 56),
                last: has_id.then_some(id),
                purged: (flags & HAS_PURGED != 0).then(|| get_entry(bytes, 72)),
            })),
            GIVEN_UP => {
                let frames = get_u64(bytes, 64);
                Ok(Self::GivenUp { frames, vote: has_id.then_some(vote) })
            }
            _ => Err(FrameFault::Malformed("frame kind")),
        }
    }
}

impl EntryHead {
    fn decode(bytes: &[u8; FRAME_HEAD_BYTES], id: EntryRow) -> Result<Self, FrameFault> {
        let kind = match bytes[4] {
            1 => EntryKind::Blank,
            2 => EntryKind::Command,
            3 => EntryKind::Membership,
            _ => return Err(FrameFault::Malformed("entry kind")),
        };
        let length = get_u32(bytes, 56);
        if length > PAYLOAD_BYTES_MAX || (kind == EntryKind::Blank && length > 0) {
            return Err(FrameFault::Malformed("payload length"));
        }
        Ok(Self { kind, id, length, hash: get_hash(bytes, 64) })
    }
}

impl SegmentHead {
    /// As bytes: the whole page before the first frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENT_HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.cluster);
        put_u64(&mut bytes, 32, self.replica);
        put_u64(&mut bytes, 40, self.number);
        bytes[48..64].copy_from_slice(&self.salt);
        bytes[64..80].copy_from_slice(&self.previous_salt);
        put_u64(&mut bytes, 80, self.first_frame);
        self.standing.encode(&mut bytes);
        let check = crc32c::crc32c(&bytes[16..HEAD_BYTES]);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        bytes.copy_within(..HEAD_BYTES, COPY_AT);
        bytes
    }

    /// From the first page of a segment: from either of its copies.
    pub fn decode(page: &[u8]) -> Result<Self, FrameFault> {
        let copy = page.get(COPY_AT..).ok_or(FrameFault::Malformed("segment head"))?;
        Self::decode_copy(page).or_else(|fault| Self::decode_copy(copy).map_err(|_| fault))
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, FrameFault> {
        let bytes = bytes.get(..HEAD_BYTES).ok_or(FrameFault::Malformed("segment head"))?;
        if bytes[..8] != *MAGIC || get_u32(bytes, 12) != crc32c::crc32c(&bytes[16..]) {
            return Err(FrameFault::Check);
        }
        if get_u32(bytes, 8) != VERSION {
            return Err(FrameFault::Malformed("segment version"));
        }
        Ok(Self {
            cluster: get_salt(bytes, 16),
            replica: get_u64(bytes, 32),
            number: get_u64(bytes, 40),
            salt: get_salt(bytes, 48),
            previous_salt: get_salt(bytes, 64),
            first_frame: get_u64(bytes, 80),
            standing: Standing::decode(bytes),
        })
    }
}

impl Standing {
    fn encode(&self, bytes: &mut [u8]) {
        let mut flags = 0_u8;
        if let Some(vote) = &self.vote {
            flags |= 1 | if vote.is_committed { 2 } else { 0 };
            put_u64(bytes, 96, vote.term);
            put_u64(bytes, 104, vote.leader);
        }
        for (flag, at, id) in
            [(4, 112, self.purged), (8, 136, self.committed), (16, 160, self.last)]
        {
            if let Some(id) = id {
                flags |= flag;
                put_entry(bytes, at, &id);
            }
        }
        bytes[88] = flags;
        bytes[184..216].copy_from_slice(&self.back_hash);
    }

    fn decode(bytes: &[u8]) -> Self {
        let flags = bytes[88];
        let vote = VoteRow {
            term: get_u64(bytes, 96),
            leader: get_u64(bytes, 104),
            is_committed: flags & 2 != 0,
        };
        let entry = |flag: u8, at: usize| (flags & flag != 0).then(|| get_entry(bytes, at));
        Self {
            vote: (flags & 1 != 0).then_some(vote),
            purged: entry(4, 112),
            committed: entry(8, 136),
            last: entry(16, 160),
            back_hash: get_hash(bytes, 184),
        }
    }
}

fn frame_check(bytes: &[u8; FRAME_HEAD_BYTES], salt: &Salt, offset: u64) -> u32 {
    let seed = crc32c::crc32c(salt);
    let seed = crc32c::crc32c_append(seed, &offset.to_le_bytes());
    crc32c::crc32c_append(seed, &bytes[4..])
}

fn put_frame(bytes: &mut [u8], kind: u8, id: Option<&EntryRow>, vote: Option<&VoteRow>) {
    bytes[4] = kind;
    if let Some(id) = id {
        bytes[5] |= HAS_ID;
        put_entry(bytes, 32, id);
    }
    if let Some(vote) = vote {
        bytes[5] |= HAS_ID | if vote.is_committed { IS_COMMITTED } else { 0 };
        put_u64(bytes, 40, vote.term);
        put_u64(bytes, 48, vote.leader);
    }
}

fn put_entry(bytes: &mut [u8], at: usize, id: &EntryRow) {
    put_u64(bytes, at, id.index);
    put_u64(bytes, at + 8, id.term);
    put_u64(bytes, at + 16, id.leader);
}

fn get_entry(bytes: &[u8], at: usize) -> EntryRow {
    EntryRow {
        index: get_u64(bytes, at),
        term: get_u64(bytes, at + 8),
        leader: get_u64(bytes, at + 16),
    }
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn get_salt(bytes: &[u8], at: usize) -> Salt {
    array(bytes, at)
}

fn get_hash(bytes: &[u8], at: usize) -> Hash {
    array(bytes, at)
}

/// A field of a head. Heads are of fixed size, so every field is there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a head holds all of its fields")
}
