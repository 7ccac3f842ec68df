//! Where the files of a demo are, and at which addresses its replicas answer.
//!
//! Invariant: a folder that is kept keeps its addresses, because they stand in the membership; a
//! folder that is not kept is removed when the demo ends.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::links::Doors;
use crate::cli::{Exit, Failure};
use crate::world::{Chance, Clock};

/// How many replicas form the group.
pub(super) const REPLICAS: usize = 3;
/// How many replicas there can be at most, with those who wait to join.
const PLACES: usize = 8;
const FIRST_PORT: u16 = 7001;
/// From the door for clients to the one for peers.
const PEER_PORT_STEP: u16 = 1000;
/// How long replicas of before may take to stop.
const STOPPING_MAX: Duration = Duration::from_secs(15);
const PLAN: &str = "demo.json";

/// The folder of a demo and the doors of all replicas that it may have.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) folder: PathBuf,
    pub(super) doors: Vec<Doors>,
    is_kept: bool,
    is_formed: bool,
}

/// What a folder remembers that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    ports: Vec<(u16, u16)>,
    /// The group has formed: who is a replica and who is none is its own affair since.
    #[serde(default)]
    is_formed: bool,
}

impl Home {
    /// A folder of its own, removed in the end.
    pub(super) fn temporary(port: Option<u16>) -> Result<Self, Failure> {
        let name = format!("quorate-demo-{:016x}", Chance::from_system().next_u64());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        let mut home = Self { folder, doors: Vec::new(), is_kept: false, is_formed: false };
        home.doors = doors(&choose(port)?);
        Ok(home)
    }

    /// A folder that is kept: new, or one that a demo was kept in before.
    pub(super) fn kept(folder: &Path, port: Option<u16>) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let folder = fs::canonicalize(folder)?;
        let path = folder.join(PLAN);
        let plan = if path.exists() {
            let plan: Plan = serde_json::from_slice(&fs::read(&path)?).map_err(|error| {
                Failure::new(Exit::Failed, format!("{} is not understood", path.display()))
                    .because(error)
            })?;
            let is_used = |(place, (port, _)): &(usize, &(u16, u16))| {
                *place < REPLICAS && !plan.is_formed || holds_a_replica(&folder_of(&folder, *port))
            };
            let places = plan.ports.iter().enumerate();
            let used: Vec<(u16, u16)> = places.filter(is_used).map(|(_, pair)| *pair).collect();
            wait_until_free(&used)?;
            let is_formed = plan.is_formed && !used.is_empty();
            // The others have no address that anybody knows.
            Plan { ports: filled_up(used)?, is_formed }
        } else {
            if fs::read_dir(&folder)?.next().is_some() {
                return Err(Failure::usage(format!("{} holds something else", folder.display()))
                    .because("a demo is kept in a folder of its own"));
            }
            Plan { ports: choose(port)?, is_formed: false }
        };
        let home =
            Self { folder, doors: doors(&plan.ports), is_kept: true, is_formed: plan.is_formed };
        home.remember(&plan)?;
        Ok(home)
    }

    /// Remembers that the group has formed.
    pub(super) fn has_formed(&self) -> io::Result<()> {
        let pair = |doors: &Doors| (doors.clients.port(), doors.peers.port());
        let ports = self.doors.iter().map(pair).collect();
        if self.is_kept { self.remember(&Plan { ports, is_formed: true }) } else { Ok(()) }
    }

    fn remember(&self, plan: &Plan) -> io::Result<()> {
        fs::write(self.folder.join(PLAN), serde_json::to_vec(plan).map_err(io::Error::from)?)
    }

    /// Whether the group had formed when this demo began.
    pub(super) fn is_formed(&self) -> bool {
        self.is_formed
    }

    /// Whether the folder stays.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The folder of one replica, named by its port so that it does not pretend to be its id.
    pub(super) fn replica(&self, place: usize) -> PathBuf {
        folder_of(&self.folder, self.doors[place].clients.port())
    }
}

fn folder_of(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!("replica-{port}"))
}

/// Whether a start in this folder has to go on with what is there.
pub(super) fn holds_a_replica(folder: &Path) -> bool {
    folder.join("marker").exists()
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed lies in the system's own folder for such things.
            fs::remove_dir_all(&self.folder).ok();
        }
    }
}

fn doors(ports: &[(u16, u16)]) -> Vec<Doors> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    ports
        .iter()
        .map(|(clients, peers)| Doors { clients: at(*clients), peers: at(*peers) })
        .collect()
}

