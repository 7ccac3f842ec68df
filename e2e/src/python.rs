//! The Python of the tests: other people's programs, as `just setup-python` installs them.
//!
//! They look at the service from outside, with knowledge that is not ours. Without them the tests that use them say so
//! and look at nothing; `QUORATE_PYTHON` names an interpreter that has to be there.

use anyhow::{Result, ensure};
use std::{env, path::PathBuf};

/// The interpreter that has what `e2e/python/requirements.txt` names; none if it is not installed, and none is demanded.
pub fn interpreter() -> Result<Option<PathBuf>> {
    let Some(named) = env::var_os("QUORATE_PYTHON").map(PathBuf::from) else {
        crate::process::print("no QUORATE_PYTHON, so nothing in Python looks at the service");
        return Ok(None);
    };
    ensure!(named.exists(), "no {}: `just setup-python` installs it", named.display());
    Ok(Some(named))
}
