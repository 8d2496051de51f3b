//! The KVM interface of POWER hosts, as far as it is used here.
//!
//! The crates that wrap KVM do not know POWER, and the ioctl macros of vmm-sys-util encode for
//! other architectures, so the numbers are made here. Every number, size and offset is asserted
//! against those that the kernel's headers give for powerpc64le; facts from Linux,
//! `Documentation/virt/kvm/api.rst`.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use arch_ppc64::Hypercall;
use libc::Ioctl;

use crate::ram::HostRegion;

/// Number of a KVM ioctl as POWER encodes it: 3 bits of direction, 13 of size, type 0xae.
const fn number(direction: Ioctl, nr: Ioctl, size: usize) -> Ioctl {
    direction << 29 | (size as Ioctl) << 16 | 0xae << 8 | nr
}

const NONE: Ioctl = 1;
const READ: Ioctl = 2;
const WRITE: Ioctl = 4;

pub(super) const GET_API_VERSION: Ioctl = number(NONE, 0x00, 0);
pub(super) const CREATE_VM: Ioctl = number(NONE, 0x01, 0);
pub(super) const CHECK_EXTENSION: Ioctl = number(NONE, 0x03, 0);
pub(super) const GET_VCPU_MMAP_SIZE: Ioctl = number(NONE, 0x04, 0);
pub(super) const CREATE_VCPU: Ioctl = number(NONE, 0x41, 0);
pub(super) const SET_USER_MEMORY_REGION: Ioctl = number(WRITE, 0x46, size_of::<MemoryRegion>());
pub(super) const IRQ_LINE: Ioctl = number(WRITE, 0x61, size_of::<IrqLevel>());
pub(super) const RUN: Ioctl = number(NONE, 0x80, 0);
pub(super) const SET_REGS: Ioctl = number(WRITE, 0x82, size_of::<Regs>());
pub(super) const GET_SREGS: Ioctl = number(READ, 0x83, size_of::<Sregs>());
pub(super) const ENABLE_CAP: Ioctl = number(WRITE, 0xa3, size_of::<EnableCap>());
pub(super) const GET_ONE_REG: Ioctl = number(WRITE, 0xab, size_of::<OneReg>());
pub(super) const SET_ONE_REG: Ioctl = number(WRITE, 0xac, size_of::<OneReg>());
pub(super) const PPC_RTAS_DEFINE_TOKEN: Ioctl = number(WRITE, 0xac, size_of::<RtasToken>());
pub(super) const PPC_CONFIGURE_V3_MMU: Ioctl = number(WRITE, 0xaf, size_of::<MmuV3Config>());
pub(super) const PPC_GET_CPU_CHAR: Ioctl = number(READ, 0xb1, size_of::<CpuCharacteristics>());
pub(super) const CREATE_DEVICE: Ioctl = number(READ | WRITE, 0xe0, size_of::<CreateDevice>());
pub(super) const SET_DEVICE_ATTR: Ioctl = number(WRITE, 0xe1, size_of::<DeviceAttr>());

const _: () = {
    assert!(GET_API_VERSION == 0x2000_ae00 && CREATE_VM == 0x2000_ae01);
    assert!(CHECK_EXTENSION == 0x2000_ae03 && GET_VCPU_MMAP_SIZE == 0x2000_ae04);
    assert!(CREATE_VCPU == 0x2000_ae41 && SET_USER_MEMORY_REGION == 0x8020_ae46);
    assert!(IRQ_LINE == 0x8008_ae61 && RUN == 0x2000_ae80);
    assert!(SET_REGS == 0x8188_ae82 && GET_SREGS == 0x44d0_ae83);
    assert!(ENABLE_CAP == 0x8068_aea3 && PPC_CONFIGURE_V3_MMU == 0x8010_aeaf);
    assert!(GET_ONE_REG == 0x8010_aeab && SET_ONE_REG == 0x8010_aeac);
    assert!(PPC_RTAS_DEFINE_TOKEN == 0x8080_aeac && PPC_GET_CPU_CHAR == 0x4020_aeb1);
    assert!(CREATE_DEVICE == 0xc00c_aee0 && SET_DEVICE_ATTR == 0x8018_aee1);
};

/// The one version of the API there is.
pub(super) const API_VERSION: i32 = 12;

/// Argument of [`CREATE_VM`]: HV, hardware virtualisation.
pub(super) const VM_PPC_HV: libc::c_ulong = 1;

pub(super) const CAP_PPC_PAPR: u32 = 68;
pub(super) const CAP_IRQ_XICS: u32 = 92;
pub(super) const CAP_PPC_MMU_RADIX: u32 = 134;
pub(super) const CAP_IMMEDIATE_EXIT: u32 = 136;

pub(super) const DEV_TYPE_XICS: u32 = 3;
pub(super) const DEV_XICS_GRP_SOURCES: u32 = 1;

