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
        Self::of_bridge(0)
    }

    /// Those of the host bridge of this number: no two have an address in common.
    pub const fn of_bridge(number: u8) -> Self {
        let number = number as u64;
        let mut windows = Self { memory_32: WINDOW_32, memory_64: WINDOW_64, doorbell: DOORBELL };
        windows.memory_32.start.0 += number << 32;
        windows.memory_64.bus += number * WINDOW_64.bytes;
        windows.memory_64.start.0 += number * WINDOW_64.bytes;
        windows
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MAX_MEMORY_BYTES;

    #[test]
    fn windows_share_no_address() {
        let mut ranges: Vec<(u64, u64)> = (0..=u8::MAX)
            .map(PciWindows::of_bridge)
            .flat_map(|windows| [windows.memory_32, windows.memory_64])
            .map(|window| (window.start.0, window.start.0 + window.bytes))
            .collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        assert!(ranges[0].0 >= MAX_MEMORY_BYTES);
        // Up to here accesses leave the guest on every back end.
        assert!(ranges.iter().all(|range| range.1 <= 1 << 52));
        let doorbell = PciWindows::new().doorbell;
        assert!(doorbell >= MAX_MEMORY_BYTES);
        assert!(ranges.iter().all(|range| doorbell < range.0 || range.1 <= doorbell));
    }

    #[test]
    fn addresses_of_the_bus_are_real_ones() {
        let windows = PciWindows::new();
        assert_eq!(windows.real(0x8000_1000, 0x1000), Some(GuestAddress(0x2000_8000_1000)));
        assert_eq!(windows.real(0x2100_0000_0000, 1), Some(GuestAddress(0x2100_0000_0000)));
        assert_eq!(windows.real(0xffff_f000, 0x1001), None);
        assert_eq!(windows.real(0x7fff_ffff, 2), None);
        assert_eq!(windows.real(u64::MAX, u64::MAX), None);
    }
}
