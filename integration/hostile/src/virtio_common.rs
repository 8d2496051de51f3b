//! Virtio over PCI: registers of functions written and read in any order and width, with queues
//! anywhere.

use std::ops::Range;
use std::sync::atomic::Ordering;

use arch_ppc64::pci::PciBus;
use pseries_devices::pci::PciFunction;
use pseries_devices::virtio::pci_driver::common;

use crate::Reach;
use crate::bus_machine::lock;
use crate::common_state::{CommonState, DRIVER_OK, FEATURES_OK, NEEDS_RESET};
use crate::descriptors::{DESCRIPTOR_BYTES, bytes_of, overlap};
use crate::device_ram::{RAM_END, address};
use crate::input::Input;
use crate::pci_machine::{DOORBELL, Function, PciMachine, config};
use crate::ram::are_within;

/// How many things an input does at most.
const ACTIONS_MAX: usize = 64;

/// What inputs reach.
const GOALS: [&str; 14] = [
    "features are refused",
    "a device becomes active",
    "a device cannot become active",
    "a buffer is given back",
    "a buffer is filled",
    "a queue makes no sense",
    "a message",
    "a message that waits",
    "a pin",
    "a change of the configuration",
    "a reset while it is active",
    "the end of bus mastering",
    "the registers by configuration space",
    "the machine starts again",
];
const REFUSED: usize = 0;
const ACTIVE: usize = 1;
const INACTIVE: usize = 2;
const GIVEN: usize = 3;
const FILLED: usize = 4;
const NONSENSE: usize = 5;
const MESSAGE: usize = 6;
const PENDING: usize = 7;
const PIN: usize = 8;
const CHANGED: usize = 9;
const RESET: usize = 10;
const NO_MASTER: usize = 11;
const WINDOW: usize = 12;
const RESTART: usize = 13;

/// The function with the device that fills buffers.
const RNG: usize = 1;

/// Where the structures of a function are; those of messages follow.
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;

/// Where queues are, and how their parts are apart.
const PLACES: u64 = 0x1000;
const QUEUE_BYTES: u64 = 0x800;
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x500;

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// `data` is a byte of flags, and one action after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut session = Session { machine: PciMachine::new(), reach: Reach::NONE };
    let flags = input.byte();
    for function in 0..session.machine.functions.len() {
        // Memory space and bus mastering; messages, or the pin.
        session.write_config(function, 4, 6);
        if flags & 1 != 0 {
            session.enable_messages(function);
        }
    }
    for _ in 0..ACTIONS_MAX {
        if input.is_empty() {
            break;
        }
        session.act(&mut input);
    }
    // The machine starts again.
    session.step(|machine| machine.reset());
    for function in &session.machine.functions {
        assert!(CommonState::of(function).is_fresh(function));
    }
    session.reach
}

/// A machine whose driver does what it likes.
struct Session {
    machine: PciMachine,
    reach: Reach,
}

impl Session {
    fn act(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let number = usize::from(kind >> 7);
        match kind % 16 {
            0 | 1 => {
                let offset = self.offset(number, input);
                let data = value(input);
                self.write(number, offset, &data);
            }
            2 => {
                let offset = self.offset(number, input);
                self.read(number, offset, usize::from(input.byte() % 16) + 1);
            }
            3 => self.negotiate(number, input),
            4 => self.set_up_queue(number, input),
            5 => self.write(number, common::DEVICE_STATUS, &[input.byte()]),
            6 => {
                let place = self.place(number, input.byte());
                let index = u64::from(input.byte() % 64);
                let (at, bytes) = (address(input), length(input));
                let (flags, next) = (input.byte() % 8, input.byte() % 64);
                let descriptor = bytes_of(at, bytes, flags.into(), next.into());
                self.machine.guest.poke(place + DESCRIPTOR_BYTES * index, &descriptor);
            }
            7 => {
                let place = self.place(number, input.byte()) + AVAILABLE;
                let index = match input.byte() {
                    few @ 0..=0x3f => few.into(),
                    _ => input.u16(),
                };
                self.machine.guest.poke(place + 2, &index.to_le_bytes());
            }
            8 => {
                let at = address(input);
                let bytes = usize::from(input.byte() % 32);
                self.machine.guest.poke(at, input.bytes(bytes));
            }
            9 => {
                let register = self.register(number, input);
                let value = input.number(RAM_END) as u32;
                self.write_config(number, register, value);
            }
            10 => self.window(number, input),
            11 => {
                let vector = u64::from(input.byte() % 8);
                let entry = self.machine.functions[number].table + 16 * vector;
                match input.byte() {
                    mask @ 0..=0x7f => self.write(number, entry + 12, &[mask & 1, 0, 0, 0]),
                    0x80..=0xbf => {
                        let mut data = [0; 12];
                        data[..8].copy_from_slice(&DOORBELL.to_le_bytes());
                        data[8..].copy_from_slice(&input.u16().to_le_bytes().repeat(2));
                        self.write(number, entry, &data);
                    }
                    _ => self.write(number, entry, &value(input)),
                }
            }
            12 => self.host(input.byte()),
            13 => {
                self.step(|machine| machine.reset());
                self.reach.add(RESTART);
            }
            14 => self.set_up(number),
            _ => self.request(number, input),
        }
    }

