//! File systems of a size of the test's choice: a tmpfs for each replica, made smaller and larger while it runs.
//!
//! Mounting is for root. Where it cannot be done a test that needs it is inconclusive and says so; any other failure to
//! mount is a failure.

use crate::process::print;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A tmpfs, let go when it is dropped: at once for names, for good when nobody uses it any more.
#[derive(Debug)]
pub struct Volume {
    at: PathBuf,
}

impl Volume {
    /// Mounts one of this size on a new folder. None, said aloud, where nobody may mount.
    pub fn mount(at: &Path, bytes: u64) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let options = format!("size={bytes},mode=700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        let output = mounted.context("mount cannot be started")?;
        if output.status.success() {
            return Ok(Some(Self { at: at.to_owned() }));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_forbidden = ["must be superuser", "permission denied", "Operation not permitted"];
        ensure!(is_forbidden.iter().any(|words| said.contains(words)), "mount failed: {said}");
        print(&format!("INCONCLUSIVE: nobody may mount here, so nothing was shown: {said}"));
        Ok(None)
    }

    /// How many bytes are free.
    pub fn free(&self) -> Result<u64> {
        let room = rustix::fs::statvfs(&self.at)?;
        Ok(room.f_bavail * room.f_frsize)
    }

    /// Makes it as large as what it holds and so many bytes more.
    pub fn leave(&self, free: u64) -> Result<()> {
        let room = rustix::fs::statvfs(&self.at)?;
        let used = (room.f_blocks - room.f_bfree) * room.f_frsize;
        let options = format!("remount,size={}", used + free);
        let output = Command::new("mount").args(["-o", &options]).arg(&self.at).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "it cannot be resized: {said}");
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A process that still writes there keeps it until it ends.
        Command::new("umount").arg("--lazy").arg(&self.at).status().ok();
    }
}
