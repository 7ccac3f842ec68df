//! Whom this replica has met: the greatest incarnation of each other replica, durably.
//!
//! A later start is believed only if its folder shows the random part that is remembered here for
//! an earlier one, and if its journal is not behind what it acknowledged to us. What is learned is
//! on disk before it is believed; nothing of it is ever replicated, and it survives an install.
//!
//! Not here: the comparison of cluster, generation and target (`envelope`).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use client::types::{EntryId, Incarnation, ReplicaId};

use super::codec::Introduction;
use super::envelope::{Checked, Envelope, Refusal};
use crate::storage::met::MetFile;

/// The replicas that were met. A clone is the same memory.
#[derive(Clone)]
pub struct Acquaintances {
    known: Arc<Mutex<Known>>,
}

struct Known {
    file: MetFile,
    met: BTreeMap<u64, Incarnation>,
    /// The last entry each one acknowledged to us, in this start of ours.
    acknowledged: BTreeMap<u64, EntryId>,
}

impl Acquaintances {
    /// What the file remembers.
    pub fn open(file: MetFile) -> io::Result<Self> {
        let met = file.read()?;
        let known = Known { file, met, acknowledged: BTreeMap::new() };
        Ok(Self { known: Arc::new(Mutex::new(known)) })
    }

    /// Lets a message in if its sender is the start that is known.
    pub fn check(&self, envelope: &Envelope<Checked>) -> Result<(), Refusal> {
        let sender = envelope.sender();
        let known = self.known.lock().expect("no panic while remembering");
        let Some(met) = known.met.get(&sender.replica.get()) else {
            return Err(Refusal::Stranger);
        };
        match sender.incarnation.start.cmp(&met.start) {
            std::cmp::Ordering::Less => Err(Refusal::OlderIncarnation),
            std::cmp::Ordering::Greater => Err(Refusal::Stranger),
            std::cmp::Ordering::Equal if sender.incarnation.random == met.random => Ok(()),
            std::cmp::Ordering::Equal => Err(Refusal::CopiedIncarnation),
        }
    }

    /// Believes a start that introduces itself, once it is remembered durably. Blocking.
    pub fn meet(
        &self,
        envelope: &Envelope<Checked>,
        introduction: &Introduction,
    ) -> io::Result<Result<(), Refusal>> {
        let sender = envelope.sender();
        let mut known = self.known.lock().expect("no panic while remembering");
        if let Err(refusal) = known.judge(sender.replica, sender.incarnation, introduction) {
            return Ok(Err(refusal));
        }
        if known.met.get(&sender.replica.get()) != Some(&sender.incarnation) {
            let mut met = known.met.clone();
            met.insert(sender.replica.get(), sender.incarnation);
            known.file.write(&met)?;
            known.met = met;
        }
        Ok(Ok(()))
    }

    /// Remembers that a replica holds entries up to this one durably.
    pub fn acknowledged(&self, replica: ReplicaId, last: EntryId) {
        let mut known = self.known.lock().expect("no panic while remembering");
        let remembered = known.acknowledged.entry(replica.get()).or_insert(last);
        *remembered = last.max(*remembered);
    }
}

