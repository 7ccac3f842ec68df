//! Reads a journal from front to back and tells torn from damaged.
//!
//! A bad frame is **damaged** if anything later says that it was durable: the known-durable number of
//! a good frame, a mark, the head of the next segment, or the caller, who has it flushed. Otherwise
//! it is **torn**: there the journal ends. Behind damage the survey goes on at the next good frame, so
//! that all of it is named.
//!
//! Nothing is written here.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use client::types::Digest;
use migrations::latest::frames::{
    EntryHead, EntryRow, FRAME_HEAD_BYTES, Forgotten, FrameBody, FrameHead, Hash, Salt,
    SegmentHead, Standing,
};

use super::JournalIdentity;
use super::catalog::{Catalog, Slot};
use super::damage::{DamagedEntries, DamagedFrame, DamagedJournal};
use super::frame::entry_id;
use super::reader::read_head;
use super::recovery::{Kept, Source};
use super::scan::Pages;
use super::segment::segment_name;
use super::wounded::WoundedJournal;
use super::wounds::{Brink, Hurt, Needless, Run, Spot, Wound};
use super::writer::{End, FRAMES_BEGIN};

/// Where the kept part ends: in which segment, at which offset, and how far behind it frames lie
/// that must not come back.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) position: usize,
    pub(super) offset: u64,
    pub(super) stale_until: u64,
}

/// How a segment ends.
enum SegmentEnd {
    /// With a mark that names the next one.
    Closed(Salt),
    /// Here nothing more was ever acknowledged.
    Cut(Cut),
    /// Damaged to its end; the next one goes on.
    Lost,
}

/// A good frame beyond the last claim.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) position: usize,
    pub(super) offset: u64,
    pub(super) head: FrameHead,
}

/// Damage whose entries are not yet known.
#[derive(Debug)]
struct Gap {
    path: PathBuf,
    offset: u64,
    number: u64,
    frames: u64,
    may_be_vote: bool,
    /// How it can be written again, if its frames can be told.
    run: Option<Run>,
    brink: Option<Brink>,
}

/// Reads all segments, front to back.
pub(super) struct Survey<'a> {
    sources: &'a [Source],
    identity: JournalIdentity,
    flushed: Option<u64>,
    catalog: Catalog,
    standing: Standing,
    next_number: u64,
    known_durable: u64,
    uncovered: VecDeque<Placed>,
    last_is_mark: bool,
    /// Where the last good frame begins, and what held before it.
    last_place: Option<Brink>,
    damage: Vec<DamagedFrame>,
    wounds: Vec<Hurt>,
    /// Entries are lacking in between, or may be: from then on they are gathered below.
    is_broken: bool,
    /// Good entries behind that, in the order of their indexes.
    behind: Vec<(EntryRow, Spot, Slot)>,
    /// Entries that were forgotten: the first, and the one behind the last.
    hole: Option<(u64, u64)>,
    gap: Option<Gap>,
    /// Nothing since the last gap says how many entries it held.
    is_uncertain: bool,
    /// Frame numbers of damage that may have been a vote.
    lost_vote: Option<u64>,
    /// The last frame that says what the vote is.
    vote_told: u64,
}

impl<'a> Survey<'a> {
    pub(super) fn new(
        sources: &'a [Source],
        identity: JournalIdentity,
        flushed: Option<u64>,
    ) -> Self {
        Self {
            sources,
            identity,
            flushed,
            catalog: Catalog::default(),
            standing: Standing::default(),
            next_number: 1,
            known_durable: 0,
            uncovered: VecDeque::new(),
            last_is_mark: true,
            last_place: None,
            damage: Vec::new(),
            wounds: Vec::new(),
            is_broken: false,
            behind: Vec::new(),
            hole: None,
            gap: None,
            is_uncertain: false,
            lost_vote: None,
            vote_told: 0,
        }
    }

