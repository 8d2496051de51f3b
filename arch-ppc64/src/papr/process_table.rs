//! H_REGISTER_PROC_TBL (LoPAR §14.13.2.3, "H_REGISTER_PROCESS_TABLE").

use vm_memory::GuestAddress;

use crate::hypercall::{Hypercall, Status};
use crate::ram::GuestRam;

// The flags. Bits 59:60 are what to do with the table, 61:62 the kind of translation, 63 how
// translations are shot down.
const CHANGE: u64 = 1 << 4;
const REGISTER: u64 = 1 << 3;
const RADIX: u64 = 1 << 2;
const HASH_BY_TABLE: u64 = 1 << 1;
const SHOOT_DOWN_BY_INSTRUCTION: u64 = 1 << 0;
const KNOWN: u64 = CHANGE | REGISTER | RADIX | HASH_BY_TABLE | SHOOT_DOWN_BY_INSTRUCTION;

/// The largest `table_size`.
const SIZE_ORDER_MAX: u64 = 24;
/// The size of a table whose `table_size` is 0.
const SIZE_BYTES_MIN: u64 = 4096;

/// How a guest's addresses are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessTable {
    /// By the hash table, through the SLB: no process table.
    Hash,
    /// By the radix trees in a process table.
    Radix {
        /// Guest real address of the table, a multiple of 4096.
        base: GuestAddress,
        /// Its size in bytes: a power of two, 4 KiB to 64 GiB.
        size_bytes: u64,
        /// Whether the guest invalidates translations with `tlbie` (guest translation shoot-down
        /// enable), rather than by hypercall.
        gtse: bool,
    },
}

impl ProcessTable {
    /// Decodes the arguments (flags, base, page size, table size).
    ///
    /// A machine can do what `ibm,architecture-vec-5` says: hash through the SLB, and radix by a
    /// process table. "A request for an unimplemented function results in an H_Parameter."
    ///
    /// # Errors
    /// H_PARAMETER for the flags, H_P2 for the base, H_P3 for the page size, H_P4 for the size.
    pub fn decode(call: &Hypercall) -> Result<Self, Status> {
        let [flags, base, page_size, table_size, ..] = call.args;
        if flags & !KNOWN != 0 {
            return Err(Status::PARAMETER);
        }
        let registers = flags & (CHANGE | REGISTER) == CHANGE | REGISTER;
        // 61:62 = 1X: radix.
        let radix = flags & RADIX != 0;
        match (radix, registers) {
            (true, true) => {
                if base % SIZE_BYTES_MIN != 0 {
                    return Err(Status::P2);
                }
                if page_size != 0 {
                    return Err(Status::P3);
                }
                if table_size > SIZE_ORDER_MAX {
                    return Err(Status::P4);
                }
                Ok(Self::Radix {
                    base: GuestAddress(base),
                    size_bytes: SIZE_BYTES_MIN << table_size,
                    gtse: flags & SHOOT_DOWN_BY_INSTRUCTION != 0,
                })
            }
            // The hash table is found by the SLB, so there is nothing to keep or to drop.
            (false, false) if flags & HASH_BY_TABLE == 0 => {
                // "If flags 59:60 <> 0b11 then the following parameters shall be = 0."
                match (base, page_size, table_size) {
                    (0, 0, 0) => Ok(Self::Hash),
                    (0, 0, _) => Err(Status::P4),
                    (0, ..) => Err(Status::P3),
                    _ => Err(Status::P2),
                }
            }
            _ => Err(Status::PARAMETER),
        }
    }

    /// The table, if it is wholly in RAM.
    ///
    /// # Errors
    /// H_P2 otherwise: "Validate base parameter else RETURN to H_P2".
    pub fn check(self, ram: &dyn GuestRam) -> Result<Self, Status> {
        let Self::Radix { base, size_bytes, .. } = self else { return Ok(self) };
        ram.check_ram(base, size_bytes).map(|()| self).map_err(|_| Status::P2)
    }

