//! A journal that is damaged: what is good of it can be read, and what is not can be mended.
//!
//! Nothing is voted or acknowledged from it. It gives its good entries to others that lack them, takes from
//! them what it lacks itself, and writes that in place. Whoever mended it opens it again, and goes on only
//! if it is whole then. It is left damaged whenever the power goes in between.
//!
//! Not here: what is proved and how (`wounds`).

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::types::EntryId;
use migrations::latest::frames::{EntryRow, FRAME_HEAD_BYTES, FrameBody, FrameHead, Standing};

use super::catalog::{Catalog, Slot};
use super::damage::DamagedJournal;
use super::frame::{self, entry_id};
use super::wounds::{Brink, Hurt, Outlook, Spot};
use super::{LinkedEntry, Vote};

/// A damaged journal, open for repair.
pub struct WoundedJournal {
    damage: DamagedJournal,
    wounds: Mutex<Vec<Hurt>>,
    /// Good entries before the first damage.
    before: Catalog,
    /// Good entries behind it, in the order of their indexes.
    behind: Vec<(EntryRow, Spot, Slot)>,
    standing: Standing,
    /// Number of the frame that would come next.
    next_number: u64,
}

impl fmt::Debug for WoundedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WoundedJournal").field("damage", &self.damage).finish_non_exhaustive()
    }
}

impl fmt::Display for WoundedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.damage.fmt(f)
    }
}

impl WoundedJournal {
    pub(super) fn new(
        damage: DamagedJournal,
        wounds: Vec<Hurt>,
        before: Catalog,
        behind: Vec<(EntryRow, Spot, Slot)>,
        standing: Standing,
        next_number: u64,
    ) -> Self {
        Self { damage, wounds: Mutex::new(wounds), before, behind, standing, next_number }
    }

    /// What is damaged.
    pub fn damage(&self) -> &DamagedJournal {
        &self.damage
    }

    /// The last entry, as far as that is known.
    pub fn last(&self) -> Option<EntryId> {
        self.standing.last.as_ref().map(entry_id)
    }

    /// The last vote, as far as that is known.
    pub fn vote(&self) -> Option<Vote> {
        self.standing.vote.as_ref().map(frame::vote)
    }

    /// The last entry that was let go, as far as that is known.
    pub fn purged(&self) -> Option<EntryId> {
        self.standing.purged.as_ref().map(entry_id)
    }

    /// How far entries were known to be committed.
    pub fn committed(&self) -> Option<EntryId> {
        self.standing.committed.as_ref().map(entry_id)
    }

    /// An entry that is good. Blocks.
    pub fn linked(&self, index: u64) -> Option<LinkedEntry> {
        let at = self.behind.binary_search_by_key(&index, |(id, ..)| id.index);
        if let Some((_, spot, slot)) = at.ok().and_then(|at| self.behind.get(at)) {
            return read_linked(spot, *slot).ok();
        }
        let found = self.before.locate(index, index + 1, u64::MAX);
        let stretch = found.first()?;
        let slot = *stretch.slots.first()?;
        let segment = Arc::clone(&stretch.segment);
        read_linked(&Spot { salt: segment.salt, offset: slot.offset(), segment }, slot).ok()
    }

    fn wounds(&self) -> MutexGuard<'_, Vec<Hurt>> {
        self.wounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries that are lacking, as ranges of indexes, both ends included.
    pub fn lacking(&self) -> Vec<(u64, u64)> {
        let outlooks = self.wounds();
        let wanted = outlooks.iter().filter_map(|hurt| match hurt.wound.outlook() {
            Outlook::Wants(first, last) => Some((first, last)),
            Outlook::Ready | Outlook::Later | Outlook::Hopeless => None,
        });
        wanted.collect()
    }

    /// Whether something is damaged that nobody can help with.
    pub fn is_hopeless(&self) -> bool {
        let wounds = self.wounds();
        let mut outlooks = wounds.iter().map(|hurt| hurt.wound.outlook());
        outlooks.clone().any(|outlook| outlook == Outlook::Hopeless)
            || outlooks.all(|outlook| outlook == Outlook::Later)
    }

    /// Takes an entry from another replica, if it is proved to be one that was here.
    pub fn take(&self, given: &LinkedEntry) -> bool {
        self.wounds().iter_mut().any(|hurt| hurt.wound.take(given))
    }

    /// Gives up entries that nobody gives, if the state holds all that they did: it is flushed up to `flushed`, and the
    /// journal begins behind that once it is mended. Whether anything was given up.
    pub fn forget(&self, flushed: &EntryId) -> bool {
        let kept = frame::row(flushed);
        let mut is_any = false;
        for hurt in self.wounds().iter_mut() {
            if !matches!(hurt.wound.outlook(), Outlook::Ready | Outlook::Later) {
                is_any |= hurt.wound.forget(kept);
            }
        }
        is_any
    }

