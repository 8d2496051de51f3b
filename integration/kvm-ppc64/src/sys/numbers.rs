//! Numbers: ioctls, capabilities, exits.

use super::structs::{
    CpuCharacteristics, CreateDevice, DeviceAttr, DirtyLog, EnableCap, HtabFd, IoEventFd, IrqFd,
    IrqLevel, MemoryRegion, MmuV3Config, OneReg, Regs, ResizeHpt, RtasToken, SmmuInfo, Sregs,
};

/// Number of a KVM ioctl as POWER encodes it: 3 bits of direction, 13 of size, type 0xae.
const fn number(direction: u64, nr: u64, size: usize) -> u64 {
    direction << 29 | (size as u64) << 16 | 0xae << 8 | nr
}

const NONE: u64 = 1;
const READ: u64 = 2;
const WRITE: u64 = 4;

macro_rules! ioctls {
    ($($name:ident = ($direction:expr, $nr:literal, $argument:ty), $asserted:literal;)*) => {
        $(
            pub(crate) const $name: u64 = number($direction, $nr, size_of::<$argument>());
            const _: () = assert!($name == $asserted);
        )*

        /// The numbers of all ioctls that this crate makes, for filters of system calls (seccomp).
        /// They are those of POWER hosts.
        ///
        /// A vCPU's thread also needs `rt_sigprocmask` (see `Vcpu::run`), and whoever kicks one
        /// `tgkill`; to make CPUs takes `mmap`, `mprotect` and `munmap`, and to make interrupts'
        /// files `eventfd2`.
        pub const IOCTLS: &[u64] = &[$($name),*];
    };
}

// Those of direction NONE take a number, the others a pointer to a structure of that size.
ioctls! {
    GET_API_VERSION = (NONE, 0x00, ()), 0x2000_ae00;
    CREATE_VM = (NONE, 0x01, ()), 0x2000_ae01;
    CHECK_EXTENSION = (NONE, 0x03, ()), 0x2000_ae03;
    GET_VCPU_MMAP_SIZE = (NONE, 0x04, ()), 0x2000_ae04;
    CREATE_VCPU = (NONE, 0x41, ()), 0x2000_ae41;
    GET_DIRTY_LOG = (WRITE, 0x42, DirtyLog), 0x8010_ae42;
    SET_USER_MEMORY_REGION = (WRITE, 0x46, MemoryRegion), 0x8020_ae46;
    IRQ_LINE = (WRITE, 0x61, IrqLevel), 0x8008_ae61;
    IRQFD = (WRITE, 0x76, IrqFd), 0x8020_ae76;
    IOEVENTFD = (WRITE, 0x79, IoEventFd), 0x8040_ae79;
    RUN = (NONE, 0x80, ()), 0x2000_ae80;
    GET_REGS = (READ, 0x81, Regs), 0x4188_ae81;
    SET_REGS = (WRITE, 0x82, Regs), 0x8188_ae82;
    GET_SREGS = (READ, 0x83, Sregs), 0x44d0_ae83;
    SET_SREGS = (WRITE, 0x84, Sregs), 0x84d0_ae84;
    ENABLE_CAP = (WRITE, 0xa3, EnableCap), 0x8068_aea3;
    PPC_GET_SMMU_INFO = (READ, 0xa6, SmmuInfo), 0x4250_aea6;
    PPC_ALLOCATE_HTAB = (READ | WRITE, 0xa7, u32), 0xc004_aea7;
    PPC_GET_HTAB_FD = (WRITE, 0xaa, HtabFd), 0x8020_aeaa;
    GET_ONE_REG = (WRITE, 0xab, OneReg), 0x8010_aeab;
    SET_ONE_REG = (WRITE, 0xac, OneReg), 0x8010_aeac;
    PPC_RTAS_DEFINE_TOKEN = (WRITE, 0xac, RtasToken), 0x8080_aeac;
    PPC_RESIZE_HPT_PREPARE = (READ, 0xad, ResizeHpt), 0x4010_aead;
    PPC_RESIZE_HPT_COMMIT = (READ, 0xae, ResizeHpt), 0x4010_aeae;
    PPC_CONFIGURE_V3_MMU = (WRITE, 0xaf, MmuV3Config), 0x8010_aeaf;
    PPC_GET_CPU_CHAR = (READ, 0xb1, CpuCharacteristics), 0x4020_aeb1;
    CREATE_DEVICE = (READ | WRITE, 0xe0, CreateDevice), 0xc00c_aee0;
    SET_DEVICE_ATTR = (WRITE, 0xe1, DeviceAttr), 0x8018_aee1;
    GET_DEVICE_ATTR = (WRITE, 0xe2, DeviceAttr), 0x8018_aee2;
}

/// Those of [`IOCTLS`] that raise interrupts, by whoever has a line.
pub const INTERRUPT_IOCTLS: &[u64] = &[IRQ_LINE, GET_DEVICE_ATTR, SET_DEVICE_ATTR];

/// The one version of the API there is.
pub(crate) const API_VERSION: i32 = 12;

/// Argument of [`CREATE_VM`]: HV, hardware virtualisation.
pub(crate) const VM_PPC_HV: u64 = 1;

