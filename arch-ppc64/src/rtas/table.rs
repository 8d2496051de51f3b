//! The one table of RTAS calls.

use super::Rtas;
use super::args::{Answer, ArgumentBuffer, Invocation};
use super::{clock, cpus, interrupts, parameters, platform};

/// One RTAS call.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) token: u32,
    /// The numbers of inputs it may have.
    inputs: &'static [usize],
    /// Its number of outputs, the status included.
    outputs: usize,
    pub(super) run: fn(&Rtas, &mut Invocation<'_>) -> Answer,
}

impl Call {
    const fn new(
        name: &'static str,
        token: u32,
        inputs: &'static [usize],
        outputs: usize,
        run: fn(&Rtas, &mut Invocation<'_>) -> Answer,
    ) -> Self {
        Self { name, token, inputs, outputs, run }
    }

    /// Whether a buffer has as many inputs and outputs as the call.
    pub(super) fn accepts(&self, buffer: &ArgumentBuffer) -> bool {
        let (inputs, outputs) = buffer.counts();
        self.inputs.contains(&inputs) && self.outputs == outputs
    }
}

/// Name, token, inputs, outputs, function. A token is for ever: guests keep it over save and
/// restore.
#[rustfmt::skip]
pub(super) const CALLS: &[Call] = &[
    Call::new("query-cpu-stopped-state",  0x01, &[1],    2, cpus::query_cpu_stopped_state),
    Call::new("start-cpu",                0x02, &[3],    1, cpus::start_cpu),
    Call::new("stop-self",                0x03, &[0],    1, cpus::stop_self),
    Call::new("get-time-of-day",          0x04, &[0],    8, clock::get_time_of_day),
    Call::new("set-time-of-day",          0x05, &[7],    1, clock::set_time_of_day),
    Call::new("display-character",        0x06, &[1],    1, platform::display_character),
    Call::new("power-off",                0x07, &[2],    1, platform::power_off),
    Call::new("system-reboot",            0x08, &[0],    1, platform::system_reboot),
    Call::new("ibm,os-term",              0x09, &[1],    1, platform::os_term),
    Call::new("event-scan",               0x0a, &[4],    1, platform::no_errors_found),
    Call::new("check-exception",          0x0b, &[6, 7], 1, platform::no_errors_found),
    Call::new("ibm,get-system-parameter", 0x0c, &[3],    1, parameters::get_system_parameter),
    Call::new("ibm,set-system-parameter", 0x0d, &[2],    1, parameters::set_system_parameter),
    Call::new("ibm,set-xive",             0x0e, &[3],    1, interrupts::set_xive),
    Call::new("ibm,get-xive",             0x0f, &[1],    3, interrupts::get_xive),
    Call::new("ibm,int-on",               0x10, &[1],    1, interrupts::int_on),
    Call::new("ibm,int-off",              0x11, &[1],    1, interrupts::int_off),
];

/// The call of a token.
pub(super) fn find(token: u32) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.token == token)
}
