//! Messages of a function: MSI-X (PCI Local Bus Specification 3.0, §6.8.2, §6.8.3).

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_ppc64::pci::Doorbell;
use arch_ppc64::platform::StateError;

use super::saved::VectorState;

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

    /// What is written to where for a vector, as long as its messages are sent at once.
    pub fn message(&self, vector: u16) -> Option<(u64, u32)> {
        let vector = lock(self.vectors.get(usize::from(vector))?);
        let is_open = self.control.load(Ordering::SeqCst) == CONTROL_ENABLE;
        (is_open && !vector.is_masked()).then(|| vector.message())
    }

    /// Where messages are written to.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
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
        for (byte, more) in data.iter_mut().zip(0..) {
            let place = offset.checked_add(more).and_then(|at| self.place(at));
            *byte = place.map_or(0, |(vector, at)| lock(vector).entry[at]);
        }
    }

    /// Writes the table. An access of several bytes of one vector is one change of it.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        let (mut at, mut data) = (offset, data);
        while let Some((vector, begin)) = self.place(at).filter(|_| !data.is_empty()) {
            let (now, rest) = data.split_at(data.len().min(ENTRY_BYTES as usize - begin));
            let mut vector = lock(vector);
            vector.write(begin, now);
            if self.control.load(Ordering::SeqCst) == CONTROL_ENABLE {
                vector.send_pending(&self.doorbell);
            }
            // The table is short, so that this is no overflow.
            (at, data) = (at + now.len() as u64, rest);
        }
    }

    /// Reads the pending bits from `offset` on; zeros behind their end.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (byte, more) in data.iter_mut().zip(0..) {
            let at = offset.saturating_add(more);
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

    /// Its vectors, for a state to be saved. Message control is in configuration space.
    pub fn state(&self) -> Vec<VectorState> {
        self.vectors.iter().map(|vector| lock(vector).state()).collect()
    }

    /// Whether a function with these messages can have such a state.
    ///
    /// # Errors
    /// [`StateError::Value`] for another number of vectors.
    pub fn check_state(&self, saved: &[VectorState]) -> Result<(), StateError> {
        if saved.len() == usize::from(self.len()) {
            return Ok(());
        }
        let (saved, own) = (saved.len(), self.len());
        Err(StateError::Value(format!("{saved} vectors of messages, and not {own}")))
    }

    /// What was saved of other ones is that of these, from the first on. Nothing is sent: what is
    /// pending is sent as it would have been there.
    pub fn restore(&self, saved: &[VectorState]) {
        for (vector, saved) in self.vectors.iter().zip(saved) {
            *lock(vector) = Vector::from_state(saved);
        }
    }

    /// The vector whose entry has a byte of the table, and which byte of it that is.
    fn place(&self, offset: u64) -> Option<(&Mutex<Vector>, usize)> {
        let vector = usize::try_from(offset / ENTRY_BYTES).ok()?;
        Some((self.vectors.get(vector)?, (offset % ENTRY_BYTES) as usize))
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
        Self { entry, pending: false }
    }

    fn state(&self) -> VectorState {
        let (address, data) = self.message();
        VectorState { address, data, masked: self.is_masked(), pending: self.pending }
    }

    fn from_state(saved: &VectorState) -> Self {
        let mut vector = Self::new();
        vector.write(0, &saved.address.to_le_bytes());
        vector.write(8, &saved.data.to_le_bytes());
        vector.write(12, &[u8::from(saved.masked)]);
        vector.pending = saved.pending;
        vector
    }

    fn is_masked(&self) -> bool {
        self.entry[12] & VECTOR_MASK != 0
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        self.entry[at..at + data.len()].copy_from_slice(data);
        // Vector control has one bit; the others are reserved.
        self.entry[12] &= VECTOR_MASK;
        self.entry[13..].fill(0);
    }

    fn send_pending(&mut self, doorbell: &Doorbell) {
        if self.pending && !self.is_masked() {
            self.pending = false;
            self.send(doorbell);
        }
    }

    fn send(&mut self, doorbell: &Doorbell) {
        let (address, data) = self.message();
        doorbell.ring(address, data);
    }

    fn message(&self) -> (u64, u32) {
        let [a0, a1, a2, a3, a4, a5, a6, a7, d0, d1, d2, d3, ..] = self.entry;
        let address = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        (address, u32::from_le_bytes([d0, d1, d2, d3]))
    }
}

