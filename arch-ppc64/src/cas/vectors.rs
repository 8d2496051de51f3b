//! The option vectors, as far as they are public (LoPAPR table 244; bytes 22 to 26 of vector 5
//! are later, Linux's `asm/prom.h` names their bits).
//!
//! Bytes are numbered as in the table: byte 1 is the first after the vector's length. A vector
//! may end early; what it does not say is 0.

use super::{InterruptMode, Mmu, Support};

/// Bit of byte 1 of each vector: the platform is to ignore it.
const IGNORE: u8 = 0x80;

/// Byte `number` of a vector.
fn byte(vector: &[u8], number: usize) -> u8 {
    number.checked_sub(1).and_then(|index| vector.get(index)).copied().unwrap_or(0)
}

/// The big-endian number in bytes `first` to `first + 3`.
fn word(vector: &[u8], first: usize) -> u32 {
    (first..first + 4).fold(0, |value, number| value << 8 | u32::from(byte(vector, number)))
}

fn is_ignored(vector: &[u8]) -> bool {
    byte(vector, 1) & IGNORE != 0
}

/// Vector 1: the levels of the architecture that the guest supports.
///
/// The list of processors says the same and more; nothing is decided by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchitectureLevels {
    /// Byte 2, from the high-order bit on: 2.00 to 2.07.
    pub version_2: u8,
    /// Byte 3, from the high-order bit on: 3.0, 3.1.
    pub version_3: u8,
}

impl ArchitectureLevels {
    pub(super) fn of(vector: &[u8]) -> Option<Self> {
        let levels = Self { version_2: byte(vector, 2), version_3: byte(vector, 3) };
        (!is_ignored(vector)).then_some(levels)
    }
}

/// Vector 2: how the guest wants its firmware.
///
/// Nothing is decided by this: the firmware is in real mode, the client is loaded, and the real
/// mode area is all memory there is. A kernel that asks for more (Linux: 512 MiB) runs in less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirmwareOptions {
    /// Byte 1: whether the firmware is to be in real mode.
    pub real_mode: bool,
    /// Bytes 24 to 27: the least real mode area in MiB.
    pub min_real_mode_area_mib: u32,
}

impl FirmwareOptions {
    pub(super) fn of(vector: &[u8]) -> Option<Self> {
        const REAL_MODE: u8 = 0x20;
        let options = Self {
            real_mode: byte(vector, 1) & REAL_MODE != 0,
            // After one byte of flags, two reserved and five words.
            min_real_mode_area_mib: word(vector, 24),
        };
        (!is_ignored(vector)).then_some(options)
    }
}

/// Vector 3: optional facilities of the processor that the guest supports.
///
/// Nothing is decided by this: a guest that lacks one does not use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorOptions {
    /// Floating point.
    pub floating_point: bool,
    /// Vectors (VMX).
    pub vector: bool,
    /// Decimal floating point.
    pub decimal: bool,
}

impl ProcessorOptions {
    pub(super) fn of(vector: &[u8]) -> Option<Self> {
        let facilities = byte(vector, 2);
        let options = Self {
            floating_point: facilities & 0x80 != 0,
            vector: facilities & 0x40 != 0,
            decimal: facilities & 0x20 != 0,
        };
        (!is_ignored(vector)).then_some(options)
    }
}

/// Vector 4: the share of a processor that the guest needs at least.
///
/// Nothing is decided by this: the machine does not ration its processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntitlementOptions {
    /// Byte 2: the least capacity of a virtual processor in per cent of a physical one.
    pub min_capacity_percent: u8,
}

impl EntitlementOptions {
    pub(super) fn of(vector: &[u8]) -> Option<Self> {
        let options = Self { min_capacity_percent: byte(vector, 2) };
        (!is_ignored(vector)).then_some(options)
    }
}