/// The ports asked for; otherwise the usual ones, or free ones if those are taken.
fn choose(port: Option<u16>) -> Result<Vec<(u16, u16)>, Failure> {
    let first = in_a_row(port.unwrap_or(FIRST_PORT))?;
    match (check(&first), port) {
        (Ok(()), _) => filled_up(first),
        (Err(failure), Some(_)) => Err(failure),
        (Err(_), None) => filled_up(Vec::new()),
    }
}

/// For the group, and for one who waits to join it.
fn in_a_row(first: u16) -> Result<Vec<(u16, u16)>, Failure> {
    (0..=REPLICAS)
        .map(|place| {
            let clients = first.checked_add(u16::try_from(place).ok()?)?;
            Some((clients, clients.checked_add(PEER_PORT_STEP)?))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            Failure::usage(format!("--port {first} leaves no room above it")).hint("--port 7001")
        })
}

/// The same and more, until there are enough: the next ones in the row if they are free, or free ones.
fn filled_up(mut ports: Vec<(u16, u16)>) -> Result<Vec<(u16, u16)>, Failure> {
    let next = |ports: &[(u16, u16)]| {
        let clients = ports.iter().map(|(clients, _)| *clients).max()?.checked_add(1)?;
        Some((clients, clients.checked_add(PEER_PORT_STEP)?))
    };
    while ports.len() < PLACES
        && let Some(pair) = next(&ports).filter(|pair| check(&[*pair]).is_ok())
    {
        ports.push(pair);
    }
    ports.extend(free(PLACES.saturating_sub(ports.len()))?);
    Ok(ports)
}

/// Ports that nobody uses at this moment, all held at once so that they differ.
fn free(count: usize) -> io::Result<Vec<(u16, u16)>> {
    let held: Vec<(TcpListener, TcpListener)> =
        (0..count).map(|_| Ok((bind(0)?, bind(0)?))).collect::<io::Result<_>>()?;
    held.iter()
        .map(|(clients, peers)| Ok((clients.local_addr()?.port(), peers.local_addr()?.port())))
        .collect()
}

/// Replicas of a demo that was killed take a moment to stop, and a kept demo has no other ports.
fn wait_until_free(ports: &[(u16, u16)]) -> Result<(), Failure> {
    let clock = Clock::real();
    let until = clock.after(STOPPING_MAX);
    loop {
        match check(ports) {
            Ok(()) => return Ok(()),
            Err(_) if clock.now() < until => thread::park_timeout(Duration::from_millis(50)),
            Err(failure) => {
                return Err(Failure {
                    next: Some("quorate demo --keep ANOTHER-FOLDER".to_owned()),
                    ..failure
                });
            }
        }
    }
}

fn check(ports: &[(u16, u16)]) -> Result<(), Failure> {
    for port in ports.iter().flat_map(|(clients, peers)| [*clients, *peers]) {
        if let Err(error) = bind(port) {
            return Err(Failure::new(
                Exit::Failed,
                format!("port {port} of this machine is taken"),
            )
            .because(error)
            .hint("quorate demo --port 17001"));
        }
    }
    Ok(())
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_with_the_demo() {
        let home = Home::temporary(None).unwrap();
        let folder = home.folder.clone();
        assert!(folder.is_dir() && !home.is_kept());
        assert_eq!(home.doors.len(), PLACES);
        drop(home);
        assert!(!folder.exists());
    }

    #[test]
    fn a_kept_folder_keeps_its_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("kept");
        let first = Home::kept(&folder, None).unwrap();
        let ports = |home: &Home, places: usize| -> Vec<u16> {
            home.doors.iter().take(places).map(|doors| doors.peers.port()).collect()
        };
        let before = ports(&first, REPLICAS);
        drop(first);
        let second = Home::kept(&folder, Some(9000)).unwrap();
        assert_eq!((ports(&second, REPLICAS), second.is_formed()), (before, false));
        second.has_formed().unwrap();
        // From then on, the addresses that count are those of who is there.
        let (fourth, moved_in) = (second.doors[3].peers.port(), second.replica(3));
        drop(second);
        fs::create_dir(&moved_in).unwrap();
        fs::write(moved_in.join("marker"), "").unwrap();
        let third = Home::kept(&folder, None).unwrap();
        assert_eq!((third.doors[0].peers.port(), third.is_formed()), (fourth, true));
        assert_eq!(third.doors.len(), PLACES);
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("letters.txt"), "dear").unwrap();
        assert_eq!(Home::kept(folder.path(), None).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_port_that_was_asked_for_and_is_taken_is_an_error() {
        let taken = bind(0).unwrap();
        let port = taken.local_addr().unwrap().port().min(64_000);
        if let Err(failure) = Home::temporary(Some(port)) {
            assert!(failure.next.unwrap().contains("--port"));
        }
        assert_eq!(Home::temporary(Some(65_535)).unwrap_err().exit, Exit::Usage);
        drop(taken);
    }
}