    /// Writes a register of a function, by the bus.
    fn write(&mut self, number: usize, offset: u64, data: &[u8]) {
        self.step(|machine| {
            let base = machine.functions[number].base(&machine.bus);
            machine.bus.write_memory(base.wrapping_add(offset), data);
        });
    }

    fn read(&mut self, number: usize, offset: u64, bytes: usize) {
        self.step(|machine| {
            let base = machine.functions[number].base(&machine.bus);
            machine.bus.read_memory(base.wrapping_add(offset), &mut [0x5a; 16][..bytes]);
        });
    }

    fn write_config(&mut self, number: usize, register: u16, value: u32) {
        self.step(|machine| {
            let function = machine.functions[number].address;
            machine.bus.write_config(function, register, &value.to_le_bytes());
        });
    }

    /// A register of configuration space: one that does something, or any.
    fn register(&self, number: usize, input: &mut Input<'_>) -> u16 {
        match input.byte() {
            few @ 0..=0xbf => {
                // Message control is the upper half of where its capability begins.
                [4, 0x10, 0x14, self.machine.functions[number].msix][usize::from(few % 4)]
            }
            other => u16::from(other % 64) * 4,
        }
    }

    fn enable_messages(&mut self, number: usize) {
        let function = &self.machine.functions[number];
        let (table, vectors, msix) = (function.table, function.vectors, function.msix);
        for vector in 0..vectors {
            let entry = table + 16 * u64::from(vector);
            self.write(number, entry, &DOORBELL.to_le_bytes());
            self.write(number, entry + 8, &[vector as u8, 0x13, 0, 0]);
            self.write(number, entry + 12, &[0; 4]);
        }
        self.write_config(number, msix, 0x8000 << 16);
    }

    /// From reset to FEATURES_OK, or as far as it goes.
    fn negotiate(&mut self, number: usize, input: &mut Input<'_>) {
        let features = match input.byte() {
            few @ 0..=0xbf => 1 << 32 | u64::from(few & 3) << 28,
            _ => input.u64(),
        };
        for status in [0, 1, 3] {
            self.write(number, common::DEVICE_STATUS, &[status]);
        }
        for page in [0, 1] {
            let half = (features >> (32 * page)) as u32;
            self.write(number, common::DRIVER_FEATURE_SELECT, &[page, 0, 0, 0]);
            self.write(number, common::DRIVER_FEATURE, &half.to_le_bytes());
        }
        self.write(number, common::DEVICE_STATUS, &[3 | FEATURES_OK]);
        let state = CommonState::of(&self.machine.functions[number]);
        if state.status == 3 {
            self.reach.add(REFUSED);
        }
    }

    /// A queue with its parts at their places, or anywhere.
    fn set_up_queue(&mut self, number: usize, input: &mut Input<'_>) {
        let index = input.byte() % 4;
        let places = match input.byte() {
            0..=0x9f => {
                let at = self.place(number, index);
                [at, at + AVAILABLE, at + USED]
            }
            _ => [(); 3].map(|()| address(input)),
        };
        let size = match input.byte() {
            few @ 0..=0xbf => 1 << (few % 8),
            _ => input.u16(),
        };
        self.write(number, common::QUEUE_SELECT, &[index, 0]);
        self.write(number, common::QUEUE_SIZE, &size.to_le_bytes());
        self.write(number, common::QUEUE_MSIX_VECTOR, &[index.wrapping_add(1), 0]);
        let fields = [common::QUEUE_DESC, common::QUEUE_DRIVER, common::QUEUE_DEVICE];
        for (field, place) in fields.into_iter().zip(places) {
            self.write(number, field, &place.to_le_bytes());
        }
        self.write(number, common::QUEUE_ENABLE, &[1, 0]);
    }

