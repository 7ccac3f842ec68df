//! Named crash points: places where a test may end the process as if the power had gone.
//!
//! Compiled in only with `--cfg quorate_points`; a release knows nothing of them. A test arms one
//! point through `run`, and the process aborts when it gets there: at once and without unwinding,
//! so that nothing is flushed on the way out.
//!
//! Not here: torn writes and lost syncs, which the fault-injecting disk plays.

#[cfg(quorate_points)]
static ARMED: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Names the point at which this process is to end. The first call counts.
#[cfg(quorate_points)]
pub fn arm_crash_point(name: String) {
    drop(ARMED.set(name));
}

/// Ends the process here if a test armed this point.
#[cfg(quorate_points)]
pub fn crash_point(name: &'static str) {
    if ARMED.get().is_some_and(|armed| armed == name) {
        std::process::abort();
    }
}

/// Does nothing: crash points exist only with `--cfg quorate_points`.
#[cfg(not(quorate_points))]
#[inline]
pub fn crash_point(_name: &'static str) {}
