//! How a function tells its driver: messages, or its interrupt pin with the ISR register.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arch_ppc64::pci::PciPin;

use crate::pci::Msix;

/// No vector (`VIRTIO_MSI_NO_VECTOR`, Virtio 1.2 §4.1.5.1.2).
pub(super) const NO_VECTOR: u16 = 0xffff;

/// Bits of the ISR register (§4.1.4.5).
const ISR_QUEUE: u8 = 1;
const ISR_CONFIGURATION: u8 = 2;
pub(super) const ISR_BITS: u8 = ISR_QUEUE | ISR_CONFIGURATION;

/// What workers tell by, without a lock that queues share while there are messages.
pub(super) struct Signals {
    msix: Msix,
    pin: Mutex<Pin>,
    configuration_vector: AtomicU16,
    queue_vectors: Box<[AtomicU16]>,
    needs_reset: AtomicBool,
    generation: AtomicU8,
}

/// What was told and by what, as plain data, apart from messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) isr: u8,
    pub(super) generation: u8,
    pub(super) needs_reset: bool,
    pub(super) configuration_vector: u16,
    /// One for each queue.
    pub(super) queue_vectors: Vec<u16>,
}

/// The interrupt pin, and what is told by it.
struct Pin {
    isr: u8,
    disabled: bool,
    /// Messages take its place.
    replaced: bool,
    wire: PciPin,
}

impl Signals {
    /// For so many queues.
    pub(super) fn new(queues: u16, msix: Msix, wire: PciPin) -> Self {
        Self {
            msix,
            pin: Mutex::new(Pin { isr: 0, disabled: false, replaced: false, wire }),
            configuration_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            needs_reset: AtomicBool::new(false),
            generation: AtomicU8::new(0),
        }
    }

    /// Buffers of a queue have been used.
    pub(super) fn queue(&self, queue: u16) {
        if let Some(vector) = self.queue_vectors.get(usize::from(queue)) {
            self.tell(vector, ISR_QUEUE);
        }
    }

    /// The configuration of the device has changed.
    pub(super) fn configuration(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.tell(&self.configuration_vector, ISR_CONFIGURATION);
    }

    /// The device has met what it cannot go on from: "If DRIVER_OK is set, after it sets
    /// DEVICE_NEEDS_RESET, the device MUST send a device configuration change notification to the
    /// driver" (§2.1.2). Who tells of it says whether it is set.
    pub(super) fn needs_reset(&self, driver_ok: bool) {
        if !self.needs_reset.swap(true, Ordering::SeqCst) && driver_ok {
            self.tell(&self.configuration_vector, ISR_CONFIGURATION);
        }
    }

    /// Whether it has.
    pub(super) fn is_reset_needed(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// How often the configuration changed (`config_generation`, §4.1.4.3).
    pub(super) fn generation(&self) -> u8 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The messages.
    pub(super) fn msix(&self) -> &Msix {
        &self.msix
    }

    /// The message of a queue, as long as it is sent at once.
    pub(super) fn queue_message(&self, queue: u16) -> Option<(u64, u32)> {
        self.msix.message(self.queue_vector(queue))
    }

    /// The vector of configuration changes.
    pub(super) fn configuration_vector(&self) -> u16 {
        self.configuration_vector.load(Ordering::Relaxed)
    }

    /// The vector of a queue.
    pub(super) fn queue_vector(&self, queue: u16) -> u16 {
        let vector = self.queue_vectors.get(usize::from(queue));
        vector.map_or(NO_VECTOR, |vector| vector.load(Ordering::Relaxed))
    }

    /// Changes of the configuration are told by this vector; by none if there is no such.
    pub(super) fn set_configuration_vector(&self, vector: u16) {
        self.configuration_vector.store(self.existing(vector), Ordering::Relaxed);
    }

    /// Used buffers of a queue are told by this vector, likewise.
    pub(super) fn set_queue_vector(&self, queue: u16, vector: u16) {
        if let Some(place) = self.queue_vectors.get(usize::from(queue)) {
            place.store(self.existing(vector), Ordering::Relaxed);
        }
    }

    /// What the ISR register says; reading it takes the interrupt back (§4.1.4.5).
    pub(super) fn take_isr(&self) -> u8 {
        let mut pin = self.pin();
        let isr = std::mem::take(&mut pin.isr);
        pin.drive();
        isr
    }

    /// Whether there is an interrupt for the pin, disabled or not.
    pub(super) fn is_pin_pending(&self) -> bool {
        let pin = self.pin();
        pin.isr != 0 && !pin.replaced
    }

    /// The guest has written COMMAND or message control.
    pub(super) fn set_control(&self, message_control: u16, pin_disabled: bool) {
        let mut pin = self.pin();
        self.msix.set_control(message_control);
        pin.disabled = pin_disabled;
        pin.replaced = self.msix.is_enabled();
        pin.drive();
    }

    /// The device is reset: there is nothing to tell, and no vector to tell it by.
    pub(super) fn reset_device(&self) {
        self.configuration_vector.store(NO_VECTOR, Ordering::Relaxed);
        for vector in &self.queue_vectors {
            vector.store(NO_VECTOR, Ordering::Relaxed);
        }
        self.needs_reset.store(false, Ordering::SeqCst);
        self.msix.clear_pending();
        self.take_isr();
    }

    /// The bus is reset.
    pub(super) fn reset_bus(&self) {
        self.reset_device();
        self.set_control(0, false);
        self.msix.reset();
        self.generation.store(0, Ordering::SeqCst);
    }

    /// What there is to be saved.
    pub(super) fn told(&self) -> Told {
        let vectors = self.queue_vectors.iter();
        Told {
            isr: self.pin().isr,
            generation: self.generation(),
            needs_reset: self.is_reset_needed(),
            configuration_vector: self.configuration_vector(),
            queue_vectors: vectors.map(|vector| vector.load(Ordering::Relaxed)).collect(),
        }
    }

    /// What was saved of other ones is that of these. The pin follows when it is
    /// [told](Self::set_control) whether it may.
    pub(super) fn restore(&self, told: Told) {
        self.set_configuration_vector(told.configuration_vector);
        for (queue, vector) in (0..).zip(told.queue_vectors) {
            self.set_queue_vector(queue, vector);
        }
        self.needs_reset.store(told.needs_reset, Ordering::SeqCst);
        self.generation.store(told.generation, Ordering::SeqCst);
        self.pin().isr = told.isr;
    }

    fn tell(&self, vector: &AtomicU16, isr: u8) {
        if self.msix.is_enabled() {
            self.msix.signal(vector.load(Ordering::Relaxed));
        } else {
            let mut pin = self.pin();
            pin.isr |= isr;
            pin.drive();
        }
    }

    /// "The device MUST return vector mapped to a given event, (NO_VECTOR if unmapped)"
    /// (§4.1.5.1.2.1): it cannot be mapped to one that there is not.
    fn existing(&self, vector: u16) -> u16 {
        if vector < self.msix.len() { vector } else { NO_VECTOR }
    }

    fn pin(&self) -> MutexGuard<'_, Pin> {
        self.pin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pin {
    fn drive(&self) {
        self.wire.set(self.isr != 0 && !self.disabled && !self.replaced);
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").field("msix", &self.msix).finish_non_exhaustive()
    }
}