    /// The journal as it was found, if it is damaged.
    pub(super) fn take_wounded(&mut self) -> Option<WoundedJournal> {
        let frames = std::mem::take(&mut self.damage);
        if frames.is_empty() {
            return None;
        }
        let may_be_vote = self.lost_vote.is_some_and(|number| self.vote_told <= number);
        let damage = DamagedJournal { frames, may_be_vote };
        let mut wounds = std::mem::take(&mut self.wounds);
        for hurt in &mut wounds {
            if let Wound::Run(run) = &mut hurt.wound {
                run.is_vote_told = self.vote_told >= run.number + run.frames;
                if let Some(purged) = self.standing.purged {
                    run.forget_up_to(purged);
                }
            }
        }
        let (before, behind) =
            (std::mem::take(&mut self.catalog), std::mem::take(&mut self.behind));
        Some(WoundedJournal::new(damage, wounds, before, behind, self.standing, self.next_number))
    }

    pub(super) fn run(&mut self) -> io::Result<Cut> {
        let mut named: Option<Salt> = None;
        let mut position = 0;
        let cut = loop {
            let end = match self.enter(position, named) {
                Some(salt) => self.segment(position, salt)?,
                None if position + 1 < self.sources.len() => SegmentEnd::Lost,
                None => SegmentEnd::Cut(Cut { position, offset: FRAMES_BEGIN, stale_until: 0 }),
            };
            named = match end {
                SegmentEnd::Closed(next) => Some(next),
                SegmentEnd::Lost => None,
                SegmentEnd::Cut(cut) => break cut,
            };
            position += 1;
            if position == self.sources.len() || !self.is_next(position) {
                self.report_missing(position);
                break Cut { position: position - 1, offset: FRAMES_BEGIN, stale_until: 0 };
            }
        };
        self.close_gap(None);
        self.check_flushed(&cut)?;
        Ok(cut)
    }

    fn is_next(&self, position: usize) -> bool {
        self.sources[position].segment.number == self.sources[position - 1].segment.number + 1
    }

    /// A mark names a segment that is not there.
    fn report_missing(&mut self, position: usize) {
        let before = &self.sources[position - 1];
        let path = before.path.with_file_name(segment_name(before.segment.number + 1));
        self.lost_vote = Some(self.next_number);
        let entries = DamagedEntries::From { first: self.next_index() };
        self.damage.push(DamagedFrame { path, offset: 0, frame: 0, entries });
        self.wounds.push(Hurt { wound: Wound::Unknown, brink: self.last_place.clone() });
        self.is_broken = true;
    }

    fn next_index(&self) -> u64 {
        self.standing.last.map_or(0, |last| last.index + 1)
    }

    /// Begins a segment: which salt its frames have. `None` if nothing says so.
    fn enter(&mut self, position: usize, named: Option<Salt>) -> Option<Salt> {
        let source = &self.sources[position];
        self.catalog.enter(Arc::clone(&source.segment));
        match (source.head, named) {
            (Some(head), Some(salt)) if head.salt == salt => Some(salt),
            (Some(head), None) => {
                self.adopt_head(&head);
                Some(head.salt)
            }
            (_, named) => {
                self.report_head(position, named);
                let next = self.sources.get(position + 1).and_then(|source| source.head);
                named.or(next.map(|head| head.previous_salt))
            }
        }
    }

    /// Goes on from what the head of a segment says, at the beginning or behind a lost one.
    fn adopt_head(&mut self, head: &SegmentHead) {
        if let Some(run) = self.gap.as_mut().and_then(|gap| gap.run.as_mut()) {
            let standing = head.standing;
            run.last_hash = Some(standing.back_hash);
            run.closing =
                Some(FrameBody::DurableMark { vote: standing.vote, next: Some(head.salt) });
        }
        self.close_gap(Some(head.standing.last.map_or(0, |last| last.index + 1)));
        self.standing = head.standing;
        self.is_uncertain = false;
        if self.catalog.segment_count() == 1 {
            // What lay before the oldest segment was let go, even if the frame that says so is lost.
            self.standing.purged = head
                .standing
                .purged
                .into_iter()
                .chain(head.standing.last)
                .max_by_key(|it| it.index);
        }
        self.next_number = head.first_frame;
        self.known_durable = self.known_durable.max(head.first_frame.saturating_sub(2));
        self.vote_told = head.first_frame;
    }

