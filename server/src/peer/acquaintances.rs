//! Whom this replica has met: the greatest incarnation of each other replica, durably.
//!
//! A later start is believed only if its folder shows the random part that is remembered here for
//! an earlier one, and if its journal is behind neither an entry that it acknowledged to us nor a
//! vote that it gave us. What is learned is on disk before it is believed; nothing of it is ever
//! replicated, and it survives an install.
//!
//! Who introduces itself while its journal is damaged is met for repair alone: it shows no last entry that
//! could be judged. It is a stranger for everything else until it introduces itself again, whole.
//!
//! Where members are found is remembered beside it, as the last membership told it, so that even who lost its
//! state knows whom to ask.
//!
//! Starts are remembered durably, acknowledgements and votes as long as this process lives. So a
//! folder that was rolled back to an earlier start is found by anybody, and one rolled back within
//! its last start by whoever still runs to whom it acknowledged more. After a restart of both sides
//! nobody knows of that.
//!
//! Not here: the comparison of cluster, generation and target (`envelope`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use client::types::{EntryId, Incarnation, ReplicaId, Term};

use super::codec::Introduction;
use super::envelope::{Identity, Refusal};
use crate::storage::met::{Met, MetFile};

/// The replicas that were met. A clone is the same memory.
#[derive(Clone)]
pub struct Acquaintances {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held while the file is written; taken before `known`, which is never held that long.
    file: Mutex<MetFile>,
    known: Mutex<Known>,
}

struct Known {
    met: BTreeMap<u64, Met>,
    /// Whose journal was damaged when this start of it was met.
    damaged: BTreeSet<u64>,
    /// The last entry each one acknowledged to us, in this start of ours.
    acknowledged: BTreeMap<u64, EntryId>,
    /// The last vote each one gave us, in this start of ours: its term, and us.
    voted: BTreeMap<u64, (Term, u64)>,
}

const UNBROKEN: &str = "no panic while remembering";

