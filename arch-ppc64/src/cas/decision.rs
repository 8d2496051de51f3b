//! What is agreed on, and what the machine's CPUs have to do with it.
//!
//! Nothing here knows how an agreement comes about: it is for those who hear of one.

use std::fmt;

use crate::hpt::Order;

/// How a guest translates addresses (option vector 5, byte 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mmu {
    /// By a hashed page table.
    Hash,
    /// By radix trees.
    Radix,
}

impl fmt::Display for Mmu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "hash",
            Self::Radix => "radix",
        })
    }
}

/// How a guest takes external interrupts (option vector 5, byte 23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptMode {
    /// XICS: presentation by hypercall, sources by RTAS ("legacy mode").
    Xics,
    /// XIVE: the guest works the controller itself ("exploitation mode").
    Xive,
}

impl fmt::Display for InterruptMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xics => "XICS",
            Self::Xive => "XIVE",
        })
    }
}

/// What a guest can do of two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support<T> {
    /// Only one of them.
    Only(T),
    /// Both.
    Either,
}

impl<T: PartialEq> Support<T> {
    /// Whether `way` is one of them.
    pub fn includes(&self, way: &T) -> bool {
        match self {
            Self::Only(only) => only == way,
            Self::Either => true,
        }
    }

    /// Whether there is a way that is also one of `other`.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match self {
            Self::Only(only) => other.includes(only),
            Self::Either => true,
        }
    }
}

impl Support<InterruptMode> {
    /// How a machine of these takes interrupts before anything is agreed on: as before there was
    /// XIVE, where it can.
    pub fn first(&self) -> InterruptMode {
        match self {
            Self::Only(InterruptMode::Xive) => InterruptMode::Xive,
            Self::Only(InterruptMode::Xics) | Self::Either => InterruptMode::Xics,
        }
    }
}

impl Support<Mmu> {
    /// How a machine of these translates addresses before anything is agreed on: by radix trees,
    /// where it can. A client that wants neither is in real mode all the same.
    pub fn first(&self) -> Mmu {
        match self {
            Self::Only(Mmu::Hash) => Mmu::Hash,
            Self::Only(Mmu::Radix) | Self::Either => Mmu::Radix,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Support<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(way) => write!(f, "{way} only"),
            Self::Either => f.write_str("either"),
        }
    }
}

/// What guest and machine agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// `cpu-version` of each CPU: its PVR where the guest knows that, else the highest
    /// architecture level that both know (LoPAPR §B.6.2.1).
    pub cpu_version: u32,
    /// The architecture level that the processors are held to from now on, as
    /// KVM_REG_PPC_ARCH_COMPAT takes it (there, 0 is none). `None`: they are what they are.
    pub compat: Option<u32>,
    /// That level is below the machine's own, which its CPUs start at
    /// ([`Cpu::compat`](crate::cpu::Cpu::compat)).
    pub is_lowered: bool,
    /// How addresses are translated.
    pub mmu: Mmu,
    /// How large the hashed page table is, where they are translated by one.
    pub hpt_order: Option<Order>,
    /// How interrupts are taken.
    pub interrupts: InterruptMode,
    /// The guest knows associativity in form 1.
    pub form1_affinity: bool,
    /// The guest knows associativity in form 2, which has distances between NUMA nodes in tables. It
    /// goes before form 1.
    pub form2_affinity: bool,
    /// The guest hears of hotplug events by an interrupt of their own (LoPAPR §7.3.4). Where this is
    /// not agreed on, events wait for a guest that may never look.
    pub hotplug_events: bool,
    /// The guest makes use of `ibm,dynamic-reconfiguration-memory`.
    pub dynamic_memory: bool,
    /// The memory that can be plugged is listed in sets of blocks, not block by block.
    pub dynamic_memory_v2: bool,
}

impl Decision {
    /// Whether the machine's CPUs are that anyway, from its first start on: its own level, radix
    /// and XICS.
    pub fn is_as_started(&self) -> bool {
        !self.is_lowered && self.mmu == Mmu::Radix && self.interrupts == InterruptMode::Xics
    }
}

/// What a VMM makes of a [`Decision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Negotiated {
    /// It holds: every CPU is so before it next runs guest code.
    Live,
    /// It holds from the machine's next start on, which is to come at once (LoPAPR §B.6.2.3, "the
    /// platform reboots the partition").
    NeedsReset,
    /// The host cannot do it. Nothing has changed, and the guest is told that there is no
    /// agreement.
    Refused,
}