/// State of an XICS source: destination server in bits 0–31, priority from bit 32, then flags.
pub(super) const XICS_PRIORITY_SHIFT: u32 = 32;
pub(super) const XICS_MASKED: u64 = 1 << 41;

pub(super) const EXIT_MMIO: u32 = 6;
pub(super) const EXIT_FAIL_ENTRY: u32 = 9;
pub(super) const EXIT_INTR: u32 = 10;
pub(super) const EXIT_INTERNAL_ERROR: u32 = 17;
pub(super) const EXIT_PAPR_HCALL: u32 = 19;

pub(super) const REG_LPCR_64: u64 = 0x1030_0000_0000_00b5;
pub(super) const REG_ARCH_COMPAT: u64 = 0x1020_0000_0000_00b7;

pub(super) const MMUV3_RADIX: u64 = 1;
pub(super) const MMUV3_GTSE: u64 = 2;

/// A structure that the kernel reads or fills: plain numbers, no padding that is not a field.
///
/// # Safety
/// `Self` must be valid for every bit pattern and have the layout that the kernel has for the
/// ioctl it is passed to.
pub(super) unsafe trait KernelStruct: Sized {}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct IrqLevel {
    pub(super) irq: u32,
    pub(super) level: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Regs {
    pub(super) pc: u64,
    pub(super) cr: u64,
    pub(super) ctr: u64,
    pub(super) lr: u64,
    pub(super) xer: u64,
    pub(super) msr: u64,
    pub(super) srr0: u64,
    pub(super) srr1: u64,
    pub(super) pid: u64,
    pub(super) sprg: [u64; 8],
    pub(super) gpr: [u64; 32],
}

/// Only the PVR of it is used.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Sregs {
    pub(super) pvr: u32,
    reserved: [u32; 307],
}

