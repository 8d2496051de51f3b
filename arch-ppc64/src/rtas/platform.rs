//! Calls about the machine as a whole: its power, its end, a line for messages.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use vm_memory::GuestAddress;

use super::args::RtasStatus;
use super::handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome};
use crate::console::Console;
use crate::hypercall::{Next, StopReason};
use crate::log_limit::LogLimit;
use crate::platform::Device;

/// How much of a termination string is looked at. Linux's has at most 2,048 bytes.
const OS_TERM_BYTES_MAX: usize = 2048;

/// How many messages a guest can cause between two starts; those of [`Rtas`](super::Rtas) and of
/// [`RtasPlatform`] are counted apart.
const MESSAGES_MAX: u32 = 16;

const DISPLAY: usize = 0;
const POWER_OFF: usize = 1;
const REBOOT: usize = 2;
const OS_TERM: usize = 3;
const CALLS: &[RtasCall] = &[
    RtasCall::new("display-character", &[1], 1),
    RtasCall::new("power-off", &[2], 1),
    RtasCall::new("system-reboot", &[0], 1),
    RtasCall::new("ibm,os-term", &[1], 1),
];

/// What a machine does after `ibm,os-term` (LoPAPR §7.3.9.1).
///
/// A platform with the property `ibm,extended-os-term` returns from the call, and the guest then
/// does what it is set up to do; Linux makes the call on no other platform, so the property has
/// to be there. The owner of a virtual machine mostly wants to know of a crash at once: that is
/// the default, and a guest that would have restarted by itself (`panic=`) does not get that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AfterOsTerm {
    /// The machine stops, as crashed.
    #[default]
    Stop,
    /// The call returns, as the specification has it. The crash is logged.
    Return,
}

/// `display-character`, `power-off`, `system-reboot` and `ibm,os-term`.
pub struct RtasPlatform {
    console: Arc<dyn Console>,
    after_os_term: AfterOsTerm,
    messages: LogLimit,
}

impl RtasPlatform {
    /// Calls of a machine whose characters go to `console`.
    pub fn new(console: Arc<dyn Console>, after_os_term: AfterOsTerm) -> Self {
        Self { console, after_os_term, messages: messages() }
    }

    /// Input: a character, in the low byte of the cell (LoPAPR §7.3.5.3).
    fn display_character(&self, call: &RtasInvocation<'_>) -> RtasStatus {
        let &[character] = call.inputs else { return RtasStatus::PARAMETER_ERROR };
        match self.console.write(&[character as u8]) {
            0 => RtasStatus::BUSY,
            _ => RtasStatus::SUCCESS,
        }
    }

    /// Input: the address of a string that says why (§7.3.9.1).
    fn os_term(&self, call: &RtasInvocation<'_>) -> RtasOutcome {
        let &[string] = call.inputs else { return RtasStatus::PARAMETER_ERROR.into() };
        let mut bytes = vec![0; OS_TERM_BYTES_MAX];
        let available = call.ram.read_available(GuestAddress(string.into()), &mut bytes);
        bytes.truncate(available);
        let reason = Printable(&bytes);
        self.messages.error(format_args!("the guest's system has come to its end: {reason}"));
        match self.after_os_term {
            AfterOsTerm::Stop => {
                RtasOutcome::DoneAnd(RtasStatus::SUCCESS, Next::Stop(StopReason::Crash))
            }
            AfterOsTerm::Return => RtasStatus::SUCCESS.into(),
        }
    }
}

impl RtasHandler for RtasPlatform {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match number {
            DISPLAY => self.display_character(invocation).into(),
            // Inputs: what may switch the machine on again, which nothing here does. "On
            // successful operation, does not return" (§7.3.6.3, and §7.3.7.1 for the next).
            POWER_OFF => RtasOutcome::Never(Next::Stop(StopReason::PowerOff)),
            REBOOT => RtasOutcome::Never(Next::Stop(StopReason::Reset)),
            OS_TERM => self.os_term(invocation),
            _ => RtasStatus::PARAMETER_ERROR.into(),
        }
    }
}

impl Device for RtasPlatform {
    fn id(&self) -> &str {
        "rtas-platform"
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }

    fn reset(&self) {
        self.messages.reset();
    }
}

impl fmt::Debug for RtasPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("RtasPlatform");
        f.field("after_os_term", &self.after_os_term).finish_non_exhaustive()
    }
}

/// The limit of what RTAS tells of a guest.
pub(super) fn messages() -> LogLimit {
    LogLimit::new(MESSAGES_MAX, Duration::MAX).with_target("arch_ppc64::rtas")
}

/// A guest's C string for the log: no control characters, no escape sequences.
struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.split(|&byte| byte == 0).next().unwrap_or_default().trim_ascii();
        if text.is_empty() {
            return f.write_str("it does not say why");
        }
        let text = String::from_utf8_lossy(text);
        text.chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }))
    }
}
