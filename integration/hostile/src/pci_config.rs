//! PCI: RTAS calls with any arguments, accesses of any width at any address of the windows, base
//! addresses anywhere.

use arch_ppc64::pci::{PciWindow, PciWindows, unit_of};
use arch_ppc64::rtas::token_of;
use pseries_devices::pci::PciFunction;
use vm_memory::GuestAddress;

use crate::Reach;
use crate::bus_machine::lock;
use crate::input::Input;
use crate::pci_machine::{DOORBELL, Function, PciMachine};

/// The calls, with how many inputs and outputs they have.
const CALLS: [(&str, usize, u32); 6] = [
    ("ibm,read-pci-config", 4, 2),
    ("ibm,write-pci-config", 5, 1),
    ("ibm,change-msi", 6, 4),
    ("ibm,query-interrupt-source-number", 4, 3),
    ("read-pci-config", 2, 2),
    ("write-pci-config", 3, 1),
];

/// What inputs reach besides.
const GOALS: [&str; 8] = [
    "no function",
    "registers in the window of 32 bits",
    "registers in the window of 64 bits",
    "registers over each other",
    "an address of nobody",
    "a message",
    "a pin",
    "a table that is nowhere",
];
const NO_FUNCTION: usize = CALLS.len();
const WINDOW_32: usize = NO_FUNCTION + 1;
const WINDOW_64: usize = NO_FUNCTION + 2;
const OVERLAP: usize = NO_FUNCTION + 3;
const NOBODY: usize = NO_FUNCTION + 4;
const MESSAGE: usize = NO_FUNCTION + 5;
const PIN: usize = NO_FUNCTION + 6;
const NO_TABLE: usize = NO_FUNCTION + 7;

/// How many things an input does at most.
const ACTIONS_MAX: usize = 64;

/// What a call may say (LoPAPR §7.3.4, §7.3.10.5).
const STATUSES: [i32; 4] = [0, 1, -1, -3];

/// Where the ISR register is, whose reads change it.
const ISR_PAGE: u64 = 1;

/// See [`Target::goals`](crate::Target::goals): every call, with success, and more.
pub fn goals() -> Vec<String> {
    CALLS.iter().map(|call| call.0).chain(GOALS).map(str::to_owned).collect()
}

/// `data` is one action after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let mut machine = PciMachine::new();
    for _ in 0..ACTIONS_MAX {
        if input.is_empty() {
            break;
        }
        let kind = input.byte();
        let ((), told) = machine.step(|machine| act(machine, kind, &mut input, &mut reach));
        if told.by_message {
            reach.add(MESSAGE);
        }
        if told.by_pin {
            reach.add(PIN);
        }
    }
    reach
}

fn act(machine: &PciMachine, kind: u8, input: &mut Input<'_>, reach: &mut Reach) {
    match kind % 16 {
        0..=7 => {
            let number = usize::from(kind % 8) % CALLS.len();
            let (_, mut count, mut outputs) = CALLS[number];
            if kind & 0x80 != 0 {
                count = usize::from(input.byte() % 8);
                outputs = u32::from(input.byte() % 6) + 1;
            }
            let inputs = inputs_of(machine, number, count, input);
            if call(machine, number, &inputs, outputs, reach) {
                reach.add(number);
            }
        }
        8..=10 => read(machine, input, reach),
        11..=13 => {
            let at = address(machine, input);
            let bytes = width(input);
            let mut data = [0; 16];
            let given = input.bytes(bytes);
            data[..given.len()].copy_from_slice(given);
            machine.platform.mmio().write(GuestAddress(at), &data[..bytes]);
        }
        14 => match lock(&machine.seen.interrupt).as_ref() {
            Some((_, interrupt)) if kind & 0x80 == 0 => interrupt.configuration_changed(),
            Some((_, interrupt)) => interrupt.needs_reset(),
            None => {}
        },
        _ => machine.reset(),
    }
}

/// The inputs of a call, mostly such as make sense.
fn inputs_of(machine: &PciMachine, call: usize, count: usize, input: &mut Input<'_>) -> Vec<u32> {
    let is_plain = call >= 4;
    let mut inputs = vec![config_address(machine, input)];
    if !is_plain {
        let unit = unit_of(if input.byte() < 0xf0 { 0 } else { 1 });
        inputs.extend([(unit >> 32) as u32, unit as u32]);
    }
    match CALLS[call].0 {
        "ibm,change-msi" => {
            // What to do, how many, and that it is the first call.
            inputs.extend([u32::from(input.byte() % 8), number(machine, input)]);
            inputs.push(if input.byte() < 0xf0 { 1 } else { number(machine, input) });
            inputs[0] &= if input.byte() < 0xf0 { 0x00ff_ff00 } else { u32::MAX };
        }
        "ibm,query-interrupt-source-number" => {
            inputs.push(number(machine, input));
            inputs[0] &= if input.byte() < 0xf0 { 0x00ff_ff00 } else { u32::MAX };
        }
        _ => {
            let size = match input.byte() {
                few @ 0..=0xdf => 1 << (few % 3),
                other => other.into(),
            };
            // Aligned, mostly.
            if input.byte() < 0xe0 {
                inputs[0] &= !(size - 1) | !3;
            }
            inputs.extend([size, number(machine, input)]);
        }
    }
    inputs.resize(count, 0);
    inputs
}

