//! The fuzzers' programs.

use std::path::PathBuf;

use crate::failure::{Failure, Result};
use crate::packages::{self, Tool};
use crate::program::{cargo, output_of, progress, run};

/// What rustc is told: LLVM's coverage, as libFuzzer wants to have it; and that this is a fuzzer.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Builds all of them; gives the folder that they are in.
pub(super) fn programs() -> Result<PathBuf> {
    // libFuzzer is C++.
    packages::ensure(&[Tool::CppCompiler])?;
    let host = host()?;
    progress!("building the fuzzers");
    let mut build = cargo();
    build
        .current_dir(super::workspace())
        .env("CARGO_TARGET_DIR", super::folder())
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        // With a target given, even if it is the host, build scripts have no coverage.
        .args(["build", "--release", "--bins", "--target", &host]);
    run(&mut build)?;
    Ok(super::folder().join(host).join("release"))
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let version = output_of(cargo().arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("Cargo does not say which host this is"))
}
