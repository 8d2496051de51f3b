//! Where a program, its initial RAM disk, and what else it needs at its start go in RAM.

use vm_memory::GuestAddress;

use super::{Client, ClientKind, LoadError};
use crate::layout::PAGE_BYTES;
use crate::topology::MemoryMap;

/// Where a kernel goes. It moves itself from there to 0.
pub const KERNEL_BASE: GuestAddress = GuestAddress(0x40_0000);

/// What the firmware image and its stack take at the beginning of RAM, in bytes.
pub const FIRMWARE_BYTES: u64 = vof_firmware::RESERVED_BYTES;

/// A kernel's Open Firmware code allocates below this address, or below the end of the real mode
/// area where that comes first: Linux takes what lies below as memory that can always be reached.
const CLIENT_ALLOCATION_END: u64 = 0x3000_0000;

/// How much of that is left free for it: its copy of the device tree, RTAS, and its tables.
const CLIENT_ALLOCATION_BYTES: u64 = 8 << 20;

/// Addresses are passed in 32-bit cells, so everything has to end here at the latest.
const CELL_END: GuestAddress = GuestAddress(1 << 32);

/// What there has to be room for, besides the program, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanRequest<'a> {
    /// Where RAM is.
    pub memory: &'a MemoryMap,
    /// The size of the initial RAM disk in bytes, if there is one.
    pub initrd_bytes: Option<u64>,
    /// The size of a flat tree that the kernel is entered with (`x-vof` off), in bytes.
    pub flat_tree_bytes: Option<u64>,
    /// The size of RTAS in bytes, where it has to be in place before the start (`x-vof` off).
    pub rtas_bytes: Option<u64>,
}

impl<'a> PlanRequest<'a> {
    /// Room in this memory, for the program alone.
    pub const fn new(memory: &'a MemoryMap) -> Self {
        Self { memory, initrd_bytes: None, flat_tree_bytes: None, rtas_bytes: None }
    }

    /// And for an initial RAM disk of so many bytes, if there is one.
    #[must_use]
    pub const fn with_initrd(self, bytes: Option<u64>) -> Self {
        Self { initrd_bytes: bytes, ..self }
    }

    /// And for a flat tree and RTAS of so many bytes.
    #[must_use]
    pub const fn with_flat_tree(self, tree_bytes: u64, rtas_bytes: u64) -> Self {
        Self { flat_tree_bytes: Some(tree_bytes), rtas_bytes: Some(rtas_bytes), ..self }
    }
}

