//! What the VMM says of arguments that it refuses.

use std::process::{Command, Output};

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pseries-vmm")).args(arguments).output().unwrap()
}

/// Asserts that the arguments are refused with status 2 and a message that has all of `words`.
pub(crate) fn refused(arguments: &[&str], words: &[&str]) {
    fails(2, arguments, words);
}

/// Asserts that there is no run with the arguments, for which somebody is to blame, and a message that
/// has all of `words`.
pub(crate) fn fails(status: i32, arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: no {word:?} in {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}
