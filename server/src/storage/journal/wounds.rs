//! What is damaged in a journal, as places that can be written again.
//!
//! A payload is proved by the hash in its head. A head is proved by the back hash that the next good frame
//! keeps of it, and those before it by the back hashes that come along with what was proved: whoever gave the
//! later entry holds the same ones before it. The first of a run must link to the last entry that is here, so
//! that no cut can hide between them. What is not proved is not written, whoever gave it.
//!
//! A run of frames is written as it was: its entries, and a mark for each frame that was none. It must fill its
//! place exactly. A frame that was none may have been a vote: it is replaced only if a later frame
//! tells the vote.
//!
//! Frames of which nothing is needed, because a later cut took them back or a purge let them go, are replaced by one that
//! says so.
//!
//! Not here: how damage is found (`survey`), and from whom the entries come (`peer`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use migrations::latest::frames::{
    EntryHead, EntryRow, FRAME_HEAD_BYTES, Forgotten, FrameBody, FrameHead, Hash, Salt,
    SegmentHead, Standing, VoteRow, frame_bytes,
};

use super::LinkedEntry;
use super::frame::{Frames, entry_head};
use super::segment::Segment;

/// A place in a segment.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) segment: Arc<Segment>,
    pub(super) salt: Salt,
    pub(super) offset: u64,
}

/// Where what is good ends, and damage begins.
#[derive(Debug, Clone)]
pub(super) struct Brink {
    /// The first place that is damaged, or the last frame before it.
    pub(super) spot: Spot,
    /// Number of the frame there.
    pub(super) number: u64,
    /// What holds before it.
    pub(super) standing: Standing,
}

impl Brink {
    /// Index of the first entry that may be damaged.
    pub(super) fn index(&self) -> u64 {
        self.standing.last.map_or(0, |last| last.index + 1)
    }

    /// Writes that this frame and all behind it, `behind` being the next number, no longer exist, and syncs. That is one
    /// frame: whenever the power goes, the journal is damaged as before, or ends here.
    pub(super) fn end(&self, behind: u64, vote: Option<VoteRow>) -> io::Result<()> {
        // One more than there were: nothing that was torn can pass for the next one.
        let frames = behind.saturating_sub(self.number) + 1;
        let head = FrameHead {
            number: self.number,
            known_durable: self.number - 1,
            back_hash: self.standing.back_hash,
            body: FrameBody::GivenUp { frames, vote },
        };
        let Spot { segment, salt, offset } = &self.spot;
        segment.file.write_at(&head.encode(salt, *offset), *offset)?;
        segment.file.sync_data()
    }
}

/// Something that is damaged, and where what is good ends before it. Nothing is known of that if all is damaged, or the
/// journal is shorter than it must be.
#[derive(Debug)]
pub(super) struct Hurt {
    pub(super) wound: Wound,
    pub(super) brink: Option<Brink>,
}

impl Hurt {
    /// Whether it can be written again now.
    pub(super) fn is_ready(&self) -> bool {
        self.wound.outlook() == Outlook::Ready
    }

    /// Number of the frame where it begins.
    pub(super) fn number(&self) -> Option<u64> {
        self.brink.as_ref().map(|brink| brink.number)
    }
}

/// Something that is damaged.
#[derive(Debug)]
pub(super) enum Wound {
    /// What follows a good head.
    Payload { spot: Spot, number: u64, head: EntryHead, found: Option<LinkedEntry> },
    /// Frames, one behind the other.
    Run(Run),
    /// The head of a segment, as it must have been.
    Head { segment: Arc<Segment>, head: SegmentHead },
    /// What was there can be told only once what lies before is whole.
    Later,
    /// Nothing here says what was there.
    Unknown,
}

/// Frames that are damaged, and what lies around them.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) spot: Spot,
    /// Number of the first frame.
    pub(super) number: u64,
    /// How many frames.
    pub(super) frames: u64,
    /// How long they are; to the end of the segment if that is not known.
    pub(super) bytes: Option<u64>,
    /// The vote before them.
    pub(super) vote: Option<VoteRow>,
    /// Index of the first entry that may be among them.
    pub(super) first: u64,
    /// How many entries were among them, if that is known.
    pub(super) entries: Option<u64>,
    /// Hash of the entry before them.
    pub(super) back_hash: Hash,
    /// Hash of the last entry up to their end.
    pub(super) last_hash: Option<Hash>,
    /// They end their segment with a mark: what that says.
    pub(super) closing: Option<FrameBody>,
    /// A later frame tells the vote.
    pub(super) is_vote_told: bool,
    /// What is known of the entries: the hashes of their heads, by index.
    pub(super) expected: BTreeMap<u64, Hash>,
    pub(super) found: BTreeMap<u64, LinkedEntry>,
    /// Why nothing of it is needed, if so.
    pub(super) needless: Option<Needless>,
    /// How many entries came before is not known yet.
    pub(super) is_uncertain: bool,
    /// What was given cannot be what was here.
    pub(super) is_contradictory: bool,
}