fn lock(vector: &Mutex<Vector>) -> MutexGuard<'_, Vector> {
    vector.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arch_ppc64::pci::PciWindows;

    use super::*;
    use crate::virtio::mock::MockController;

    const DOORBELL: u64 = PciWindows::new().doorbell;

    /// Three vectors, which are sources 0x20 to 0x22.
    fn vectors() -> (Msix, Arc<MockController>) {
        let controller = Arc::new(MockController::default());
        let msix = Msix::new(3, controller.doorbell());
        for vector in 0..3 {
            msix.write_table(16 * vector, &DOORBELL.to_le_bytes());
            msix.write_table(16 * vector + 8, &(0x20 + vector as u32).to_le_bytes());
        }
        (msix, controller)
    }

    fn unmask(msix: &Msix, vector: u64) {
        msix.write_table(16 * vector + 12, &[0; 4]);
    }

    fn pending(msix: &Msix) -> u8 {
        let mut data = [0];
        msix.read_pending(0, &mut data);
        data[0]
    }

    fn pulses(controller: &MockController) -> [usize; 3] {
        [0x20, 0x21, 0x22].map(|source| controller.pulses(source))
    }

    #[test]
    fn messages_are_sent_while_they_are_enabled() {
        let (msix, controller) = vectors();
        for vector in 0..3 {
            unmask(&msix, vector);
        }
        msix.signal(1);
        assert_eq!((pulses(&controller), pending(&msix)), ([0; 3], 0), "not enabled yet");
        msix.set_control(CONTROL_ENABLE);
        for vector in [1, 2, 1, 3, u16::MAX] {
            msix.signal(vector);
        }
        assert_eq!((pulses(&controller), pending(&msix)), ([0, 2, 1], 0));
    }

    /// "While a vector is masked, the function is prohibited from sending the associated message,
    /// and the function must set the associated Pending bit whenever the function would otherwise
    /// send the message. When software unmasks a vector whose associated Pending bit is set, the
    /// function must schedule sending the associated message, and clear the Pending bit as soon as
    /// the message has been sent" (§6.8.3.5).
    #[test]
    fn a_masked_vector_is_pending_until_it_is_unmasked() {
        let (msix, controller) = vectors();
        msix.set_control(CONTROL_ENABLE);
        msix.signal(2);
        msix.signal(2);
        assert_eq!((pulses(&controller), pending(&msix)), ([0; 3], 4));
        // What else is written of the entry unmasks nothing.
        msix.write_table(32, &DOORBELL.to_le_bytes());
        assert_eq!(pending(&msix), 4);
        unmask(&msix, 2);
        assert_eq!((pulses(&controller), pending(&msix)), ([0, 0, 1], 0));
    }

    #[test]
    fn a_masked_function_keeps_all_pending() {
        let (msix, controller) = vectors();
        unmask(&msix, 0);
        unmask(&msix, 1);
        msix.set_control(CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
        (0..3).for_each(|vector| msix.signal(vector));
        assert_eq!((pulses(&controller), pending(&msix)), ([0; 3], 7));
        msix.set_control(CONTROL_ENABLE);
        assert_eq!((pulses(&controller), pending(&msix)), ([1, 1, 0], 4));
    }

    /// A driver masks, changes and unmasks an entry with one store of 16 bytes, or byte by byte.
    #[test]
    fn entries_are_written_in_every_width() {
        let (msix, controller) = vectors();
        msix.set_control(CONTROL_ENABLE);
        msix.signal(0);
        let mut entry = [0; 16];
        entry[..8].copy_from_slice(&DOORBELL.to_le_bytes());
        entry[8] = 0x22;
        entry[12] = 0xfe;
        msix.write_table(0, &entry);
        assert_eq!(pulses(&controller), [0, 0, 1]);
        for (at, byte) in (16..).zip(entry) {
            msix.write_table(at, &[byte]);
        }
        let mut data = [0xaa; 20];
        msix.read_table(14, &mut data);
        entry[12] = 0;
        assert_eq!(data[2..18], entry, "reserved bits stay zero");
        // Over the end, and behind it.
        msix.write_table(40, &[0xff; 32]);
        msix.write_table(u64::MAX - 2, &[0xff; 16]);
        msix.read_table(u64::MAX, &mut data[..1]);
        assert_eq!(data[0], 0);
        msix.read_pending(u64::MAX, &mut data[..1]);
        assert_eq!(data[0], 0);
    }

    #[test]
    fn messages_to_anywhere_else_are_nothing() {
        let (msix, controller) = vectors();
        msix.write_table(0, &[0; 16]);
        msix.write_table(16, &(DOORBELL + 4).to_le_bytes());
        unmask(&msix, 1);
        msix.set_control(CONTROL_ENABLE);
        msix.signal(0);
        msix.signal(1);
        assert_eq!(pulses(&controller), [0; 3]);
    }

    #[test]
    fn a_reset_masks_everything() {
        let (msix, controller) = vectors();
        msix.set_control(CONTROL_ENABLE);
        msix.signal(1);
        msix.reset();
        assert!(!msix.is_enabled());
        msix.set_control(CONTROL_ENABLE);
        unmask(&msix, 1);
        assert_eq!((pulses(&controller), pending(&msix)), ([0; 3], 0));
    }
}