/// `config_addr` of a register of some function.
fn config_address(machine: &PciMachine, input: &mut Input<'_>) -> u32 {
    let (which, register) = (input.byte(), input.byte());
    let function = match which {
        0..=0x6f => machine.functions[0].address.cell(),
        0x70..=0xdf => machine.functions[1].address.cell(),
        0xe0..=0xef => u32::from(input.byte()) << 8,
        _ => return input.u32(),
    };
    // One of those that matter, or any.
    let register = match register {
        0..=0x0f => [4, 0x10, 0x14, 0x3c][usize::from(register % 4)],
        0x10..=0x1f => machine.functions[0].msix as u8 + 2,
        other => other,
    };
    function | u32::from(register)
}

/// A value: what a base address could be, or any.
fn number(machine: &PciMachine, input: &mut Input<'_>) -> u32 {
    let kind = input.byte();
    let windows = PciWindows::new();
    match kind {
        0..=0x1f => kind.into(),
        0x20..=0x2f => (windows.memory_64.bus >> 32) as u32,
        0x30..=0x3f => (windows.memory_32.bus as u32).wrapping_add(u32::from(kind & 15) << 16),
        0x40..=0x4f => u32::from(kind & 15) << 16,
        0x50..=0x57 => machine.functions[usize::from(kind & 1)].base(&machine.bus) as u32,
        0x58..=0x5f => (machine.functions[usize::from(kind & 1)].base(&machine.bus) >> 32) as u32,
        // Memory space, bus master, interrupt pin.
        0x60..=0x6f => 6 | u32::from(kind & 1) << 10 | u32::from(kind & 4) >> 1,
        0x70..=0x7f => u32::from(kind & 3) << 14,
        0x80..=0x87 => u32::MAX,
        _ => input.number(1 << 32) as u32,
    }
}

/// How many bytes an access has.
fn width(input: &mut Input<'_>) -> usize {
    match input.byte() {
        few @ 0..=0xbf => 1 << (few % 4),
        other => usize::from(other % 16) + 1,
    }
}

/// An address of the machine: near the registers of a function, the end of a window, or any.
fn address(machine: &PciMachine, input: &mut Input<'_>) -> u64 {
    let windows = PciWindows::new();
    let real =
        |window: &PciWindow, at: u64| window.start.0.wrapping_add(at.wrapping_sub(window.bus));
    let kind = input.byte();
    match kind {
        0..=0xbf => {
            let function = &machine.functions[usize::from(kind & 1)];
            let base = function.base(&machine.bus);
            let window = if base < 1 << 32 { &windows.memory_32 } else { &windows.memory_64 };
            let offset = match kind >> 1 & 3 {
                0 => function.table + u64::from(input.byte()),
                1 | 2 => u64::from(kind >> 3 & 7) << 12 | u64::from(input.byte()),
                _ => u64::from(input.u16()).wrapping_sub(16),
            };
            real(window, base).wrapping_add(offset)
        }
        0xc0..=0xef => {
            let window = if kind & 1 == 0 { windows.memory_32 } else { windows.memory_64 };
            let from = if kind & 2 == 0 { window.start.0 } else { window.start.0 + window.bytes };
            from.wrapping_add(u64::from(input.byte())).wrapping_sub(16)
        }
        _ => input.u64(),
    }
}

/// A load: who answers is as configuration space says, and answers as he does otherwise.
fn read(machine: &PciMachine, input: &mut Input<'_>, reach: &mut Reach) {
    let at = address(machine, input);
    let bytes = width(input);
    let mut data = [0x5a; 16];
    let data = &mut data[..bytes];
    let answerer = answerer(machine, at, bytes as u64);
    machine.platform.mmio().read(GuestAddress(at), data);
    let Some((function, offset, start)) = answerer else {
        assert!(data.iter().all(|&byte| byte == 0xff), "{at:#x} answers {data:x?}");
        reach.add(NOBODY);
        return;
    };
    reach.add(if start < 1 << 32 { WINDOW_32 } else { WINDOW_64 });
    if offset >> 12 != ISR_PAGE {
        let mut same = [0xa5; 16];
        let same = &mut same[..bytes];
        function.device.read_bar(0, offset, same);
        assert_eq!(data, same, "at {offset:#x} of {}", function.address);
    }
    let is_over = |other: &Function| {
        let place = other.place(&machine.bus);
        let shares = |other| start < other + function.bytes && other < start + function.bytes;
        other.address != function.address && place.is_some_and(shares)
    };
    if machine.functions.iter().any(is_over) {
        reach.add(OVERLAP);
    }
}

