//! Where the bus's addresses are among the real addresses of the machine.

use vm_memory::GuestAddress;

/// The window of registers whose addresses have 32 bits: above all RAM that there can be, and where
/// every back end's processors may access what is no memory.
const WINDOW_32: PciWindow =
    PciWindow::new(0x8000_0000, GuestAddress(0x2000_8000_0000), 0x8000_0000);

/// The window of all other registers: the bus has them where the guest has them.
const WINDOW_64: PciWindow =
    PciWindow::new(0x2100_0000_0000, GuestAddress(0x2100_0000_0000), 1 << 40);

/// Where functions write their messages.
const DOORBELL: u64 = 0x2000_0000_0000;

/// A range of addresses of a bus, and where the guest finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PciWindow {
    /// Its first address on the bus.
    pub bus: u64,
    /// The real address of the same.
    pub start: GuestAddress,
    /// Its size in bytes, a power of two.
    pub bytes: u64,
}

impl PciWindow {
    /// So many bytes of the bus from `bus` on, which the guest finds at `start`.
    pub const fn new(bus: u64, start: GuestAddress, bytes: u64) -> Self {
        Self { bus, start, bytes }
    }

    /// Whether these bytes of the bus are in it.
    pub const fn has(&self, at: u64, bytes: u64) -> bool {
        at >= self.bus && at - self.bus < self.bytes && bytes <= self.bytes - (at - self.bus)
    }

    /// The real address of an address of the bus that is in it.
    pub const fn real(&self, at: u64) -> GuestAddress {
        GuestAddress(self.start.0 + (at - self.bus))
    }
}

/// The windows of a host bridge: one for registers whose addresses have 32 bits, one for the
/// others. There is no I/O space: modern devices have nothing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PciWindows {
    /// Of addresses of 32 bits.
    pub memory_32: PciWindow,
    /// Of addresses of 64 bits, prefetchable.
    pub memory_64: PciWindow,
    /// Where a function writes its messages (MSI): an address that is in no window and never RAM.
    /// What it writes there is the number of an interrupt source.
    pub doorbell: u64,
}

impl PciWindows {
    /// Those of the first host bridge.
    pub const fn new() -> Self {
        Self { memory_32: WINDOW_32, memory_64: WINDOW_64, doorbell: DOORBELL }
    }

    /// The real address of `bytes` of the bus at `at`; `None` where a window has not all of them.
    pub const fn real(&self, at: u64, bytes: u64) -> Option<GuestAddress> {
        if self.memory_32.has(at, bytes) {
            return Some(self.memory_32.real(at));
        }
        if self.memory_64.has(at, bytes) { Some(self.memory_64.real(at)) } else { None }
    }
}

impl Default for PciWindows {
    fn default() -> Self {
        Self::new()
    }
}
