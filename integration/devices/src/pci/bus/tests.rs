use super::*;
use crate::pci::{Bar, BarPlace, BarWidth, ConfigSpace, Identity};

/// A function that says which of its registers is read, and keeps what is written.
struct TestFunction {
    id: String,
    config: Mutex<ConfigSpace>,
    written: Mutex<Vec<(usize, u64, Vec<u8>)>>,
}

impl TestFunction {
    fn new(id: &str, bars: &[(usize, Bar)]) -> Arc<Self> {
        let mut config = ConfigSpace::new(Identity::new(0x1234, 1, 0xff_0000));
        for &(index, bar) in bars {
            config.add_bar(index, bar).unwrap();
        }
        let (config, written) = (Mutex::new(config), Mutex::default());
        Arc::new(Self { id: id.to_owned(), config, written })
    }

    fn written(&self) -> Vec<(usize, u64, Vec<u8>)> {
        std::mem::take(&mut self.written.lock().unwrap())
    }
}

impl PciFunction for TestFunction {
    fn id(&self) -> &str {
        &self.id
    }

    fn read_config(&self, register: u16, data: &mut [u8]) {
        self.config.lock().unwrap().read(register, data);
    }

    fn write_config(&self, register: u16, data: &[u8]) -> bool {
        self.config.lock().unwrap().write(register, data);
        true
    }

    fn bars(&self) -> Vec<BarPlace> {
        self.config.lock().unwrap().bars()
    }

    fn read_bar(&self, bar: usize, _: u64, data: &mut [u8]) {
        data.fill((self.id.as_bytes()[0] << 4) + bar as u8);
    }

    fn write_bar(&self, bar: usize, offset: u64, data: &[u8]) {
        self.written.lock().unwrap().push((bar, offset, data.to_owned()));
    }

    fn reset(&self) {
        self.config.lock().unwrap().reset();
    }
}

const WINDOWS: PciWindows = PciWindows::new();

fn wide(bytes: u64) -> Bar {
    Bar::new(BarWidth::Bits64, bytes).prefetchable()
}

fn narrow(bytes: u64) -> Bar {
    Bar::new(BarWidth::Bits32, bytes)
}

fn device(number: u8) -> PciAddress {
    PciAddress::device_0(number).unwrap()
}

fn config_32(bus: &Bus, device_number: u8, register: u16) -> u32 {
    let mut data = [0; 4];
    bus.read_config(device(device_number), register, &mut data);
    u32::from_le_bytes(data)
}

fn set_config_32(bus: &Bus, device_number: u8, register: u16, value: u32) {
    bus.write_config(device(device_number), register, &value.to_le_bytes());
}

fn place(bus: &Bus, device_number: u8, to: u64) {
    set_config_32(bus, device_number, 0x10, to as u32);
    set_config_32(bus, device_number, 0x14, (to >> 32) as u32);
}

/// What is read of a byte: all ones where nobody answers.
fn read(bus: &Bus, at: u64) -> u8 {
    let mut data = [0];
    bus.read_memory(at, &mut data);
    data[0]
}

#[test]
fn functions_are_where_they_were_put() {
    let bus = Bus::new(WINDOWS);
    assert_eq!(bus.add(None, TestFunction::new("a", &[])), Ok(device(0)));
    assert_eq!(bus.add(Some(2), TestFunction::new("b", &[])), Ok(device(2)));
    assert_eq!(bus.next_free(), Some(device(1)));
    assert_eq!(bus.add(None, TestFunction::new("c", &[])), Ok(device(1)));
    assert_eq!(bus.functions(), [device(0), device(1), device(2)]);
    let taken = AddError::Taken { device: 2, id: "b".to_owned() };
    assert_eq!(bus.add(Some(2), TestFunction::new("d", &[])), Err(taken));
    assert_eq!(bus.add(Some(32), TestFunction::new("d", &[])), Err(AddError::Device(32)));
    assert_eq!(bus.add(None, TestFunction::new("a", &[])), Err(AddError::Id("a".to_owned())));
    for number in 3..32 {
        bus.add(None, TestFunction::new(&format!("f{number}"), &[])).unwrap();
    }
    assert_eq!(bus.next_free(), None);
    assert_eq!(bus.add(None, TestFunction::new("d", &[])), Err(AddError::Full("d".to_owned())));
}

