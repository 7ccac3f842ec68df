//! The cursor of live answers: a number that a caller echoes, so that no cache between keeps two requests for one.
//!
//! It counts intervals of 20 s. Whoever echoes the newest one, or a later, is given one that lies ahead by chance,
//! so cursors only rise.

use std::time::Duration;

use crate::world::World;

/// The protocol's first moment, 9 October 2024, in milliseconds since 1970.
const BEGAN_MS: u64 = 1_728_432_000_000;
/// How long a cursor stays the newest one.
const INTERVAL: Duration = Duration::from_secs(20);
/// How many intervals it may be moved ahead: an hour.
const AHEAD_MAX: u64 = 180;

/// The cursor for an answer to somebody who echoed this one.
pub(super) fn cursor(world: &World, echoed: Option<u64>) -> u64 {
    let interval = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
    let newest = world.clock.wall_millis().saturating_sub(BEGAN_MS) / interval;
    match echoed {
        Some(echoed) if echoed >= newest => {
            echoed.saturating_add(1 + world.chance.below(AHEAD_MAX))
        }
        Some(_) | None => newest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_count_intervals_and_never_go_back() {
        let world = World::for_test(1, BEGAN_MS + 20_000 * 1_000 + 19_999);
        assert_eq!(cursor(&world, None), 1_000);
        assert_eq!(cursor(&world, Some(999)), 1_000);
        for echoed in [1_000, 1_001, 5_000] {
            let next = cursor(&world, Some(echoed));
            assert!((echoed + 1..=echoed + AHEAD_MAX).contains(&next), "{next}");
        }
    }
}
