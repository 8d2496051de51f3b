//! Where a program, its initial RAM disk, and what else it needs at its start go in RAM.

use vm_memory::GuestAddress;

use super::{Client, ClientKind, LoadError};
use crate::layout::PAGE_BYTES;

/// Where a kernel goes. It moves itself from there to 0.
pub const KERNEL_BASE: GuestAddress = GuestAddress(0x40_0000);

/// What the firmware image and its stack take at the beginning of RAM, in bytes.
pub const FIRMWARE_BYTES: u64 = vof_firmware::RESERVED_BYTES;

/// A kernel's Open Firmware code allocates below this address, or below the end of RAM where that
/// comes first: Linux takes what lies below as memory that can always be reached.
const CLIENT_ALLOCATION_END: u64 = 0x3000_0000;

/// How much of that is left free for it: its copy of the device tree, RTAS, and its tables.
const CLIENT_ALLOCATION_BYTES: u64 = 8 << 20;

/// Addresses are passed in 32-bit cells, so everything has to end here at the latest.
const CELL_END: u64 = 1 << 32;

/// What there has to be room for, besides the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanRequest {
    /// The size of RAM in bytes: one range from real address 0.
    pub ram_bytes: u64,
    /// The size of the initial RAM disk in bytes, if there is one.
    pub initrd_bytes: Option<u64>,
    /// The size of a flat tree that the kernel is entered with (`x-vof` off), in bytes.
    pub flat_tree_bytes: Option<u64>,
    /// The size of RTAS in bytes, where it has to be in place before the start (`x-vof` off).
    pub rtas_bytes: Option<u64>,
}

/// Where everything goes. All of it ends below 4 GiB, and nothing overlaps anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    client: (GuestAddress, u64),
    entry: GuestAddress,
    is_64bit: bool,
    initrd: Option<(GuestAddress, u64)>,
    flat_tree: Option<GuestAddress>,
    rtas: Option<GuestAddress>,
}

impl Placement {
    /// Finds a place for everything.
    ///
    /// A kernel goes to [`KERNEL_BASE`], another program to where it was linked. Behind it, each
    /// at a multiple of 64 KiB, follow the flat tree, RTAS and the initial RAM disk: nothing lies
    /// where the kernel's own copy of itself, from 0 on, could come. An initial RAM disk that
    /// would leave a kernel's Open Firmware code no room goes above 768 MiB.
    ///
    /// # Errors
    /// [`LoadError`] names what there is no room for.
    pub fn plan(client: &Client<'_>, request: &PlanRequest) -> Result<Self, LoadError> {
        let (base, room) = Self::without_initrd(client, request)?;
        let initrd = match request.initrd_bytes {
            Some(bytes) => Some((room.place_initrd(bytes)?, bytes)),
            None => None,
        };
        Ok(Self {
            client: (GuestAddress(base), client.bytes()),
            entry: GuestAddress(base + (client.entry - client.linked().start)),
            is_64bit: client.is_64bit(),
            initrd,
            flat_tree: room.flat_tree,
            rtas: room.rtas,
        })
    }

    /// The size of the largest initial RAM disk that there is room for, in bytes: before it is
    /// known how large it is. That of `request` does not matter.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), of everything else.
    pub fn initrd_room(client: &Client<'_>, request: &PlanRequest) -> Result<u64, LoadError> {
        let (_, room) = Self::without_initrd(client, request)?;
        let (_, low_bytes) = room.low();
        let (_, high_bytes) = room.high();
        Ok(low_bytes.max(high_bytes))
    }