impl Acquaintances {
    /// What the file remembers.
    pub fn open(file: MetFile) -> io::Result<Self> {
        let met = file.read()?;
        let known = Known {
            met,
            damaged: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            voted: BTreeMap::new(),
        };
        let shared = Shared { file: Mutex::new(file), known: Mutex::new(known) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The start of a replica that was accepted last; none while its journal is damaged.
    pub fn accepted(&self, replica: ReplicaId) -> Option<Incarnation> {
        self.known().whole_start_of(replica)
    }

    /// The start of a replica that was accepted last, be it for repair alone.
    pub fn accepted_for_repair(&self, replica: ReplicaId) -> Option<Incarnation> {
        self.known().start_of(replica)
    }

    /// Lets a message in if its sender is the start that is known, and whole.
    pub fn check(&self, sender: &Identity) -> Result<(), Refusal> {
        self.check_for_repair(sender)?;
        let is_damaged = self.known().damaged.contains(&sender.replica.get());
        if is_damaged { Err(Refusal::Stranger) } else { Ok(()) }
    }

    /// Lets a question about repair in if its sender is the start that is known.
    pub fn check_for_repair(&self, sender: &Identity) -> Result<(), Refusal> {
        let Some(met) = self.accepted_for_repair(sender.replica) else {
            return Err(Refusal::Stranger);
        };
        match sender.incarnation.start.cmp(&met.start) {
            std::cmp::Ordering::Less => Err(Refusal::OlderIncarnation),
            std::cmp::Ordering::Greater => Err(Refusal::Stranger),
            std::cmp::Ordering::Equal if sender.incarnation.random == met.random => Ok(()),
            std::cmp::Ordering::Equal => Err(Refusal::CopiedIncarnation),
        }
    }

    /// Accepts a start that introduces itself, once it is remembered durably; for repair alone if its journal is
    /// damaged. Blocking.
    pub fn meet(
        &self,
        replica: ReplicaId,
        incarnation: Incarnation,
        introduction: &Introduction,
    ) -> io::Result<Result<(), Refusal>> {
        // Whoever else introduces itself waits here; whoever is known already does not.
        let file = self.shared.file.lock().expect(UNBROKEN);
        let mut met = {
            let known = self.known();
            if let Err(refusal) = known.judge(replica, incarnation, introduction) {
                return Ok(Err(refusal));
            }
            known.met.clone()
        };
        let kept = met.entry(replica.get()).or_default();
        let is_new = kept.incarnation.replace(incarnation) != Some(incarnation);
        if is_new {
            file.write(&met)?;
        }
        let mut known = self.known();
        known.met = met;
        if introduction.is_whole {
            known.damaged.remove(&replica.get());
        } else {
            known.damaged.insert(replica.get());
        }
        Ok(Ok(()))
    }

    /// Remembers where members are found; where others were is forgotten. Blocking.
    pub fn found_at(&self, places: &BTreeMap<u64, String>) -> io::Result<()> {
        let file = self.shared.file.lock().expect(UNBROKEN);
        let before = self.known().met.clone();
        let mut met = before.clone();
        for (replica, address) in places {
            met.entry(*replica).or_default().address = Some(address.clone());
        }
        for (_, other) in met.iter_mut().filter(|(replica, _)| !places.contains_key(replica)) {
            other.address = None;
        }
        if met != before {
            file.write(&met)?;
            self.known().met = met;
        }
        Ok(())
    }

    /// Where members are found, as far as is remembered.
    pub fn places(&self) -> BTreeMap<u64, String> {
        let known = self.known();
        let met = known.met.iter();
        met.filter_map(|(replica, met)| Some((*replica, met.address.clone()?))).collect()
    }

    /// Remembers that a replica holds entries up to this one durably.
    pub fn acknowledged(&self, replica: ReplicaId, last: EntryId) {
        let mut known = self.known();
        let remembered = known.acknowledged.entry(replica.get()).or_insert(last);
        *remembered = last.max(*remembered);
    }

    /// Remembers that a replica holds this vote durably.
    pub fn voted(&self, replica: ReplicaId, term: Term, leader: u64) {
        let mut known = self.known();
        let remembered = known.voted.entry(replica.get()).or_insert((term, leader));
        *remembered = (term, leader).max(*remembered);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().expect(UNBROKEN)
    }
}

impl Known {
    fn start_of(&self, replica: ReplicaId) -> Option<Incarnation> {
        self.met.get(&replica.get())?.incarnation
    }

    fn whole_start_of(&self, replica: ReplicaId) -> Option<Incarnation> {
        self.start_of(replica).filter(|_| !self.damaged.contains(&replica.get()))
    }

    fn judge(
        &self,
        replica: ReplicaId,
        incarnation: Incarnation,
        introduction: &Introduction,
    ) -> Result<(), Refusal> {
        if let Some(met) = self.start_of(replica) {
            if incarnation.start < met.start {
                return Err(Refusal::OlderIncarnation);
            }
            if incarnation.start == met.start && incarnation.random != met.random {
                return Err(Refusal::CopiedIncarnation);
            }
            if !introduction.starts.contains(&met) {
                return Err(Refusal::NotContinued);
            }
        }
        // Damage may hide its last entry. It is judged by that once it is whole. A start that was met is judged already:
        // it cannot forget, and goes on to acknowledge while it is heard here.
        let is_judged = self.whole_start_of(replica) == Some(incarnation);
        if introduction.is_whole && !is_judged && self.is_behind(replica, introduction) {
            Err(Refusal::Behind)
        } else {
            Ok(())
        }
    }

    fn is_behind(&self, replica: ReplicaId, introduction: &Introduction) -> bool {
        let voted = self.voted.get(&replica.get());
        if voted.is_some_and(|voted| introduction.vote.as_ref() < Some(voted)) {
            return true;
        }
        let Some(acknowledged) = self.acknowledged.get(&replica.get()) else { return false };
        // A later leader may have cut what it acknowledged; it holds that leader's vote then.
        let is_later = |vote| vote > (acknowledged.term, acknowledged.leader);
        introduction.last.as_ref() < Some(acknowledged) && !introduction.vote.is_some_and(is_later)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use client::types::{ClusterId, EntryIndex, Generation};

    use super::*;
    use crate::storage::disk::{Disk, File, RealDisk};

    fn identity(start: u64, random: u64) -> Identity {
        Identity {
            cluster: ClusterId::new([7; 16]),
            generation: Generation { number: 1, random: 9 },
            replica: replica(),
            incarnation: Incarnation { start, random },
        }
    }

    fn replica() -> ReplicaId {
        ReplicaId::new(2).unwrap()
    }

    fn entry(term: u64, index: u64) -> EntryId {
        EntryId { term: Term::new(term), leader: 1, index: EntryIndex::new(index) }
    }

    fn introduction(starts: &[(u64, u64)]) -> Introduction {
        let starts = starts.iter().map(|&(start, random)| Incarnation { start, random }).collect();
        Introduction { starts, last: None, vote: None, epoch: None, is_whole: true }
    }

    fn meet(known: &Acquaintances, introduction: &Introduction) -> Result<(), Refusal> {
        known.meet(replica(), *introduction.starts.last().unwrap(), introduction).unwrap()
    }

    fn open(folder: &Path) -> Acquaintances {
        let file = MetFile::new(Arc::new(RealDisk), folder.join("met"));
        Acquaintances::open(file).unwrap()
    }

    /// A disk whose syncs of names take as long as the test holds its lock.
    #[derive(Debug)]
    struct SlowDisk {
        slow: Arc<Mutex<()>>,
        is_slow: std::sync::mpsc::Sender<()>,
    }

    impl Disk for SlowDisk {
        fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
            RealDisk.open(path)
        }

        fn open_existing(&self, path: &Path) -> io::Result<Box<dyn File>> {
            RealDisk.open_existing(path)
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            RealDisk.list(dir)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove(path)
        }

        fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
            RealDisk.create_dir_all(dir)
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.is_slow.send(()).ok();
            drop(self.slow.lock().unwrap());
            RealDisk.sync_dir(dir)
        }

        fn exists(&self, path: &Path) -> io::Result<bool> {
            RealDisk.exists(path)
        }

        fn free_bytes(&self, path: &Path) -> io::Result<u64> {
            RealDisk.free_bytes(path)
        }
    }

    #[test]
    fn whoever_is_known_does_not_wait_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let slow = Arc::new(Mutex::new(()));
        let (is_slow, slowly) = std::sync::mpsc::channel();
        let disk = Arc::new(SlowDisk { slow: slow.clone(), is_slow });
        let known = Acquaintances::open(MetFile::new(disk, folder.path().join("met"))).unwrap();
        assert_eq!(meet(&known, &introduction(&[(1, 20)])), Ok(()));
        slowly.recv().unwrap();
        let held = slow.lock().unwrap();
        let meeting = known.clone();
        let later = introduction(&[(1, 20), (2, 30)]);
        let meeting = std::thread::spawn(move || meet(&meeting, &later));
        slowly.recv().unwrap();
        // The new start is being written: the old one still speaks, the new one does not yet.
        assert_eq!(known.check(&identity(1, 20)), Ok(()));
        assert_eq!(known.check(&identity(2, 30)), Err(Refusal::Stranger));
        known.acknowledged(replica(), entry(1, 1));
        drop(held);
        assert_eq!(meeting.join().unwrap(), Ok(()));
        assert_eq!(known.check(&identity(2, 30)), Ok(()));
    }