    fn report_head(&mut self, position: usize, named: Option<Salt>) {
        self.is_broken = true;
        let source = &self.sources[position];
        let mut entries = DamagedEntries::None;
        let open = self.gap.as_ref().and_then(|gap| gap.brink.clone());
        let brink = open.or_else(|| self.last_place.clone());
        if let Some(salt) = named {
            self.wounds.push(Hurt { wound: self.lost_head(position, salt), brink });
        } else {
            self.wounds.push(Hurt { wound: Wound::Unknown, brink: brink.clone() });
            // Nothing is known of what held at its beginning, the vote included.
            self.lost_vote = Some(self.next_number);
            entries = DamagedEntries::From { first: self.next_index() };
            self.gap = Some(Gap {
                path: source.path.clone(),
                offset: 0,
                number: self.next_number,
                frames: 0,
                may_be_vote: true,
                run: None,
                brink,
            });
        }
        self.damage.push(DamagedFrame { path: source.path.clone(), offset: 0, frame: 0, entries });
    }

    /// The head of a segment whose salt the one before it names. What it repeats is known as long as nothing
    /// before it is damaged.
    fn lost_head(&self, position: usize, salt: Salt) -> Wound {
        let source = &self.sources[position];
        let before = position.checked_sub(1).map(|before| &self.sources[before].segment);
        let (Some(before), true) = (before, self.damage.is_empty()) else { return Wound::Later };
        let head = SegmentHead {
            cluster: self.identity.cluster,
            replica: self.identity.replica,
            number: source.segment.number,
            salt,
            previous_salt: before.salt,
            first_frame: self.next_number,
            standing: self.standing,
        };
        Wound::Head { segment: Arc::clone(&source.segment), head }
    }

    fn segment(&mut self, position: usize, salt: Salt) -> io::Result<SegmentEnd> {
        let segment = Arc::clone(&self.sources[position].segment);
        let mut pages = Pages::new(segment.file.as_ref())?;
        let mut offset = FRAMES_BEGIN;
        loop {
            let found = pages.frame(&salt, offset)?.filter(|head| self.follows(head));
            let Some(head) = found else {
                match self.pass_over(position, salt, &mut pages, offset)? {
                    Ok(next) => offset = next,
                    Err(end) => return Ok(end),
                }
                continue;
            };
            if let Some(cut) = self.check_payload(position, salt, &mut pages, offset, &head)? {
                return Ok(SegmentEnd::Cut(cut));
            }
            self.accept((position, offset, salt), head);
            offset += head.bytes();
            if let FrameBody::DurableMark { next: Some(next), .. } = head.body {
                return Ok(SegmentEnd::Closed(next));
            }
        }
    }

    /// Whether a frame is the one that must come next.
    fn follows(&self, head: &FrameHead) -> bool {
        if self.gap.is_some() {
            return head.number >= self.next_number;
        }
        let is_linked = matches!(head.body, FrameBody::TruncateAfter(_) | FrameBody::Forgotten(_))
            || head.back_hash == self.standing.back_hash;
        let is_in_order = match head.body {
            FrameBody::Entry(entry) => {
                self.standing.last.is_none_or(|last| entry.id.index == last.index + 1)
            }
            FrameBody::Vote(_)
            | FrameBody::Committed(_)
            | FrameBody::TruncateAfter(_)
            | FrameBody::Purged(_)
            | FrameBody::Forgotten(_)
            | FrameBody::GivenUp { .. }
            | FrameBody::DurableMark { .. } => true,
        };
        head.number == self.next_number && is_linked && is_in_order
    }

    /// A payload that is not what its head says is damage, or the end.
    fn check_payload(
        &mut self,
        position: usize,
        salt: Salt,
        pages: &mut Pages<'_>,
        offset: u64,
        head: &FrameHead,
    ) -> io::Result<Option<Cut>> {
        let FrameBody::Entry(entry) = &head.body else { return Ok(None) };
        if self.is_flushed(entry) || pages.is_intact(offset, entry)? {
            return Ok(None);
        }
        let behind = offset + head.bytes();
        let ahead = pages.look_ahead(&salt, behind, head.number + 1, self.flushed)?;
        if ahead.claim.max(self.later_claim(position)?) >= head.number {
            self.report_payload((position, offset, salt), head.number, entry);
            return Ok(None);
        }
        let stale_until = ahead.end.max(offset + FRAME_HEAD_BYTES as u64);
        Ok(Some(Cut { position, offset, stale_until }))
    }

