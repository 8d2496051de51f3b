//! The code of RTAS in the guest (LoPAPR §7.2.5).

use vm_memory::GuestAddress;

use crate::ram::{GuestRam, MemoryFault};

/// How much memory RTAS asks for, in bytes: the value of `rtas-size`. The guest allocates it; the
/// code at its start is all that is ever put there.
pub const SIZE_BYTES: u32 = 4096;

const _: () = assert!(vof_firmware::RTAS_SHIM.len() <= SIZE_BYTES as usize);

/// Puts the code of RTAS at `base` and returns its entry point (LoPAPR §7.2.5,
/// `instantiate-rtas`).
///
/// # Errors
/// [`InstantiateError`] when RTAS cannot be there; nothing has been written then.
pub fn instantiate(
    ram: &dyn GuestRam,
    base: GuestAddress,
) -> Result<GuestAddress, InstantiateError> {
    let end = base.0.checked_add(SIZE_BYTES.into());
    if base.0 % 4 != 0 || end.is_none_or(|end| end > 1 << 32) {
        return Err(InstantiateError::Base { base });
    }
    // All of it has to be RAM, not only the part that is used.
    ram.check_ram(base, SIZE_BYTES.into())?;
    ram.write(base, vof_firmware::RTAS_SHIM.as_ref())?;
    Ok(base)
}

/// Why RTAS cannot be where it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstantiateError {
    /// The address is none that 32-bit code can run at.
    #[error(
        "RTAS cannot be at {:#x}: it needs {SIZE_BYTES} bytes below 4 GiB, at a multiple of 4",
        .base.0
    )]
    Base {
        /// Where it was to be.
        base: GuestAddress,
    },
    /// There is no RAM.
    #[error("RTAS cannot be where there is no RAM")]
    Memory(#[from] MemoryFault),
}