/// Nothing of some frames is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needless {
    /// The last entry at their end.
    pub(super) last: Option<EntryRow>,
    /// Up to where entries were let go.
    pub(super) purged: Option<EntryRow>,
    /// None of them can have been a vote.
    pub(super) hides_no_vote: bool,
}

/// What can be done about a wound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It can be written again now.
    Ready,
    /// Entries of these indexes are wanted, both included.
    Wants(u64, u64),
    /// Others come first.
    Later,
    /// Nobody can help.
    Hopeless,
}

impl Wound {
    /// Whether it hides no frame.
    pub(super) fn is_payload(&self) -> bool {
        matches!(self, Self::Payload { .. })
    }

    pub(super) fn outlook(&self) -> Outlook {
        match self {
            Self::Payload { found: Some(_), .. } | Self::Head { .. } => Outlook::Ready,
            Self::Payload { head, found: None, .. } => Outlook::Wants(head.id.index, head.id.index),
            Self::Run(run) => run.outlook(),
            Self::Later => Outlook::Later,
            Self::Unknown => Outlook::Hopeless,
        }
    }

    /// What can be told of the first entry that is lacking: its hash, and the term up to which it can be.
    pub(super) fn first_entry(&self) -> (Option<Hash>, Option<u64>) {
        match self {
            Self::Payload { head, .. } => (Some(head.back_hash()), Some(head.id.term)),
            Self::Run(run) => run.first_entry(),
            Self::Head { .. } | Self::Later | Self::Unknown => (None, None),
        }
    }

    /// Takes an entry if it is proved to be one that was here.
    pub(super) fn take(&mut self, given: &LinkedEntry) -> bool {
        match self {
            Self::Payload { head, found, .. } => {
                let is_it = found.is_none() && entry_head(&given.entry).as_ref() == Some(head);
                if is_it {
                    *found = Some(given.clone());
                }
                is_it
            }
            Self::Run(run) => run.take(given),
            Self::Head { .. } | Self::Later | Self::Unknown => false,
        }
    }

    /// Forgets its entries, if all of them are kept elsewhere up to this one. Whether it did.
    pub(super) fn forget(&mut self, kept: EntryRow) -> bool {
        match self {
            Self::Payload { spot, number, head, .. } if head.id.index <= kept.index => {
                let mut run = Run::of_one(spot.clone(), *number, head);
                run.forget_up_to(kept);
                *self = Self::Run(run);
                true
            }
            Self::Run(run) => run.forget_up_to(kept),
            Self::Payload { .. } | Self::Head { .. } | Self::Later | Self::Unknown => false,
        }
    }

    /// Writes it again and syncs. How many entries that were.
    pub(super) fn close(&self) -> io::Result<u64> {
        match self {
            Self::Payload { spot, found: Some(found), .. } => {
                let payload = found.entry.body.payload();
                let bytes = payload.map_or(&[][..], |payload| &payload.bytes);
                spot.segment.file.write_at(bytes, spot.offset + FRAME_HEAD_BYTES as u64)?;
                spot.segment.file.sync_data()?;
                Ok(1)
            }
            Self::Run(run) => run.close(),
            Self::Head { segment, head } => {
                segment.file.write_at(&head.encode(), 0)?;
                segment.file.sync_data()?;
                Ok(0)
            }
            Self::Payload { found: None, .. } | Self::Later | Self::Unknown => Ok(0),
        }
    }
}