    fn is_flushed(&self, entry: &EntryHead) -> bool {
        self.flushed.is_some_and(|flushed| entry.id.index <= flushed)
    }

    fn report_payload(
        &mut self,
        (position, offset, salt): (usize, u64, Salt),
        frame: u64,
        entry: &EntryHead,
    ) {
        let source = &self.sources[position];
        let spot = Spot { segment: Arc::clone(&source.segment), salt, offset };
        let brink = Brink { spot: spot.clone(), number: frame, standing: self.standing };
        let wound = Wound::Payload { spot, number: frame, head: *entry, found: None };
        self.wounds.push(Hurt { wound, brink: Some(brink) });
        self.damage.push(DamagedFrame {
            path: source.path.clone(),
            offset,
            frame,
            entries: DamagedEntries::Payload {
                id: entry_id(&entry.id),
                hash: Digest::new(entry.hash),
                length: entry.length,
            },
        });
    }

    /// What segments behind this one say was durable.
    fn later_claim(&self, position: usize) -> io::Result<u64> {
        let mut claim = 0;
        for source in &self.sources[position + 1..] {
            let Some(head) = source.head else { continue };
            let mut pages = Pages::new(source.segment.file.as_ref())?;
            let ahead = pages.look_ahead(&head.salt, FRAMES_BEGIN, 0, self.flushed)?;
            claim = claim.max(ahead.claim).max(head.first_frame.saturating_sub(2));
        }
        Ok(claim)
    }

    /// A bad frame: the end, or damage, behind which it may go on at the offset that is returned.
    fn pass_over(
        &mut self,
        position: usize,
        salt: Salt,
        pages: &mut Pages<'_>,
        offset: u64,
    ) -> io::Result<Result<u64, SegmentEnd>> {
        let number = self.next_number;
        let ahead = pages.look_ahead(&salt, offset, number + 1, self.flushed)?;
        let claim = ahead.claim.max(self.later_claim(position)?);
        if claim < number {
            let cut = Cut { position, offset, stale_until: ahead.end.max(offset) };
            return Ok(Err(SegmentEnd::Cut(cut)));
        }
        self.close_gap(None);
        let next = ahead.next.filter(|(_, head)| head.number <= claim + 1);
        let later = self.sources.get(position + 1).and_then(|source| source.head);
        let until = match (&next, later) {
            (Some((_, head)), _) => head.number,
            (None, Some(head)) => head.first_frame,
            (None, None) => claim + 1,
        };
        let frames = until.saturating_sub(number);
        // One frame that is longer than a head is an entry: nothing else has a payload.
        let head_bytes = FRAME_HEAD_BYTES as u64;
        let is_entry = frames == 1 && next.as_ref().is_some_and(|(at, _)| at - offset > head_bytes);
        let source = &self.sources[position];
        let is_told = frames > 0 && (next.is_some() || later.is_some());
        let spot = Spot { segment: Arc::clone(&source.segment), salt, offset };
        let brink = Some(Brink { spot: spot.clone(), number, standing: self.standing });
        let run = is_told.then(|| Run {
            spot,
            number,
            frames,
            bytes: next.as_ref().map(|(at, _)| at - offset),
            vote: self.standing.vote,
            first: self.next_index(),
            entries: None,
            back_hash: self.standing.back_hash,
            last_hash: None,
            closing: None,
            is_vote_told: false,
            expected: BTreeMap::new(),
            found: BTreeMap::new(),
            is_uncertain: self.is_uncertain,
            needless: None,
            is_contradictory: false,
        });
        let path = source.path.clone();
        self.is_broken = true;
        self.gap = Some(Gap { path, offset, number, frames, may_be_vote: !is_entry, run, brink });
        match next {
            Some((at, head)) => {
                self.go_on(&head);
                Ok(Ok(at))
            }
            None if later.is_some() => Ok(Err(SegmentEnd::Lost)),
            None => {
                let cut = Cut { position, offset, stale_until: offset };
                Ok(Err(SegmentEnd::Cut(cut)))
            }
        }
    }