/// The function that answers for all these bytes, how far into its registers they are, and where
/// those begin on the bus: the first of all that are there, if no part is another's.
fn answerer(machine: &PciMachine, at: u64, bytes: u64) -> Option<(&Function, u64, u64)> {
    let windows = PciWindows::new();
    let end = at.checked_add(bytes)?;
    let is_in = |window: &&PciWindow| at >= window.start.0 && end <= window.start.0 + window.bytes;
    let window = [&windows.memory_32, &windows.memory_64].into_iter().find(is_in)?;
    let on_bus = window.bus + (at - window.start.0);
    let first = |at: u64| {
        machine.functions.iter().enumerate().find_map(|(number, function)| {
            let start = function.place(&machine.bus)?;
            (at >= start && at - start < function.bytes).then_some((number, start))
        })
    };
    let (number, start) = first(on_bus)?;
    let is_whole = (on_bus..on_bus + bytes).all(|at| first(at) == Some((number, start)));
    is_whole.then(|| (&machine.functions[number], on_bus - start, start))
}

/// Makes a call, and sees that its results are what they can be; whether it succeeded.
fn call(
    machine: &PciMachine,
    number: usize,
    inputs: &[u32],
    outputs: u32,
    reach: &mut Reach,
) -> bool {
    let name = CALLS[number].0;
    let token = token_of(name).expect("a call");
    let (status, results) = machine.rtas(token, inputs, outputs);
    assert!(STATUSES.contains(&status), "{name} has the status {status}");
    let function = inputs.first().and_then(|&cell| {
        let address = cell >> 8 & 0xffff;
        machine.functions.iter().find(|function| function.address.cell() >> 8 == address)
    });
    if status != 0 {
        assert!(results.iter().all(|&result| result == 0), "{name} failed and has results");
        if name == "ibm,change-msi" && status == -1 {
            assert!(
                function.is_none_or(|function| !answers_itself(machine, function)),
                "a table that is there is not found"
            );
            reach.add(NO_TABLE);
        }
        return false;
    }
    match (name, function) {
        ("ibm,read-pci-config" | "read-pci-config", None) => {
            let size = inputs[if number == 0 { 3 } else { 1 }];
            let ones = u32::MAX >> (32 - 8 * size);
            assert_eq!(results, [ones], "an absent function answers");
            reach.add(NO_FUNCTION);
        }
        ("ibm,read-pci-config" | "read-pci-config", Some(_)) => {
            let size = inputs[if number == 0 { 3 } else { 1 }];
            assert_eq!(u64::from(results[0]) >> (8 * size), 0, "more than {size} bytes");
        }
        ("ibm,change-msi", Some(function)) => check_grant(machine, function, inputs, &results),
        ("ibm,query-interrupt-source-number", Some(function)) => {
            let [source, trigger] = results[..] else { panic!("{results:x?}") };
            let is_message = machine.is_message_source(source);
            assert_eq!(trigger == 1, is_message, "{source:#x} of {}", function.address);
        }
        ("ibm,change-msi" | "ibm,query-interrupt-source-number", None) => {
            panic!("{name} succeeds for no function")
        }
        _ => {}
    }
    true
}

/// What a function was given is in its table, and queries tell the same.
fn check_grant(machine: &PciMachine, function: &Function, inputs: &[u32], results: &[u32]) {
    let (what, wanted) = (inputs[3], inputs[4]);
    let [count, sequence, ..] = *results else { panic!("{results:x?}") };
    assert_eq!(sequence, 2);
    assert!(count <= function.vectors.into());
    let query = token_of("ibm,query-interrupt-source-number").expect("a call");
    let source = |vector: u32| {
        let unit = unit_of(0);
        let inputs = [inputs[0], (unit >> 32) as u32, unit as u32, vector];
        let (status, results) = machine.rtas(query, &inputs, 3);
        (status == 0).then(|| results[0])
    };
    let sources: Vec<Option<u32>> = (0..count).map(source).collect();
    for (vector, source) in sources.iter().enumerate() {
        let source = source.expect("a source for each");
        assert!(machine.is_message_source(source));
        assert_eq!(Some(source), sources[0].map(|first| first + vector as u32));
    }
    assert_eq!(source(count).filter(|_| count > 0), None, "a source of no message");
    let gives = matches!(what, 1 | 4) && wanted > 0;
    if gives {
        assert!((1..=wanted).contains(&count));
    }
    if gives && answers_itself(machine, function) {
        let entries = function.entries();
        for (source, entry) in sources.iter().zip(&entries) {
            assert_eq!((DOORBELL, *source), (entry.0, Some(entry.1)));
        }
    }
}

/// Whether the whole table of a function answers on the bus.
fn answers_itself(machine: &PciMachine, function: &Function) -> bool {
    let Some(start) = function.place(&machine.bus) else { return false };
    let table = start + function.table;
    let windows = PciWindows::new();
    let Some(GuestAddress(at)) = windows.real(table, 16 * u64::from(function.vectors)) else {
        return false;
    };
    (0..function.vectors).all(|vector| {
        let entry = answerer(machine, at + 16 * u64::from(vector), 16);
        entry.is_some_and(|(found, ..)| found.address == function.address)
    })
}
