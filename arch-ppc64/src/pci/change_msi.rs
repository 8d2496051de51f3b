//! RTAS calls for messages (LoPAPR §7.3.10.5): the guest asks for a number of them, the bridge
//! programs the function, and the guest asks which sources they are.

use super::config_access::register;
use super::function::{Function, Grant};
use super::messages::MessageKind;
use super::{PciAddress, PciBus, PciPins, PciWindows};
use crate::log_limit::LogLimit;
use crate::rtas::{RtasInvocation, RtasStatus};

/// What `ibm,change-msi` is to do (§7.3.10.5.1, "Function").
const QUERY: u32 = 0;
const CHANGE: u32 = 1;
const SET_DEFAULT: u32 = 2;
const CHANGE_MSI: u32 = 3;
const CHANGE_MSI_X: u32 = 4;
const CHANGE_32_BIT_MSI: u32 = 5;

/// "No interrupt assigned for the given PCI configuration address" (§7.3.10.5.2).
const NO_INTERRUPT: RtasStatus = RtasStatus(1);

/// What `ibm,query-interrupt-source-number` says of a source.
const LEVEL_SENSITIVE: u32 = 0;
const EDGE_TRIGGERED: u32 = 1;

/// The function that a call is about, if there is one, and how its messages are programmed.
#[derive(Clone, Copy)]
pub(super) struct Messages<'a> {
    pub(super) function: Option<&'a Function>,
    pub(super) bus: &'a dyn PciBus,
    pub(super) windows: &'a PciWindows,
    pub(super) pins: &'a PciPins,
    pub(super) complaints: &'a LogLimit,
}

impl Messages<'_> {
    /// `ibm,change-msi`. Inputs: `config_addr`, the two halves of the bridge's number, what to do,
    /// how many messages are wanted, and 1, as each call is done at once. Outputs: how many there
    /// are, a number for a call that would follow, and their kind, if that is asked for.
    ///
    /// A function can be given as many messages as it can write, always. At first it has none, and
    /// has its pin.
    pub(super) fn change(&self, call: &mut RtasInvocation<'_>) -> RtasStatus {
        let &[_, _, _, what, wanted, sequence] = call.inputs else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let tells_kind = call.outputs.len() > 2;
        let (Some(function), 1) = (self.function, sequence) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let grant = match self.changed(function, what, wanted, tells_kind) {
            Ok(grant) => grant,
            Err(status) => return status,
        };
        let count = grant.map_or(0, |grant| grant.count);
        let kind = grant.map_or(0, |grant| match grant.kind {
            MessageKind::Msi => 1,
            MessageKind::MsiX => 2,
        });
        for (output, value) in call.outputs.iter_mut().zip([count, sequence + 1, kind]) {
            *output = value;
        }
        RtasStatus::SUCCESS
    }

    /// `ibm,query-interrupt-source-number`. Inputs: `config_addr`, the two halves of the bridge's
    /// number, and which of the function's interrupts. Outputs: its source, and whether that is an
    /// edge.
    pub(super) fn query(&self, call: &mut RtasInvocation<'_>) -> RtasStatus {
        let (&[_, _, _, number], [source, trigger]) = (call.inputs, &mut *call.outputs) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let Some(function) = self.function else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let has_pin = function.grant().is_none() && function.pin != 0;
        (*source, *trigger) = match function.message(number) {
            Some(message) => (message, EDGE_TRIGGERED),
            None if has_pin && number == 0 => {
                let [line, _] = self.pins.specifier(function.address.device(), function.pin);
                (line, LEVEL_SENSITIVE)
            }
            None => return NO_INTERRUPT,
        };
        RtasStatus::SUCCESS
    }

    /// "If Number Outputs is equal to 3, request to set to a new number of MSIs"; with 4, the kind
    /// is the platform's choice.
    fn changed(
        &self,
        function: &Function,
        what: u32,
        wanted: u32,
        tells_kind: bool,
    ) -> Result<Option<Grant>, RtasStatus> {
        let has_msi = function.has(MessageKind::Msi);
        let has_msi_x = function.has(MessageKind::MsiX);
        let is_doorbell_32 = u32::try_from(self.windows.doorbell).is_ok();
        let kind = match what {
            QUERY => return Ok(function.grant()),
            SET_DEFAULT => None,
            // "Including set to 0", of whatever kind.
            CHANGE if wanted == 0 && (has_msi || has_msi_x) => None,
            CHANGE if tells_kind && has_msi_x => Some(MessageKind::MsiX),
            CHANGE | CHANGE_MSI if has_msi => Some(MessageKind::Msi),
            CHANGE_32_BIT_MSI if has_msi && is_doorbell_32 => Some(MessageKind::Msi),
            CHANGE_MSI_X if has_msi_x => Some(MessageKind::MsiX),
            // "With no change in interrupt assignments" (R1-7.3.10.5.1-3).
            _ => return Err(RtasStatus::PARAMETER_ERROR),
        };
        let Some(kind) = kind.filter(|_| wanted > 0) else {
            function.take(self.bus, self.windows);
            return Ok(None);
        };
        match function.give(self.bus, self.windows, kind, wanted) {
            Ok(grant) => Ok(Some(grant)),
            Err(_) => {
                let address = function.address;
                self.complaints.warn(format_args!(
                    "the MSI-X table of {address} is at no address of the bus, or does not answer"
                ));
                Err(RtasStatus::HARDWARE_ERROR)
            }
        }
    }
}

/// The function that a `config_addr` names ("register field set to 0").
pub(super) fn function_named(config_addr: u32) -> Option<PciAddress> {
    (register(config_addr) == Some(0)).then(|| PciAddress::from_cell(config_addr))
}
