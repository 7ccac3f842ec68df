//! Planted bugs: what the history checker has to find in a running service, or it proves nothing.
//!
//! Compiled in only with `--cfg quorate_bugs`: no other build holds a line of them. Such a build is
//! sound, too, until the variable `PLANTED_BUG` chooses one of them for a process; a word that names
//! none ends it. Where a bug is planted, the code stands in the open, behind the same switch.
//!
//! Not here: an acknowledgement before the sync, which needs a power cut (the disk that plays faults).

use std::sync::OnceLock;
use std::time::Duration;

/// The variable that chooses.
const VARIABLE: &str = "PLANTED_BUG";
/// How long a write is late that was acknowledged before it: time enough to be killed meanwhile.
const LATE: Duration = Duration::from_millis(100);

/// What may be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An entry counts as kept before it is written, and is written late.
    EarlyAck,
    /// A batch that is sent again is taken for another one.
    RetryTwice,
    /// A read that only claims to be fresh.
    StaleRead,
    /// What one replica executed is not what it remembers.
    Diverge,
}

/// Is it this bug that was chosen for this process?
///
/// # Panics
///
/// If something was chosen that is none of them.
pub fn is_planted(bug: Bug) -> bool {
    static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Err(_) => None,
        Ok("early_ack") => Some(Bug::EarlyAck),
        Ok("retry_twice") => Some(Bug::RetryTwice),
        Ok("stale_read") => Some(Bug::StaleRead),
        Ok("diverge") => Some(Bug::Diverge),
        Ok(other) => panic!("{VARIABLE}={other} names no bug that could be planted"),
    });
    *chosen == Some(bug)
}

/// Blocks for the time that a write is late.
pub fn be_late() {
    std::thread::sleep(LATE);
}