    #[test]
    fn a_stranger_must_introduce_itself_and_is_remembered_across_our_restart() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        let sender = identity(1, 20);
        assert_eq!(known.check(&sender), Err(Refusal::Stranger));
        assert_eq!(known.accepted(replica()), None);
        assert_eq!(meet(&known, &introduction(&[(1, 20)])), Ok(()));
        assert_eq!(known.check(&sender), Ok(()));
        let again = open(folder.path());
        assert_eq!(again.check(&sender), Ok(()));
        assert_eq!(again.accepted(replica()), Some(sender.incarnation));
    }

    #[test]
    fn an_older_start_and_a_second_copy_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        assert_eq!(meet(&known, &introduction(&[(4, 40), (5, 50)])), Ok(()));
        assert_eq!(known.check(&identity(4, 40)), Err(Refusal::OlderIncarnation));
        assert_eq!(known.check(&identity(5, 51)), Err(Refusal::CopiedIncarnation));
        let copy = introduction(&[(4, 40), (5, 51)]);
        assert_eq!(meet(&known, &copy), Err(Refusal::CopiedIncarnation));
        assert_eq!(meet(&known, &introduction(&[(4, 40)])), Err(Refusal::OlderIncarnation));
    }

    #[test]
    fn a_later_start_must_show_the_one_that_was_met() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        assert_eq!(meet(&known, &introduction(&[(1, 10), (2, 20)])), Ok(()));
        let later = identity(3, 30);
        assert_eq!(known.check(&later), Err(Refusal::Stranger));
        let other = introduction(&[(1, 10), (2, 21), (3, 30)]);
        assert_eq!(meet(&known, &other), Err(Refusal::NotContinued));
        let same = introduction(&[(1, 10), (2, 20), (3, 30)]);
        assert_eq!(meet(&known, &same), Ok(()));
        assert_eq!(known.check(&later), Ok(()));
    }

    #[test]
    fn a_damaged_journal_is_met_for_repair_alone_and_judged_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        known.acknowledged(replica(), entry(2, 9));
        let sender = identity(1, 20);
        let damaged = Introduction { is_whole: false, ..introduction(&[(1, 20)]) };
        assert_eq!(meet(&known, &damaged), Ok(()));
        assert_eq!(known.check_for_repair(&sender), Ok(()));
        assert_eq!(known.accepted_for_repair(replica()), Some(sender.incarnation));
        assert_eq!(known.check(&sender), Err(Refusal::Stranger));
        assert_eq!(known.accepted(replica()), None);
        let of = |last| Introduction { last, ..introduction(&[(1, 20)]) };
        assert_eq!(meet(&known, &of(Some(entry(2, 8)))), Err(Refusal::Behind));
        assert_eq!(known.check(&sender), Err(Refusal::Stranger), "it forgot what it acknowledged");
        assert_eq!(meet(&known, &of(Some(entry(2, 9)))), Ok(()));
        assert_eq!(
            (known.check(&sender), known.accepted(replica())),
            (Ok(()), Some(sender.incarnation))
        );
        // A copy is a copy, whole or not.
        let copy = Introduction { is_whole: false, ..introduction(&[(1, 21)]) };
        assert_eq!(meet(&known, &copy), Err(Refusal::CopiedIncarnation));
    }

    #[test]
    fn where_members_are_found_is_remembered_across_our_restart_and_outlives_no_member() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        assert_eq!(meet(&known, &introduction(&[(1, 20)])), Ok(()));
        let at = |places: &[u64]| -> BTreeMap<u64, String> {
            places.iter().map(|id| (*id, format!("http://10.0.0.{id}:1"))).collect()
        };
        known.found_at(&at(&[1, 2, 3])).unwrap();
        let again = open(folder.path());
        assert_eq!(again.places(), at(&[1, 2, 3]));
        assert_eq!(again.check(&identity(1, 20)), Ok(()), "whom it met is not forgotten");
        again.found_at(&at(&[1, 2])).unwrap();
        assert_eq!(open(folder.path()).places(), at(&[1, 2]));
    }

    #[test]
    fn a_journal_behind_what_it_acknowledged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        known.acknowledged(replica(), entry(2, 9));
        known.acknowledged(replica(), entry(2, 8));
        let of = |last, vote| Introduction { last, vote, ..introduction(&[(1, 20)]) };
        let vote = Some((Term::new(2), 1));
        assert_eq!(meet(&known, &of(Some(entry(2, 8)), vote)), Err(Refusal::Behind));
        assert_eq!(meet(&known, &of(None, None)), Err(Refusal::Behind));
        // A later leader may have cut it, and has its vote then, perhaps without an entry yet.
        let later = Some((Term::new(3), 3));
        assert_eq!(meet(&known, &of(Some(entry(3, 5)), later)), Ok(()));
        assert_eq!(meet(&known, &of(Some(entry(2, 5)), later)), Ok(()));
        assert_eq!(meet(&known, &of(Some(entry(2, 9)), vote)), Ok(()));
    }

    #[test]
    fn a_start_that_was_met_is_no_liar_for_what_it_acknowledged_since_it_spoke() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        let said = Introduction { last: Some(entry(2, 8)), ..introduction(&[(1, 20)]) };
        assert_eq!(meet(&known, &said), Ok(()));
        // It introduces itself again, and acknowledges more before that is judged.
        known.acknowledged(replica(), entry(2, 9));
        known.voted(replica(), Term::new(3), 1);
        assert_eq!(meet(&known, &said), Ok(()));
        let later = Introduction { last: Some(entry(2, 8)), ..introduction(&[(1, 20), (2, 30)]) };
        assert_eq!(meet(&known, &later), Err(Refusal::Behind));
    }

    #[test]
    fn a_journal_that_lost_a_vote_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let known = open(folder.path());
        known.voted(replica(), Term::new(5), 1);
        known.voted(replica(), Term::new(4), 1);
        let of = |vote| Introduction { vote, ..introduction(&[(1, 20)]) };
        assert_eq!(meet(&known, &of(None)), Err(Refusal::Behind));
        assert_eq!(meet(&known, &of(Some((Term::new(4), 3)))), Err(Refusal::Behind));
        assert_eq!(meet(&known, &of(Some((Term::new(5), 1)))), Ok(()));
        assert_eq!(meet(&known, &of(Some((Term::new(6), 3)))), Ok(()));
    }
}
