//! The structures that the kernel reads and fills.

use std::mem::offset_of;

use arch_ppc64::Hypercall;

/// A structure that the kernel reads or fills: plain numbers, no padding that is not a field.
///
/// # Safety
/// `Self` must be valid for every bit pattern and have the layout that the kernel has for the
/// ioctl it is passed to. No field of it is an address.
pub(crate) unsafe trait KernelStruct: Sized {}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MemoryRegion {
    pub(crate) slot: u32,
    pub(crate) flags: u32,
    pub(crate) guest_phys_addr: u64,
    pub(crate) memory_size: u64,
    pub(crate) userspace_addr: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DirtyLog {
    pub(crate) slot: u32,
    pub(crate) padding: u32,
    pub(crate) dirty_bitmap: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IrqLevel {
    pub(crate) irq: u32,
    pub(crate) level: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IrqFd {
    pub(crate) fd: u32,
    pub(crate) gsi: u32,
    pub(crate) flags: u32,
    pub(crate) resamplefd: u32,
    pub(crate) pad: [u8; 16],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IoEventFd {
    pub(crate) datamatch: u64,
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) fd: i32,
    pub(crate) flags: u32,
    pub(crate) pad: [u32; 9],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Regs {
    pub(crate) pc: u64,
    pub(crate) cr: u64,
    pub(crate) ctr: u64,
    pub(crate) lr: u64,
    pub(crate) xer: u64,
    pub(crate) msr: u64,
    pub(crate) srr0: u64,
    pub(crate) srr1: u64,
    pub(crate) pid: u64,
    pub(crate) sprg: [u64; 8],
    pub(crate) gpr: [u64; 32],
}

/// As KVM-HV has it: the processor version and the segments.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sregs {
    pub(crate) pvr: u32,
    pad: u32,
    sdr1: u64,
    pub(crate) slb: [SlbEntry; 64],
    others: [u64; 24],
}

impl Default for Sregs {
    fn default() -> Self {
        Self { pvr: 0, pad: 0, sdr1: 0, slb: [SlbEntry::default(); 64], others: [0; 24] }
    }
}

/// An entry of the segment lookaside buffer, as `slbmte` takes it: RB with the entry's number, and RS.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SlbEntry {
    pub(crate) esid: u64,
    pub(crate) vsid: u64,
}

/// What hash translation has on the host.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SmmuInfo {
    pub(crate) flags: u64,
    pub(crate) slb_size: u32,
    pub(crate) data_keys: u16,
    pub(crate) instruction_keys: u16,
    pub(crate) segments: [SegmentPageSize; 8],
}

/// A base page size, and the pages that a segment of it may have; those that have no size are none.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SegmentPageSize {
    pub(crate) base_shift: u32,
    pub(crate) slb_code: u32,
    pub(crate) pages: [PageSize; 8],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PageSize {
    pub(crate) shift: u32,
    pub(crate) code: u32,
}

/// Asks for a file of the hashed page table.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HtabFd {
    pub(crate) flags: u64,
    pub(crate) start_index: u64,
    reserved: [u64; 2],
}

impl HtabFd {
    pub(crate) fn new(flags: u64) -> Self {
        Self { flags, ..Self::default() }
    }
}

/// Another size for the hashed page table: 2 to the power of this many bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResizeHpt {
    pub(crate) flags: u64,
    pub(crate) shift: u32,
    pad: u32,
}

