//! How much the client brings along: packages that whoever uses it has to build, trust and keep.

use std::collections::BTreeSet;
use std::process::Command;

/// Most packages of the client, itself included.
pub(crate) const PACKAGES_MAX: usize = 90;
/// The same with what `https://` needs.
pub(crate) const PACKAGES_WITH_TLS_MAX: usize = 105;

/// The packages of the client with these features, by name.
pub(crate) fn packages(features: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--package", "quorate-client"]);
    cargo.args(["--edges", "normal", "--prefix", "none", "--format", "{p}"]).args(features);
    let told = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let text = String::from_utf8(told.stdout).expect("names are text");
    let version = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    text.lines().map(version).filter(|line| !line.is_empty()).collect()
}
