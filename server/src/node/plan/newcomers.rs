//! The checks that look at who comes: reach (P6), versions (P7), its folder (P8), where it stands (P9), its disk (P10),
//! its clock (P11), and what it costs to copy everything there (P14). A replica that moves has to be reached as well.
//!
//! Not here: how it was measured (`gather`).

use client::api::cluster::{JoinFolder, Joiner};
use client::api::plans::{Check, CheckId, MemberName, Newcomer};
use client::types::{ReplicaAddr, ReplicaId};

use super::grounds::Probe;
use super::limits::{
    CLOCK_APART_MAX_MS, CLOCK_APART_WARN_MS, DISK_TIGHT_HALVES, SLOW_ROUND_TRIP_MIN_US,
    SLOW_ROUND_TRIPS,
};
use super::{Scene, block, block_unless, copy_ms, millis, note, pass, warn, words};

/// How those who vote now and afterwards, and an address, reach each other.
#[derive(Default)]
struct Reached {
    /// Measured, with the direction in words.
    times: Vec<(u64, String)>,
    /// Directions that do not work.
    broken: Vec<String>,
    /// Directions of which nothing is known.
    unknown: Vec<String>,
}

impl Scene<'_> {
    pub(super) fn of_newcomers(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for newcomer in &self.target.joins {
            let joiner = &newcomer.joiner;
            checks.extend([
                self.reach(joiner),
                self.versions(joiner),
                self.folder(joiner),
                self.neighbours(newcomer),
                self.disk(joiner),
                clock(joiner),
            ]);
        }
        if !self.target.joins.is_empty() {
            checks.push(self.cost());
        }
        if let Some((id, addr)) = &self.target.moves {
            let reached = self.reached(addr, None);
            checks.push(reached.judged(addr.as_str(), id.to_string(), false));
        }
        checks
    }

    /// P6.
    fn reach(&self, joiner: &Joiner) -> Check {
        let reached = self.reached(&joiner.peer_addr, Some(joiner));
        reached.judged(joiner.addr.as_str(), joiner.addr.to_string(), true)
    }

    fn reached(&self, addr: &ReplicaAddr, joiner: Option<&Joiner>) -> Reached {
        let mut reached = Reached::default();
        let stays = |id: &ReplicaId| self.target.voters.contains(&MemberName::Replica(*id));
        let moves = self.target.moves.as_ref().map(|(id, _)| *id);
        let voters = self.grounds.voters();
        for id in voters.into_iter().filter(|id| stays(id) && moves != Some(*id)) {
            let probe = self.grounds.reach.get(addr).and_then(|probes| probes.get(&id));
            match probe.copied().unwrap_or(Probe::Unasked) {
                Probe::Reached { round_trip_us } => {
                    reached.times.push((round_trip_us, format!("from replica {id}")));
                }
                Probe::Unreached => reached.broken.push(format!("replica {id} does not reach it")),
                Probe::Unasked => reached.unknown.push(format!("whether replica {id} reaches it")),
            }
            let Some(joiner) = joiner else { continue };
            match joiner.reaches.iter().find(|reach| reach.id == id).map(|it| it.round_trip_us) {
                Some(Some(us)) => reached.times.push((us, format!("to replica {id}"))),
                // Nor does anybody else, perhaps: then it says nothing about the way between them.
                Some(None) if !self.grounds.is_here(id) => {
                    reached.unknown.push(format!("whether it reaches replica {id}"));
                }
                Some(None) => reached.broken.push(format!("it does not reach replica {id}")),
                None => reached.unknown.push(format!("whether it reaches replica {id}")),
            }
        }
        reached
    }

    /// P7.
    fn versions(&self, joiner: &Joiner) -> Check {
        let ours = &self.grounds.versions;
        let (addr, theirs) = (&joiner.addr, &joiner.version);
        match (joiner.machine_version, joiner.format_version) {
            (Some(machine), Some(format)) if (machine, format) == (ours.machine, ours.format) => {
                let line =
                    format!("{addr} is version {theirs}, machine {machine}, format {format}");
                if *theirs == ours.product {
                    pass(CheckId::P7, format!("{line}: as the group."))
                } else {
                    let line =
                        format!("{line}: it fits the group, which is version {}.", ours.product);
                    note(CheckId::P7, line)
                }
            }
            (machine, format) => {
                let told = |version: Option<u32>| {
                    version.map_or_else(|| "not told".to_owned(), |version| version.to_string())
                };
                block(
                    CheckId::P7,
                    format!(
                        "{addr} is version {theirs}, machine {}, format {}; the group has machine {}, format {}.",
                        told(machine),
                        told(format),
                        ours.machine,
                        ours.format
                    ),
                    format!("Start version {} there.", ours.product),
                )
            }
        }
    }

    /// P8.
    fn folder(&self, joiner: &Joiner) -> Check {
        let addr = &joiner.addr;
        if let Some(id) = self.already_there(joiner) {
            return block(
                CheckId::P8,
                format!(
                    "Replica {id} answers at the addresses of {addr}: it lost its folder, or the address is wrong."
                ),
                format!("Replace it: quorate cluster replace {id} --by {addr}"),
            );
        }
        match joiner.folder {
            Some(JoinFolder::Empty) => pass(CheckId::P8, format!("The folder of {addr} is empty.")),
            Some(JoinFolder::Replica { cluster, replica }) if cluster == self.grounds.cluster => {
                let who = match replica {
                    Some(id) => format!("replica {id} of this cluster"),
                    None => "this cluster".to_owned(),
                };
                block(
                    CheckId::P8,
                    format!(
                        "The folder of {addr} holds what {who} left there: it is never used again."
                    ),
                    "Move that folder away, and start it with an empty one.",
                )
            }
            Some(JoinFolder::Replica { cluster, .. }) => block(
                CheckId::P8,
                format!("The folder of {addr} belongs to cluster {cluster}."),
                "Start it with an empty folder.",
            ),
            Some(JoinFolder::Foreign) => block(
                CheckId::P8,
                format!("The folder of {addr} holds something that is not Quorate's."),
                "Start it with an empty folder.",
            ),
            None => block(
                CheckId::P8,
                format!("{addr} does not tell what its folder holds."),
                format!("Start version {} there.", self.grounds.versions.product),
            ),
        }
    }

    /// The replica that stays and answers where this process does.
    fn already_there(&self, joiner: &Joiner) -> Option<ReplicaId> {
        let stays = |id: &&ReplicaId| !self.target.leaves.contains(id);
        let mut same = self.grounds.replicas.iter().filter(|(_, standing)| {
            standing.addr == joiner.addr || standing.peer_addr == joiner.peer_addr
        });
        same.find(|(id, _)| stays(id)).map(|(id, _)| *id)
    }

    /// P9.
    fn neighbours(&self, newcomer: &Newcomer) -> Check {
        let addr = &newcomer.joiner.addr;
        let name = MemberName::Joiner(addr.clone());
        let (host, zone) = self.place(&name);
        let others = self.target.voters.iter().chain(&self.target.learners);
        let others: Vec<_> = others.filter(|other| **other != name).collect();
        let sharing = |is_same: &dyn Fn(&(String, String)) -> bool| {
            let same = others.iter().filter(|other| is_same(&self.place(other)));
            words::list(same.map(|other| words::member(other)))
        };
        let in_zone = sharing(&|place| !zone.is_empty() && place.1 == zone);
        let on_host = sharing(&|place| place.0 == host);
        let line = match (on_host.is_empty(), in_zone.is_empty()) {
            (true, true) => {
                return pass(
                    CheckId::P9,
                    format!("{addr} shares neither host nor zone with another replica."),
                );
            }
            (false, true) => format!("{addr} shares host {host} with {on_host}."),
            (true, false) => format!("{addr} shares zone {zone} with {in_zone}."),
            (false, false) => {
                format!("{addr} shares host {host} with {on_host}, and zone {zone} with {in_zone}.")
            }
        };
        warn(CheckId::P9, line, "Start it where no other replica stands.")
    }

    /// P10.
    fn disk(&self, joiner: &Joiner) -> Check {
        let (addr, stored) = (&joiner.addr, self.grounds.stored_bytes);
        let wanted = stored.saturating_mul(DISK_TIGHT_HALVES) / 2;
        let Some(free) = joiner.free_bytes else {
            let line = format!("{addr} does not tell how much room its disk has.");
            return warn(CheckId::P10, line, "See that it has enough before you go on.");
        };
        let line = format!("{addr} has {} free", words::bytes(free));
        let fix = format!("Give it {} at least.", words::bytes(wanted));
        if free < stored {
            let line = format!("{line}, and {} are to be stored.", words::bytes(stored));
            return block_unless(addr.to_string(), CheckId::P10, line, fix);
        }
        let line = format!("{line}, needs about {}.", words::bytes(wanted));
        if free < wanted { warn(CheckId::P10, line, fix) } else { pass(CheckId::P10, line) }
    }

    /// P14.
    fn cost(&self) -> Check {
        let each = self.grounds.stored_bytes;
        let copies = self.target.joins.len();
        let to = if copies == 1 { String::new() } else { format!(" to each of {copies}") };
        let bytes = each.saturating_mul(u64::try_from(copies).unwrap_or(u64::MAX));
        let time = match copy_ms(bytes, self.grounds) {
            Some(ms) => format!("about {} at the rate seen last", words::time(millis(ms))),
            None => "how long that takes is not known, as no transfer was seen yet".to_owned(),
        };
        note(CheckId::P14, format!("Will copy {}{to}; {time}.", words::bytes(each)))
    }
}

