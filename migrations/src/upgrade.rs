//! The chain of steps from an older format to the newest: one at a time, safe to interrupt, safe
//! to repeat.
//!
//! A step writes the new form beside the old one, syncs it, and only then does the marker move to
//! the next version. A crash in between leaves the old version in the marker, so the step runs once
//! more: it must not mind what its first attempt left behind.
//!
//! Not here: the steps themselves (`steps`, once there is a second version), and who calls (`open`).

use crate::error::OpenError;
use crate::layout::Layout;
use crate::marker::Marker;

/// Brings a folder from one version to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The version that it reads; it leaves the one after.
    pub(crate) from: u32,
    /// Writes what is new and syncs it. Runs again if it was interrupted.
    pub(crate) run: fn(&Layout) -> Result<(), OpenError>,
}

/// The versions that this build knows, and the steps between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Formats {
    /// What it reads, writes and serves.
    pub(crate) newest: u32,
    /// One step per older version that it still reads, the oldest first.
    pub(crate) steps: &'static [Step],
}

/// What ships: version 1, and nothing before it.
pub(crate) const SHIPPED: Formats = Formats { newest: 1, steps: &[] };

impl Formats {
    /// The oldest version that can still be brought up.
    pub(crate) fn oldest(&self) -> u32 {
        self.steps.first().map_or(self.newest, |step| step.from)
    }

    /// Runs what is missing between the marker's version and the newest.
    pub(crate) fn upgrade(&self, layout: &Layout, marker: &mut Marker) -> Result<(), OpenError> {
        while marker.version < self.newest {
            let found = marker.version;
            let step = self.steps.iter().find(|step| step.from == found);
            let step = step.ok_or(OpenError::TooOld { found, oldest: self.oldest() })?;
            (step.run)(layout)?;
            marker.version = found + 1;
            marker.write(layout)?;
        }
        assert_eq!(marker.version, self.newest, "a folder is served in the newest format only");
        Ok(())
    }
}