    /// Where the program goes, and what room is left behind it, the flat tree and RTAS.
    fn without_initrd(
        client: &Client<'_>,
        request: &PlanRequest,
    ) -> Result<(u64, Room), LoadError> {
        let ram_end = request.ram_bytes.min(CELL_END);
        let base = match client.kind {
            ClientKind::Kernel { .. } => KERNEL_BASE.0,
            ClientKind::Program => client.linked().start,
        };
        let is_flat = request.flat_tree_bytes.is_some() || request.rtas_bytes.is_some();
        if is_flat && client.kind == ClientKind::Program {
            return Err(LoadError::NeedsClientInterface);
        }
        if base < FIRMWARE_BYTES {
            return Err(LoadError::ClientOverFirmware { start: base, lowest: FIRMWARE_BYTES });
        }
        let end = base.saturating_add(client.bytes());
        if end > ram_end {
            let ram_bytes = request.ram_bytes;
            return Err(LoadError::ClientOutsideRam { start: base, end, ram_bytes });
        }
        let low_end = ram_end.min(CLIENT_ALLOCATION_END);
        let mut room = Room { next: end, end: low_end, ram_end, flat_tree: None, rtas: None };
        room.flat_tree = room.take("flat tree", request.flat_tree_bytes)?;
        room.rtas = room.take("RTAS", request.rtas_bytes)?;
        if is_flat {
            // Nothing allocates before the kernel itself, which can reach all of RAM.
            room.end = ram_end;
        }
        Ok((base, room))
    }

    /// Where the program is: its first byte, and how many bytes it takes, zeros included.
    pub fn client(&self) -> (GuestAddress, u64) {
        self.client
    }

    /// Address of the first instruction.
    pub fn entry(&self) -> GuestAddress {
        self.entry
    }

    /// Whether the program is entered in 64-bit mode (MSR.SF = 1).
    pub fn is_64bit(&self) -> bool {
        self.is_64bit
    }

    /// Where the initial RAM disk is: its first byte, and its size in bytes.
    pub fn initrd(&self) -> Option<(GuestAddress, u64)> {
        self.initrd
    }

    /// Where the flat tree is to be, if room for one was asked for.
    pub fn flat_tree(&self) -> Option<GuestAddress> {
        self.flat_tree
    }

    /// Where RTAS is to be, if room for it was asked for.
    pub fn rtas(&self) -> Option<GuestAddress> {
        self.rtas
    }
}

/// Free memory behind the program.
struct Room {
    next: u64,
    end: u64,
    /// Where RAM ends, as far as it can be used.
    ram_end: u64,
    flat_tree: Option<GuestAddress>,
    rtas: Option<GuestAddress>,
}

impl Room {
    /// A place for `bytes` bytes of `what`.
    fn take(
        &mut self,
        what: &'static str,
        bytes: Option<u64>,
    ) -> Result<Option<GuestAddress>, LoadError> {
        let Some(bytes) = bytes else { return Ok(None) };
        let start = self.next.next_multiple_of(PAGE_BYTES);
        match start.checked_add(bytes) {
            Some(end) if end <= self.end => {
                self.next = end;
                Ok(Some(GuestAddress(start)))
            }
            _ => Err(LoadError::NoRoom { what, bytes, limit: self.end }),
        }
    }

    /// Where an initial RAM disk can be here, and how large it can be there.
    fn low(&self) -> (GuestAddress, u64) {
        let start = self.next.next_multiple_of(PAGE_BYTES);
        let end = self.end.saturating_sub(CLIENT_ALLOCATION_BYTES);
        (GuestAddress(start), end.saturating_sub(start))
    }

    /// The same above what a kernel's Open Firmware code uses.
    fn high(&self) -> (GuestAddress, u64) {
        let start = self.next.max(CLIENT_ALLOCATION_END).next_multiple_of(PAGE_BYTES);
        (GuestAddress(start), self.ram_end.saturating_sub(start))
    }

    /// A place for the initial RAM disk.
    fn place_initrd(&self, bytes: u64) -> Result<GuestAddress, LoadError> {
        if bytes == 0 {
            return Err(LoadError::InitrdEmpty);
        }
        let ((low, low_bytes), (high, high_bytes)) = (self.low(), self.high());
        if bytes <= low_bytes {
            Ok(low)
        } else if bytes <= high_bytes {
            Ok(high)
        } else {
            Err(LoadError::InitrdTooLarge { bytes, low_bytes, high_bytes })
        }
    }
}