/// P11.
fn clock(joiner: &Joiner) -> Check {
    let addr = &joiner.addr;
    let Some(ahead) = joiner.clock_ahead_ms else {
        let line = format!("{addr} does not tell what its clock shows.");
        return warn(CheckId::P11, line, "See that clocks are kept in step there.");
    };
    let apart = ahead.unsigned_abs();
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    let line =
        format!("The clock of {addr} is {} {side} the leader's.", words::time(millis(apart)));
    let fix = "Set its clock, and see that it is kept in step.";
    if apart > CLOCK_APART_MAX_MS {
        block_unless(addr.to_string(), CheckId::P11, line, fix)
    } else if apart > CLOCK_APART_WARN_MS {
        warn(CheckId::P11, line, fix)
    } else {
        pass(CheckId::P11, line)
    }
}

impl Reached {
    /// P6 for an address that is called so; `both` if both directions were looked at.
    fn judged(self, name: &str, typed: String, both: bool) -> Check {
        let Self { mut times, broken, unknown } = self;
        let fix = "See to the network, and that its address for replicas is right.";
        if !broken.is_empty() {
            let line = format!("{name} is cut off: {}.", words::list(broken));
            return block_unless(typed, CheckId::P6, line, fix);
        }
        times.sort_unstable();
        if !unknown.is_empty() {
            let line = format!("{name}: it is not known {}.", words::list(unknown));
            return warn(CheckId::P6, line, "Plan again in a few seconds.");
        }
        let (Some(least), Some(most)) = (times.first(), times.last()) else {
            return pass(CheckId::P6, format!("{name} has nobody to reach."));
        };
        let median = times[times.len() / 2].0;
        if most.0 > median.saturating_mul(SLOW_ROUND_TRIPS).max(SLOW_ROUND_TRIP_MIN_US) {
            let line = format!(
                "{name} is far {}: {}, where half are below {}.",
                most.1,
                words::round_trip(most.0),
                words::round_trip(median)
            );
            return warn(CheckId::P6, line, fix);
        }
        let directions = if both { "both ways" } else { "as measured from them" };
        let span = format!("{} – {}", words::round_trip(least.0), words::round_trip(most.0));
        pass(
            CheckId::P6,
            format!("{name} and every voter that stays reach each other: {span}, {directions}."),
        )
    }
}
