//! The registers of a virtual CPU that KVM gives out one by one, and in which order they are set.
//!
//! KVM-HV has no call that lists them. The ids are those of `Documentation/virt/kvm/api.rst`
//! (KVM_GET_ONE_REG): the upper half says the architecture and the size.

/// 4 bytes, 8 bytes, 16 bytes.
const U32: u64 = 0x1020_0000_0000_0000;
const U64: u64 = 0x1030_0000_0000_0000;
const U128: u64 = 0x1040_0000_0000_0000;

/// How interrupts are presented to a CPU, where there is an XICS.
pub(crate) const ICP_STATE: u64 = U64 | 0x8c;
/// The same where there is a XIVE: what it is in its controller's state.
pub(crate) const VP_STATE: u64 = U128 | 0x8d;
pub(crate) const TB_OFFSET: u64 = U64 | 0x9c;
pub(crate) const LPCR_64: u64 = U64 | 0xb5;
pub(crate) const ARCH_COMPAT: u64 = U32 | 0xb7;
pub(crate) const DEC_EXPIRY: u64 = U64 | 0xbe;

/// A register, or several of consecutive ids.
struct Group {
    /// With a number from `first` on behind it where there are several.
    name: &'static str,
    id: u64,
    first: u32,
    count: u32,
}

const fn one(name: &'static str, id: u64) -> Group {
    Group { name, id, first: 0, count: 1 }
}

const fn several(name: &'static str, id: u64, first: u32, count: u32) -> Group {
    Group { name, id, first, count }
}

/// In the order in which they are set. The architecture level and LPCR decide what others may be;
/// the area of a processor comes before what belongs to it (SLB shadow, dispatch trace log), which
/// KVM refuses otherwise; time comes last.
///
/// Left out: the floating-point registers, which are halves of VSR0 to 31; PTCR, which belongs to
/// guests that have guests; SREGS, which is the processor version, and the segments of hash
/// guests, a field of its own; transactional memory; and the state of a native XIVE, which is its
/// controller's.
const GROUPS: &[Group] = &[
    one("ARCH_COMPAT", ARCH_COMPAT),
    one("LPCR", LPCR_64),
    one("DABR", U64 | 0x08),
    one("DSCR", U64 | 0x09),
    one("PURR", U64 | 0x0a),
    one("SPURR", U64 | 0x0b),
    one("DAR", U64 | 0x0c),
    one("DSISR", U32 | 0x0d),
    one("AMR", U64 | 0x0e),
    one("UAMOR", U64 | 0x0f),
    one("MMCR0", U64 | 0x10),
    one("MMCR1", U64 | 0x11),
    one("MMCRA", U64 | 0x12),
    one("MMCR2", U64 | 0x13),
    one("MMCRS", U64 | 0x14),
    one("SIAR", U64 | 0x15),
    one("SDAR", U64 | 0x16),
    one("SIER", U64 | 0x17),
    several("PMC", U32 | 0x18, 1, 8),
    several("SPMC", U32 | 0x9d, 1, 2),
    one("IAMR", U64 | 0x9f),
    one("FSCR", U64 | 0xa3),
    one("PSPB", U32 | 0xa4),
    one("EBBHR", U64 | 0xa5),
    one("EBBRR", U64 | 0xa6),
    one("BESCR", U64 | 0xa7),
    one("TAR", U64 | 0xa8),
    one("DPDES", U64 | 0xa9),
    one("DAWR0", U64 | 0xaa),
    one("DAWRX0", U64 | 0xab),
    one("CIABR", U64 | 0xac),
    one("IC", U64 | 0xad),
    one("VTB", U64 | 0xae),
    one("CSIGR", U64 | 0xaf),
    one("TACR", U64 | 0xb0),
    one("TCSCR", U64 | 0xb1),
    one("PIDR", U64 | 0xb2),
    one("ACOP", U64 | 0xb3),
    one("VRSAVE", U32 | 0xb4),
    one("PPR", U64 | 0xb6),
    one("DABRX", U32 | 0xb8),
    one("WORT", U64 | 0xb9),
    one("TIDR", U64 | 0xbc),
    one("PSSCR", U64 | 0xbd),
    one("ONLINE", U32 | 0xbf),
    one("MMCR3", U64 | 0xc1),
    several("SIER", U64 | 0xc2, 2, 2),
    one("DAWR1", U64 | 0xc4),
    one("DAWRX1", U64 | 0xc5),
    one("DEXCR", U64 | 0xc6),
    one("HASHKEYR", U64 | 0xc7),
    one("HASHPKEYR", U64 | 0xc8),
    several("VSR", U128 | 0x60, 0, 32),
    several("VR", U128 | 0x40, 0, 32),
    one("FPSCR", U64 | 0x80),
    one("VSCR", U32 | 0x81),
    one("VPA", U64 | 0x82),
    one("SLB_SHADOW", U128 | 0x83),
    one("DTL", U128 | 0x84),
    one("ICP", ICP_STATE),
    one("TB_OFFSET", TB_OFFSET),
    one("DEC_EXPIRY", DEC_EXPIRY),
];

/// A register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) name: String,
    pub(crate) id: u64,
}

impl Register {
    /// How many bits it has.
    pub(crate) fn bits(&self) -> u32 {
        8 << (self.id >> 52 & 0xf)
    }
}

/// All registers, in the order in which they are set.
pub(crate) fn all() -> impl Iterator<Item = Register> {
    GROUPS.iter().flat_map(|group| {
        (0..group.count).map(|nth| Register {
            name: match group.count {
                1 => group.name.to_owned(),
                _ => format!("{}{}", group.name, group.first + nth),
            },
            id: group.id + u64::from(nth),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_ids_are_of_one_register_each() {
        let names: HashSet<String> = all().map(|register| register.name).collect();
        let ids: HashSet<u64> = all().map(|register| register.id).collect();
        let count = all().count();
        assert_eq!((names.len(), ids.len()), (count, count));
        assert!(names.contains("VSR31") && names.contains("PMC8") && names.contains("SIER3"));
    }

    #[test]
    fn sizes_are_those_of_the_ids() {
        let bits = |name| all().find(|register| register.name == name).unwrap().bits();
        assert_eq!((bits("VSCR"), bits("LPCR"), bits("DTL")), (32, 64, 128));
    }

    /// "Processor area first": what KVM refuses otherwise.
    #[test]
    fn the_order_is_the_one_that_works() {
        let names: Vec<String> = all().map(|register| register.name).collect();
        let at = |name: &str| names.iter().position(|other| other == name).unwrap();
        let order = [
            "ARCH_COMPAT",
            "LPCR",
            "AMR",
            "VSR0",
            "VR0",
            "FPSCR",
            "VSCR",
            "VPA",
            "SLB_SHADOW",
            "DTL",
            "ICP",
            "TB_OFFSET",
            "DEC_EXPIRY",
        ];
        assert!(order.is_sorted_by_key(|name| at(name)));
    }
}
