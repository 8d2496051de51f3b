//! A host bridge in front of a bus of bytes, as guests see it.

mod config;
mod dma;
mod guest;
mod messages;
mod mock;
#[cfg(feature = "serde")]
mod saved;
mod tree;

use mock::address;
pub(crate) use mock::{MockBus, MockFunction};

/// Where functions have their registers in the tests.
const BAR_32: u64 = 0x8010_0000;
const BAR_64: u64 = 0x2100_0000_4000;

/// A block device as virtio has it: MSI-X with four messages, registers of 32 and of 64 bits, a pin.
pub(crate) fn block() -> MockFunction {
    MockFunction::new(0x1042, 0x01_0000)
        .with_bar(1, 0x00, 0x1000)
        .with_bar(4, 0x0c, 0x4000)
        .with_pin(1)
        .with_msi_x(4, 1, 0x800)
}

/// A network card with MSI: eight messages.
pub(crate) fn network() -> MockFunction {
    MockFunction::new(0x1041, 0x02_0000).with_bar(0, 0x04, 0x1000).with_pin(2).with_msi(3, true)
}

/// A device of two functions, MSI and MSI-X in the second.
fn bus() -> MockBus {
    MockBus::default()
        .with(1, 0, block())
        .with(
            1,
            2,
            MockFunction::new(0x1048, 0x01_0000)
                .with_bar(0, 0, 0x2000)
                .with_msi(0, true)
                .with_msi_x(3, 0, 0x1000),
        )
        .with(2, 0, network())
        .with(5, 0, MockFunction::new(0x1044, 0x00_ff00))
}
