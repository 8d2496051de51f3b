//! Configuration space by RTAS.

use std::sync::Arc;

use super::guest::{Guest, UNIT, platform_of};
use super::*;

const BLOCK: u32 = 1 << 11;

#[test]
fn registers_are_read_as_numbers() {
    let guest = Guest::new(bus());
    assert_eq!(guest.read(BLOCK, 4), (0, 0x1042_1af4));
    assert_eq!(guest.read(BLOCK | 0x02, 2), (0, 0x1042));
    assert_eq!(guest.read(BLOCK | 0x0b, 1), (0, 1));
    assert_eq!(guest.read(BLOCK | 1 << 9, 4), (0, 0x1048_1af4), "the function behind it");
    assert_eq!(guest.call("read-pci-config", &[BLOCK, 4], 2), (0, vec![0x1042_1af4]));
}

#[test]
fn registers_are_written_as_numbers() {
    let guest = Guest::new(bus());
    assert_eq!(guest.write(BLOCK | 0x14, 4, 0x8012_3fff), 0);
    assert_eq!(guest.read(BLOCK | 0x14, 4), (0, 0x8012_3000));
    assert_eq!(guest.write(BLOCK | 0x04, 2, 0xffff_0003), 0);
    assert_eq!(guest.write(BLOCK | 0x04, 1, 2), 0);
    assert_eq!(guest.read(BLOCK | 0x04, 2), (0, 2));
    assert_eq!(guest.call("write-pci-config", &[BLOCK | 0x04, 2, 6], 1), (0, vec![]));
    assert_eq!(guest.read(BLOCK | 0x04, 2), (0, 6));
}

/// "Must return Success with all ones as the output value" (R1-7.3.4.1-5), and "must be ignored and
/// a Status of 0 (Success) must be returned" (R1-7.3.4.2-5).
#[test]
fn functions_that_are_not_there_are_ones() {
    let guest = Guest::new(bus());
    let before = guest.bus.config();
    for place in [2 << 11 | 1 << 8, 31 << 11, 1 << 16 | BLOCK, 0xff_ff00] {
        assert_eq!(guest.read(place, 4), (0, u32::MAX));
        assert_eq!(guest.read(place | 0x0e, 1), (0, 0xff));
        assert_eq!(guest.write(place | 0x04, 2, 7), 0);
    }
    assert_eq!(guest.bus.config(), before);
}

/// The highest bits of the register are those of the cell, and the next are zero (§7.3.4).
#[test]
fn registers_from_256_on_are_extended() {
    let express = MockFunction::new(0x1042, 0x01_0000).with_express();
    let bus = MockBus::default().with(1, 0, express);
    bus.function(1).put(0xffc, &0x1234_5678_u32.to_le_bytes());
    let guest = Guest::new(bus);
    assert_eq!(guest.read(0xf << 28 | BLOCK | 0xfc, 4), (0, 0x1234_5678));
    assert_eq!(guest.read(0xf << 28 | BLOCK | 0xff, 1), (0, 0x12));
    for reserved in [1 << 24, 8 << 24, 0xff << 24] {
        assert_eq!(guest.read(reserved | BLOCK, 4), (-3, 0));
        assert_eq!(guest.write(reserved | BLOCK, 4, 0), -3);
    }
    // Not by the calls that are for 256 bytes.
    let (status, _) = guest.call("read-pci-config", &[0xf << 28 | BLOCK | 0xfc, 4], 2);
    assert_eq!(status, -3);
    assert_eq!(guest.call("write-pci-config", &[1 << 28 | BLOCK, 4, 0], 1).0, -3);
    // A function without has ones there.
    let guest = Guest::new(MockBus::default().with(1, 0, block()));
    assert_eq!(guest.read(1 << 28 | BLOCK, 4), (0, u32::MAX));
}

/// "The config_addr must be aligned to a 2-byte boundary if size is 2 and to a 4-byte boundary if
/// size is 4" (R1-7.3.4.1-4).
#[test]
fn sizes_and_places_that_cannot_be_are_refused() {
    let guest = Guest::new(bus());
    guest.bus.writes.lock().unwrap().clear();
    for size in [0, 3, 5, 8, u32::MAX] {
        assert_eq!(guest.read(BLOCK, size), (-3, 0), "{size}");
        assert_eq!(guest.write(BLOCK | 4, size, 7), -3, "{size}");
        assert_eq!(guest.call("read-pci-config", &[BLOCK, size], 2), (-3, vec![0]));
        assert_eq!(guest.call("write-pci-config", &[BLOCK | 4, size, 7], 1).0, -3);
    }
    for (place, size) in [(1, 2), (1, 4), (2, 4), (3, 2), (0xff, 2), (0xfe, 4), (u32::MAX, 4)] {
        assert_eq!(guest.read(BLOCK | place, size), (-3, 0), "{place:#x}");
        assert_eq!(guest.write(BLOCK | place, size, 7), -3, "{place:#x}");
    }
    assert!(guest.bus.writes.lock().unwrap().is_empty());
}