    /// The second doubleword of the partition table entry (Power ISA 3.0B, Book III §5.7.6.1):
    /// what KVM_PPC_CONFIGURE_V3_MMU takes as `process_table`. 0 for hash.
    pub fn partition_table_entry(&self) -> u64 {
        /// The guest's translation is radix (GR).
        const GUEST_RADIX: u64 = 1 << 63;
        match *self {
            Self::Hash => 0,
            Self::Radix { base, size_bytes, .. } => {
                GUEST_RADIX
                    | base.0
                    | u64::from((size_bytes / SIZE_BYTES_MIN).checked_ilog2().unwrap_or(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypercall::token;
    use vm_memory::GuestMemoryMmap;

    fn decode(args: [u64; 4]) -> Result<ProcessTable, Status> {
        ProcessTable::decode(&Hypercall::new(token::REGISTER_PROC_TBL, &args))
    }

    fn radix(base: u64, size_bytes: u64, gtse: bool) -> ProcessTable {
        ProcessTable::Radix { base: GuestAddress(base), size_bytes, gtse }
    }

    #[test]
    fn linux_registers_a_radix_table() {
        let table = decode([0x1d, 0x1_0000, 0, 4]).unwrap();
        assert_eq!(table, radix(0x1_0000, 0x1_0000, true));
        assert_eq!(table.partition_table_entry(), 0x8000_0000_0001_0004);
        assert_eq!(decode([0x1c, 0x1_0000, 0, 0]), Ok(radix(0x1_0000, 4096, false)));
        // "1X: Radix".
        assert_eq!(decode([0x1f, 0x1000, 0, 24]), Ok(radix(0x1000, 64 << 30, true)));
    }

    #[test]
    fn hash_needs_no_table() {
        assert_eq!(decode([0, 0, 0, 0]), Ok(ProcessTable::Hash));
        assert_eq!(ProcessTable::Hash.partition_table_entry(), 0);
        // "0X Maintain", "10 Deregister".
        assert_eq!(decode([0x08, 0, 0, 0]), Ok(ProcessTable::Hash));
        assert_eq!(decode([0x11, 0, 0, 0]), Ok(ProcessTable::Hash));
        // "If flags 59:60 <> 0b11 then the following parameters shall be = 0".
        assert_eq!(decode([0, 0x1000, 0, 0]), Err(Status::P2));
        assert_eq!(decode([0, 0, 1, 0]), Err(Status::P3));
        assert_eq!(decode([0, 0, 0, 1]), Err(Status::P4));
    }

    /// "Validate that no reserved flags parameter bits are TRUE and that the defined bits setting
    /// is supported else RETURN H_Parameter."
    #[test]
    fn other_flags_are_refused() {
        let supported: Vec<u64> =
            (0..64).filter(|&flags| decode([flags, 0, 0, 0]).is_ok()).collect();
        let hash = [0x00, 0x01, 0x08, 0x09, 0x10, 0x11];
        let radix = [0x1c, 0x1d, 0x1e, 0x1f];
        assert_eq!(supported, [hash.as_slice(), radix.as_slice()].concat());
        for bit in 5..64 {
            assert_eq!(decode([0x1d | 1 << bit, 0, 0, 0]), Err(Status::PARAMETER));
        }
        for flags in [0x02, 0x04, 0x14, 0x18, 0x1a] {
            assert_eq!(decode([flags, 0, 0, 0]), Err(Status::PARAMETER));
        }
    }

    #[test]
    fn radix_arguments_are_checked() {
        assert_eq!(decode([0x1d, 0x1_0800, 0, 0]), Err(Status::P2));
        assert_eq!(decode([0x1d, 0x1_0000, 1, 0]), Err(Status::P3));
        // "Validate (0 => table_size parameter <= 24) else RETURN H_P4."
        assert_eq!(decode([0x1d, 0x1_0000, 0, 25]), Err(Status::P4));
        assert_eq!(decode([0x1d, 0x1_0000, 0, u64::MAX]), Err(Status::P4));
    }

    #[test]
    fn table_has_to_be_in_ram() {
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        let check = |base, size_bytes| radix(base, size_bytes, true).check(&ram);
        assert_eq!(check(0xf_0000, 0x1_0000), Ok(radix(0xf_0000, 0x1_0000, true)));
        assert_eq!(check(0xf_0000, 0x2_0000), Err(Status::P2));
        assert_eq!(check(0x10_0000, 0x1000), Err(Status::P2));
        assert_eq!(check(u64::MAX - 0xfff, 0x1_0000), Err(Status::P2));
        assert_eq!(ProcessTable::Hash.check(&ram), Ok(ProcessTable::Hash));
    }
}
