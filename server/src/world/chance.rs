//! Seeded randomness: ids, nonces and jitter.
//!
//! In a running replica every number comes from the system. With a seed the same numbers come in
//! the same order, so that a failing test can be run again.
//!
//! Not here: randomness of the consensus library, which draws its own, and anything secret beyond
//! what the system's source gives.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random numbers. A clone is the same source.
#[derive(Clone, Debug)]
pub struct Chance {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded(Arc<Mutex<u64>>),
}

impl Chance {
    /// Numbers that nobody can guess.
    pub fn from_system() -> Self {
        Self { source: Source::System }
    }

    /// Numbers that come again with the same seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { source: Source::Seeded(Arc::new(Mutex::new(seed))) }
    }

    /// The next 64 random bits.
    pub fn next_u64(&self) -> u64 {
        match &self.source {
            Source::System => getrandom::u64().expect("the system has a source of randomness"),
            Source::Seeded(state) => {
                split_mix(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    /// The next 128 random bits.
    pub fn next_u128(&self) -> u128 {
        u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())
    }

    /// Sixteen random bytes, as cluster ids are made of.
    pub fn next_id(&self) -> [u8; 16] {
        self.next_u128().to_le_bytes()
    }

    /// A number below `limit`, near enough to evenly spread for jitter; 0 if `limit` is 0.
    pub fn below(&self, limit: u64) -> u64 {
        self.next_u64().checked_rem(limit).unwrap_or(0)
    }
}

/// One step of the `SplitMix64` generator.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let draw = |chance: Chance| (0..8).map(|_| chance.next_u64()).collect::<Vec<_>>();
        assert_eq!(draw(Chance::from_seed(7)), draw(Chance::from_seed(7)));
        assert_ne!(draw(Chance::from_seed(7)), draw(Chance::from_seed(8)));
    }

    #[test]
    fn the_system_does_not_repeat_itself() {
        let chance = Chance::from_system();
        assert_ne!(chance.next_id(), chance.next_id());
    }

    #[test]
    fn a_number_below_a_limit_is_below_it() {
        let chance = Chance::from_seed(1);
        assert!((0..1_000).all(|_| chance.below(10) < 10));
        assert_eq!(chance.below(0), 0);
    }
}
