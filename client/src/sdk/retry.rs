//! When to try again: how often, how long apart, how much of it altogether.
//!
//! Waits grow exponentially with full jitter, so that clients of a dead leader do not come back all
//! at once. A budget shared by the whole client bounds the rate of repetitions; when it is used up,
//! calls wait for it to refill instead of failing. One deadline holds for all attempts of a call.
//!
//! Not here: what may be tried again (`transport`).

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How a client tries again.
///
/// ```
/// use std::time::Duration;
/// use quorate_client::RetryPolicy;
///
/// // Gives up early, and never sends more than ten repetitions at once and one a second.
/// let brief = RetryPolicy {
///     deadline: Duration::from_secs(2),
///     budget_max: 10,
///     budget_per_second: 1,
///     ..RetryPolicy::default()
/// };
/// assert!(brief.is_on());
/// assert!(!RetryPolicy::none().is_on());
/// ```
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Most attempts of one call, the first included.
    pub attempts_max: u32,
    /// Longest wait before the second attempt; doubles with every further one.
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
    /// Time for a call, with all its attempts and waits.
    pub deadline: Duration,
    /// How many repetitions the whole client may make at once.
    pub budget_max: u32,
    /// How many repetitions per second come back into the budget.
    pub budget_per_second: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: u32::MAX,
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_millis(200),
            deadline: Duration::from_secs(30),
            budget_max: 1000,
            budget_per_second: 500,
        }
    }
}

impl RetryPolicy {
    /// Every call is tried once.
    pub fn none() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// Whether calls are tried more than once.
    pub const fn is_on(&self) -> bool {
        self.attempts_max > 1
    }

    /// How long to wait before the attempt after `attempts` if the service asked for at least `told`: up to half as
    /// long again, so that all who were refused in one moment do not come back in one moment.
    pub(super) fn wait(&self, attempts: u32, told: Duration) -> Duration {
        self.backoff(attempts).max(told.saturating_add(part(told / 2)))
    }

    /// How long to wait before the attempt after `attempts`, somewhere below its longest wait.
    fn backoff(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        let longest = self.backoff_min.saturating_mul(1 << doublings).min(self.backoff_max);
        part(longest)
    }
}

/// The moment so long after another one; one that nobody lives to see instead of one that no clock can tell.
pub(super) fn moment(from: Instant, after: Duration) -> Instant {
    const FOREVER: Duration = Duration::from_hours(24 * 365 * 30);
    from.checked_add(after).unwrap_or_else(|| from + FOREVER)
}

/// Somewhere between nothing and all of it.
fn part(whole: Duration) -> Duration {
    // Longer ones, of which nobody sees the end, do not fit back from the floating point.
    whole.min(Duration::from_secs(u64::from(u32::MAX))).mul_f64(fraction())
}

/// A random number from 0 to 1.
fn fraction() -> f64 {
    // Without chance, half the wait is the best guess.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(random) / f64::from(u32::MAX)
}

/// How many repetitions a client may still make.
#[derive(Debug)]
pub(super) struct RetryBudget {
    max: f64,
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl RetryBudget {
    pub(super) fn new(policy: &RetryPolicy) -> Self {
        let max = f64::from(policy.budget_max.max(1));
        let per_second = f64::from(policy.budget_per_second.max(1));
        Self { max, per_second, state: Mutex::new((max, Instant::now())) }
    }

    /// Takes one repetition out of the budget and says how long to wait until it is there.
    pub(super) fn take(&self) -> Duration {
        let mut state = self.state.lock().expect("nothing panics while it holds the budget");
        let now = Instant::now();
        let refill = now.duration_since(state.1).as_secs_f64() * self.per_second;
        // Below zero it counts those who wait already.
        let left = (state.0 + refill).min(self.max) - 1.0;
        *state = (left, now);
        Duration::from_secs_f64((-left / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit() {
        let policy = RetryPolicy::default();
        for attempts in 1..100 {
            let longest = policy.backoff_min.saturating_mul(1 << attempts.min(16));
            assert!(policy.backoff(attempts) <= longest.min(policy.backoff_max));
        }
    }

    #[test]
    fn those_who_are_told_the_same_wait_do_not_come_back_together() {
        let policy = RetryPolicy::default();
        let told = Duration::from_secs(1);
        let waits: Vec<_> = (0..100).map(|_| policy.wait(1, told)).collect();
        assert!(waits.iter().all(|wait| (told..=told * 3 / 2).contains(wait)), "{waits:?}");
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*most > *least + told / 4, "{waits:?}");
    }

    #[test]
    fn a_wait_of_any_length_is_borne() {
        let policy = RetryPolicy { backoff_max: Duration::MAX, ..RetryPolicy::default() };
        for told in [Duration::from_secs(u64::MAX), Duration::MAX] {
            assert!(policy.wait(1, told) >= told / 2, "{told:?}");
        }
    }

    #[test]
    fn a_budget_that_is_used_up_makes_calls_wait() {
        let policy = RetryPolicy { budget_max: 3, budget_per_second: 1, ..RetryPolicy::default() };
        let budget = RetryBudget::new(&policy);
        for _ in 0..3 {
            assert_eq!(budget.take(), Duration::ZERO);
        }
        assert!(budget.take() > Duration::from_millis(900));
        assert!(budget.take() > Duration::from_millis(1900));
    }
}