impl Known {
    fn judge(
        &self,
        replica: ReplicaId,
        incarnation: Incarnation,
        introduction: &Introduction,
    ) -> Result<(), Refusal> {
        if let Some(met) = self.met.get(&replica.get()) {
            if incarnation.start < met.start {
                return Err(Refusal::OlderIncarnation);
            }
            if incarnation.start == met.start && incarnation.random != met.random {
                return Err(Refusal::CopiedIncarnation);
            }
            if !introduction.starts.contains(met) {
                return Err(Refusal::NotContinued);
            }
        }
        match self.acknowledged.get(&replica.get()) {
            Some(acknowledged) if introduction.last.as_ref() < Some(acknowledged) => {
                Err(Refusal::Behind)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use client::types::{ClusterId, EntryIndex, Generation, Term};

    use super::*;
    use crate::peer::envelope::Identity;
    use crate::storage::disk::RealDisk;

    fn ours() -> Identity {
        identity(1, 1, 10)
    }

    fn identity(replica: u64, start: u64, random: u64) -> Identity {
        Identity {
            cluster: ClusterId::new([7; 16]),
            generation: Generation { number: 1, random: 9 },
            replica: ReplicaId::new(replica).unwrap(),
            incarnation: Incarnation { start, random },
        }
    }

    fn from(sender: Identity) -> Envelope<Checked> {
        Envelope::new(sender, ReplicaId::new(1).unwrap()).check(&ours()).unwrap()
    }

    fn entry(term: u64, index: u64) -> EntryId {
        EntryId { term: Term::new(term), leader: 1, index: EntryIndex::new(index) }
    }

    fn introduction(starts: &[(u64, u64)], last: Option<EntryId>) -> Introduction {
        let starts = starts.iter().map(|&(start, random)| Incarnation { start, random }).collect();
        Introduction { starts, last }
    }

    fn open(folder: &Path) -> Acquaintances {
        let file = MetFile::new(Arc::new(RealDisk), folder.join("met"));
        Acquaintances::open(file).unwrap()
    }

    #[test]
    fn a_stranger_must_introduce_itself_and_is_remembered_across_our_restart() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        let sender = from(identity(2, 1, 20));
        assert_eq!(known.check(&sender), Err(Refusal::Stranger));
        known.meet(&sender, &introduction(&[(1, 20)], None)).unwrap().unwrap();
        assert_eq!(known.check(&sender), Ok(()));
        assert_eq!(open(folder.path()).check(&sender), Ok(()));
    }

    #[test]
    fn an_older_start_and_a_second_copy_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        let met = introduction(&[(4, 40), (5, 50)], None);
        known.meet(&from(identity(2, 5, 50)), &met).unwrap().unwrap();
        assert_eq!(known.check(&from(identity(2, 4, 40))), Err(Refusal::OlderIncarnation));
        assert_eq!(known.check(&from(identity(2, 5, 51))), Err(Refusal::CopiedIncarnation));
        let copy = introduction(&[(4, 40), (5, 51)], None);
        let answer = known.meet(&from(identity(2, 5, 51)), &copy).unwrap();
        assert_eq!(answer, Err(Refusal::CopiedIncarnation));
    }

    #[test]
    fn a_later_start_must_show_the_one_that_was_met() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        let first = introduction(&[(1, 10), (2, 20)], None);
        known.meet(&from(identity(2, 2, 20)), &first).unwrap().unwrap();
        let later = from(identity(2, 3, 30));
        assert_eq!(known.check(&later), Err(Refusal::Stranger));
        let other = introduction(&[(1, 10), (2, 21), (3, 30)], None);
        assert_eq!(known.meet(&later, &other).unwrap(), Err(Refusal::NotContinued));
        let same = introduction(&[(1, 10), (2, 20), (3, 30)], None);
        assert_eq!(known.meet(&later, &same).unwrap(), Ok(()));
        assert_eq!(known.check(&later), Ok(()));
    }

    #[test]
    fn a_journal_behind_what_it_acknowledged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        known.acknowledged(ReplicaId::new(2).unwrap(), entry(2, 9));
        known.acknowledged(ReplicaId::new(2).unwrap(), entry(2, 8));
        let sender = from(identity(2, 1, 20));
        let behind = introduction(&[(1, 20)], Some(entry(2, 8)));
        assert_eq!(known.meet(&sender, &behind).unwrap(), Err(Refusal::Behind));
        // A later leader may have cut it, and then its last entry is of a later term.
        let cut = introduction(&[(1, 20)], Some(entry(3, 5)));
        assert_eq!(known.meet(&sender, &cut).unwrap(), Ok(()));
    }
}