#[test]
fn who_is_not_there_is_all_ones() {
    let bus = Bus::new(WINDOWS);
    bus.add(Some(3), TestFunction::new("a", &[])).unwrap();
    assert_eq!(config_32(&bus, 3, 0), 0x0001_1234);
    assert_eq!(config_32(&bus, 4, 0), u32::MAX);
    for (bus_number, function) in [(0, 1), (1, 0)] {
        let mut data = [0; 4];
        bus.read_config(PciAddress::new(bus_number, 3, function).unwrap(), 0, &mut data);
        assert_eq!(data, [0xff; 4]);
    }
    // No bus makes such accesses.
    for (register, bytes) in [(1, 2), (2, 4), (0, 3), (0, 0), (0, 8), (4096, 4), (u16::MAX, 1)] {
        let mut data = vec![0; bytes];
        bus.read_config(device(3), register, &mut data);
        assert_eq!(data, vec![0xff; bytes]);
        bus.write_config(device(3), register, &data);
    }
    // This it does, and there is nothing.
    assert_eq!(config_32(&bus, 3, 256), u32::MAX);
}

/// What is prefetchable and has 64 bits is in the window of such, all else in the other.
#[test]
fn places_are_assigned_from_the_windows() {
    let bus = Bus::new(WINDOWS);
    let bars = [(0, wide(0x4000)), (2, narrow(0x100)), (3, Bar::new(BarWidth::Bits64, 0x1000))];
    bus.add(None, TestFunction::new("a", &bars)).unwrap();
    bus.add(None, TestFunction::new("b", &[(0, wide(0x1_0000)), (5, narrow(16))])).unwrap();
    let registers = |device| {
        [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map(|register| config_32(&bus, device, register))
    };
    let expected = [
        [0x0000_000c, 0x2100, 0x8000_0000, 0x8000_1004, 0, 0],
        [0x0001_000c, 0x2100, 0, 0, 0, 0x8000_0100],
    ];
    assert_eq!([registers(0), registers(1)], expected);
    for number in 0..2 {
        place(&bus, number, 0);
        set_config_32(&bus, number, 0x24, 0);
        set_config_32(&bus, number, 4, 2);
    }
    bus.reset();
    assert_eq!([registers(0), registers(1)], expected);
    assert_eq!(read(&bus, 0x2100_0000_0000), 0xff, "nothing is enabled");
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_bus_as_it_was() {
    let bus = Bus::new(WINDOWS);
    bus.add(None, TestFunction::new("a", &[(0, narrow(1 << 30))])).unwrap();
    let error = |bytes| AddError::Window { id: "b".to_owned(), bytes };
    let bars = [(0, narrow(1 << 20)), (1, narrow(1 << 31))];
    assert_eq!(bus.add(None, TestFunction::new("b", &bars)), Err(error(1 << 31)));
    let bars = [(0, wide(1 << 41))];
    assert_eq!(bus.add(None, TestFunction::new("b", &bars)), Err(error(1 << 41)));
    let bars = [(0, wide(1 << 63))];
    assert_eq!(bus.add(None, TestFunction::new("b", &bars)), Err(error(1 << 63)));
    assert_eq!(bus.functions(), [device(0)]);
    bus.add(None, TestFunction::new("b", &[(0, narrow(1 << 30))])).unwrap();
    assert_eq!(config_32(&bus, 1, 0x10), 0xc000_0000);
}

#[test]
fn registers_answer_where_they_are() {
    let bus = Bus::new(WINDOWS);
    let function = TestFunction::new("a", &[(0, wide(0x4000)), (2, narrow(0x100))]);
    bus.add(None, function.clone()).unwrap();
    let (start_64, start_32) = (WINDOWS.memory_64.bus, WINDOWS.memory_32.bus);
    assert_eq!(read(&bus, start_64), 0xff);
    set_config_32(&bus, 0, 4, 2);
    let answers = [start_64 - 1, start_64, start_64 + 0x3fff, start_64 + 0x4000, start_32 + 0xff];
    let a = 0x10;
    assert_eq!(answers.map(|at| read(&bus, at)), [0xff, a, a, 0xff, a + 2]);
    bus.write_memory(start_64 + 0x3ff0, &[1; 16]);
    bus.write_memory(start_64 + 0x3ff1, &[2; 16]);
    bus.write_memory(start_32 + 4, &[3]);
    bus.write_memory(u64::MAX, &[4; 16]);
    assert_eq!(function.written(), [(0, 0x3ff0, vec![1; 16]), (2, 4, vec![3])]);
    let to = start_64 + (1 << 39);
    place(&bus, 0, to);
    assert_eq!([start_64, to].map(|at| read(&bus, at)), [0xff, a]);
    set_config_32(&bus, 0, 4, 0);
    assert_eq!(read(&bus, to), 0xff);
}

/// Nothing that a guest writes into a base address has it answer for RAM, or anything else that is
/// in no window.
#[test]
fn nothing_answers_outside_the_windows() {
    let bus = Bus::new(WINDOWS);
    bus.add(None, TestFunction::new("a", &[(0, wide(0x4000)), (2, narrow(0x100))])).unwrap();
    set_config_32(&bus, 0, 4, 2);
    let window = WINDOWS.memory_64;
    let places = [0, 0x4000, window.bus - 0x4000, window.bus + window.bytes, u64::MAX];
    for to in places {
        place(&bus, 0, to);
        set_config_32(&bus, 0, 0x18, to as u32);
        for at in [to & !0x3fff, to | 0x3fff, to & 0xffff_ff00, to] {
            let in_window = WINDOWS.real(at, 1).is_some();
            assert!(read(&bus, at) == 0xff || in_window, "{at:#x}");
        }
    }
    // A part of it would be in a window of another size.
    let mut windows = WINDOWS;
    windows.memory_64.bytes = 0x2000;
    let bus = Bus::new(windows);
    let error = AddError::Window { id: "a".to_owned(), bytes: 0x4000 };
    assert_eq!(bus.add(None, TestFunction::new("a", &[(0, wide(0x4000))])), Err(error));
}

/// The lower device answers, and the others around it.
#[test]
fn of_several_at_one_place_the_first_answers() {
    let bus = Bus::new(WINDOWS);
    let sizes = [("a", 0x1000), ("b", 0x4000), ("c", 0x1_0000)];
    for (id, bytes) in sizes {
        bus.add(None, TestFunction::new(id, &[(0, wide(bytes))])).unwrap();
    }
    let start = WINDOWS.memory_64.bus + 0x10_0000;
    // Whatever the order in which they come.
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        bus.reset();
        for number in order {
            place(&bus, number, start + [0x5000, 0x4000, 0][usize::from(number)]);
            set_config_32(&bus, number, 4, 2);
        }
        let map = [0, 0x3fff, 0x4000, 0x4fff, 0x5000, 0x5fff, 0x6000, 0x7fff, 0x8000, 0xffff];
        let answers = map.map(|offset| read(&bus, start + offset) >> 4);
        assert_eq!(answers, [3, 3, 2, 2, 1, 1, 2, 2, 3, 3]);
        // Nobody answers for an access that is half another one's.
        let mut data = [0; 8];
        bus.read_memory(start + 0x4ffc, &mut data);
        assert_eq!(data, [0xff; 8]);
    }
    set_config_32(&bus, 0, 4, 0);
    assert_eq!(read(&bus, start + 0x5000) >> 4, 2);
}

#[test]
fn guests_move_registers_while_others_use_them() {
    let bus = Bus::new(WINDOWS);
    bus.add(None, TestFunction::new("a", &[(0, wide(0x1000))])).unwrap();
    bus.add(None, TestFunction::new("b", &[(0, wide(0x1000))])).unwrap();
    set_config_32(&bus, 0, 4, 2);
    set_config_32(&bus, 1, 4, 2);
    let start = WINDOWS.memory_64.bus;
    std::thread::scope(|scope| {
        for number in 0..2 {
            let bus = &bus;
            scope.spawn(move || {
                (0..1000).for_each(|step| place(bus, number, start + (step % 4) * 0x1000));
            });
        }
        for _ in 0..1000 {
            assert!(matches!(read(&bus, start) >> 4, 1 | 2 | 0xf));
        }
    });
    place(&bus, 0, start);
    place(&bus, 1, start + 0x1000);
    assert_eq!([0, 0x1000].map(|offset| read(&bus, start + offset) >> 4), [1, 2]);
}

/// A machine that is taken up without its devices would go on with some that have forgotten their
/// drivers.
#[test]
fn functions_without_a_state_are_named() {
    let bus = Bus::new(WINDOWS);
    assert!(bus.state().is_none(), "there is nothing to be saved");
    bus.add(None, TestFunction::new("a", &[])).unwrap();
    let error = bus.state().unwrap().save().unwrap_err();
    assert_eq!(error.to_string(), "the state of a cannot be saved or taken up yet");
}

/// From a device to the next, and from one to many others: places are used again, and nobody answers
/// at those of what is gone.
#[test]
fn functions_come_and_go() {
    let bus = Bus::new(WINDOWS);
    bus.add(None, TestFunction::new("stays", &[(0, wide(0x4000))])).unwrap();
    let there = WINDOWS.memory_64.bus + 0x4000;
    for round in 0..100_000 {
        let id = format!("{}", round % 7);
        let at = bus.add(None, TestFunction::new(&id, &[(0, wide(0x4000))])).unwrap();
        assert_eq!(at, device(1));
        if round % 1000 == 0 {
            assert_eq!(u64::from(config_32(&bus, 1, 0x14)) << 32 | 0x4000, there);
            set_config_32(&bus, 1, 0x04, 2);
            assert_ne!(read(&bus, there), 0xff);
        }
        assert!(bus.remove(1));
        assert_eq!((config_32(&bus, 1, 0), read(&bus, there)), (u32::MAX, 0xff));
    }
    assert!(!bus.remove(1) && !bus.remove(31) && !bus.remove(32) && !bus.remove(u8::MAX));
    // Larger ones do not fit into what is left between others, and smaller ones do.
    let add = |id: &str, bytes| bus.add(None, TestFunction::new(id, &[(0, wide(bytes))])).unwrap();
    let start = |at: PciAddress| config_32(&bus, at.device(), 0x10) & !0xf;
    let (a, b) = (add("a", 0x4000), add("b", 0x4000));
    assert_eq!((start(a), start(b)), (0x4000, 0x8000));
    bus.remove(a.device());
    assert_eq!(start(add("c", 0x8000)), 0x1_0000);
    assert_eq!(start(add("d", 0x1000)), 0x4000);
    assert_eq!(start(add("e", 0x2000)), 0x6000);
}

/// Several threads, as a VMM and its guest's CPUs are.
#[test]
fn accesses_and_changes_may_be_at_once() {
    let bus = Bus::new(WINDOWS);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let bus = &bus;
            scope.spawn(move || {
                for round in 0..2000_u32 {
                    let _ = bus.add(Some(thread), TestFunction::new(&format!("f{thread}"), &[]));
                    set_config_32(bus, (thread + 1) % 3, 0x04, round & 2);
                    let _ = (bus.functions(), read(bus, WINDOWS.memory_64.bus));
                    bus.remove(thread);
                }
            });
        }
    });
    assert_eq!(bus.functions(), []);
}

