//! Calls about the machine as a whole: power, messages, events.

use vm_memory::GuestAddress;

use super::args::{Answer, Invocation, RtasStatus};
use super::{AfterOsTerm, Rtas};
use crate::hypercall::{Next, StopReason};

/// How much of a termination string is looked at. Linux's has at most 2,048 bytes.
const OS_TERM_BYTES_MAX: usize = 2048;

/// Input: a character, in the low byte of the cell (LoPAPR §7.3.5.3).
pub(super) fn display_character(rtas: &Rtas, call: &mut Invocation<'_>) -> Answer {
    let &[character] = call.inputs else { return RtasStatus::PARAMETER_ERROR.into() };
    match rtas.console.write(&[character as u8]) {
        0 => RtasStatus::BUSY.into(),
        _ => RtasStatus::SUCCESS.into(),
    }
}

/// Inputs: what may switch the machine on again, which nothing here does. "On successful
/// operation, does not return" (§7.3.6.3).
pub(super) fn power_off(_: &Rtas, _: &mut Invocation<'_>) -> Answer {
    Answer::never(Next::Stop(StopReason::PowerOff))
}

/// "On successful operation, does not return" (§7.3.7.1).
pub(super) fn system_reboot(_: &Rtas, _: &mut Invocation<'_>) -> Answer {
    Answer::never(Next::Stop(StopReason::Reset))
}

/// Input: the address of a string that says why (§7.3.9.1).
pub(super) fn os_term(rtas: &Rtas, call: &mut Invocation<'_>) -> Answer {
    let &[string] = call.inputs else { return RtasStatus::PARAMETER_ERROR.into() };
    let mut bytes = vec![0; OS_TERM_BYTES_MAX];
    let available = call.ram.read_available(GuestAddress(string.into()), &mut bytes);
    bytes.truncate(available);
    if rtas.may_log() {
        log::error!("the guest's system has come to its end: {}", printable(&bytes));
    }
    Answer {
        status: Some(RtasStatus::SUCCESS),
        next: match rtas.config.after_os_term {
            AfterOsTerm::Stop => Some(Next::Stop(StopReason::Crash)),
            AfterOsTerm::Return => None,
        },
    }
}

/// `event-scan` and `check-exception`: this platform has no errors to tell of (§7.3.3).
pub(super) fn no_errors_found(_: &Rtas, _: &mut Invocation<'_>) -> Answer {
    RtasStatus::NO_ERRORS_FOUND.into()
}

/// A guest's C string for the log: no control characters, no escape sequences.
fn printable(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default().trim_ascii();
    match text {
        [] => "it does not say why".to_owned(),
        text => {
            let text = String::from_utf8_lossy(text);
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
        }
    }
}