    /// Writes in place what is complete, and syncs. How many entries that were; `None` if nothing is complete. The
    /// journal is to be opened again after that. Blocks.
    pub fn mend(&self) -> io::Result<Option<u64>> {
        let wounds = self.wounds();
        let mut mended = None;
        for hurt in wounds.iter().filter(|hurt| hurt.wound.outlook() == Outlook::Ready) {
            mended = Some(mended.unwrap_or(0) + hurt.wound.close()?);
        }
        Ok(mended)
    }

    /// The first entry that is lacking, or may be, and cannot be written again as things are. None if there is none, or
    /// nothing before it is known.
    pub fn first_lacking(&self) -> Option<u64> {
        brink(&self.wounds()).map(Brink::index)
    }

    /// Whether the first entry that is lacking, and so all behind it, was never committed and never will be, since
    /// others were committed in their place. `committed` is what another replica knows to be committed, and `there` what
    /// it holds in place of the first entry that is lacking.
    ///
    /// What is committed is in the journal of every later leader. So it is the entry of a leader that was elected without
    /// ours, if its term is later than ours can be and either it lies before ours, since that leader would have put it
    /// behind; or it does not, and in our place another entry than ours is committed along with it. Where nothing
    /// proves that it is another one, ours may be committed, and is waited for.
    pub fn is_replaced(&self, committed: &EntryId, there: Option<&LinkedEntry>) -> bool {
        let wounds = self.wounds();
        let Some(first) = brink(&wounds).map(Brink::index) else { return false };
        let hurt = wounds.iter().min_by_key(|hurt| hurt.number());
        let (hash, term) = hurt.map_or((None, None), |hurt| hurt.wound.first_entry());
        // Terms of entries only grow, and none is later than the vote.
        let next = self.behind.iter().find(|(id, ..)| id.index > first).map(|(id, ..)| id.term);
        let vote = self.standing.vote.map(|vote| vote.term);
        let Some(term) = [term, next, vote].into_iter().flatten().min() else { return false };
        let is_known_committed = self.standing.committed.is_some_and(|id| id.index >= first);
        if self.damage.may_be_vote || is_known_committed || committed.term.get() <= term {
            return false;
        }
        if committed.index.get() < first {
            return true;
        }
        let there = there.filter(|there| there.entry.id.index.get() == first);
        there.and_then(|there| frame::entry_head(&there.entry)).is_some_and(|there| {
            there.id.term > term || hash.is_some_and(|hash| hash != there.back_hash())
        })
    }

    /// Ends the journal before the first entry that is lacking; the vote stays, or becomes that of a leader of a later
    /// term. Whether there was such an entry. The journal is to be opened again after that. Blocks.
    pub fn give_up(&self, leader: Option<Vote>) -> io::Result<bool> {
        let wounds = self.wounds();
        let Some(brink) = brink(&wounds) else { return Ok(false) };
        let vote = self.standing.vote;
        let leader = leader.filter(|leader| vote.is_none_or(|vote| vote.term < leader.term));
        brink.end(self.next_number, leader.as_ref().map(frame::vote_row).or(vote))?;
        Ok(true)
    }
}

/// Where the first damage begins that cannot be written again. None while any can be: what holds behind that is known
/// only once it is whole.
fn brink(wounds: &[Hurt]) -> Option<&Brink> {
    if wounds.iter().any(Hurt::is_ready) {
        return None;
    }
    wounds.iter().min_by_key(|hurt| hurt.number())?.brink.as_ref()
}

/// Reads one entry and what its frame says of the one before, and compares both with their checks.
pub(super) fn read_linked(place: &Spot, slot: Slot) -> io::Result<LinkedEntry> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the entry is damaged");
    let length = usize::try_from(slot.length()).map_err(io::Error::other)?;
    let mut bytes = vec![0; FRAME_HEAD_BYTES + length];
    place.segment.file.read_at(&mut bytes, place.offset)?;
    let head = bytes.first_chunk().ok_or_else(damaged)?;
    let frame = FrameHead::decode(head, &place.salt, place.offset).map_err(|_| damaged())?;
    let FrameBody::Entry(head) = frame.body else { return Err(damaged()) };
    if head.length != slot.length() {
        return Err(damaged());
    }
    let payload = bytes::Bytes::from(bytes).split_off(FRAME_HEAD_BYTES);
    let entry = frame::entry(&head, payload).ok_or_else(damaged)?;
    Ok(LinkedEntry { entry, back_hash: frame.back_hash })
}
