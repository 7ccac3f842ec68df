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

const REPLICAS: u16 = 3;
const FIRST_PORT: u16 = 7001;
/// From the door for clients to the one for peers.
const PEER_PORT_STEP: u16 = 1000;
/// How long replicas of before may take to stop.
const STOPPING_MAX: Duration = Duration::from_secs(15);
const PLAN: &str = "demo.json";

/// The folder of a demo and the doors of its replicas.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) folder: PathBuf,
    pub(super) doors: Vec<Doors>,
    is_kept: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    ports: Vec<(u16, u16)>,
}

impl Home {
    /// A folder of its own, removed in the end.
    pub(super) fn temporary(port: Option<u16>) -> Result<Self, Failure> {
        let name = format!("quorate-demo-{:016x}", Chance::from_system().next_u64());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        let mut home = Self { folder, doors: Vec::new(), is_kept: false };
        home.doors = doors(&choose(port)?);
        Ok(home)
    }

    /// A folder that is kept: new, or one that a demo was kept in before.
    pub(super) fn kept(folder: &Path, port: Option<u16>) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let folder = fs::canonicalize(folder)?;
        let plan = folder.join(PLAN);
        let ports = if plan.exists() {
            let plan: Plan = serde_json::from_slice(&fs::read(&plan)?).map_err(|error| {
                Failure::new(Exit::Failed, format!("{} is not understood", plan.display()))
                    .because(error)
            })?;
            wait_until_free(&plan.ports)?;
            plan.ports
        } else {
            if fs::read_dir(&folder)?.next().is_some() {
                return Err(Failure::usage(format!("{} holds something else", folder.display()))
                    .because("a demo is kept in a folder of its own"));
            }
            let ports = choose(port)?;
            fs::write(
                &plan,
                serde_json::to_vec(&Plan { ports: ports.clone() }).map_err(io::Error::from)?,
            )?;
            ports
        };
        Ok(Self { folder, doors: doors(&ports), is_kept: true })
    }

    /// Whether the folder stays.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The folder of one replica, named by its port so that it does not pretend to be its id.
    pub(super) fn replica(&self, place: usize) -> PathBuf {
        self.folder.join(format!("replica-{}", self.doors[place].clients.port()))
    }
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
    let ports = in_a_row(port.unwrap_or(FIRST_PORT))?;
    match (check(&ports), port) {
        (Ok(()), _) => Ok(ports),
        (Err(failure), Some(_)) => Err(failure),
        (Err(_), None) => Ok(free()?),
    }
}

fn in_a_row(first: u16) -> Result<Vec<(u16, u16)>, Failure> {
    (0..REPLICAS)
        .map(|place| {
            let clients = first.checked_add(place)?;
            Some((clients, clients.checked_add(PEER_PORT_STEP)?))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            Failure::usage(format!("--port {first} leaves no room above it")).hint("--port 7001")
        })
}

/// Ports that nobody uses at this moment, all held at once so that they differ.
fn free() -> io::Result<Vec<(u16, u16)>> {
    let held: Vec<(TcpListener, TcpListener)> =
        (0..REPLICAS).map(|_| Ok((bind(0)?, bind(0)?))).collect::<io::Result<_>>()?;
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
        assert_eq!(home.doors.len(), 3);
        drop(home);
        assert!(!folder.exists());
    }

    #[test]
    fn a_kept_folder_keeps_its_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("kept");
        let first = Home::kept(&folder, None).unwrap();
        let ports: Vec<u16> = first.doors.iter().map(|doors| doors.peers.port()).collect();
        drop(first);
        let second = Home::kept(&folder, Some(9000)).unwrap();
        assert_eq!(second.doors.iter().map(|doors| doors.peers.port()).collect::<Vec<_>>(), ports);
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
