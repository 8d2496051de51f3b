//! The state of a virtual CPU: plain data, which nobody vouches for when it comes back.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use arch_ppc64::CpuIndex;
use arch_ppc64::cas::InterruptMode;

use crate::error::KvmError;
use crate::registers::{self, ICP_STATE, Register, TB_OFFSET};
use crate::sys;

/// The state of a virtual CPU between two instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct VcpuState {
    /// The registers of the branch and fixed-point facilities, and where interrupts came from.
    pub core: CoreRegisters,
    /// All others by their names: those that the host's kernel knows. VSR0 to VSR31 have the
    /// floating-point registers in their upper halves; VPA, SLB_SHADOW and DTL are the areas that
    /// the guest registered (address, and length in the upper half where there is one); ICP is the
    /// presentation of interrupts by XICS; TB_OFFSET and DEC_EXPIRY are time, in ticks.
    pub registers: BTreeMap<String, RegisterValue>,
    /// The valid entries of the segment lookaside buffer: of a guest with a hashed page table.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub segments: Vec<Segment>,
}

impl VcpuState {
    /// TB_OFFSET, where it is known.
    pub(crate) fn time_offset(&self) -> Option<u64> {
        self.registers.get(TIME_OFFSET).map(|value| value.0 as u64)
    }

    /// Makes TB_OFFSET this, where it is known.
    pub(crate) fn set_time_offset(&mut self, offset: u64) {
        if let Some(value) = self.registers.get_mut(TIME_OFFSET) {
            *value = RegisterValue(offset.into());
        }
    }
}

/// The name of TB_OFFSET.
const TIME_OFFSET: &str = "TB_OFFSET";

/// An entry of the segment lookaside buffer, in the two registers that `slbmte` takes it from (Power
/// ISA 3.0B, Book III §5.9.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Segment {
    /// RB: the effective segment, the bit of a valid entry, and its number.
    pub esid: u64,
    /// RS: the virtual segment, and how it is used.
    pub vsid: u64,
}

/// The bit of [`Segment::esid`] of a valid entry.
const SEGMENT_VALID: u64 = 1 << 27;

/// What KVM gives out at once (`struct kvm_regs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[allow(missing_docs)]
pub struct CoreRegisters {
    pub pc: u64,
    pub msr: u64,
    pub cr: u64,
    pub ctr: u64,
    pub lr: u64,
    pub xer: u64,
    pub srr0: u64,
    pub srr1: u64,
    pub pid: u64,
    pub sprg: [u64; 8],
    pub gpr: [u64; 32],
}

/// A value of up to 128 bits. As text, and so in saved states, it is hexadecimal with 0x before it:
/// few formats have numbers of that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct RegisterValue(pub u128);