/// "All that works for devices stands still": also what comes then.
#[test]
fn what_comes_while_others_rest_does_so_too() {
    struct Restful(Arc<TestFunction>, Mutex<Vec<&'static str>>);
    impl PciFunction for Restful {
        fn id(&self) -> &str {
            self.0.id()
        }
        fn read_config(&self, register: u16, data: &mut [u8]) {
            self.0.read_config(register, data);
        }
        fn write_config(&self, register: u16, data: &[u8]) -> bool {
            self.0.write_config(register, data)
        }
        fn bars(&self) -> Vec<BarPlace> {
            self.0.bars()
        }
        fn read_bar(&self, _: usize, _: u64, _: &mut [u8]) {}
        fn write_bar(&self, _: usize, _: u64, _: &[u8]) {}
        fn pause(&self, _: Instant) -> Result<(), StateError> {
            self.1.lock().unwrap().push("pause");
            Ok(())
        }
        fn resume(&self) -> Result<(), StateError> {
            self.1.lock().unwrap().push("resume");
            Ok(())
        }
        fn reset(&self) {
            self.1.lock().unwrap().push("reset");
        }
    }
    let bus = Bus::new(WINDOWS);
    let function = |id: &str| Arc::new(Restful(TestFunction::new(id, &[]), Mutex::default()));
    let (a, b, c) = (function("a"), function("b"), function("c"));
    bus.pause(Instant::now()).unwrap();
    bus.add(Some(0), a.clone()).unwrap();
    bus.add(Some(1), b.clone()).unwrap();
    assert!(bus.remove(1));
    bus.resume().unwrap();
    bus.add(Some(2), c.clone()).unwrap();
    assert_eq!(*a.1.lock().unwrap(), ["pause", "resume"]);
    assert_eq!(*b.1.lock().unwrap(), ["pause", "reset"]);
    assert_eq!(*c.1.lock().unwrap(), [""; 0]);
}
