//! From libFuzzer to the bodies of the targets, which are in the package `hostile`.

use std::sync::{Mutex, PoisonError};

use hostile::{Reach, Target};
use libc::{SIGPIPE, c_int, c_void, siginfo_t};
use vmm_sys_util::signal::register_signal_handler;

/// What was reached so far; nothing, before the first input.
static REACHED: Mutex<Option<Reach>> = Mutex::new(None);

/// Gives an input to a target; tells once of each goal that is reached, as `cargo xtask fuzz`
/// counts them.
pub fn run(target: &Target, data: &[u8]) {
    let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = reached.unwrap_or_else(|| {
        // The main function is libFuzzer's: Rust's own would have seen to that.
        register_signal_handler(SIGPIPE, ignore).expect("a signal that can be handled");
        eprintln!("GOALS {}", (target.goals)().len() - target.beyond.len());
        Reach::NONE
    });
    let reach = (target.run)(data);
    *reached = Some(before.or(reach));
    let new = reach.without(before);
    if new == Reach::NONE {
        return;
    }
    let goals = (target.goals)();
    for (_, goal) in goals.iter().enumerate().filter(|(number, _)| new.has(*number)) {
        eprintln!("REACHED {goal}");
    }
}

/// What a socket says of it is an error of the write.
extern "C" fn ignore(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}

/// The program that fuzzes one target.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::run(hostile::target($name).expect("there is a target of this name"), data);
        });
    };
}