pub(crate) const CAP_NR_MEMSLOTS: u32 = 10;
pub(crate) const CAP_PPC_SMT: u32 = 64;
pub(crate) const CAP_MAX_VCPUS: u32 = 66;
pub(crate) const CAP_PPC_PAPR: u32 = 68;
pub(crate) const CAP_PPC_ALLOC_HTAB: u32 = 80;
pub(crate) const CAP_IRQ_XICS: u32 = 92;
pub(crate) const CAP_PPC_ENABLE_HCALL: u32 = 104;
pub(crate) const CAP_PPC_MMU_RADIX: u32 = 134;
/// Radix and hash guests at once, also on the threads of one core.
pub(crate) const CAP_PPC_MMU_HASH_V3: u32 = 135;
pub(crate) const CAP_IMMEDIATE_EXIT: u32 = 136;
/// A bit for each number of interrupt servers a core may have: bit n for 2^n.
pub(crate) const CAP_PPC_SMT_POSSIBLE: u32 = 147;
pub(crate) const CAP_PPC_IRQ_XIVE: u32 = 169;

pub(crate) const MEM_LOG_DIRTY_PAGES: u32 = 1;

pub(crate) const IRQFD_DEASSIGN: u32 = 1;
pub(crate) const IOEVENTFD_DATAMATCH: u32 = 1;
pub(crate) const IOEVENTFD_DEASSIGN: u32 = 4;

pub(crate) const DEV_TYPE_XICS: u32 = 3;
pub(crate) const DEV_XICS_GRP_SOURCES: u32 = 1;

// State of an XICS source: destination server in bits 0–31, priority from bit 32, then flags.
pub(crate) const XICS_PRIORITY_SHIFT: u32 = 32;
pub(crate) const XICS_LEVEL_SENSITIVE: u64 = 1 << 40;
pub(crate) const XICS_MASKED: u64 = 1 << 41;
pub(crate) const XICS_PENDING: u64 = 1 << 42;
pub(crate) const XICS_PRESENTED: u64 = 1 << 43;
pub(crate) const XICS_QUEUED: u64 = 1 << 44;

// Of a XIVE (`Documentation/virt/kvm/devices/xive.rst`).
pub(crate) const DEV_TYPE_XIVE: u32 = 9;
pub(crate) const DEV_XIVE_GRP_CTRL: u32 = 1;
pub(crate) const DEV_XIVE_RESET: u64 = 1;
#[cfg_attr(not(feature = "serde"), allow(dead_code))]
pub(crate) const DEV_XIVE_EQ_SYNC: u64 = 2;
pub(crate) const DEV_XIVE_NR_SERVERS: u64 = 3;
pub(crate) const DEV_XIVE_GRP_SOURCE: u32 = 2;
pub(crate) const DEV_XIVE_GRP_SOURCE_CONFIG: u32 = 3;
pub(crate) const DEV_XIVE_GRP_EQ_CONFIG: u32 = 4;
pub(crate) const DEV_XIVE_GRP_SOURCE_SYNC: u32 = 5;

pub(crate) const XIVE_LEVEL_SENSITIVE: u64 = 1;
// Where a source goes: priority in bits 0–2, the server, whether it goes anywhere, and what the
// entries of the queue say.
pub(crate) const XIVE_SOURCE_PRIORITY_SHIFT: u32 = 0;
pub(crate) const XIVE_SOURCE_MASKED: u64 = 1 << 32;
pub(crate) const XIVE_SOURCE_EISN_SHIFT: u32 = 33;
/// Of a source and of the number of a queue, whose priority is in bits 0–2, too.
pub(crate) const XIVE_SERVER_SHIFT: u32 = 3;
pub(crate) const XIVE_EQ_ALWAYS_NOTIFY: u32 = 1;

// Where its pages are in its file, in pages.
pub(crate) const XIVE_TIMA_PAGE: u64 = 0;
pub(crate) const XIVE_ESB_PAGE: u64 = 4;

pub(crate) const EXIT_MMIO: u32 = 6;
pub(crate) const EXIT_FAIL_ENTRY: u32 = 9;
pub(crate) const EXIT_INTR: u32 = 10;
pub(crate) const EXIT_INTERNAL_ERROR: u32 = 17;
pub(crate) const EXIT_PAPR_HCALL: u32 = 19;

pub(crate) const MMUV3_RADIX: u64 = 1;
pub(crate) const MMUV3_GTSE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ioctl_is_listed_once() {
        for (nth, number) in IOCTLS.iter().enumerate() {
            assert!(!IOCTLS[..nth].contains(number), "{number:#x}");
            assert_eq!(number >> 8 & 0xff, 0xae, "{number:#x}");
        }
    }

    /// An ioctl is made in one place only, which refuses those that are not listed.
    #[test]
    fn every_ioctl_goes_through_the_list() {
        let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        // On the emulated host there is only the program.
        if !src.is_dir() {
            return;
        }
        let mut folders = vec![src];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.matches(concat!("libc::ioctl", "(")).count();
                found.extend(vec![path.file_name().unwrap().to_owned(); calls]);
            }
        }
        assert_eq!(found, ["calls.rs"]);
    }
}
