//! Messages of a function (MSI and MSI-X), as its capabilities have them (PCI Local Bus
//! Specification 3.0, §6.8).

use super::bars::{Bar, Space};
use super::config_space::{COMMAND, COMMAND_MEMORY, ConfigSpace, MSI, MSI_X};
use super::{PciBus, PciWindows};

/// In either capability: what is on and how many there are (§6.8.1.3, §6.8.2.3).
const CONTROL: u16 = 2;

const MSI_ENABLE: u16 = 1;
const MSI_CAPABLE_SHIFT: u32 = 1;
const MSI_ENABLED_SHIFT: u32 = 4;
const MSI_COUNT: u16 = 7;
/// The most messages of the capability, as the power of two that its fields have.
const MSI_COUNT_MAX: u16 = 5;
const MSI_HAS_64_BITS: u16 = 1 << 7;
const MSI_ADDRESS: u16 = 4;

const MSI_X_ENABLE: u16 = 1 << 15;
const MSI_X_SIZE: u16 = 0x7ff;
const MSI_X_TABLE: u16 = 4;
const MSI_X_BAR: u32 = 7;
/// An entry of the table: address, data and control of one message (§6.8.2.6).
const ENTRY_BYTES: u64 = 16;

/// Whether messages are written by the one capability or by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub(super) enum MessageKind {
    Msi,
    MsiX,
}

/// The MSI capability of a function, which can write to the doorbell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Msi {
    at: u16,
    has_64_bits: bool,
    /// How many messages it can write: a power of two, up to 32.
    pub(super) vectors: u32,
}

impl Msi {
    /// That of a function; `None` also where its messages cannot have the address of the doorbell.
    pub(super) fn find(space: &ConfigSpace<'_>, doorbell: u64) -> Option<Self> {
        let at = space.capability(MSI)?;
        let control = space.u16(at + CONTROL);
        let has_64_bits = control & MSI_HAS_64_BITS != 0;
        let count = (control >> MSI_CAPABLE_SHIFT & MSI_COUNT).min(MSI_COUNT_MAX);
        let can_reach = has_64_bits || u32::try_from(doorbell).is_ok();
        can_reach.then_some(Self { at, has_64_bits, vectors: 1 << count })
    }

    /// Has it write `count` messages, a power of two, whose data begin with `first`. Whether it
    /// does is for the guest to switch on.
    pub(super) fn program(&self, space: &ConfigSpace<'_>, doorbell: u64, first: u16, count: u32) {
        space.change_u16(
            self.at + CONTROL,
            MSI_COUNT << MSI_ENABLED_SHIFT,
            (count.trailing_zeros() as u16) << MSI_ENABLED_SHIFT,
        );
        self.set_message(space, doorbell, first);
    }

    /// Has it write none, when it is off.
    pub(super) fn clear(&self, space: &ConfigSpace<'_>) {
        space.change_u16(self.at + CONTROL, MSI_COUNT << MSI_ENABLED_SHIFT, 0);
        self.set_message(space, 0, 0);
    }

    pub(super) fn disable(&self, space: &ConfigSpace<'_>) {
        space.change_u16(self.at + CONTROL, MSI_ENABLE, 0);
    }

    fn set_message(&self, space: &ConfigSpace<'_>, address: u64, data: u16) {
        let address_at = self.at + MSI_ADDRESS;
        space.set_u32(address_at, address as u32);
        if self.has_64_bits {
            space.set_u32(address_at + 4, (address >> 32) as u32);
            space.set_u16(address_at + 8, data);
        } else {
            space.set_u16(address_at + 4, data);
        }
    }
}

/// The MSI-X capability of a function, whose table is where the function has registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MsiX {
    at: u16,
    /// What the table is behind, and how far.
    bar: Bar,
    offset: u64,
    /// How many messages the table has, up to 2,048.
    pub(super) entries: u32,
}

/// The table of a function is nowhere on the bus: its registers have no address in a window, or do
/// not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoTable;

impl MsiX {
    /// That of a function with these base address registers; `None` also where none of them leads
    /// to the whole table.
    pub(super) fn find(space: &ConfigSpace<'_>, bars: &[Bar]) -> Option<Self> {
        let at = space.capability(MSI_X)?;
        let entries = u32::from(space.u16(at + CONTROL) & MSI_X_SIZE) + 1;
        let table = space.u32(at + MSI_X_TABLE);
        let offset = u64::from(table & !MSI_X_BAR);
        let has_table = |bar: &&Bar| {
            bar.is_number((table & MSI_X_BAR) as u8)
                && bar.space != Space::Io
                && offset + u64::from(entries) * ENTRY_BYTES <= bar.bytes
        };
        let bar = *bars.iter().find(has_table)?;
        Some(Self { at, bar, offset, entries })
    }

    /// Has the first `count` entries of the table write `first` and the numbers that follow, and
    /// those from there to `before` write nothing. What is masked stays so.
    pub(super) fn program(
        &self,
        bus: &dyn PciBus,
        space: &ConfigSpace<'_>,
        windows: &PciWindows,
        first: u32,
        count: u32,
        before: u32,
    ) -> Result<(), NoTable> {
        let table = self.table(space, windows)?;
        for entry in 0..count.max(before).min(self.entries) {
            let (address, data) =
                if entry < count { (windows.doorbell, first + entry) } else { (0, 0) };
            let at = table + u64::from(entry) * ENTRY_BYTES;
            let words = [address as u32, (address >> 32) as u32, data];
            for (word, at) in words.into_iter().zip((at..).step_by(4)) {
                bus.write_memory(at, &word.to_le_bytes());
            }
        }
        Ok(())
    }

    pub(super) fn disable(&self, space: &ConfigSpace<'_>) {
        space.change_u16(self.at + CONTROL, MSI_X_ENABLE, 0);
    }

    /// Where the table is on the bus by now.
    fn table(&self, space: &ConfigSpace<'_>, windows: &PciWindows) -> Result<u64, NoTable> {
        let address = self.bar.address(space);
        let answers = space.u16(COMMAND) & COMMAND_MEMORY != 0;
        let is_seen = windows.real(address, self.bar.bytes).is_some();
        if answers && is_seen { Ok(address + self.offset) } else { Err(NoTable) }
    }
}
