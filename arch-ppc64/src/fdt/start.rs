//! What changes from one start of a machine to the next.

use vm_memory::GuestAddress;

use super::error::FdtError;
use crate::cas::Decision;
use crate::loader::Placement;

/// One start of a machine. Addresses and sizes are below 4 GiB, as
/// [`Placement::plan`](crate::loader::Placement::plan) makes them: a client works with 32-bit
/// cells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Start {
    /// Where the client program is entered.
    pub entry: GuestAddress,
    /// Whether it is entered in 64-bit mode (MSR.SF = 1), else in 32-bit mode.
    pub entry_is_64bit: bool,
    /// The initial RAM disk: where it is and its size in bytes.
    pub initrd: Option<(GuestAddress, u64)>,
    /// How often the machine has been started, this start included: 1 for the first.
    pub boot_count: u32,
    /// Randomness for the guest, fresh at each start.
    pub rng_seed: [u8; 32],
    /// `Some` for a guest that is entered with the flat tree (`x-vof` off): where RTAS is in
    /// place. The tree is then as negotiation with the default choices leaves it.
    pub flat_rtas: Option<GuestAddress>,
    /// What the guest and its platform agreed on at the start before, where that needed this one
    /// ([`Negotiated::NeedsReset`](crate::cas::Negotiated::NeedsReset)): the tree says it from the
    /// beginning.
    pub decision: Option<Decision>,
    /// Where the client was loaded from (`bootpath` of `/chosen`): a device path with arguments.
    /// `None` for one that came from no device of the machine.
    pub bootpath: Option<String>,
    /// What the DHCP server said of a client that was loaded from a network, as a BOOTP message
    /// (`bootp-response` of `/chosen`).
    pub bootp_response: Option<Vec<u8>>,
    /// The arguments of this start (`bootargs` of `/chosen`), in place of the machine's
    /// [command line](crate::config::Boot::cmdline).
    pub bootargs: Option<String>,
}

impl Start {
    /// The first start of a machine whose client is entered here, in 64-bit mode through the
    /// client interface, with no initial RAM disk, and with this randomness.
    pub const fn new(entry: GuestAddress, rng_seed: [u8; 32]) -> Self {
        Self {
            entry,
            entry_is_64bit: true,
            initrd: None,
            boot_count: 1,
            rng_seed,
            flat_rtas: None,
            decision: None,
            bootpath: None,
            bootp_response: None,
            bootargs: None,
        }
    }

    /// A start of a client that was placed so, with this randomness.
    pub fn of_placement(placement: &Placement, rng_seed: [u8; 32]) -> Self {
        Self {
            entry_is_64bit: placement.is_64bit(),
            initrd: placement.initrd(),
            flat_rtas: placement.rtas(),
            ..Self::new(placement.entry(), rng_seed)
        }
    }

    /// The same, entered in 64-bit mode or else in 32-bit mode.
    #[must_use]
    pub fn in_64bit(self, entry_is_64bit: bool) -> Self {
        Self { entry_is_64bit, ..self }
    }

    /// The same with an initial RAM disk: where it is and its size in bytes.
    #[must_use]
    pub fn with_initrd(self, initrd: Option<(GuestAddress, u64)>) -> Self {
        Self { initrd, ..self }
    }

    /// The same as the start of this number, 1 for the first.
    #[must_use]
    pub fn number(self, boot_count: u32) -> Self {
        Self { boot_count, ..self }
    }

    /// The same for a guest that is entered with the flat tree and finds RTAS here, or else
    /// through the client interface.
    #[must_use]
    pub fn with_flat_rtas(self, flat_rtas: Option<GuestAddress>) -> Self {
        Self { flat_rtas, ..self }
    }

    /// The same with what was agreed on at the start before, for this one.
    #[must_use]
    pub fn with_decision(self, decision: Option<Decision>) -> Self {
        Self { decision, ..self }
    }

    /// The same with a client that was loaded from here: a device path with arguments.
    #[must_use]
    pub fn with_bootpath(self, bootpath: Option<String>) -> Self {
        Self { bootpath, ..self }
    }

    /// The same with this as what the DHCP server said.
    #[must_use]
    pub fn with_bootp_response(self, bootp_response: Option<Vec<u8>>) -> Self {
        Self { bootp_response, ..self }
    }

    /// The same with these arguments in place of the machine's, if there are any.
    #[must_use]
    pub fn with_bootargs(self, bootargs: Option<String>) -> Self {
        Self { bootargs, ..self }
    }
}

/// An address or a size as a client works with it.
pub(super) fn to_cell(value: u64) -> Result<u32, FdtError> {
    u32::try_from(value).map_err(|_| FdtError::Address { value })
}