impl fmt::Display for RegisterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Text that is no [`RegisterValue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a register's value is 0x and 1 to 32 hexadecimal digits")]
pub struct NoRegisterValue;

impl FromStr for RegisterValue {
    type Err = NoRegisterValue;

    fn from_str(text: &str) -> Result<Self, NoRegisterValue> {
        let digits = text.strip_prefix("0x").ok_or(NoRegisterValue)?;
        // `from_str_radix` would take a sign.
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoRegisterValue);
        }
        u128::from_str_radix(digits, 16).map(Self).map_err(|_| NoRegisterValue)
    }
}

impl TryFrom<String> for RegisterValue {
    type Error = NoRegisterValue;

    fn try_from(text: String) -> Result<Self, NoRegisterValue> {
        text.parse()
    }
}

impl From<RegisterValue> for String {
    fn from(value: RegisterValue) -> Self {
        value.to_string()
    }
}

/// Reads all that there is.
pub(crate) fn read(
    index: CpuIndex,
    vcpu: &OwnedFd,
    interrupts: InterruptMode,
) -> Result<VcpuState, KvmError> {
    let mut regs = sys::Regs::default();
    sys::with_struct(vcpu, sys::GET_REGS, &mut regs)
        .map_err(KvmError::kernel("read the registers of a virtual CPU"))?;
    let mut values = BTreeMap::new();
    for Register { name, id } in registers::all().filter(|register| is_there(register, interrupts))
    {
        match sys::get_one_reg(vcpu, id) {
            Ok(value) => {
                values.insert(name, RegisterValue(value));
            }
            // One that this kernel or processor does not have.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(source) => {
                return Err(KvmError::Register { action: "read", name, vcpu: index, source });
            }
        }
    }
    let segments = sregs(vcpu)?.slb.into_iter().filter(|entry| entry.esid & SEGMENT_VALID != 0);
    let segments = segments.map(|sys::SlbEntry { esid, vsid }| Segment { esid, vsid }).collect();
    Ok(VcpuState { core: regs.into(), registers: values, segments })
}

/// Sets all of it, with `time_correction` added to TB_OFFSET.
pub(crate) fn write(
    index: CpuIndex,
    vcpu: &OwnedFd,
    state: &VcpuState,
    interrupts: InterruptMode,
    time_correction: u64,
) -> Result<(), KvmError> {
    let writes = in_order(state, time_correction)?;
    if let Some((register, _)) = writes.iter().find(|(register, _)| !is_there(register, interrupts))
    {
        return Err(KvmError::State(format!(
            "the register {} is of another interrupt controller than {interrupts}",
            register.name
        )));
    }
    set_segments(vcpu, &state.segments)?;
    let mut regs = sys::Regs::from(state.core);
    sys::with_struct(vcpu, sys::SET_REGS, &mut regs)
        .map_err(KvmError::kernel("set the registers of a virtual CPU"))?;
    writes.into_iter().try_for_each(|(register, value)| set(index, vcpu, register, value))
}

/// What a CPU has outside its registers, as it is of a new one. What belongs to the area of a processor
/// goes before it, which KVM refuses otherwise. Of the ICP, CPPR and XISR are 0, MFRR and the pending
/// priority least favoured.
const AT_RESET: [(&str, u128); 4] =
    [("DTL", 0), ("SLB_SHADOW", 0), ("VPA", 0), ("ICP", 0xffff_0000)];

/// Sets what a CPU that was in use has outside its registers as it is of a new one.
pub(crate) fn reset(
    index: CpuIndex,
    vcpu: &OwnedFd,
    interrupts: InterruptMode,
) -> Result<(), KvmError> {
    set_segments(vcpu, &[])?;
    at_reset()
        .filter(|(register, _)| is_there(register, interrupts))
        .try_for_each(|(register, value)| set(index, vcpu, register, value))
}

/// Whether a CPU has a register where it takes interrupts so.
fn is_there(register: &Register, interrupts: InterruptMode) -> bool {
    register.id != ICP_STATE || interrupts == InterruptMode::Xics
}

fn at_reset() -> impl Iterator<Item = (Register, u128)> {
    AT_RESET.into_iter().filter_map(|(name, value)| {
        let register = registers::all().find(|register| register.name == name)?;
        Some((register, value))
    })
}

fn sregs(vcpu: &OwnedFd) -> Result<sys::Sregs, KvmError> {
    let mut sregs = sys::Sregs::default();
    sys::with_struct(vcpu, sys::GET_SREGS, &mut sregs)
        .map_err(KvmError::kernel("read the segments of a virtual CPU"))?;
    Ok(sregs)
}

/// Sets the segments, and no others. The kernel wants its own processor version with them.
fn set_segments(vcpu: &OwnedFd, segments: &[Segment]) -> Result<(), KvmError> {
    let mut sregs = sregs(vcpu)?;
    let most = sregs.slb.len();
    if segments.len() > most {
        let count = segments.len();
        return Err(KvmError::State(format!("a CPU has at most {most} segments, not {count}")));
    }
    sregs.slb.fill(sys::SlbEntry::default());
    for (entry, &Segment { esid, vsid }) in sregs.slb.iter_mut().zip(segments) {
        *entry = sys::SlbEntry { esid, vsid };
    }
    sys::with_struct(vcpu, sys::SET_SREGS, &mut sregs)
        .map_err(KvmError::kernel("set the segments of a virtual CPU"))?;
    Ok(())
}

fn set(index: CpuIndex, vcpu: &OwnedFd, register: Register, value: u128) -> Result<(), KvmError> {
    let Register { name, id } = register;
    sys::set_one_reg(vcpu, id, value).map_err(|source| KvmError::Register {
        action: "set",
        name,
        vcpu: index,
        source,
    })
}

/// What is set, in its order. Checks all of it first, so that a CPU is not left half restored for
/// what can be known before.
fn in_order(state: &VcpuState, time_correction: u64) -> Result<Vec<(Register, u128)>, KvmError> {
    let mut rest = state.registers.clone();
    let mut writes = Vec::with_capacity(rest.len());
    for register in registers::all() {
        let Some(RegisterValue(mut value)) = rest.remove(&register.name) else { continue };
        if value.checked_shr(register.bits()).is_some_and(|beyond| beyond != 0) {
            return Err(KvmError::State(format!(
                "the register {} has {} bits, and is to be {value:#x}",
                register.name,
                register.bits()
            )));
        }
        if register.id == TB_OFFSET {
            value = (value as u64).wrapping_add(time_correction).into();
        }
        writes.push((register, value));
    }
    match rest.keys().next() {
        None => Ok(writes),
        Some(unknown) => {
            let name: String = unknown.chars().take(32).flat_map(char::escape_default).collect();
            Err(KvmError::State(format!("there is no register \"{name}\"")))
        }
    }
}

impl From<sys::Regs> for CoreRegisters {
    fn from(regs: sys::Regs) -> Self {
        let sys::Regs { pc, cr, ctr, lr, xer, msr, srr0, srr1, pid, sprg, gpr } = regs;
        Self { pc, msr, cr, ctr, lr, xer, srr0, srr1, pid, sprg, gpr }
    }
}

impl From<CoreRegisters> for sys::Regs {
    fn from(core: CoreRegisters) -> Self {
        let CoreRegisters { pc, msr, cr, ctr, lr, xer, srr0, srr1, pid, sprg, gpr } = core;
        Self { pc, cr, ctr, lr, xer, msr, srr0, srr1, pid, sprg, gpr }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(registers: &[(&str, u128)]) -> VcpuState {
        let registers = registers
            .iter()
            .map(|&(name, value)| (name.to_owned(), RegisterValue(value)))
            .collect();
        VcpuState { core: CoreRegisters::default(), registers, segments: vec![] }
    }

    #[test]
    fn what_is_reset_is_known_and_in_order() {
        let names: Vec<_> = at_reset().map(|(register, _)| register.name).collect();
        assert_eq!(names, ["DTL", "SLB_SHADOW", "VPA", "ICP"]);
    }

    #[test]
    fn registers_are_set_in_their_order() {
        let state = state(&[("DEC_EXPIRY", 1), ("LPCR", 2), ("TB_OFFSET", 3 << 24), ("VPA", 4)]);
        let writes = in_order(&state, 1 << 24).unwrap();
        let writes: Vec<_> =
            writes.iter().map(|(register, value)| (register.name.as_str(), *value)).collect();
        assert_eq!(writes, [("LPCR", 2), ("VPA", 4), ("TB_OFFSET", 4 << 24), ("DEC_EXPIRY", 1)]);
    }

    #[test]
    fn time_may_go_round() {
        let state = state(&[("TB_OFFSET", u64::MAX.into())]);
        assert_eq!(in_order(&state, 2).unwrap()[0].1, 1);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (name, value, message) in [
            ("VSCR", 1 << 32, "the register VSCR has 32 bits, and is to be 0x100000000"),
            ("LPCR", 1 << 64, "the register LPCR has 64 bits, and is to be 0x10000000000000000"),
            ("R\n33", 0, "there is no register \"R\\n33\""),
        ] {
            let error = in_order(&state(&[(name, value)]), 0).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert!(in_order(&state(&[("VSR0", u128::MAX)]), 0).is_ok());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_state_is_text_and_back() {
        let state = state(&[("VSR0", u128::MAX), ("LPCR", 0)]);
        let text = serde_json::to_string(&state).unwrap();
        assert!(text.contains("\"VSR0\":\"0xffffffffffffffffffffffffffffffff\""), "{text}");
        assert_eq!(serde_json::from_str::<VcpuState>(&text).unwrap(), state);
        for wrong in ["0x", "1", "-0x1", "0x+1", "0x100000000000000000000000000000000", "0xg"] {
            assert_eq!(wrong.parse::<RegisterValue>(), Err(NoRegisterValue), "{wrong}");
        }
    }
}