    /// All that a driver does to have its device work.
    fn set_up(&mut self, number: usize) {
        self.negotiate(number, &mut Input::new(&[0]));
        let sizes = self.machine.functions[number].queue_sizes.clone();
        for (index, size) in (0..).zip(sizes) {
            self.machine.guest.poke(self.place(number, index) + AVAILABLE, &[0; 4]);
            self.machine.guest.poke(self.place(number, index) + USED, &[0; 4]);
            let size = size.min(16).trailing_zeros() as u8;
            self.set_up_queue(number, &mut Input::new(&[index, 0, size]));
        }
        self.write(number, common::CONFIG_MSIX_VECTOR, &[0, 0]);
        self.write(number, common::DEVICE_STATUS, &[3 | FEATURES_OK | DRIVER_OK]);
    }

    /// Makes buffers available, and says so.
    fn request(&mut self, number: usize, input: &mut Input<'_>) {
        let index = input.byte() % 4;
        let place = self.place(number, index);
        let (at, bytes) = (address(input), length(input));
        let ram = &self.machine.guest;
        let available = ram.peek_u16(place + AVAILABLE + 2);
        let slot = available % 4;
        ram.poke(place + DESCRIPTOR_BYTES * u64::from(slot), &bytes_of(at, bytes, 2, 0));
        ram.poke(place + AVAILABLE + 4 + 2 * u64::from(available % 16), &slot.to_le_bytes());
        ram.poke(place + AVAILABLE + 2, &available.wrapping_add(1).to_le_bytes());
        self.write(number, NOTIFY + 4 * u64::from(index), &[index, 0]);
    }

    /// Registers by configuration space (Virtio 1.2 §4.1.4.9): they say the same as by the bus.
    fn window(&mut self, number: usize, input: &mut Input<'_>) {
        let offset = self.offset(number, input);
        let bytes = match input.byte() {
            few @ 0..=0xdf => 1 << (few % 3),
            other => u32::from(other),
        };
        let data = match input.byte() {
            0..=0x7f => None,
            _ => Some(input.u32()),
        };
        // The capability begins 20 bytes before that of messages.
        let window = self.machine.functions[number].msix - 20;
        // Another one may have been asked for.
        self.write_config(number, window + 4, 0);
        self.write_config(number, window + 8, offset as u32);
        self.write_config(number, window + 12, bytes);
        if let Some(data) = data {
            return self.write_config(number, window + 16, data);
        }
        let is_natural = matches!(bytes, 1 | 2 | 4) && offset % u64::from(bytes) == 0;
        let is_isr = offset == ISR;
        let same = self.step(|machine| {
            let function = &machine.functions[number];
            let read = config(&machine.bus, function.address, window + 16).to_le_bytes();
            let mut direct = [0; 4];
            let direct = &mut direct[..bytes.min(4) as usize];
            function.device.read_bar(0, offset, direct);
            !is_natural || is_isr || read[..direct.len()] == *direct
        });
        assert!(same, "{offset:#x} says something else by configuration space");
        self.reach.add(WINDOW);
    }

    /// Something happens to the device.
    fn host(&mut self, what: u8) {
        self.step(|machine| match what % 8 {
            0 | 1 => {
                if let Some((_, interrupt)) = lock(&machine.seen.interrupt).as_ref() {
                    interrupt.configuration_changed();
                }
            }
            2 => {
                if let Some((_, interrupt)) = lock(&machine.seen.interrupt).as_ref() {
                    interrupt.needs_reset();
                }
            }
            queue => {
                if let Some(interrupt) = lock(&machine.seen.queues).get(usize::from(queue - 3)) {
                    interrupt.used();
                }
            }
        });
    }

    /// Where a queue is, unless it is elsewhere.
    fn place(&self, number: usize, queue: u8) -> u64 {
        PLACES + (4 * number as u64 + u64::from(queue % 4)) * QUEUE_BYTES
    }

    /// A register of a function.
    fn offset(&self, number: usize, input: &mut Input<'_>) -> u64 {
        let (structure, offset) = (input.byte(), u64::from(input.byte()));
        match structure {
            0..=0x7f => offset % common::END,
            0x80..=0x8f => ISR + offset % 4,
            0x90..=0xa7 => DEVICE + offset % 32,
            0xa8..=0xbf => NOTIFY + offset % 20,
            0xc0..=0xdf => self.machine.functions[number].table + offset % 80,
            0xe0..=0xef => offset << 8,
            _ => input.u16().into(),
        }
    }

