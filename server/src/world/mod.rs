//! What a test wants to hold in its hand: time, chance and tasks.
//!
//! One `World` per replica is made in `run` and handed down; several live in one process. Nothing
//! outside this folder names a clock, a source of randomness or a spawn, so that a test or a
//! simulation can replace all three, and so that every task has an owner that ends it.
//!
//! Not here: what is measured (`metrics`), and anything that knows the product.

#[cfg(quorate_bugs)]
pub mod bugs;
mod caller;
mod chance;
mod clock;
pub mod tasks;

pub use self::caller::Caller;
pub use chance::Chance;
pub use clock::{Clock, Expired, Instant, Timer};
pub use tasks::{BlockingFailed, Tasks};

/// Time, chance and tasks of one replica. A clone is the same world.
#[derive(Clone, Debug)]
pub struct World {
    /// Tells time and waits for it.
    pub clock: Clock,
    /// Draws random numbers.
    pub chance: Chance,
    /// Runs tasks and blocking calls.
    pub tasks: Tasks,
    /// The same set, on the threads that serve callers: for what hands something to every one of them.
    pub callers: Tasks,
}

impl World {
    /// The world of a running replica: the machine's clock, the system's randomness.
    pub fn real() -> Self {
        let tasks = Tasks::new();
        let callers = tasks.clone();
        Self { clock: Clock::real(), chance: Chance::from_system(), tasks, callers }
    }

    /// A world for tests: real monotonic time, a wall clock that stands until it is moved, and
    /// chance that repeats itself.
    pub fn for_test(seed: u64, wall_millis: u64) -> Self {
        let (clock, chance) = (Clock::standing_at(wall_millis), Chance::from_seed(seed));
        let tasks = Tasks::new();
        let callers = tasks.clone();
        Self { clock, chance, tasks, callers }
    }
}
