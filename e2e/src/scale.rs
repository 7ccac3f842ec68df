//! How much of a proof to run: what fits beside others in `just test`, or all of it in `just prove`.

use std::env;

/// The short form, or the long one if `QUORATE_PROVE` is set.
pub fn short_or_long<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// Is this the long run, whose figures count?
pub fn is_long() -> bool {
    env::var_os("QUORATE_PROVE").is_some_and(|value| !value.is_empty())
}