    /// Behind damage: the next frame is this one.
    fn go_on(&mut self, head: &FrameHead) {
        self.next_number = head.number;
        let is_cut = matches!(head.body, FrameBody::TruncateAfter(_) | FrameBody::Forgotten(_));
        if let Some(run) = self.gap.as_mut().and_then(|gap| gap.run.as_mut())
            && !is_cut
        {
            run.last_hash = Some(head.back_hash);
        }
        if !is_cut && head.back_hash == self.standing.back_hash {
            // The last entry is the one that it was before the damage, so none was lost.
            self.close_gap(Some(self.next_index()));
        }
        self.standing.back_hash = head.back_hash;
    }

    /// Names the entries of a gap: those before `next`, or as many as it can have held.
    fn close_gap(&mut self, next: Option<u64>) {
        let Some(gap) = self.gap.take() else { return };
        let first = self.next_index();
        self.is_uncertain |= next.is_none();
        let cut_to = next.filter(|next| *next < first).and_then(|next| self.own_entry_before(next));
        let wound = gap.run.map_or(Wound::Unknown, |run| run.closed(next, cut_to));
        self.wounds.push(Hurt { wound, brink: gap.brink });
        let next = next.unwrap_or(first + gap.frames);
        let entries = if next > first {
            DamagedEntries::Range { first, last: next - 1 }
        } else {
            DamagedEntries::None
        };
        let is_all_entries = next.saturating_sub(first) == gap.frames && gap.frames > 0;
        if gap.may_be_vote && !is_all_entries {
            self.lost_vote = Some(gap.number);
        }
        if gap.frames > 0 {
            let Gap { path, offset, number, .. } = gap;
            self.damage.push(DamagedFrame { path, offset, frame: number, entries });
        }
    }

    /// The entry before this index, if it is here and lies before all damage.
    fn own_entry_before(&self, next: u64) -> Option<EntryHead> {
        let index = next.checked_sub(1)?;
        let found = self.catalog.locate(index, next, u64::MAX);
        let stretch = found.first()?;
        read_head(&stretch.segment, *stretch.slots.first()?).ok()
    }

    /// A good frame that comes next.
    fn accept(&mut self, (position, offset, salt): (usize, u64, Salt), head: FrameHead) {
        let spot = Spot { segment: Arc::clone(&self.sources[position].segment), salt, offset };
        self.last_place = Some(Brink { spot, number: head.number, standing: self.standing });
        self.next_number = head.number + 1;
        self.known_durable = self.known_durable.max(head.known_durable);
        while self.uncovered.front().is_some_and(|placed| placed.head.number <= self.known_durable)
        {
            self.uncovered.pop_front();
        }
        self.uncovered.push_back(Placed { position, offset, head });
        self.last_is_mark = matches!(head.body, FrameBody::DurableMark { .. });
        match head.body {
            FrameBody::Entry(entry) => self.accept_entry((position, offset, salt), &entry),
            FrameBody::Vote(vote) => {
                self.standing.vote = Some(vote);
                self.vote_told = head.number;
            }
            FrameBody::DurableMark { vote, .. } => {
                self.standing.vote = vote;
                self.vote_told = head.number;
            }
            FrameBody::Committed(committed) => self.standing.committed = committed,
            FrameBody::TruncateAfter(last) => self.accept_cut((position, offset), last, &head),
            FrameBody::Purged(purged) => self.accept_purge(purged),
            FrameBody::Forgotten(forgotten) => self.accept_forgotten(&forgotten, &head),
            FrameBody::GivenUp { frames, vote } => {
                self.next_number = head.number + frames.max(1);
                self.standing.vote = vote;
                self.vote_told = head.number;
            }
        }
    }

    fn accept_entry(&mut self, (position, offset, salt): (usize, u64, Salt), entry: &EntryHead) {
        self.close_gap(Some(entry.id.index));
        self.is_uncertain = false;
        let slot = Slot::new(offset, entry.length);
        if self.is_broken {
            let segment = Arc::clone(&self.sources[position].segment);
            self.forget_behind(entry.id.index);
            self.behind.push((entry.id, Spot { segment, salt, offset }, slot));
        } else {
            self.catalog.add(&entry_id(&entry.id), slot);
        }
        self.standing.last = Some(entry.id);
        self.standing.back_hash = entry.back_hash();
    }