    /// Has the guest do one thing, and sees what comes of it.
    fn step<R>(&mut self, action: impl FnOnce(&PciMachine) -> R) -> R {
        let states = self.states();
        let snapshot = self.machine.guest.snapshot();
        let (permitted, is_clear) = self.permitted(&states);
        let used = self.used_indices(&states);
        let (result, told) = self.machine.step(action);
        let after = self.states();
        let changes = self.machine.guest.changes(&snapshot);
        assert!(
            !is_clear || are_within(&changes, &permitted),
            "{changes:x?} was written, of {permitted:x?}"
        );
        for (number, pair) in states.iter().zip(&after).enumerate() {
            self.check(number, pair.0, pair.1);
        }
        if self.used_indices(&states) != used {
            self.reach.add(GIVEN);
        }
        let rings: Vec<Range<u64>> = states.iter().flat_map(CommonState::rings).collect();
        if is_clear && states[RNG].has(DRIVER_OK) && !are_within(&changes, &rings) {
            self.reach.add(FILLED);
        }
        for (is_told, goal) in [(told.by_message, MESSAGE), (told.by_pin, PIN)] {
            if is_told {
                self.reach.add(goal);
            }
        }
        result
    }

    fn states(&self) -> Vec<CommonState> {
        self.machine.functions.iter().map(CommonState::of).collect()
    }

    fn used_indices(&self, states: &[CommonState]) -> Vec<u16> {
        let queues = states.iter().flat_map(CommonState::enabled);
        queues.map(|(_, queue)| queue.used_index(&self.machine.guest)).collect()
    }

    /// What devices may write, and whether none of it is what they read.
    fn permitted(&self, states: &[CommonState]) -> (Vec<Range<u64>>, bool) {
        let ram = &self.machine.guest;
        let (mut permitted, mut read) = (Vec::new(), Vec::new());
        for (number, state) in states.iter().enumerate() {
            for (_, queue) in state.enabled() {
                permitted.push(queue.written());
                read.extend(queue.read());
                // The others give them back as they are.
                for slot in (0..queue.size).filter(|_| number == RNG) {
                    let reached = queue.reached(ram, queue.head(ram, slot));
                    permitted.extend(reached.writable);
                    read.extend(reached.descriptors);
                }
            }
        }
        let is_clear = !overlap(&permitted, &read);
        (permitted, is_clear)
    }

    /// What one write may do to what the driver sees of a device.
    fn check(&mut self, number: usize, before: &CommonState, after: &CommonState) {
        let function = &self.machine.functions[number];
        after.check(function);
        after.check_follows(before, function);
        let became = |bit: u8| after.has(bit) && !before.has(bit);
        let workers = self.machine.seen.workers.load(Ordering::SeqCst);
        if number != RNG {
            let enabled = after.enabled().count();
            assert!(workers <= if after.has(DRIVER_OK) { enabled } else { 0 }, "{after:x?}");
        }
        if became(DRIVER_OK) {
            self.reach.add(if after.has(NEEDS_RESET) { INACTIVE } else { ACTIVE });
        } else if became(NEEDS_RESET) && before.has(DRIVER_OK) {
            let is_master = is_master(&self.machine, function);
            self.reach.add(if is_master { NONSENSE } else { NO_MASTER });
        }
        if before.has(DRIVER_OK) && after.status == 0 {
            self.reach.add(RESET);
        }
        if before.generation != after.generation && after.generation != 0 {
            self.reach.add(CHANGED);
        }
        if after.pending {
            self.reach.add(PENDING);
        }
    }
}

fn is_master(machine: &PciMachine, function: &Function) -> bool {
    config(&machine.bus, function.address, 4) & 4 != 0
}

fn length(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        few @ 0..=0x7f => few.into(),
        0x80..=0xdf => input.u16().into(),
        _ => input.u32(),
    }
}

/// What is written: up to 16 bytes.
fn value(input: &mut Input<'_>) -> Vec<u8> {
    let bytes = match input.byte() {
        few @ 0..=0xbf => 1 << (few % 4),
        other => usize::from(other % 16) + 1,
    };
    let mut data = vec![0; bytes];
    let given = input.bytes(bytes);
    data[..given.len()].copy_from_slice(given);
    data
}
