//! Where tests find what they need. Those that are taken to another machine than they were built on have
//! it all in the folder that they run in, and are told so, and by what, by the environment.

use std::path::{Path, PathBuf};

/// What runs guests, and that they are where tests were taken to.
pub(crate) const BACKEND: &str = "TEST_BACKEND";

/// What runs guests: the processor in software, unless told.
pub(crate) fn backend() -> String {
    std::env::var(BACKEND).unwrap_or_else(|_| "interp".to_owned())
}

fn is_elsewhere() -> bool {
    std::env::var_os(BACKEND).is_some()
}

/// A program in `guests/`.
pub(crate) fn program(name: &str) -> PathBuf {
    match is_elsewhere() {
        true => name.into(),
        false => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name),
    }
}

/// The VMM.
pub(crate) fn vmm() -> &'static str {
    if is_elsewhere() { "pseries-vmm" } else { env!("CARGO_BIN_EXE_pseries-vmm") }
}

/// For what is there only while a test runs.
pub(crate) fn temporary() -> PathBuf {
    match is_elsewhere() {
        true => std::env::current_dir().unwrap(),
        false => env!("CARGO_TARGET_TMPDIR").into(),
    }
}