    fn accept_cut(&mut self, place: (usize, u64), last: Option<EntryRow>, head: &FrameHead) {
        let until = last.map_or(0, |last| last.index + 1);
        self.close_cut_gap(until);
        if until < self.next_index() {
            self.standing.last = last;
            self.catalog.truncate(until);
            self.forget_behind(until);
        }
        if self.standing.purged.is_some_and(|purged| purged.index >= until) {
            self.standing.purged = last;
        }
        self.standing.back_hash = head.back_hash;
        // Of what was forgotten only what the cut leaves has to be let go.
        self.hole = self.hole.map(|(first, behind)| (first, behind.min(until)));
        if self.hole.is_some_and(|(first, _)| until <= first) {
            self.hole = None;
            self.is_broken = !self.wounds.iter().all(|hurt| hurt.wound.is_payload());
        }
        self.forgive_cut(place, head.number, until);
    }

    /// A gap that ends with a cut: if the cut takes all of it back, nothing of it is needed.
    fn close_cut_gap(&mut self, until: u64) {
        let (first, last) = (self.next_index(), self.standing.last);
        if let Some(run) = self.gap.as_mut().and_then(|gap| gap.run.as_mut())
            && until <= first
            && !run.is_uncertain
        {
            run.entries = Some(0);
            run.last_hash = Some(run.back_hash);
            let is_entry =
                run.frames == 1 && run.bytes.is_some_and(|bytes| bytes > FRAME_HEAD_BYTES as u64);
            run.needless = Some(Needless { last, purged: None, hides_no_vote: is_entry });
        }
        self.close_gap(None);
        self.is_uncertain &= until > first;
    }

    /// Damage in entries that are cut off later harms nobody. Their payloads are left as they are; of heads,
    /// everything up to the cut is forgotten.
    fn forgive_cut(&mut self, (position, offset): (usize, u64), number: u64, until: u64) {
        self.forgive_payloads(|index| index >= until);
        let segment = &self.sources[position].segment;
        let is_cut =
            |hurt: &Hurt| matches!(&hurt.wound, Wound::Run(run) if run.is_cut_by(segment, until));
        let Some(at) = self.wounds.iter().position(is_cut) else { return };
        self.wounds.truncate(at + 1);
        if let Some(Hurt { wound: Wound::Run(run), .. }) = self.wounds.last_mut() {
            run.frames = number - run.number;
            run.bytes = Some(offset - run.spot.offset);
            run.entries = Some(0);
            run.last_hash = Some(run.back_hash);
            run.needless = Some(Needless {
                last: self.standing.last,
                purged: self.standing.purged,
                hides_no_vote: false,
            });
        }
    }

    /// Damage in these entries no longer counts.
    fn forgive_payloads(&mut self, is_needless: impl Fn(u64) -> bool) {
        self.wounds.retain(
            |hurt| !matches!(hurt.wound, Wound::Payload { head, .. } if is_needless(head.id.index)),
        );
        self.damage.retain(|frame| {
            !matches!(frame.entries, DamagedEntries::Payload { id, .. } if is_needless(id.index.get()))
        });
    }

    /// Frames that were damaged, and are not needed any more.
    fn accept_forgotten(&mut self, forgotten: &Forgotten, head: &FrameHead) {
        self.close_gap(None);
        self.next_number = head.number + forgotten.frames.max(1);
        self.standing.back_hash = head.back_hash;
        self.standing.purged =
            self.standing.purged.into_iter().chain(forgotten.purged).max_by_key(|it| it.index);
        let (next, until) = (self.next_index(), forgotten.last.map_or(0, |last| last.index + 1));
        if until < next {
            self.catalog.truncate(until);
            self.forget_behind(until);
        } else if until > next {
            self.hole = Some((self.hole.map_or(next, |(first, _)| first), until));
            self.is_broken = true;
        }
        self.standing.last = forgotten.last;
    }

    /// Entries from `until` on no longer count.
    fn forget_behind(&mut self, until: u64) {
        while self.behind.last().is_some_and(|(id, ..)| id.index >= until) {
            self.behind.pop();
        }
    }