/// Where everything goes. All of it is RAM below 4 GiB, and nothing overlaps anything else.
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
    /// would leave a kernel's Open Firmware code no room goes further up, where that code
    /// allocates nothing: above 768 MiB, or above the real mode area where that ends before. A
    /// kernel, the flat tree and RTAS are in the real mode area; nothing has a hole in it.
    ///
    /// # Errors
    /// [`LoadError`] names what there is no room for.
    pub fn plan(client: &Client<'_>, request: &PlanRequest<'_>) -> Result<Self, LoadError> {
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
    pub fn initrd_room(client: &Client<'_>, request: &PlanRequest<'_>) -> Result<u64, LoadError> {
        let (_, room) = Self::without_initrd(client, request)?;
        Ok(room.places().map(|(_, bytes)| bytes).max().unwrap_or(0))
    }

    /// Where the program goes, and what room is left behind it, the flat tree and RTAS.
    fn without_initrd<'a>(
        client: &Client<'_>,
        request: &PlanRequest<'a>,
    ) -> Result<(u64, Room<'a>), LoadError> {
        let base = match client.kind {
            ClientKind::Kernel { .. } => KERNEL_BASE.0,
            ClientKind::Program | ClientKind::Program64 { .. } => client.linked().start,
        };
        let is_flat = request.flat_tree_bytes.is_some() || request.rtas_bytes.is_some();
        if is_flat && client.kind == ClientKind::Program {
            return Err(LoadError::NeedsClientInterface);
        }
        if base < FIRMWARE_BYTES {
            return Err(LoadError::ClientOverFirmware { start: base, lowest: FIRMWARE_BYTES });
        }
        let end = base.saturating_add(client.bytes());
        let rma_end = request.memory.rma().end().min(CELL_END);
        let ram_end = match client.kind {
            // It moves itself to 0.
            ClientKind::Kernel { .. } => rma_end.0,
            ClientKind::Program | ClientKind::Program64 { .. } => {
                let start = GuestAddress(base);
                CELL_END.0.min(base.saturating_add(request.memory.ram_from(start)))
            }
        };
        if end > ram_end {
            return Err(LoadError::ClientOutsideRam { start: base, end, ram_end });
        }
        let mut room = Room {
            memory: request.memory,
            next: end,
            rma_end: rma_end.0,
            is_flat,
            flat_tree: None,
            rtas: None,
        };
        room.flat_tree = room.take("flat tree", request.flat_tree_bytes)?;
        room.rtas = room.take("RTAS", request.rtas_bytes)?;
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
struct Room<'a> {
    memory: &'a MemoryMap,
    /// Behind what has its place.
    next: u64,
    /// Where the real mode area ends.
    rma_end: u64,
    /// Whether nothing allocates before the kernel itself, which can reach all of RAM.
    is_flat: bool,
    flat_tree: Option<GuestAddress>,
    rtas: Option<GuestAddress>,
}

impl Room<'_> {
    /// Where a kernel's Open Firmware code stops to allocate.
    fn allocation_end(&self) -> u64 {
        self.rma_end.min(CLIENT_ALLOCATION_END)
    }

    /// A place for `bytes` bytes of `what`.
    fn take(
        &mut self,
        what: &'static str,
        bytes: Option<u64>,
    ) -> Result<Option<GuestAddress>, LoadError> {
        let Some(bytes) = bytes else { return Ok(None) };
        let start = self.next.next_multiple_of(PAGE_BYTES);
        let limit = self.allocation_end();
        match start.checked_add(bytes) {
            Some(end) if end <= limit => {
                self.next = end;
                Ok(Some(GuestAddress(start)))
            }
            _ => Err(LoadError::NoRoom { what, bytes, limit }),
        }
    }

    /// Where an initial RAM disk can be, and how large it can be there: the lowest places first.
    fn places(&self) -> impl Iterator<Item = (GuestAddress, u64)> + '_ {
        let start = GuestAddress(self.next.next_multiple_of(PAGE_BYTES));
        let low_end = match self.is_flat {
            true => CELL_END.0.min(start.0 + self.memory.ram_from(start)),
            false => self.allocation_end(),
        };
        let low_end = low_end.saturating_sub(CLIENT_ALLOCATION_BYTES);
        let low = (start, low_end.saturating_sub(start.0));
        let floor = start.0.max(self.allocation_end());
        let high = self.memory.spans_below(CELL_END).filter_map(move |(span, bytes)| {
            let start = floor.max(span.0).next_multiple_of(PAGE_BYTES);
            Some((GuestAddress(start), (span.0 + bytes).checked_sub(start)?))
        });
        std::iter::once(low).chain(high)
    }

    /// A place for the initial RAM disk.
    fn place_initrd(&self, bytes: u64) -> Result<GuestAddress, LoadError> {
        if bytes == 0 {
            return Err(LoadError::InitrdEmpty);
        }
        if let Some((at, _)) = self.places().find(|(_, room)| bytes <= *room) {
            return Ok(at);
        }
        let mut places = self.places().map(|(_, room)| room);
        let low_bytes = places.next().unwrap_or(0);
        let high_bytes = places.max().unwrap_or(0);
        Err(LoadError::InitrdTooLarge { bytes, low_bytes, high_bytes })
    }
}
