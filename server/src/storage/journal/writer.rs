//! The one thread that writes: all that waits, in one write and one sync, then the callbacks.
//!
//! Nothing is told before its sync, and everything in the order of the calls. A segment ends with a
//! mark that names the next one; by then the next one's head is durable. After a short time without
//! work a mark is written, so that a damaged last entry cannot pass for one that was never
//! acknowledged. An error or a panic ends the thread for good.
//!
//! Not here: what happens when a journal is opened (`recovery`).

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use client::types::EntryId;
use migrations::latest::frames::{
    FRAME_HEAD_BYTES, FrameBody, FrameHead, Hash, SEGMENT_HEAD_BYTES, Salt, SegmentHead, Standing,
    frame_bytes,
};

use super::catalog::Slot;
use super::frame::{Frames, entry_head, row, vote_row};
use super::reader::read_head;
use super::recovery::Recovered;
use super::segment::{Preparer, Segment, Spares};
use super::state::{Job, Shared, Turn, Work, behind};
use super::tempo::Tempo;
use super::{Done, Entry, JournalIdentity, JournalOptions, Place};
#[cfg(quorate_bugs)]
use crate::world::bugs;

/// Where frames begin.
pub(super) const FRAMES_BEGIN: u64 = SEGMENT_HEAD_BYTES as u64;
/// Room that is kept for the mark at the end of a segment.
const MARK_BYTES: u64 = FRAME_HEAD_BYTES as u64;

/// Where a journal ends, and what holds there.
#[derive(Debug)]
pub(super) struct End {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    pub(super) next_number: u64,
    pub(super) known_durable: u64,
    pub(super) standing: Standing,
    /// Whether the last frame is a durable mark.
    pub(super) is_marked: bool,
}

/// What a frame changes once it is durable.
#[derive(Debug)]
enum Effect {
    Entry(EntryId, Slot),
    Vote(super::Vote),
    Cut(u64),
    Purge(u64),
}

/// Writes the journal.
pub(super) struct Writer {
    shared: Arc<Shared>,
    options: JournalOptions,
    identity: JournalIdentity,
    spares: Spares,
    preparer: Preparer,
    end: End,
    synced_until: u64,
    /// Encoded, not yet written.
    frames: Frames,
    effects: Vec<Effect>,
    dones: Vec<Done>,
    /// Let go, but perhaps still read.
    retired: Vec<Arc<Segment>>,
    /// The full segment before this one: a follower a little behind may still need it.
    previous: Weak<Segment>,
}

impl Writer {
    pub(super) fn new(place: &Place, options: JournalOptions, mut recovered: Recovered) -> Self {
        let observer = Arc::clone(&options.observer);
        let shared = Shared::new(
            &mut recovered,
            options.suffix_bytes_max,
            observer,
            Tempo::new(options.clock.clone()),
        );
        Self {
            shared: Arc::new(shared),
            identity: place.identity,
            spares: recovered.spares,
            preparer: Preparer::none(),
            synced_until: recovered.end.standing.last.map_or(0, |last| last.index + 1),
            end: recovered.end,
            options,
            frames: Frames::default(),
            effects: Vec::new(),
            dones: Vec::new(),
            retired: Vec::new(),
            previous: Weak::new(),
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// From here on the next segment is made ready beside the writing.
    pub(super) fn start_preparing(&mut self) -> io::Result<()> {
        self.preparer = Preparer::start(self.spares.clone())?;
        Ok(())
    }

    /// Until the journal is closed or poisoned.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        if catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            // Broken code, here or in who is told: nothing waits for a writer that is gone.
            let dones = std::mem::take(&mut self.dones);
            shared.poison(io::Error::other("the writer of the journal panicked"), dones);
        }
    }

    fn work(&mut self) {
        self.tell_size();
        loop {
            let idle_after = (!self.end.is_marked).then_some(self.options.mark_after);
            let turn = self.shared.next_turn(self.options.write_bytes_max, idle_after);
            let is_last = matches!(turn, Turn::Last(_));
            let done = match turn {
                Turn::Work(jobs) => self.turn(jobs),
                Turn::Idle => self.mark(),
                Turn::Last(jobs) => self.turn(jobs).and_then(|()| self.mark()),
            };
            if done.is_err() || is_last {
                return;
            }
        }
    }

    /// Makes these durable. After an error the journal is poisoned and all are told.
    pub(super) fn turn(&mut self, mut jobs: VecDeque<Job>) -> io::Result<()> {
        // What was gathered before a failure is never tried again.
        self.shared.refuse_poisoned()?;
        let mut done = Ok(());
        while let (Ok(()), Some(job)) = (&done, jobs.pop_front()) {
            done = self.encode(job.work);
            self.dones.extend(job.done);
        }
        done = done.and_then(|()| self.commit());
        done.inspect_err(|error| {
            self.dones.extend(jobs.into_iter().filter_map(|job| job.done));
            let error = io::Error::new(error.kind(), error.to_string());
            self.shared.poison(error, std::mem::take(&mut self.dones));
        })
    }

