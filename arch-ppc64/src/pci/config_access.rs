//! RTAS calls for configuration space (LoPAPR §7.3.4).

use super::{PciAddress, PciBus};
use crate::rtas::{RtasInvocation, RtasStatus};

/// How many bytes of configuration space the calls reach that have no number of a bridge.
const PLAIN_BYTES: u16 = 0x100;

/// Inputs: `config_addr`, the two halves of the bridge's number, and how many bytes to read. Output:
/// the value, which is all ones where there is no function (§7.3.4.1).
pub(super) fn read(bus: &dyn PciBus, call: &mut RtasInvocation<'_>) -> RtasStatus {
    match (call.inputs, &mut *call.outputs) {
        (&[config_addr, _, _, size], [value]) => read_register(bus, config_addr, size, value),
        _ => RtasStatus::PARAMETER_ERROR,
    }
}

/// Inputs as those of [`read`], and a value. Nothing happens where there is no function
/// (§7.3.4.2).
pub(super) fn write(bus: &dyn PciBus, call: &RtasInvocation<'_>) -> RtasStatus {
    match *call.inputs {
        [config_addr, _, _, size, value] => write_register(bus, config_addr, size, value),
        _ => RtasStatus::PARAMETER_ERROR,
    }
}

/// As [`read`], without a bridge's number, and without the registers from 256 on (RTAS
/// specification of CHRP, "PCI configuration space").
pub(super) fn read_plain(bus: &dyn PciBus, call: &mut RtasInvocation<'_>) -> RtasStatus {
    match (call.inputs, &mut *call.outputs) {
        (&[config_addr, size], [value]) if is_plain(config_addr) => {
            read_register(bus, config_addr, size, value)
        }
        _ => RtasStatus::PARAMETER_ERROR,
    }
}

/// As [`write`], likewise.
pub(super) fn write_plain(bus: &dyn PciBus, call: &RtasInvocation<'_>) -> RtasStatus {
    match *call.inputs {
        [config_addr, size, value] if is_plain(config_addr) => {
            write_register(bus, config_addr, size, value)
        }
        _ => RtasStatus::PARAMETER_ERROR,
    }
}

fn is_plain(config_addr: u32) -> bool {
    register(config_addr).is_some_and(|register| register < PLAIN_BYTES)
}

fn read_register(bus: &dyn PciBus, config_addr: u32, size: u32, value: &mut u32) -> RtasStatus {
    let Some((register, size)) = place(config_addr, size) else {
        return RtasStatus::PARAMETER_ERROR;
    };
    let mut bytes = [0; 4];
    bus.read_config(PciAddress::from_cell(config_addr), register, &mut bytes[..size]);
    *value = u32::from_le_bytes(bytes);
    RtasStatus::SUCCESS
}

fn write_register(bus: &dyn PciBus, config_addr: u32, size: u32, value: u32) -> RtasStatus {
    let Some((register, size)) = place(config_addr, size) else {
        return RtasStatus::PARAMETER_ERROR;
    };
    let bytes = value.to_le_bytes();
    bus.write_config(PciAddress::from_cell(config_addr), register, &bytes[..size]);
    RtasStatus::SUCCESS
}

/// Register and size of an access: "the config_addr must be aligned to a 2-byte boundary if size is
/// 2 and to a 4-byte boundary if size is 4" (R1-7.3.4.1-4).
fn place(config_addr: u32, size: u32) -> Option<(u16, usize)> {
    let register = register(config_addr)?;
    let size = match size {
        1 => 1,
        2 => 2,
        4 => 4,
        _ => return None,
    };
    (usize::from(register) % size == 0).then_some((register, size))
}

/// The register of a `config_addr`: its upper four bits are the highest of the cell, and the next
/// four are zero (§7.3.4, "Config_addr").
pub(super) fn register(config_addr: u32) -> Option<u16> {
    const RESERVED: u32 = 0xf << 24;
    let upper = (config_addr >> 28) as u16;
    (config_addr & RESERVED == 0).then_some(upper << 8 | config_addr as u16 & 0xff)
}