impl Default for Sregs {
    fn default() -> Self {
        Self { pvr: 0, reserved: [0; 307] }
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct EnableCap {
    pub(super) cap: u32,
    pub(super) flags: u32,
    pub(super) args: [u64; 4],
    reserved: [u8; 64],
}

impl EnableCap {
    pub(super) fn new(cap: u32, first: u64, second: u64) -> Self {
        Self { cap, flags: 0, args: [first, second, 0, 0], reserved: [0; 64] }
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct OneReg {
    id: u64,
    addr: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct RtasToken {
    name: [u8; 120],
    token: u64,
}

impl RtasToken {
    /// `None` for a name that does not fit with its NUL.
    pub(super) fn new(name: &str, token: u32) -> Option<Self> {
        let mut bytes = [0; 120];
        bytes[..119].get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { name: bytes, token: u64::from(token) })
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MmuV3Config {
    pub(super) flags: u64,
    pub(super) process_table: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CpuCharacteristics {
    pub(super) character: u64,
    pub(super) behaviour: u64,
    pub(super) character_mask: u64,
    pub(super) behaviour_mask: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CreateDevice {
    pub(super) kind: u32,
    pub(super) fd: u32,
    pub(super) flags: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct DeviceAttr {
    flags: u32,
    group: u32,
    attr: u64,
    addr: u64,
}

/// The head of the area that a vCPU and the kernel share, up to what the exits used here need.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Run {
    pub(super) request_interrupt_window: u8,
    pub(super) immediate_exit: u8,
    pub(super) padding1: [u8; 6],
    pub(super) exit_reason: u32,
    pub(super) ready_for_interrupt_injection: u8,
    pub(super) if_flag: u8,
    pub(super) flags: u16,
    pub(super) cr8: u64,
    pub(super) apic_base: u64,
    pub(super) exit: Exit,
}

/// What an exit is about; which member is valid is what `exit_reason` says.
#[repr(C)]
pub(super) union Exit {
    pub(super) papr_hcall: Hypercall,
    pub(super) mmio: Mmio,
    pub(super) fail_entry_reason: u64,
    pub(super) internal_suberror: u32,
}

impl std::fmt::Debug for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exit")
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Mmio {
    pub(super) phys_addr: u64,
    pub(super) data: [u8; 8],
    pub(super) len: u32,
    pub(super) is_write: u8,
}

const _: () = {
    assert!(size_of::<Regs>() == 0x188 && offset_of!(Regs, msr) == 0x28);
    assert!(offset_of!(Regs, gpr) == 0x88);
    assert!(size_of::<Sregs>() == 0x4d0 && offset_of!(Sregs, pvr) == 0);
    assert!(size_of::<EnableCap>() == 0x68 && size_of::<RtasToken>() == 0x80);
    assert!(offset_of!(Run, immediate_exit) == 1 && offset_of!(Run, exit_reason) == 8);
    assert!(offset_of!(Run, exit) == 0x20 && size_of::<Hypercall>() == 88);
    assert!(offset_of!(Mmio, data) == 8 && offset_of!(Mmio, len) == 16);
    assert!(offset_of!(Mmio, is_write) == 20);
    // The whole of the kernel's structure is longer; the mapping covers it.
    assert!(size_of::<Run>() <= 2352);
};

macro_rules! kernel_structs {
    ($($name:ty),*) => {
        $(
            // SAFETY: plain integers in `repr(C)`; size asserted above, by itself or as part of
            // its ioctl's number.
            unsafe impl KernelStruct for $name {}
        )*
    };
}
kernel_structs!(
    IrqLevel,
    Regs,
    Sregs,
    EnableCap,
    RtasToken,
    MmuV3Config,
    CpuCharacteristics,
    CreateDevice
);

/// An ioctl that takes a number.
pub(super) fn with_value(
    fd: &impl AsRawFd,
    request: Ioctl,
    value: libc::c_ulong,
) -> io::Result<i32> {
    // SAFETY: of the requests of this module, those of direction NONE take a number and touch no
    // memory of ours (RUN: only the shared area, which its vCPU owns).
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, value) })
}

/// An ioctl that reads, or reads and fills, a structure.
pub(super) fn with_struct<T: KernelStruct>(
    fd: &impl AsRawFd,
    request: Ioctl,
    value: &mut T,
) -> io::Result<i32> {
    debug_assert_eq!(request >> 16 & 0x1fff, size_of::<T>() as Ioctl);
    // SAFETY: the number of the request says how many bytes the kernel may touch; they are those
    // of `value`, which is exclusively borrowed and valid for every bit pattern.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(value)) })
}

/// Reads a 64-bit register of a vCPU.
pub(super) fn get_one_reg(vcpu: &impl AsRawFd, id: u64) -> io::Result<u64> {
    let mut value = 0_u64;
    let mut reg = OneReg { id, addr: std::ptr::from_mut(&mut value) as u64 };
    // SAFETY: the kernel writes as many bytes as `id` says, at most the 8 of `value`, which lives
    // on; ids of this module are of 4 and 8 bytes.
    check(unsafe { libc::ioctl(vcpu.as_raw_fd(), GET_ONE_REG, &raw mut reg) })?;
    Ok(value)
}

/// Sets a 64-bit register of a vCPU.
pub(super) fn set_one_reg(vcpu: &impl AsRawFd, id: u64, value: u64) -> io::Result<()> {
    let reg = OneReg { id, addr: std::ptr::from_ref(&value) as u64 };
    // SAFETY: the kernel reads as many bytes as `id` says, at most the 8 of `value`.
    check(unsafe { libc::ioctl(vcpu.as_raw_fd(), SET_ONE_REG, &raw const reg) })?;
    Ok(())
}

/// Sets a 32-bit register of a vCPU.
pub(super) fn set_one_reg_u32(vcpu: &impl AsRawFd, id: u64, value: u32) -> io::Result<()> {
    let reg = OneReg { id, addr: std::ptr::from_ref(&value) as u64 };
    debug_assert_eq!(id >> 52 & 0xf, 2, "the id is of a register of 4 bytes");
    // SAFETY: the kernel reads as many bytes as `id` says: the 4 of `value`.
    check(unsafe { libc::ioctl(vcpu.as_raw_fd(), SET_ONE_REG, &raw const reg) })?;
    Ok(())
}

/// Sets an attribute of a device whose value is a 64-bit number.
pub(super) fn set_device_attr(
    device: &impl AsRawFd,
    group: u32,
    attr: u64,
    value: u64,
) -> io::Result<()> {
    let attr = DeviceAttr { flags: 0, group, attr, addr: std::ptr::from_ref(&value) as u64 };
    // SAFETY: attributes of the groups of this module are 64-bit numbers, which the kernel reads
    // from `value`.
    check(unsafe { libc::ioctl(device.as_raw_fd(), SET_DEVICE_ATTR, &raw const attr) })?;
    Ok(())
}

/// Gives memory of this process to the guest.
///
/// # Safety
/// The region must be mapped, and be used only as memory that others change at any time, for as
/// long as the VM lives.
pub(super) unsafe fn set_memory_region(
    vm: &impl AsRawFd,
    slot: u32,
    region: &HostRegion,
) -> io::Result<()> {
    let region = MemoryRegion {
        slot,
        flags: 0,
        guest_phys_addr: region.start.0,
        memory_size: region.bytes,
        userspace_addr: region.host.as_ptr() as u64,
    };
    // SAFETY: the kernel only reads `region` here; what it then does with the memory is what the
    // caller vouches for.
    check(unsafe { libc::ioctl(vm.as_raw_fd(), SET_USER_MEMORY_REGION, &raw const region) })?;
    Ok(())
}

/// The file descriptor that an ioctl returned.
pub(super) fn owned(fd: i32) -> OwnedFd {
    // SAFETY: called with the fresh result of an ioctl that makes a descriptor; nobody else has
    // it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn check(result: libc::c_int) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