    fn accept_purge(&mut self, purged: EntryRow) {
        // What was forgotten may have let go of more.
        self.standing.purged =
            self.standing.purged.into_iter().chain([purged]).max_by_key(|it| it.index);
        self.forgive_payloads(|index| index <= purged.index);
        if self.next_index() <= purged.index {
            self.close_gap(None);
            self.catalog.truncate(0);
            self.behind.clear();
            self.standing.last = Some(purged);
            self.standing.back_hash = Hash::default();
        }
    }

    /// What the caller has flushed was durable, whatever the frames say.
    fn check_flushed(&mut self, cut: &Cut) -> io::Result<()> {
        let Some(flushed) = self.flushed else { return Ok(()) };
        for placed in std::mem::take(&mut self.uncovered) {
            if let FrameBody::Entry(entry) = &placed.head.body
                && self.is_flushed(entry)
            {
                let segment = &self.sources[placed.position].segment;
                if !Pages::new(segment.file.as_ref())?.is_intact(placed.offset, entry)? {
                    let place = (placed.position, placed.offset, segment.salt);
                    self.report_payload(place, placed.head.number, entry);
                }
            }
            self.uncovered.push_back(placed);
        }
        self.check_first()?;
        if self.damage.is_empty() && self.next_index() <= flushed {
            let entries = DamagedEntries::Range { first: self.next_index(), last: flushed };
            let path = self.sources[cut.position].path.clone();
            let (offset, frame) = (cut.offset, self.next_number);
            self.lost_vote = Some(frame);
            self.damage.push(DamagedFrame { path, offset, frame, entries });
            self.wounds.push(Hurt { wound: Wound::Unknown, brink: None });
        }
        Ok(())
    }

    /// The oldest entry is read at every start, flushed or not.
    fn check_first(&mut self) -> io::Result<()> {
        let first = self.standing.purged.map_or(0, |purged| purged.index + 1);
        let found = self.catalog.locate(first, first + 1, u64::MAX);
        let slot = found.first().and_then(|stretch| Some((stretch, *stretch.slots.first()?)));
        let (Some((stretch, slot)), true) = (slot, self.damage.is_empty()) else { return Ok(()) };
        let segment = &stretch.segment;
        let mut pages = Pages::new(segment.file.as_ref())?;
        let Some(head) = pages.frame(&segment.salt, slot.offset())? else { return Ok(()) };
        let FrameBody::Entry(entry) = head.body else { return Ok(()) };
        if !pages.is_intact(slot.offset(), &entry)? {
            let number = segment.number;
            let position = self.sources.iter().position(|source| source.segment.number == number);
            let position = position.expect("what is in the catalog was read from a source");
            self.report_payload((position, slot.offset(), segment.salt), head.number, &entry);
        }
        Ok(())
    }

    /// What was forgotten must have been let go; behind it the journal begins.
    fn close_hole(&mut self) {
        let Some((_, until)) = self.hole else { return };
        let purged = self.standing.purged.map_or(0, |purged| purged.index + 1);
        assert!(
            purged >= until,
            "entries up to {until} were forgotten, and purged only up to {purged}"
        );
        // Whoever votes compares by this: it is never the unknown name of what was forgotten.
        let last = self.standing.last.map_or(0, |last| last.index + 1);
        if last <= purged {
            self.standing.last = self.standing.purged;
        }
        self.catalog.truncate(0);
        let behind = std::mem::take(&mut self.behind).into_iter();
        for (id, spot, slot) in behind.filter(|(id, ..)| id.index >= until) {
            self.catalog.add_to(&spot.segment, &entry_id(&id), slot);
        }
    }

    pub(super) fn into_kept(mut self, cut: &Cut) -> Kept {
        self.close_hole();
        if let (Some(committed), last) = (self.standing.committed, self.standing.last)
            && last.is_none_or(|last| committed.index > last.index)
        {
            self.standing.committed = last;
        }
        let end = End {
            segment: Arc::clone(&self.sources[cut.position].segment),
            offset: cut.offset,
            next_number: self.next_number,
            known_durable: self.next_number - 1,
            standing: self.standing,
            is_marked: self.last_is_mark,
        };
        Kept { catalog: self.catalog, end, uncovered: self.uncovered }
    }
}
