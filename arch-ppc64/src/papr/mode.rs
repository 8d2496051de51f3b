//! H_SET_MODE (LoPAPR §14.5.4.3.5; the resources 4 and 5 are in Linux's `asm/hvcall.h`).

use crate::hypercall::{Hypercall, Status};

// Resources, the second argument.
const CIABR: u64 = 1;
const DAWR0: u64 = 2;
const ADDRESS_TRANSLATION: u64 = 3;
const INTERRUPT_ENDIANNESS: u64 = 4;
const DAWR1: u64 = 5;

/// CIABR bits 62:63: in which state an instruction matches; both for hypervisor state (Power ISA
/// 3.0B, Book III chapter 10).
const CIABR_PRIV_MASK: u64 = 3;
const CIABR_PRIV_HYPERVISOR: u64 = 3;

/// What a partition may set of DAWRX: "the MRD field, DW, DR, WT, WTI, PNH, and PRO bits. All
/// other value2 fields are zero."
const DAWRX_ALLOWED: u64 = 0xfc00 | 0x7b;

/// What one call of H_SET_MODE asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The byte order that interrupts are taken in, for all CPUs.
    InterruptEndianness {
        /// Little-endian.
        little: bool,
    },
    /// Where interrupts are taken, for all CPUs.
    InterruptLocation {
        /// The value of LPCR.AIL: 0, 2 or 3.
        ail: u8,
    },
    /// A breakpoint of the calling CPU.
    Breakpoint {
        /// The value of CIABR.
        ciabr: u64,
    },
    /// A watchpoint of the calling CPU.
    Watchpoint {
        /// Which: 0 or 1.
        number: u8,
        /// The value of DAWRn.
        dawr: u64,
        /// The value of DAWRXn.
        dawrx: u64,
    },
}

impl Mode {
    /// Decodes the arguments (mflags, resource, value1, value2).
    ///
    /// # Errors
    /// H_P2 for a resource that nobody knows, H_P3 and H_P4 for a value that must not be, and
    /// H_UNSUPPORTED_FLAG, less the number of the highest such bit, for mflags.
    pub fn decode(call: &Hypercall) -> Result<Self, Status> {
        let [mflags, resource, value1, value2, ..] = call.args;
        match resource {
            ADDRESS_TRANSLATION => {
                no_values(value1, value2)?;
                // "The desired AIL mode is encoded in the two low order mflags bits (all other
                // mflags bits are 0)"; 1 is reserved.
                no_flags(mflags & !3)?;
                if mflags == 1 {
                    return Err(Status::unsupported_flag(mflags));
                }
                Ok(Self::InterruptLocation { ail: mflags as u8 })
            }
            INTERRUPT_ENDIANNESS => {
                no_values(value1, value2)?;
                no_flags(mflags & !1)?;
                Ok(Self::InterruptEndianness { little: mflags == 1 })
            }
            CIABR => {
                no_flags(mflags)?;
                if value1 & CIABR_PRIV_MASK == CIABR_PRIV_HYPERVISOR {
                    return Err(Status::P3);
                }
                if value2 != 0 {
                    return Err(Status::P4);
                }
                Ok(Self::Breakpoint { ciabr: value1 })
            }
            DAWR0 | DAWR1 => {
                no_flags(mflags)?;
                // A doubleword address.
                if value1 % 8 != 0 {
                    return Err(Status::P3);
                }
                if value2 & !DAWRX_ALLOWED != 0 {
                    return Err(Status::P4);
                }
                let number = u8::from(resource == DAWR1);
                Ok(Self::Watchpoint { number, dawr: value1, dawrx: value2 })
            }
            _ => Err(Status::P2),
        }
    }
}

fn no_values(value1: u64, value2: u64) -> Result<(), Status> {
    match (value1, value2) {
        (0, 0) => Ok(()),
        (0, _) => Err(Status::P4),
        _ => Err(Status::P3),
    }
}

fn no_flags(flags: u64) -> Result<(), Status> {
    if flags == 0 { Ok(()) } else { Err(Status::unsupported_flag(flags)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypercall::token;

    fn decode(args: [u64; 4]) -> Result<Mode, Status> {
        Mode::decode(&Hypercall::new(token::SET_MODE, &args))
    }

    #[test]
    fn endianness_is_one_flag() {
        assert_eq!(decode([0, 4, 0, 0]), Ok(Mode::InterruptEndianness { little: false }));
        assert_eq!(decode([1, 4, 0, 0]), Ok(Mode::InterruptEndianness { little: true }));
        assert_eq!(decode([2, 4, 0, 0]), Err(Status(-256 - 62)));
        assert_eq!(decode([1, 4, 9, 9]), Err(Status::P3));
        assert_eq!(decode([1, 4, 0, 9]), Err(Status::P4));
    }

    /// "The desired AIL mode is encoded in the two low order mflags bits (all other mflags bits
    /// are 0) while both value1 and value2 parameters are zero."
    #[test]
    fn interrupt_location_is_two_flags() {
        for ail in [0, 2, 3] {
            assert_eq!(decode([ail.into(), 3, 0, 0]), Ok(Mode::InterruptLocation { ail }));
        }
        assert_eq!(decode([1, 3, 0, 0]), Err(Status(-256 - 63)));
        assert_eq!(decode([4, 3, 0, 0]), Err(Status(-256 - 61)));
        assert_eq!(decode([3 | 1 << 63, 3, 0, 0]), Err(Status(-256)));
        assert_eq!(decode([3, 3, 1, 0]), Err(Status::P3));
        assert_eq!(decode([3, 3, 0, 1]), Err(Status::P4));
    }

    #[test]
    fn breakpoint_is_not_for_the_hypervisor() {
        let ciabr = 0xc000_0000_0000_1002;
        assert_eq!(decode([0, 1, ciabr, 0]), Ok(Mode::Breakpoint { ciabr }));
        assert_eq!(decode([0, 1, 0, 0]), Ok(Mode::Breakpoint { ciabr: 0 }));
        assert_eq!(decode([0, 1, 3, 0]), Err(Status::P3));
        assert_eq!(decode([0, 1, ciabr, 1]), Err(Status::P4));
        assert_eq!(decode([1, 1, ciabr, 0]), Err(Status(-256 - 63)));
    }

    /// "A subset of the POWER ISA conditions […]: the MRD field, DW, DR, WT, WTI, PNH, and PRO
    /// bits. All other value2 fields are zero."
    #[test]
    fn watchpoint_has_the_partitions_conditions() {
        for (resource, number) in [(2, 0), (5, 1)] {
            let mode = Mode::Watchpoint { number, dawr: 0x1008, dawrx: 0xfc7b };
            assert_eq!(decode([0, resource, 0x1008, 0xfc7b]), Ok(mode));
            // HYP, HRAMMC, and what is outside the register.
            for bit in [0x4, 0x100, 1 << 32] {
                assert_eq!(decode([0, resource, 0x1008, bit]), Err(Status::P4));
            }
            assert_eq!(decode([0, resource, 0x1004, 0]), Err(Status::P3));
            assert_eq!(decode([1 << 32, resource, 0, 0]), Err(Status(-256 - 31)));
        }
    }

    #[test]
    fn other_resources_are_refused() {
        for resource in [0, 6, 1 << 32 | 4, u64::MAX] {
            assert_eq!(decode([0, resource, 0, 0]), Err(Status::P2));
        }
    }
}
