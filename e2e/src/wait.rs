//! Waiting until something holds, with a deadline that says what was waited for.
//!
//! Processes are looked at from outside, so a condition can only be asked for again and again. This is
//! the one place that lets time pass between two looks.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Longer than anything takes that comes at all, on a busy machine too, and shorter than a whole test may.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something to see; fails with `what` if there is not within the time given.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if start.elapsed() > within {
            bail!("waited {within:?} in vain: {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_comes_is_named() {
        let never = until("the moon is blue", Duration::from_millis(30), async || Ok(None::<()>));
        let text = never.await.expect_err("it never comes").to_string();
        assert!(text.contains("the moon is blue"), "{text}");
    }

    #[tokio::test]
    async fn what_comes_is_handed_on() {
        let mut looks = 0;
        let third = until("three looks", Duration::from_secs(5), async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(third.await.expect("it comes soon"), 3);
    }
}
