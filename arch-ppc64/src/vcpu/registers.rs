//! What a virtual CPU finds in its registers when it starts.

use vm_memory::GuestAddress;

/// The registers that a virtual CPU starts with; all others are zero.
///
/// It starts in real mode, big-endian, with machine checks enabled (MSR.ME): so PAPR guests are
/// entered at boot (LoPAPR §B.2, by way of IEEE 1275's PowerPC binding §8), and so does RTAS
/// `start-cpu` start the others (LoPAPR §7.3.8.2).
///
/// As serde data, it is a map of all of these; the address is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
#[non_exhaustive]
pub struct EntryRegisters {
    /// Address of the first instruction.
    #[cfg_attr(feature = "serde", serde(with = "Address"))]
    pub pc: GuestAddress,
    /// 64-bit mode (MSR.SF = 1), else 32-bit mode.
    pub is_64bit: bool,
    /// Stack pointer.
    pub r1: u64,
    /// First argument.
    pub r3: u64,
    /// Second argument.
    pub r4: u64,
    /// Third argument.
    pub r5: u64,
}

impl EntryRegisters {
    /// An entry at `pc` in 64-bit mode, every other register zero.
    pub const fn at(pc: GuestAddress) -> Self {
        Self { pc, is_64bit: true, r1: 0, r3: 0, r4: 0, r5: 0 }
    }

    /// The same in 64-bit mode, or else in 32-bit mode.
    #[must_use]
    pub const fn in_64bit(self, is_64bit: bool) -> Self {
        Self { is_64bit, ..self }
    }

    /// The same with these arguments in r3 and up.
    #[must_use]
    pub const fn with_arguments(self, [r3, r4, r5]: [u64; 3]) -> Self {
        Self { r3, r4, r5, ..self }
    }
}

/// A [`GuestAddress`] as serde data.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(remote = "GuestAddress")]
struct Address(u64);