#[test]
fn calls_are_for_the_bridge_that_they_name() {
    let (one, two) = (Arc::new(bus()), Arc::new(MockBus::default().with(1, 0, network())));
    let platform = platform_of(&[one, two.clone()], Arc::default()).unwrap();
    let guest = Guest { platform, bus: two, ..Guest::new(bus()) };
    let [high, low] = UNIT;
    let read = |high, low| guest.call("ibm,read-pci-config", &[BLOCK, high, low, 4], 2);
    assert_eq!(read(high, low), (0, vec![0x1042_1af4]));
    assert_eq!(read(high, low + 1), (0, vec![0x1041_1af4]));
    for (high, low) in [(high, low + 2), (high + 1, low), (0, 0), (u32::MAX, u32::MAX)] {
        assert_eq!(read(high, low), (-3, vec![0]));
        let inputs = [BLOCK, high, low, 3, 1, 1];
        assert_eq!(guest.call("ibm,change-msi", &inputs, 4).0, -3);
        assert_eq!(guest.call("ibm,query-interrupt-source-number", &inputs[..4], 3).0, -3);
        assert_eq!(guest.call("ibm,write-pci-config", &[BLOCK | 4, high, low, 2, 7], 1).0, -3);
    }
    // Those that name none are of the first, and of wrong counts no call is made.
    assert_eq!(guest.call("read-pci-config", &[BLOCK, 4], 2).1, [0x1042_1af4]);
    for inputs in [&[][..], &[BLOCK], &[BLOCK, high], &[BLOCK, high, low + 1, 4, 0]] {
        assert_eq!(guest.call("ibm,read-pci-config", inputs, 2).0, -3);
    }
    assert_eq!(guest.call("ibm,read-pci-config", &[BLOCK, high, low, 4], 3).0, -3);
}

/// What is at a real address of a window is at one of the bus.
#[test]
fn windows_lead_to_registers() {
    use vm_memory::GuestAddress;
    let guest = Guest::new(bus());
    assert_eq!(guest.write(BLOCK | 0x14, 4, BAR_32 as u32), 0);
    assert_eq!(guest.write(BLOCK | 0x20, 4, BAR_64 as u32), 0);
    assert_eq!(guest.write(BLOCK | 0x24, 4, (BAR_64 >> 32) as u32), 0);
    let mmio = guest.platform.mmio();
    for (at, real) in [(BAR_32, 0x2000_0000_0000 + BAR_32), (BAR_64, BAR_64)] {
        let read = |at: u64| {
            let mut data = [0; 4];
            mmio.read(GuestAddress(at), &mut data);
            data
        };
        mmio.write(GuestAddress(real + 8), &[1, 2, 3, 4]);
        assert_eq!(read(real + 8), [0xff; 4], "it does not answer yet");
        assert_eq!(guest.write(BLOCK | 0x04, 2, 2), 0);
        mmio.write(GuestAddress(real + 8), &[1, 2, 3, 4]);
        assert_eq!(read(real + 8), [1, 2, 3, 4], "{at:#x}");
        assert_eq!(guest.bus.entry(at, 0).1, 0x0403_0201);
        assert_eq!(read(real + 0x10_0000), [0xff; 4]);
        assert_eq!(guest.write(BLOCK | 0x04, 2, 0), 0);
    }
}

/// Whatever the guest passes: an answer, and to the bus only accesses that a bus can have (which is
/// what the bus of the tests asserts).
#[test]
fn any_call_is_answered() {
    let guest = Guest::new(bus());
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize % below
    };
    let calls = [
        ("ibm,read-pci-config", 4, 2),
        ("ibm,write-pci-config", 5, 1),
        ("ibm,change-msi", 6, 4),
        ("ibm,query-interrupt-source-number", 4, 3),
        ("read-pci-config", 2, 2),
        ("write-pci-config", 3, 1),
    ];
    let interesting = [0, 1, 2, 3, 4, 5, 8, 0x10, 0x14, 0x52, 0x72, 1 << 31, u32::MAX];
    let mut successes = 0;
    for _ in 0..20_000 {
        let (name, count, outputs) = calls[random(calls.len())];
        let device = random(8) << 11;
        let mut inputs = vec![device as u32 | interesting[random(interesting.len())]];
        if count > 3 {
            inputs.extend(UNIT);
        }
        while inputs.len() < count {
            let any = [interesting[random(interesting.len())], random(1 << 32) as u32];
            inputs.push(any[random(2)]);
        }
        if count == 6 {
            inputs[0] &= !0xff;
            inputs[5] = random(4).min(1) as u32;
        }
        let (status, outputs) = guest.call(name, &inputs, outputs);
        assert!(matches!(status, 0 | 1 | -1 | -3), "{name} {inputs:x?}: {status}");
        assert!(status == 0 || outputs.iter().all(|&output| output == 0), "{name}: {outputs:x?}");
        successes += u32::from(status == 0);
    }
    assert!(successes > 1_000, "{successes}");
    // Nobody has a source of another.
    for (function, sources) in [(BLOCK, 0x1004..0x1008), (2 << 11, 0x1010..0x1018)] {
        let (_, count, _) = guest.change_msi(function, 0, 0);
        assert!((0..count).all(|number| sources.contains(&guest.source(function, number).1)));
    }
}