    /// Says that everything is durable, unless that was the last thing said.
    pub(super) fn mark(&mut self) -> io::Result<()> {
        self.shared.refuse_poisoned()?;
        let mut jobs = self.shared.take_all();
        if self.end.is_marked && jobs.is_empty() {
            return Ok(());
        }
        let is_lone = jobs.iter().all(|job| matches!(job.work, Work::Committed(_)));
        if is_lone {
            // What rides along is written with the mark.
            for job in jobs.drain(..) {
                self.encode_or_poison(job.work)?;
            }
        } else {
            self.turn(jobs)?;
        }
        let vote = self.end.standing.vote;
        let body = FrameBody::DurableMark { vote, next: None };
        self.spares.pass("journal/before-mark");
        let marked = self.place(0).and_then(|()| {
            self.push(body, None);
            self.commit()
        });
        self.end.is_marked = marked.is_ok();
        self.or_poison(marked)
    }

    fn encode_or_poison(&mut self, work: Work) -> io::Result<()> {
        let encoded = self.encode(work);
        self.or_poison(encoded)
    }

    fn or_poison(&mut self, done: io::Result<()>) -> io::Result<()> {
        done.inspect_err(|error| {
            let error = io::Error::new(error.kind(), error.to_string());
            self.shared.poison(error, std::mem::take(&mut self.dones));
        })
    }

    fn encode(&mut self, work: Work) -> io::Result<()> {
        match work {
            Work::Append(entries) => entries.iter().try_for_each(|entry| self.entry(entry)),
            Work::Vote(granted) => {
                self.place(0)?;
                self.end.standing.vote = Some(vote_row(&granted));
                self.push(FrameBody::Vote(vote_row(&granted)), None);
                self.effects.push(Effect::Vote(granted));
                Ok(())
            }
            Work::TruncateAfter(last) => self.truncate_after(last.as_ref()),
            Work::Purge(id) => self.purge(&id),
            Work::Committed(id) => {
                self.place(0)?;
                let id = id.as_ref().map(row);
                self.end.standing.committed = id;
                self.push(FrameBody::Committed(id), None);
                Ok(())
            }
            Work::Barrier => Ok(()),
        }
    }

    fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let head = entry_head(entry).ok_or_else(|| {
            io::Error::other(format!("entry {} is longer than a frame may be", entry.id))
        })?;
        self.place(head.length)?;
        let offset = self.end.offset + self.frames.bytes();
        let payload = entry.body.payload().map(|payload| &payload.bytes);
        self.push(FrameBody::Entry(head), payload);
        self.effects.push(Effect::Entry(entry.id, Slot::new(offset, head.length)));
        self.end.standing.last = Some(head.id);
        self.end.standing.back_hash = head.back_hash();
        Ok(())
    }

    fn truncate_after(&mut self, last: Option<&EntryId>) -> io::Result<()> {
        let until = behind(last);
        // Before anything changes: the head of a new segment says what held before this cut.
        self.place(0)?;
        if until < self.end.standing.last.map_or(0, |last| last.index + 1) {
            let back_hash = self.back_hash_of(last)?;
            self.end.standing.last = last.map(row);
            self.end.standing.back_hash = back_hash;
        }
        self.push(FrameBody::TruncateAfter(last.map(row)), None);
        self.effects.push(Effect::Cut(until));
        Ok(())
    }

    /// What the entry behind `last` keeps as its back hash. Zeros if `last` is purged.
    fn back_hash_of(&mut self, last: Option<&EntryId>) -> io::Result<Hash> {
        let Some(last) = last else { return Ok(Hash::default()) };
        self.commit()?;
        let index = last.index.get();
        let found = self.shared.lock().catalog.locate(index, index + 1, u64::MAX);
        let Some(stretch) = found.first() else { return Ok(Hash::default()) };
        Ok(read_head(&stretch.segment, stretch.slots[0])?.back_hash())
    }

    fn purge(&mut self, id: &EntryId) -> io::Result<()> {
        self.place(0)?;
        self.push(FrameBody::Purged(row(id)), None);
        let standing = &mut self.end.standing;
        standing.purged = Some(row(id));
        if standing.last.is_none_or(|last| last.index < id.index.get()) {
            standing.last = Some(row(id));
            standing.back_hash = Hash::default();
        }
        self.effects.push(Effect::Purge(id.index.get() + 1));
        Ok(())
    }

    /// Makes room for a frame with such a payload: begins a new segment if this one is full.
    fn place(&mut self, length: u32) -> io::Result<()> {
        if self.frames.bytes() >= u64::try_from(self.options.write_bytes_max).unwrap_or(u64::MAX) {
            self.commit()?;
        }
        let begins = self.end.offset + self.frames.bytes();
        let fits = begins + frame_bytes(length) + MARK_BYTES <= self.options.segment_bytes;
        if fits || begins == FRAMES_BEGIN { Ok(()) } else { self.roll() }
    }

    /// Adds a frame behind what is gathered.
    fn push(&mut self, body: FrameBody, payload: Option<&bytes::Bytes>) {
        let head = FrameHead {
            number: self.end.next_number,
            known_durable: self.end.known_durable,
            back_hash: self.end.standing.back_hash,
            body,
        };
        let offset = self.end.offset + self.frames.bytes();
        self.frames.push(&head, &self.end.segment.salt, offset, payload);
        self.end.next_number += 1;
        self.end.is_marked = false;
    }

    /// One write, one sync, then everybody is told.
    fn commit(&mut self) -> io::Result<()> {
        if self.frames.is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        if self.options.acknowledges_before_sync {
            self.tell();
        }
        #[cfg(quorate_bugs)]
        if bugs::is_planted(bugs::Bug::EarlyAck)
            && self.effects.iter().any(|effect| matches!(effect, Effect::Entry(..)))
        {
            bugs::be_late();
        }
        self.shared.tempo().begin();
        self.spares.pass("journal/before-write");
        self.frames.write(
            self.end.segment.file.as_ref(),
            self.end.offset,
            self.options.segment_bytes,
        )?;
        self.spares.pass("journal/after-write");
        self.end.segment.file.sync_data()?;
        self.spares.pass("journal/after-sync");
        let took = self.shared.tempo().end();
        self.advance(took);
        self.settle();
        self.tell();
        self.recycle()
    }

    /// The gathered frames are durable.
    fn advance(&mut self, took: Duration) {
        let (bytes, count) = (self.frames.bytes(), self.frames.count());
        self.end.offset += bytes;
        self.end.known_durable = self.end.next_number - 1;
        self.frames.clear();
        self.preparer.wrote(bytes, self.options.filled_bytes_max);
        self.shared.observer().synced(took, u64::try_from(count).unwrap_or(u64::MAX), bytes);
    }

    /// Readers see what the frames changed.
    fn settle(&mut self) {
        let mut cuts = 0;
        let mut state = self.shared.lock();
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Entry(id, slot) => {
                    state.catalog.add(&id, slot);
                    self.synced_until = id.index.get() + 1;
                }
                Effect::Vote(granted) => {
                    self.spares.pass("journal/vote-synced");
                    state.vote = Some(granted);
                }
                Effect::Cut(until) => {
                    self.spares.pass("journal/truncation-synced");
                    state.catalog.truncate(until);
                    self.synced_until = self.synced_until.min(until);
                    cuts += 1;
                }
                Effect::Purge(until) => {
                    self.spares.pass("journal/purge-synced");
                    self.retired.extend(state.catalog.purge(until));
                    self.synced_until = self.synced_until.max(until);
                }
            }
        }
        state.synced(self.synced_until, cuts);
    }

    /// Calls back, in order.
    fn tell(&mut self) {
        let (durable_until, watchers) = {
            let state = self.shared.lock();
            (state.durable_until(), state.on_durable.clone())
        };
        for done in self.dones.drain(..) {
            done(Ok(()));
            self.spares.pass("journal/after-callback");
        }
        self.shared.tell_durable(durable_until, &watchers);
    }

    /// Ends this segment with a mark that names the next one, and goes on there.
    fn roll(&mut self) -> io::Result<()> {
        self.commit()?;
        let salt = draw_salt(&self.options);
        let head = SegmentHead {
            cluster: self.identity.cluster,
            replica: self.identity.replica,
            number: self.end.segment.number + 1,
            salt,
            previous_salt: self.end.segment.salt,
            // The mark below is the last frame of the old one.
            first_frame: self.end.next_number + 1,
            standing: self.end.standing,
        };
        self.shared.tempo().begin();
        let segment = self.spares.begin(&head)?;
        self.shared.tempo().end();
        let vote = self.end.standing.vote;
        self.push(FrameBody::DurableMark { vote, next: Some(salt) }, None);
        self.commit()?;
        let full = std::mem::replace(&mut self.end.segment, Arc::clone(&segment));
        let before = std::mem::replace(&mut self.previous, Arc::downgrade(&full));
        self.preparer.uncache(before);
        self.end.offset = FRAMES_BEGIN;
        self.shared.lock().catalog.enter(segment);
        self.tell_size();
        Ok(())
    }

    /// Gives back the files of segments that nobody reads any more.
    fn recycle(&mut self) -> io::Result<()> {
        if self.retired.is_empty() {
            return Ok(());
        }
        // In order, so that the segments that remain have no hole whenever the power goes.
        while let Some(segment) = self.retired.first_mut() {
            if Arc::get_mut(segment).is_none() {
                break;
            }
            let unread = Arc::into_inner(self.retired.remove(0)).expect("nobody reads it");
            self.spares.recycle(unread)?;
        }
        self.tell_size();
        Ok(())
    }

    fn tell_size(&self) {
        let segments = self.shared.lock().catalog.segment_count() + self.retired.len();
        let bytes = u64::try_from(segments).unwrap_or(u64::MAX);
        self.shared.observer().sized(bytes.saturating_mul(self.options.segment_bytes));
    }
}

/// A salt for one use of a file.
pub(super) fn draw_salt(options: &JournalOptions) -> Salt {
    options.chance.next_id()
}
