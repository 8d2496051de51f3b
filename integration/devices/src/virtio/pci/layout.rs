//! Where the registers of a function are, and what its capabilities say of them (Virtio 1.2
//! §4.1.4).

use crate::pci::{Bar, BarWidth, Capability, ConfigError, ConfigSpace, Msix};

/// The base address register that all registers are behind.
pub(super) const BAR: usize = 0;

/// Bytes of the common configuration structure, as far as its fields go without the features that
/// add some.
const COMMON_BYTES: u32 = 0x38;

/// Bytes of a notification register.
const NOTIFY_BYTES: u64 = 4;

/// Each structure begins a page, so that none is beside another one's last register.
const PAGE: u64 = 0x1000;
const COMMON: u64 = 0;
const ISR: u64 = PAGE;
const DEVICE: u64 = 2 * PAGE;
const NOTIFY: u64 = 3 * PAGE;

/// The least size of the registers: a page of a guest whose pages have 64 KiB has those of one
/// function only.
const LEAST_BYTES: u64 = 0x1_0000;

/// The vendor-specific capability of PCI.
const VENDOR_CAPABILITY: u8 = 9;

/// What each of the capabilities is for (`cfg_type`).
const COMMON_CFG: u8 = 1;
const NOTIFY_CFG: u8 = 2;
const ISR_CFG: u8 = 3;
const DEVICE_CFG: u8 = 4;
const PCI_CFG: u8 = 5;

/// Where the registers are, by their offset in the BAR.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    queues: u16,
    table: u64,
    table_bytes: u64,
    pending: u64,
    pending_bytes: u64,
    bytes: u64,
}

/// Whose register is at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registers {
    Common,
    Isr,
    Device,
    Notify,
    MsixTable,
    MsixPending,
}

/// Where the capabilities are whose writes have effects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The capability by which the BAR's registers are reached in configuration space.
    pub(super) window: u16,
    /// MSI-X.
    pub(super) msix: u16,
}

impl Layout {
    /// For so many queues and these vectors.
    pub(super) fn new(queues: u16, msix: &Msix) -> Self {
        let pages = |bytes: u64| bytes.next_multiple_of(PAGE);
        let table = NOTIFY + pages(u64::from(queues) * NOTIFY_BYTES);
        let pending = table + pages(msix.table_bytes());
        let end = pending + pages(msix.pending_bytes());
        Self {
            queues,
            table,
            table_bytes: msix.table_bytes(),
            pending,
            pending_bytes: msix.pending_bytes(),
            bytes: end.next_power_of_two().max(LEAST_BYTES),
        }
    }

    /// Whose register is at `offset`, how far from the beginning of theirs, and how many bytes they
    /// have from there on.
    pub(super) fn at(&self, offset: u64) -> Option<(Registers, u64, u64)> {
        let all = [
            (Registers::Common, COMMON, COMMON_BYTES.into()),
            (Registers::Isr, ISR, 1),
            (Registers::Device, DEVICE, PAGE),
            (Registers::Notify, NOTIFY, u64::from(self.queues) * NOTIFY_BYTES),
            (Registers::MsixTable, self.table, self.table_bytes),
            (Registers::MsixPending, self.pending, self.pending_bytes),
        ];
        all.into_iter().find_map(|(registers, start, bytes)| {
            let within = offset.checked_sub(start)?;
            (within < bytes).then(|| (registers, within, bytes - within))
        })
    }

    /// Where the notification register of a queue is.
    pub(super) fn notify(&self, queue: u16) -> u64 {
        NOTIFY + u64::from(queue) * NOTIFY_BYTES
    }

    /// The queue whose notification register begins there, that far into them.
    pub(super) fn notified(offset: u64) -> Option<u16> {
        (offset % NOTIFY_BYTES == 0).then_some((offset / NOTIFY_BYTES) as u16)
    }

    /// Puts the BAR and all capabilities into configuration space.
    pub(super) fn describe(
        &self,
        space: &mut ConfigSpace,
        msix: &Msix,
    ) -> Result<Places, ConfigError> {
        // Prefetchable, as only such have a place in a window of 64-bit addresses. The one register
        // whose reads have an effect, ISR, is alone on its page, and no host bridge reads ahead here.
        space.add_bar(BAR, Bar::new(BarWidth::Bits64, self.bytes).prefetchable())?;
        let notify_bytes = u32::from(self.queues) * NOTIFY_BYTES as u32;
        let structures = [
            (COMMON_CFG, COMMON, COMMON_BYTES),
            (ISR_CFG, ISR, 1),
            (DEVICE_CFG, DEVICE, PAGE as u32),
        ];
        for (kind, offset, bytes) in structures {
            let body = structure(16, kind, offset as u32, bytes);
            space.add_capability(Capability::new(VENDOR_CAPABILITY, &body))?;
        }
        // notify_off_multiplier is behind the others' fields (§4.1.4.4).
        let mut body = [0; 18];
        body[..14].copy_from_slice(&structure(20, NOTIFY_CFG, NOTIFY as u32, notify_bytes));
        body[14..].copy_from_slice(&(NOTIFY_BYTES as u32).to_le_bytes());
        space.add_capability(Capability::new(VENDOR_CAPABILITY, &body))?;
        // Place and data of an access are the driver's to write (§4.1.4.9).
        let mut body = [0; 18];
        body[..14].copy_from_slice(&structure(20, PCI_CFG, 0, 0));
        let mut writable = [0; 18];
        writable[2] = 0xff;
        writable[6..].fill(0xff);
        let window = Capability::new(VENDOR_CAPABILITY, &body).with_writable(&writable);
        let window = space.add_capability(window)?;
        let body = msix.capability(BAR as u8, self.table as u32, self.pending as u32);
        let messages = Capability::new(Msix::CAPABILITY, &body).with_writable(&Msix::WRITABLE);
        let msix = space.add_capability(messages)?;
        Ok(Places { window, msix })
    }
}

/// The body of a `virtio_pci_cap` (§4.1.4) that is `bytes_of_capability` long with its header.
fn structure(bytes_of_capability: u8, kind: u8, offset: u32, bytes: u32) -> [u8; 14] {
    let mut body = [0; 14];
    body[0] = bytes_of_capability;
    body[1] = kind;
    body[2] = BAR as u8;
    body[6..10].copy_from_slice(&offset.to_le_bytes());
    body[10..].copy_from_slice(&bytes.to_le_bytes());
    body
}