impl Run {
    /// What comes next is the entry of this index, if that is known.
    pub(super) fn closed(mut self, next: Option<u64>, before: Option<EntryHead>) -> Wound {
        if self.is_uncertain {
            return Wound::Later;
        }
        let Some(next) = next else {
            // One frame that is longer than a head is an entry.
            let is_entry =
                self.frames == 1 && self.bytes.is_some_and(|it| it > FRAME_HEAD_BYTES as u64);
            self.entries = self.entries.or(is_entry.then_some(1));
            return Wound::Run(self);
        };
        self.entries = next.checked_sub(self.first);
        if self.entries.is_some() {
            return Wound::Run(self);
        }
        // An index comes again: a cut was lost. If the next entry links to one that is here, nothing else was.
        let Some(before) = before.filter(|head| self.last_hash == Some(head.back_hash())) else {
            return Wound::Unknown;
        };
        self.entries = Some(0);
        let hides_no_vote = self.frames == 1;
        self.needless = Some(Needless { last: Some(before.id), purged: None, hides_no_vote });
        Wound::Run(self)
    }

    /// Whether a cut in this segment takes back all of it.
    pub(super) fn is_cut_by(&self, segment: &Arc<Segment>, until: u64) -> bool {
        let is_told = self.needless.is_none() && self.entries.is_some_and(|entries| entries > 0);
        is_told && until <= self.first && Arc::ptr_eq(&self.spot.segment, segment)
    }

    /// One entry, of which only the head is good.
    fn of_one(spot: Spot, number: u64, head: &EntryHead) -> Self {
        Self {
            spot,
            number,
            frames: 1,
            bytes: Some(frame_bytes(head.length)),
            vote: None,
            first: head.id.index,
            entries: Some(1),
            back_hash: Hash::default(),
            last_hash: Some(head.back_hash()),
            closing: None,
            is_vote_told: false,
            expected: BTreeMap::new(),
            found: BTreeMap::new(),
            needless: None,
            is_uncertain: false,
            is_contradictory: false,
        }
    }

    /// Nothing is needed of entries that are let go up to this one. Whether that is all of them.
    pub(super) fn forget_up_to(&mut self, purged: EntryRow) -> bool {
        let Some(entries) = self.entries.filter(|entries| *entries > 0) else { return false };
        let last = self.first + entries - 1;
        let is_all = last <= purged.index && self.needless.is_none();
        if is_all {
            // Whose entry that was is not known unless it is the very one that is told, and then entries follow.
            let unknown = EntryRow { index: last, term: 0, leader: 0 };
            let last = Some(if last == purged.index { purged } else { unknown });
            let hides_no_vote = self.frames == entries;
            self.needless = Some(Needless { last, purged: Some(purged), hides_no_vote });
        }
        is_all
    }

    fn outlook(&self) -> Outlook {
        if let Some(needless) = self.needless {
            let is_safe = self.is_vote_told || needless.hides_no_vote;
            let is_possible = is_safe && self.forgotten().is_some();
            return if is_possible { Outlook::Ready } else { Outlook::Hopeless };
        }
        if self.is_contradictory || (self.entries.is_none() && self.last_hash.is_none()) {
            return Outlook::Hopeless;
        }
        let Some(entries) = self.entries else {
            return Outlook::Wants(self.first, self.first + self.frames - 1);
        };
        if !self.is_possible(entries) {
            return Outlook::Hopeless;
        }
        let mut lacking =
            (self.first..self.first + entries).filter(|at| !self.found.contains_key(at));
        match (lacking.next(), lacking.next_back()) {
            (Some(first), last) => Outlook::Wants(first, last.unwrap_or(first)),
            (None, _) if self.fits() => Outlook::Ready,
            (None, _) => Outlook::Hopeless,
        }
    }

    /// Whether so many entries may be among the frames, and all that was not an entry is known or needless.
    fn is_possible(&self, entries: u64) -> bool {
        let others = self.frames.checked_sub(entries);
        // Zeros follow a jump behind an install: what lies before is not what it was.
        let is_linked = entries == 0 || self.last_hash.is_some_and(|hash| hash != Hash::default());
        is_linked
            && match others {
                None => false,
                Some(0) => self.closing.is_none(),
                Some(_) => self.is_vote_told,
            }
    }

    fn first_entry(&self) -> (Option<Hash>, Option<u64>) {
        // A single frame that changed the hash of the last entry was an entry.
        let is_one = self.entries == Some(1)
            || (self.entries.is_none()
                && self.frames == 1
                && self.last_hash != Some(self.back_hash));
        let told = self.expected.get(&self.first).copied();
        let hash = told.or(self.last_hash.filter(|_| is_one));
        // Entries are of no later term than the vote; none of the frames was one if all were entries.
        let is_all_entries = self.entries == Some(self.frames) || is_one;
        let term = self.vote.filter(|_| is_all_entries).map(|vote| vote.term);
        (hash.filter(|hash| *hash != Hash::default()), term)
    }

