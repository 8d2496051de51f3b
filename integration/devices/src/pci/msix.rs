//! Messages of a function: MSI-X (PCI Local Bus Specification 3.0, §6.8.2).

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_ppc64::pci::Doorbell;
use vmm_sys_util::eventfd::EventFd;

/// The most vectors that a function can have.
const VECTORS_MAX: u16 = 2048;

/// The bytes of a vector in the table: address, data, and vector control.
const ENTRY_BYTES: u64 = 16;

const CONTROL_ENABLE: u16 = 1 << 15;
const CONTROL_FUNCTION_MASK: u16 = 1 << 14;

/// A vector is masked.
const VECTOR_MASK: u8 = 1;

/// The vectors of a function, with the table and the pending bits that the guest sees.
///
/// A message of a vector that is masked waits, and is sent when it is no longer. Vectors share no
/// lock.
pub struct Msix {
    /// Message control, as the guest wrote it last.
    control: AtomicU16,
    vectors: Box<[Mutex<Vector>]>,
    doorbell: Doorbell,
}

struct Vector {
    /// The entry as it is in the table.
    entry: [u8; ENTRY_BYTES as usize],
    pending: bool,
    message: Message,
}

/// How the message of a vector is sent.
enum Message {
    /// It has not been asked for since the entry changed.
    Unknown,
    /// The back end has a file for it.
    File(EventFd),
    /// By ringing.
    Ring,
}

impl Msix {
    /// The number of the capability.
    pub const CAPABILITY: u8 = 0x11;

    /// What a guest can write of [its body](Self::capability): enable, and function mask.
    pub const WRITABLE: [u8; 2] = [0, 0xc0];

    /// So many vectors, 1 to 2048, all of them masked; other numbers are taken as the nearest that
    /// can be.
    pub fn new(vectors: u16, doorbell: Doorbell) -> Self {
        let vectors = vectors.clamp(1, VECTORS_MAX);
        let vectors = (0..vectors).map(|_| Mutex::new(Vector::new())).collect();
        Self { control: AtomicU16::new(0), vectors, doorbell }
    }

    /// The body of the capability, for a table and pending bits at these offsets, multiples of 8, of
    /// a BAR's registers.
    pub fn capability(&self, bar: u8, table: u32, pending: u32) -> [u8; 10] {
        let mut body = [0; 10];
        body[..2].copy_from_slice(&(self.len() - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(table & !7 | u32::from(bar)).to_le_bytes());
        body[6..].copy_from_slice(&(pending & !7 | u32::from(bar)).to_le_bytes());
        body
    }

    /// How many vectors there are.
    #[allow(clippy::len_without_is_empty)] // It never is.
    pub fn len(&self) -> u16 {
        self.vectors.len() as u16
    }

    /// How many bytes the table takes.
    pub fn table_bytes(&self) -> u64 {
        u64::from(self.len()) * ENTRY_BYTES
    }

    /// How many bytes the pending bits take.
    pub fn pending_bytes(&self) -> u64 {
        u64::from(self.len()).div_ceil(64) * 8
    }

    /// Whether messages take the place of the interrupt pin.
    pub fn is_enabled(&self) -> bool {
        self.control.load(Ordering::SeqCst) & CONTROL_ENABLE != 0
    }

    /// The function has something to tell by a vector; one that there is not is ignored.
    pub fn signal(&self, vector: u16) {
        let Some(vector) = self.vectors.get(usize::from(vector)) else { return };
        let mut vector = lock(vector);
        // With the lock held: who unmasks the function after this looks at the vector after that.
        match self.control.load(Ordering::SeqCst) {
            control if control & CONTROL_ENABLE == 0 => {}
            control if control & CONTROL_FUNCTION_MASK != 0 || vector.is_masked() => {
                vector.pending = true;
            }
            _ => vector.send(&self.doorbell),
        }
    }

    /// The guest writes message control.
    pub fn set_control(&self, control: u16) {
        let control = control & (CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
        if self.control.swap(control, Ordering::SeqCst) != control && control == CONTROL_ENABLE {
            for vector in &self.vectors {
                lock(vector).send_pending(&self.doorbell);
            }
        }
    }

    /// Reads the table from `offset` on; zeros behind its end.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            let vector = self.vectors.get((at / ENTRY_BYTES) as usize);
            *byte = vector.map_or(0, |vector| lock(vector).entry[(at % ENTRY_BYTES) as usize]);
        }
    }

    /// Writes the table. An access of several bytes of one vector is one change of it.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        let mut at = offset;
        let mut data = data;
        while !data.is_empty() {
            let Some(vector) = self.vectors.get((at / ENTRY_BYTES) as usize) else { return };
            let begin = at % ENTRY_BYTES;
            let bytes = data.len().min((ENTRY_BYTES - begin) as usize);
            let (now, rest) = data.split_at(bytes);
            let mut vector = lock(vector);
            vector.write(begin as usize, now);
            if self.control.load(Ordering::SeqCst) == CONTROL_ENABLE {
                vector.send_pending(&self.doorbell);
            }
            (at, data) = (at + bytes as u64, rest);
        }
    }

    /// Reads the pending bits from `offset` on; zeros behind their end.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            let first = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(8);
            let vectors = self.vectors.iter().skip(first).take(8).enumerate();
            *byte =
                vectors.fold(0, |bits, (bit, vector)| bits | u8::from(lock(vector).pending) << bit);
        }
    }

    /// As after a reset of the bus: disabled, every vector masked, nothing pending.
    pub fn reset(&self) {
        self.control.store(0, Ordering::SeqCst);
        for vector in &self.vectors {
            *lock(vector) = Vector::new();
        }
    }

    /// Nothing is pending any more: the function has nothing to tell.
    pub fn clear_pending(&self) {
        for vector in &self.vectors {
            lock(vector).pending = false;
        }
    }
}

impl fmt::Debug for Msix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Msix")
            .field("control", &self.control)
            .field("vectors", &self.len())
            .finish_non_exhaustive()
    }
}

impl Vector {
    fn new() -> Self {
        let mut entry = [0; ENTRY_BYTES as usize];
        entry[12] = VECTOR_MASK;
        Self { entry, pending: false, message: Message::Unknown }
    }

    fn is_masked(&self) -> bool {
        self.entry[12] & VECTOR_MASK != 0
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        let before = self.entry;
        self.entry[at..at + data.len()].copy_from_slice(data);
        // Vector control has one bit; the others are reserved.
        self.entry[12] &= VECTOR_MASK;
        self.entry[13..].fill(0);
        if self.entry[..12] != before[..12] {
            self.message = Message::Unknown;
        }
    }

    fn send_pending(&mut self, doorbell: &Doorbell) {
        if self.pending && !self.is_masked() {
            self.pending = false;
            self.send(doorbell);
        }
    }

    fn send(&mut self, doorbell: &Doorbell) {
        let [a0, a1, a2, a3, a4, a5, a6, a7, d0, d1, d2, d3, ..] = self.entry;
        let address = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        let data = u32::from_le_bytes([d0, d1, d2, d3]);
        if let Message::Unknown = self.message {
            // An error is of a source that there is not, or of a host that is out of files.
            let file = doorbell.irqfd(address, data).ok().flatten();
            self.message = file.map_or(Message::Ring, Message::File);
        }
        match &self.message {
            Message::File(file) if file.write(1).is_ok() => {}
            _ => doorbell.ring(address, data),
        }
    }
}

fn lock(vector: &Mutex<Vector>) -> MutexGuard<'_, Vector> {
    vector.lock().unwrap_or_else(PoisonError::into_inner)
}
