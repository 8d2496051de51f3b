//! The programs that guests are booted with, and the client that controls them.

use std::process::Command;

/// Their packages.
const PACKAGES: [&str; 3] = ["pseries-vmm", "pseries-remote", "example-vmm"];

/// Cargo builds what is asked for, for one of them. All are named wherever one is: the features of
/// what they need are the same then, and it is built once.
pub(crate) fn name(cargo: &mut Command) -> &mut Command {
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]))
}
