//! Where a running demo is found: a small file that only its owner can read.
//!
//! Invariant: the file names a process, so that what a killed demo left behind misleads nobody; it
//! is written whole or not at all, and taken away when the demo ends.

use std::fs;
use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use client::types::ReplicaAddr;
use rustix::process::{Pid, geteuid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::cli::{Exit, Failure};

const FILE: &str = "demo.json";

/// What other commands need to find a demo, and to steer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Whereabouts {
    /// The process of the demo.
    pub(in crate::cli) pid: u32,
    /// Where its replicas answer clients.
    pub(in crate::cli) endpoints: Vec<ReplicaAddr>,
    /// Where it takes orders.
    pub(super) control: SocketAddr,
    /// What an order must show.
    pub(super) token: String,
    /// Where its files are.
    pub(super) folder: PathBuf,
}

impl Whereabouts {
    /// The demo that runs now, if there is one.
    pub(in crate::cli) fn read() -> Option<Self> {
        Self::read_in(&folder())
    }

    /// The same, for a command that makes no sense without one.
    pub(super) fn running() -> Result<Self, Failure> {
        Self::read().ok_or_else(|| {
            Failure::new(Exit::Unavailable, "no demo is running").hint("quorate demo")
        })
    }

    fn read_in(folder: &Path) -> Option<Self> {
        let path = folder.join(FILE);
        // In a folder for everybody, somebody else could have put it there.
        let is_ours = fs::metadata(&path).ok()?.uid() == geteuid().as_raw();
        let found: Self = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        (is_ours && found.is_running()).then_some(found)
    }

    fn is_running(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| test_kill_process(pid).is_ok())
    }

    /// Writes the file; it goes when the result is dropped.
    pub(super) fn write(&self) -> io::Result<Written> {
        self.write_in(&folder())
    }

    fn write_in(&self, folder: &Path) -> io::Result<Written> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(FILE);
        self.put(&path)?;
        Ok(Written { path })
    }

    fn put(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension(self.pid.to_string());
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(&fresh, path)
    }
}

/// The file of a running demo.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
}

impl Written {
    /// Writes it anew.
    pub(super) fn renew(&self, whereabouts: &Whereabouts) -> io::Result<()> {
        whereabouts.put(&self.path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Left behind it would mislead nobody, since its process is gone.
        fs::remove_file(&self.path).ok();
    }
}

/// The folder for such files: as the user says, as the desktop says, or one of our own.
fn folder() -> PathBuf {
    let of = |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty());
    if let Some(path) = of("QUORATE_STATE_DIR") {
        return PathBuf::from(path);
    }
    if let Some(path) = of("XDG_RUNTIME_DIR").or_else(|| of("XDG_STATE_HOME")) {
        return PathBuf::from(path).join("quorate");
    }
    if let Some(home) = of("HOME") {
        return PathBuf::from(home).join(".local/state/quorate");
    }
    std::env::temp_dir().join(format!("quorate-{}", geteuid().as_raw()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn demo(pid: u32) -> Whereabouts {
        Whereabouts {
            pid,
            endpoints: vec!["http://127.0.0.1:7001".parse().unwrap()],
            control: "127.0.0.1:5000".parse().unwrap(),
            token: "secret".to_owned(),
            folder: PathBuf::from("/tmp/demo"),
        }
    }

    #[test]
    fn a_running_demo_is_found_until_it_ends_and_its_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        let ours = demo(std::process::id());
        let written = ours.write_in(&folder).unwrap();
        assert_eq!(Whereabouts::read_in(&folder), Some(ours.clone()));
        let moved =
            Whereabouts { endpoints: vec!["http://127.0.0.1:7004".parse().unwrap()], ..ours };
        written.renew(&moved).unwrap();
        assert_eq!(Whereabouts::read_in(&folder), Some(moved));
        let mode = fs::metadata(folder.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(written);
        assert_eq!(Whereabouts::read_in(&folder), None);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_demo_left_behind_misleads_nobody() {
        let folder = tempfile::tempdir().unwrap();
        // No process has this number: it is beyond what the system gives out.
        let _written = demo(0x7fff_fff0).write_in(folder.path()).unwrap();
        assert_eq!(Whereabouts::read_in(folder.path()), None);
    }
}
