//! What a host bridge knows of a function behind it.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bars::Bar;
use super::config_space::{
    COMMAND, COMMAND_INTERRUPT_DISABLE, ConfigSpace, HEADER_TYPE, INTERRUPT_PIN, VENDOR_ID,
};
use super::error::HostBridgeError;
use super::messages::{MessageKind, Msi, MsiX, NoTable};
use super::{PciAddress, PciBus, PciWindows};
use crate::platform::InterruptError;

/// [`VENDOR_ID`] where there is no function.
const NO_VENDOR: u16 = 0xffff;

/// [`HEADER_TYPE`]: the layout of the header, and whether the device has more functions.
const HEADER_LAYOUT: u8 = 0x7f;

/// Past the largest source that a message of MSI can name: its data have 16 bits.
const MSI_DATA_END: u32 = 1 << 16;

/// Gives the function of this id so many sources for its messages.
pub(super) type ClaimMessages<'a> = dyn FnMut(&str, u32) -> Result<Range<u32>, InterruptError> + 'a;

/// A function, with its messages.
pub(super) struct Function {
    pub(super) address: PciAddress,
    pub(super) bars: Vec<Bar>,
    /// 1 for INTA to 4 for INTD, 0 for none.
    pub(super) pin: u8,
    pub(super) msi: Option<Msi>,
    pub(super) msi_x: Option<MsiX>,
    /// The interrupt sources that its messages may be given.
    sources: Range<u32>,
    grant: Mutex<Option<Grant>>,
}

/// The messages that a function was given: the first so many of its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub(super) struct Grant {
    pub(super) kind: MessageKind,
    pub(super) count: u32,
}

impl Function {
    /// Looks at a function, and claims sources for its messages.
    pub(super) fn new(
        messages: &mut ClaimMessages<'_>,
        bridge: &str,
        address: PciAddress,
        bus: &dyn PciBus,
        windows: &PciWindows,
    ) -> Result<Self, HostBridgeError> {
        let space = ConfigSpace::new(bus, address);
        if space.u16(VENDOR_ID) == NO_VENDOR {
            return Err(HostBridgeError::Absent { function: address });
        }
        if address.bus() != 0 || space.u8(HEADER_TYPE) & HEADER_LAYOUT != 0 {
            return Err(HostBridgeError::Bridge { function: address });
        }
        let bars = Bar::all(&space);
        let pin = match space.u8(INTERRUPT_PIN) {
            pin @ 1..=4 => pin,
            _ => 0,
        };
        let mut msi = Msi::find(&space, windows.doorbell);
        let msi_x = MsiX::find(&space, &bars);
        let most = msi.map_or(0, |msi| msi.vectors).max(msi_x.map_or(0, |msi_x| msi_x.entries));
        let sources = match most {
            0 => 0..0,
            _ => {
                let id = format!("{bridge}/{:02x}.{}", address.device(), address.function());
                messages(&id, most.next_power_of_two())?
            }
        };
        if sources.end > MSI_DATA_END {
            msi = None;
        }
        Ok(Self { address, bars, pin, msi, msi_x, sources, grant: Mutex::new(None) })
    }

    /// The most messages that it can be given.
    pub(super) fn most_messages(&self) -> u32 {
        self.sources.len() as u32
    }

    /// The messages that it has.
    pub(super) fn grant(&self) -> Option<Grant> {
        *self.locked()
    }

    /// The source of its message of this number, if it has that one.
    pub(super) fn message(&self, number: u32) -> Option<u32> {
        let grant = self.grant()?;
        (number < grant.count).then(|| self.sources.start + number)
    }

    /// Whether it has messages of this kind.
    pub(super) fn has(&self, kind: MessageKind) -> bool {
        match kind {
            MessageKind::Msi => self.msi.is_some(),
            MessageKind::MsiX => self.msi_x.is_some(),
        }
    }

    /// Whether it may be given these messages.
    #[cfg(feature = "serde")]
    pub(super) fn can_have(&self, grant: &Grant) -> bool {
        let most = match grant.kind {
            MessageKind::Msi => self.msi.map(|msi| msi.vectors),
            MessageKind::MsiX => self.msi_x.map(|msi_x| msi_x.entries),
        };
        let is_count = grant.kind == MessageKind::MsiX || grant.count.is_power_of_two();
        is_count && most.is_some_and(|most| (1..=most).contains(&grant.count))
    }

    /// Gives it up to `wanted` messages of a kind that it [has](Self::has), and at least one.
    ///
    /// Its pin is silent from here on (LoPAPR R1-7.3.10.5.1-4), and its messages of the other kind
    /// are off. Those of this kind are for the guest to switch on.
    ///
    /// # Errors
    /// [`NoTable`] where it cannot be told of them; nothing has changed then.
    pub(super) fn give(
        &self,
        bus: &dyn PciBus,
        windows: &PciWindows,
        kind: MessageKind,
        wanted: u32,
    ) -> Result<Grant, NoTable> {
        let space = ConfigSpace::new(bus, self.address);
        let mut grant = self.locked();
        let before = *grant;
        let given = match kind {
            MessageKind::Msi => {
                let msi = self.msi.ok_or(NoTable)?;
                // The capability knows powers of two.
                let count = 1 << wanted.clamp(1, msi.vectors).ilog2();
                self.silence(bus, &space, windows, MessageKind::MsiX, before);
                msi.program(&space, windows.doorbell, self.sources.start as u16, count);
                Grant { kind, count }
            }
            MessageKind::MsiX => {
                let msi_x = self.msi_x.ok_or(NoTable)?;
                let count = wanted.clamp(1, msi_x.entries);
                let before_count = before.map_or(0, |before| before.count);
                let first = self.sources.start;
                msi_x.program(bus, &space, windows, first, count, before_count)?;
                self.silence(bus, &space, windows, MessageKind::Msi, before);
                Grant { kind, count }
            }
        };
        space.change_u16(COMMAND, 0, COMMAND_INTERRUPT_DISABLE);
        *grant = Some(given);
        Ok(given)
    }

    /// Takes its messages away, and gives it its pin again (LoPAPR R1-7.3.10.5.1-5).
    pub(super) fn take(&self, bus: &dyn PciBus, windows: &PciWindows) {
        let space = ConfigSpace::new(bus, self.address);
        let mut grant = self.locked();
        if let Some(before) = *grant {
            self.silence(bus, &space, windows, before.kind, Some(before));
            space.change_u16(COMMAND, COMMAND_INTERRUPT_DISABLE, 0);
        }
        *grant = None;
    }

    /// It was reset, or is that of a saved machine: what it has is known without being told.
    pub(super) fn set_grant(&self, grant: Option<Grant>) {
        *self.locked() = grant;
    }

    /// Switches messages of a kind off, and takes their addresses away if it was given any.
    fn silence(
        &self,
        bus: &dyn PciBus,
        space: &ConfigSpace<'_>,
        windows: &PciWindows,
        kind: MessageKind,
        before: Option<Grant>,
    ) {
        let count = before.filter(|grant| grant.kind == kind).map_or(0, |grant| grant.count);
        match (kind, self.msi, self.msi_x) {
            (MessageKind::Msi, Some(msi), _) => {
                msi.disable(space);
                if count > 0 {
                    msi.clear(space);
                }
            }
            (MessageKind::MsiX, _, Some(msi_x)) => {
                msi_x.disable(space);
                // A table that is nowhere by now is off, and that is enough.
                let _ = msi_x.program(bus, space, windows, self.sources.start, 0, count);
            }
            _ => {}
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<Grant>> {
        self.grant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
