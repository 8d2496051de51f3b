//! System parameters (LoPAPR §7.3.16).

use vm_memory::GuestAddress;

use super::args::RtasStatus;
use super::handler::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome};
use crate::machine::Machine;
use crate::platform::Device;
use crate::topology::CpuTopology;

// Tokens of system parameters (§7.3.16, table "Defined Parameters").
const SPLPAR_CHARACTERISTICS: u32 = 20;
const PROCESSOR_DIAGNOSTICS_RUN_MODE: u32 = 42;
/// Reserved in LoPAPR; what KVM's guests know as the UUID of their machine.
const UUID: u32 = 48;
const LPAR_NAME: u32 = 55;

/// "Output strings from ibm,get-system-parameters not to exceed 4000 bytes" (R1-7.3.16-12).
const OUTPUT_BYTES_MAX: usize = 4000;

const GET: usize = 0;
const SET: usize = 1;
const CALLS: &[RtasCall] = &[
    RtasCall::new("ibm,get-system-parameter", &[3], 1),
    RtasCall::new("ibm,set-system-parameter", &[2], 1),
];

/// `ibm,get-system-parameter` and `ibm,set-system-parameter`: what a guest can find out about its
/// machine by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemParameters {
    boot_cpus: u32,
    topology: CpuTopology,
    memory_bytes: u64,
    name: Option<String>,
    uuid: Option<[u8; 16]>,
}

impl SystemParameters {
    /// Of a machine without a name and a UUID: how many CPUs it has at boot, those that its tree
    /// leaves room for, as guests number them, and how many bytes of RAM it has at boot.
    pub fn new(boot_cpus: u32, topology: &CpuTopology, memory_bytes: u64) -> Self {
        Self { boot_cpus, topology: topology.clone(), memory_bytes, name: None, uuid: None }
    }

    /// The CPUs that the tree leaves room for.
    pub(super) fn topology(&self) -> &CpuTopology {
        &self.topology
    }

    /// With a name, for parameter 55.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// With a UUID, in the order its text is written in, for parameter 48.
    #[must_use]
    pub fn with_uuid(self, uuid: [u8; 16]) -> Self {
        Self { uuid: Some(uuid), ..self }
    }

    /// Inputs: which parameter, address and length of a buffer (§7.3.16.1).
    fn get(&self, call: &RtasInvocation<'_>) -> RtasStatus {
        let &[parameter, buffer, length] = call.inputs else {
            return RtasStatus::PARAMETER_BUFFER_ERROR;
        };
        let Some(mut value) = self.value(parameter) else {
            // "System parameter not supported".
            return RtasStatus::PARAMETER_ERROR;
        };
        if length == 0 {
            // That only asks whether the parameter is supported (R1-7.3.16-10).
            return RtasStatus::SUCCESS;
        }
        let mut data = (value.len() as u16).to_be_bytes().to_vec();
        data.append(&mut value);
        // "If the buffer length is less than the returned data length, the data is truncated."
        data.truncate(length as usize);
        let buffer = GuestAddress(buffer.into());
        let written = call.ram.check_ram(buffer, data.len() as u64);
        match written.and_then(|()| call.ram.write(buffer, &data)) {
            Ok(()) => RtasStatus::SUCCESS,
            Err(_) => RtasStatus::PARAMETER_BUFFER_ERROR,
        }
    }

    /// Inputs: which parameter, address of the new value. None can be set, not even to a value of
    /// no bytes (§7.3.16.2, R1-7.3.16-11).
    fn set(&self, call: &RtasInvocation<'_>) -> RtasStatus {
        let &[parameter, _buffer] = call.inputs else {
            return RtasStatus::PARAMETER_BUFFER_ERROR;
        };
        match self.value(parameter) {
            Some(_) => RtasStatus::NOT_AUTHORIZED,
            None => RtasStatus::PARAMETER_ERROR,
        }
    }

    /// The value of a parameter, or `None` when it is not supported.
    fn value(&self, parameter: u32) -> Option<Vec<u8>> {
        match parameter {
            SPLPAR_CHARACTERISTICS => Some(c_string(&self.splpar_characteristics())),
            // Disabled: a virtual processor has no diagnostics.
            PROCESSOR_DIAGNOSTICS_RUN_MODE => Some(vec![0]),
            UUID => self.uuid.map(Vec::from),
            LPAR_NAME => self.name.as_deref().map(c_string),
            _ => None,
        }
    }

    /// LoPAPR §A.2, "Key Words And Values Table": capacities are in hundredths of a processor,
    /// memory in MiB. Only what is known of a machine whose owner plans nothing else for it.
    fn splpar_characteristics(&self) -> String {
        let Self { boot_cpus, memory_bytes, .. } = self;
        let max_cpus = self.topology.cpus();
        format!(
            "MaxEntCap={},MaxPlatProcs={max_cpus},DesEntCap={},DesMem={},DesProcs={boot_cpus}",
            u64::from(max_cpus) * 100,
            u64::from(*boot_cpus) * 100,
            memory_bytes >> 20,
        )
    }
}

impl From<&Machine> for SystemParameters {
    fn from(machine: &Machine) -> Self {
        Self::new(machine.boot_cpus(), machine.topology(), machine.ram_bytes())
    }
}

impl RtasHandler for SystemParameters {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match number {
            GET => self.get(invocation).into(),
            SET => self.set(invocation).into(),
            _ => RtasStatus::PARAMETER_ERROR.into(),
        }
    }
}

impl Device for SystemParameters {
    fn id(&self) -> &str {
        "rtas-parameters"
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }
}

/// "The length of string data includes the length of the NULL" (§7.3.16.1).
fn c_string(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().take_while(|&byte| byte != 0).collect();
    bytes.truncate(OUTPUT_BYTES_MAX - 1);
    bytes.push(0);
    bytes
}