    fn fits(&self) -> bool {
        let entries = self.found.values().filter_map(|found| entry_head(&found.entry));
        let payloads: u64 =
            entries.map(|head| frame_bytes(head.length) - FRAME_HEAD_BYTES as u64).sum();
        let bytes = payloads + self.frames * FRAME_HEAD_BYTES as u64;
        self.bytes.map_or_else(
            || self.spot.offset + bytes <= self.spot.segment.file.len().unwrap_or(0),
            |place| place == bytes,
        )
    }

    fn take(&mut self, given: &LinkedEntry) -> bool {
        let Some(head) = entry_head(&given.entry) else { return false };
        let (index, hash) = (head.id.index, head.back_hash());
        let is_among = (self.first..self.first + self.frames).contains(&index);
        if !is_among || self.found.contains_key(&index) {
            return false;
        }
        let is_last = self.entries.is_none_or(|entries| index + 1 == self.first + entries);
        let is_proved =
            self.expected.get(&index) == Some(&hash) || (is_last && self.last_hash == Some(hash));
        let before = given.back_hash;
        if !is_proved {
            return false;
        }
        if index > self.first {
            if before != Hash::default() {
                self.expected.insert(index - 1, before);
            }
        } else if self.back_hash != Hash::default() && before != self.back_hash {
            // It follows another entry than the one that is here. If nothing says which, somebody else may know.
            self.is_contradictory = before != Hash::default();
            return false;
        }
        if self.entries.is_none() {
            self.entries = Some(index + 1 - self.first);
        }
        self.found.insert(index, given.clone());
        true
    }

    /// The frame that stands for all of them.
    fn forgotten(&self) -> Option<FrameHead> {
        let Needless { last, purged, .. } = self.needless?;
        // The mark at the end of a segment stands for itself.
        let frames = self.frames.checked_sub(u64::from(self.closing.is_some()))?;
        let bytes = match self.closing {
            Some(_) => FRAME_HEAD_BYTES as u64,
            None => self.bytes?,
        };
        let length = u32::try_from(bytes.checked_sub(FRAME_HEAD_BYTES as u64)?).ok()?;
        let forgotten = Forgotten { frames, length, last, purged };
        if frames == 0 {
            return None;
        }
        let back_hash = self.last_hash?;
        let body = FrameBody::Forgotten(forgotten);
        Some(FrameHead { number: self.number, known_durable: self.number - 1, back_hash, body })
    }

    fn close(&self) -> io::Result<u64> {
        if let Some(head) = self.forgotten() {
            let (salt, offset) = (&self.spot.salt, self.spot.offset);
            let mut bytes = head.encode(salt, offset).to_vec();
            if let Some(body) = self.closing {
                let number = self.number + self.frames - 1;
                let (known_durable, back_hash) = (number - 1, head.back_hash);
                let mark = FrameHead { number, known_durable, back_hash, body };
                bytes.extend(mark.encode(salt, offset + FRAME_HEAD_BYTES as u64));
            }
            self.spot.segment.file.write_at(&bytes, offset)?;
            self.spot.segment.file.sync_data()?;
            return Ok(0);
        }
        let mut frames = Frames::default();
        let (mut number, mut back_hash) = (self.number, self.back_hash);
        let mut push = |body: FrameBody, back_hash: Hash, payload: Option<&bytes::Bytes>| {
            // A later frame said that all of them were durable.
            let head = FrameHead { number, known_durable: number - 1, back_hash, body };
            frames.push(&head, &self.spot.salt, self.spot.offset + frames.bytes(), payload);
            number += 1;
        };
        for found in self.found.values() {
            let Some(head) = entry_head(&found.entry) else { continue };
            let payload = found.entry.body.payload().map(|payload| &payload.bytes);
            push(FrameBody::Entry(head), back_hash, payload);
            back_hash = head.back_hash();
        }
        let entries = u64::try_from(self.found.len()).unwrap_or(u64::MAX);
        let marks = self.frames - entries;
        for at in 1..=marks {
            let mark = FrameBody::DurableMark { vote: self.vote, next: None };
            let body = self.closing.filter(|_| at == marks).unwrap_or(mark);
            push(body, back_hash, None);
        }
        frames.write_exactly(self.spot.segment.file.as_ref(), self.spot.offset)?;
        self.spot.segment.file.sync_data()?;
        Ok(entries)
    }
}
