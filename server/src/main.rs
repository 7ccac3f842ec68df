//! The program: arguments to the command line, and its verdict to the system.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 condition failed, 5 unavailable, 6 refused
//! as unsafe, 7 outcome unknown; a replica also ends with 74 when its storage is broken and with 75
//! when its folder must not start.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate::cli::main(std::env::args_os())
}
