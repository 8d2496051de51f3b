//! System parameters (LoPAPR §7.3.16).

use vm_memory::GuestAddress;

use super::args::{Answer, Invocation, RtasStatus};
use super::{Rtas, RtasConfig};

// Tokens of system parameters (§7.3.16, table "Defined Parameters").
const SPLPAR_CHARACTERISTICS: u32 = 20;
const PROCESSOR_DIAGNOSTICS_RUN_MODE: u32 = 42;
/// Reserved in LoPAPR; what KVM's guests know as the UUID of their machine.
const UUID: u32 = 48;
const LPAR_NAME: u32 = 55;

/// "Output strings from ibm,get-system-parameters not to exceed 4000 bytes" (R1-7.3.16-12).
const OUTPUT_BYTES_MAX: usize = 4000;

/// Inputs: which parameter, address and length of a buffer (§7.3.16.1).
pub(super) fn get_system_parameter(rtas: &Rtas, call: &mut Invocation<'_>) -> Answer {
    let &[parameter, buffer, length] = call.inputs else {
        return RtasStatus::PARAMETER_BUFFER_ERROR.into();
    };
    let Some(mut value) = value(&rtas.config, parameter) else {
        // "System parameter not supported".
        return RtasStatus::PARAMETER_ERROR.into();
    };
    if length == 0 {
        // That only asks whether the parameter is supported (R1-7.3.16-10).
        return RtasStatus::SUCCESS.into();
    }
    let mut data = (value.len() as u16).to_be_bytes().to_vec();
    data.append(&mut value);
    // "If the buffer length is less than the returned data length, the data is truncated."
    data.truncate(length as usize);
    let buffer = GuestAddress(buffer.into());
    let written = call.ram.check_ram(buffer, data.len() as u64);
    match written.and_then(|()| call.ram.write(buffer, &data)) {
        Ok(()) => RtasStatus::SUCCESS.into(),
        Err(_) => RtasStatus::PARAMETER_BUFFER_ERROR.into(),
    }
}

/// Inputs: which parameter, address of the new value. None can be set, not even to a value of no
/// bytes (§7.3.16.2, R1-7.3.16-11).
pub(super) fn set_system_parameter(rtas: &Rtas, call: &mut Invocation<'_>) -> Answer {
    let &[parameter, _buffer] = call.inputs else {
        return RtasStatus::PARAMETER_BUFFER_ERROR.into();
    };
    match value(&rtas.config, parameter) {
        Some(_) => RtasStatus::NOT_AUTHORIZED.into(),
        None => RtasStatus::PARAMETER_ERROR.into(),
    }
}

/// The value of a parameter, or `None` when it is not supported.
fn value(config: &RtasConfig, parameter: u32) -> Option<Vec<u8>> {
    match parameter {
        SPLPAR_CHARACTERISTICS => Some(c_string(&splpar_characteristics(config))),
        // Disabled: a virtual processor has no diagnostics.
        PROCESSOR_DIAGNOSTICS_RUN_MODE => Some(vec![0]),
        UUID => config.uuid.map(Vec::from),
        LPAR_NAME => config.name.as_deref().map(c_string),
        _ => None,
    }
}

/// LoPAPR §A.2, "Key Words And Values Table": capacities are in hundredths of a processor, memory in
/// MiB. Only what is known of a machine whose owner plans nothing else for it.
fn splpar_characteristics(config: &RtasConfig) -> String {
    let RtasConfig { boot_cpus, max_cpus, memory_bytes, .. } = config;
    format!(
        "MaxEntCap={},MaxPlatProcs={max_cpus},DesEntCap={},DesMem={},DesProcs={boot_cpus}",
        u64::from(*max_cpus) * 100,
        u64::from(*boot_cpus) * 100,
        memory_bytes >> 20,
    )
}

/// "The length of string data includes the length of the NULL" (§7.3.16.1).
fn c_string(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().take_while(|&byte| byte != 0).collect();
    bytes.truncate(OUTPUT_BYTES_MAX - 1);
    bytes.push(0);
    bytes
}