impl ResizeHpt {
    pub(crate) fn new(flags: u64, shift: u32) -> Self {
        Self { flags, shift, pad: 0 }
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnableCap {
    pub(crate) cap: u32,
    pub(crate) flags: u32,
    pub(crate) args: [u64; 4],
    reserved: [u8; 64],
}

impl EnableCap {
    pub(crate) fn new(cap: u32, first: u64, second: u64) -> Self {
        Self { cap, flags: 0, args: [first, second, 0, 0], reserved: [0; 64] }
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OneReg {
    pub(crate) id: u64,
    pub(crate) addr: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtasToken {
    name: [u8; 120],
    token: u64,
}

impl RtasToken {
    /// `None` for a name that does not fit with its NUL.
    pub(crate) fn new(name: &str, token: u32) -> Option<Self> {
        let mut bytes = [0; 120];
        bytes[..119].get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { name: bytes, token: u64::from(token) })
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MmuV3Config {
    pub(crate) flags: u64,
    pub(crate) process_table: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuCharacteristics {
    pub(crate) character: u64,
    pub(crate) behaviour: u64,
    pub(crate) character_mask: u64,
    pub(crate) behaviour_mask: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CreateDevice {
    pub(crate) kind: u32,
    pub(crate) fd: u32,
    pub(crate) flags: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DeviceAttr {
    pub(crate) flags: u32,
    pub(crate) group: u32,
    pub(crate) attr: u64,
    pub(crate) addr: u64,
}

/// A queue of a XIVE.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct XiveEq {
    pub(crate) flags: u32,
    /// Its size as a power of two; 0 for none.
    pub(crate) shift: u32,
    pub(crate) address: u64,
    pub(crate) toggle: u32,
    pub(crate) index: u32,
    pub(crate) pad: [u64; 5],
}

/// The head of the area that a vCPU and the kernel share, up to what the exits used here need.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) request_interrupt_window: u8,
    pub(crate) immediate_exit: u8,
    pub(crate) padding1: [u8; 6],
    pub(crate) exit_reason: u32,
    pub(crate) ready_for_interrupt_injection: u8,
    pub(crate) if_flag: u8,
    pub(crate) flags: u16,
    pub(crate) cr8: u64,
    pub(crate) apic_base: u64,
    pub(crate) exit: Exit,
}

/// What an exit is about; which member is valid is what `exit_reason` says.
#[repr(C)]
pub(crate) union Exit {
    pub(crate) papr_hcall: Hypercall,
    pub(crate) mmio: Mmio,
    pub(crate) fail_entry_reason: u64,
    pub(crate) internal_suberror: u32,
}

impl std::fmt::Debug for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exit")
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mmio {
    pub(crate) phys_addr: u64,
    pub(crate) data: [u8; 8],
    pub(crate) len: u32,
    pub(crate) is_write: u8,
}

const _: () = {
    assert!(size_of::<Regs>() == 0x188 && offset_of!(Regs, msr) == 0x28);
    assert!(offset_of!(Regs, gpr) == 0x88);
    assert!(size_of::<Sregs>() == 0x4d0 && offset_of!(Sregs, pvr) == 0);
    assert!(offset_of!(Sregs, slb) == 0x10 && size_of::<SmmuInfo>() == 0x250);
    assert!(offset_of!(SmmuInfo, segments) == 0x10 && size_of::<SegmentPageSize>() == 0x48);
    assert!(size_of::<EnableCap>() == 0x68 && size_of::<RtasToken>() == 0x80);
    assert!(size_of::<IrqFd>() == 32 && size_of::<IoEventFd>() == 64);
    assert!(offset_of!(IoEventFd, fd) == 20 && offset_of!(IoEventFd, flags) == 24);
    assert!(offset_of!(Run, immediate_exit) == 1 && offset_of!(Run, exit_reason) == 8);
    assert!(offset_of!(Run, exit) == 0x20 && size_of::<Hypercall>() == 88);
    assert!(size_of::<XiveEq>() == 64 && offset_of!(XiveEq, index) == 20);
    assert!(offset_of!(Mmio, data) == 8 && offset_of!(Mmio, len) == 16);
    assert!(offset_of!(Mmio, is_write) == 20);
    // The whole of the kernel's structure is longer; the mapping covers it.
    assert!(size_of::<Run>() <= 2352);
};

macro_rules! kernel_structs {
    ($($name:ty),*) => {
        $(
            // SAFETY: plain integers in `repr(C)`, none of them an address; size asserted above,
            // by itself or as part of its ioctl's number.
            unsafe impl KernelStruct for $name {}
        )*
    };
}
kernel_structs!(
    IrqLevel,
    IrqFd,
    IoEventFd,
    Regs,
    Sregs,
    EnableCap,
    RtasToken,
    MmuV3Config,
    CpuCharacteristics,
    CreateDevice,
    SmmuInfo,
    HtabFd,
    ResizeHpt,
    u32
);