/// Vector 5: optional facilities of the platform that the guest supports.
///
/// Facilities that are not named here are never agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlatformOptions {
    /// Byte 2: `ibm,dynamic-reconfiguration-memory`.
    pub dynamic_memory: bool,
    /// Byte 5: associativity in form 1.
    pub form1_affinity: bool,
    /// Byte 5: associativity in form 2, with tables of distances (not in LoPAPR 1.1; Linux's
    /// `asm/prom.h`, OV5_FORM2_AFFINITY).
    pub form2_affinity: bool,
    /// Byte 6: the guest is told of hotplug events by an interrupt of their own.
    pub hotplug_events: bool,
    /// Byte 6: the guest can have its hashed page table resized while it runs (H_RESIZE_HPT_PREPARE).
    pub hpt_resize: bool,
    /// Bytes 9 to 12: the most processors that the guest can have; 0 when it does not say. A
    /// guest leaves the others alone, so nothing is decided by this.
    pub max_cpus: u32,
    /// Byte 22: `ibm,dynamic-memory-v2` in the place of `ibm,dynamic-memory`.
    pub dynamic_memory_v2: bool,
    /// Byte 23. A vector that ends before it is of before XIVE.
    pub interrupts: Support<InterruptMode>,
    /// Byte 24. A vector that ends before it is of before radix.
    pub mmu: Support<Mmu>,
    /// Byte 26: with radix, the guest shoots translations down by its own instructions (GTSE).
    /// The machine has no other way, so nothing is decided by this.
    pub radix_gtse: bool,
}

/// Where things are in vector 5; the answer has them in the same places.
pub(super) mod vector5 {
    /// The last byte that anything here is in.
    pub(in crate::cas) const LAST_BYTE: usize = 26;

    pub(in crate::cas) const DYNAMIC_MEMORY: (usize, u8) = (2, 0x20);
    pub(in crate::cas) const FORM1_AFFINITY: (usize, u8) = (5, 0x80);
    pub(in crate::cas) const FORM2_AFFINITY: (usize, u8) = (5, 0x20);
    pub(in crate::cas) const HOTPLUG_EVENTS: (usize, u8) = (6, 0x04);
    pub(in crate::cas) const HPT_RESIZE: (usize, u8) = (6, 0x01);
    pub(in crate::cas) const DYNAMIC_MEMORY_V2: (usize, u8) = (22, 0x80);
    pub(in crate::cas) const RADIX_GTSE: (usize, u8) = (26, 0x40);

    pub(in crate::cas) const INTERRUPTS_BYTE: usize = 23;
    pub(in crate::cas) const MMU_BYTE: usize = 24;
    pub(in crate::cas) const HASH_EXTENSIONS_BYTE: usize = 25;
    pub(in crate::cas) const RADIX_EXTENSIONS_BYTE: usize = 26;

    /// Which bits of bytes 23 and 24 tell the way: one of the following.
    pub(in crate::cas) const WAY_MASK: u8 = 0xc0;
    /// Only as it was before: XICS, hash.
    pub(in crate::cas) const OLD_WAY: u8 = 0;
    /// Only the new way: XIVE, radix.
    pub(in crate::cas) const NEW_WAY: u8 = 0x40;
    /// Either.
    pub(in crate::cas) const EITHER_WAY: u8 = 0x80;

    /// A way, or two, in the high-order bits of its byte.
    pub(super) fn support<T>(byte: u8, old: T, new: T) -> super::Support<T> {
        match byte & WAY_MASK {
            OLD_WAY => super::Support::Only(old),
            NEW_WAY => super::Support::Only(new),
            // Both bits: either, and to be switched while running, which no platform offers.
            _ => super::Support::Either,
        }
    }
}

impl PlatformOptions {
    pub(super) fn of(vector: &[u8]) -> Option<Self> {
        let has = |(number, bit): (usize, u8)| byte(vector, number) & bit != 0;
        let options = Self {
            dynamic_memory: has(vector5::DYNAMIC_MEMORY),
            form1_affinity: has(vector5::FORM1_AFFINITY),
            form2_affinity: has(vector5::FORM2_AFFINITY),
            hotplug_events: has(vector5::HOTPLUG_EVENTS),
            hpt_resize: has(vector5::HPT_RESIZE),
            max_cpus: word(vector, 9),
            dynamic_memory_v2: has(vector5::DYNAMIC_MEMORY_V2),
            interrupts: vector5::support(
                byte(vector, vector5::INTERRUPTS_BYTE),
                InterruptMode::Xics,
                InterruptMode::Xive,
            ),
            mmu: vector5::support(byte(vector, vector5::MMU_BYTE), Mmu::Hash, Mmu::Radix),
            radix_gtse: has(vector5::RADIX_GTSE),
        };
        (!is_ignored(vector)).then_some(options)
    }
}
