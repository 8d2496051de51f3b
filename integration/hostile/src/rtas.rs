//! RTAS: argument buffers of anything, anywhere.

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::hypercall::token;
use arch_ppc64::layout::FIRST_INTERRUPT;
use arch_ppc64::platform::{
    Device, InterruptController, InterruptKind, InterruptLine, SourceNumber,
};
use arch_ppc64::rtas::{
    self, AfterOsTerm, ERROR_LOG_BYTES_MAX, EventSources, HostTime, PowerButton, RealTimeClock,
    Rtas, StandardCalls, SystemParameters,
};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::xics::Xics;
use arch_ppc64::{CpuIndex, Hypercall, HypercallHandler, Next, Status, StopReason};

use crate::Reach;
use crate::bus_machine::{CPUS, HostConsole, HostCpus};
use crate::input::Input;
use crate::ram::{WatchedRam, are_within};

/// See [`Target::goals`](crate::Target::goals): every call, with success.
pub fn goals() -> Vec<String> {
    calls().map(|(name, _)| name.to_owned()).collect()
}

/// The calls of machines without PCI; the others are those of the target `pci_config`.
fn calls() -> impl Iterator<Item = (&'static str, u32)> {
    const FIRST_OF_PCI: &str = "read-pci-config";
    rtas::calls().take_while(|(name, _)| *name != FIRST_OF_PCI)
}

const RAM_BYTES: u64 = 1 << 20;
/// Where argument buffers mostly are.
const BUFFER: u64 = 0x1000;
/// How many calls an input makes at most.
const CALLS_MAX: usize = 64;
/// The most cells of a buffer: three, and 16 inputs, and 16 outputs.
const BUFFER_CELLS_MAX: u64 = 3 + 16 + 16;
/// The longest system parameter, with its length, in bytes.
const PARAMETER_BYTES_MAX: u64 = 2 + 4000;
/// What the status of a call may be (LoPAPR §7.2.8 and those of each call).
const STATUSES: [i32; 7] = [0, 1, -1, -2, -3, -9002, -9999];

struct NoTime;

impl HostTime for NoTime {
    fn now(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

/// `data` is a byte of flags, then one call after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let flags = input.byte();
    let cpus = Arc::new(HostCpus::default());
    let console = Arc::new(HostConsole::new(usize::from(flags & 1)));
    let topology = CpuTopology::new(CPUS);
    let xics = Arc::new(Xics::new(&topology, cpus.clone()));
    let clock = Arc::new(RealTimeClock::new(Box::new(NoTime)));
    // Its end is not where the owner meant it to be, and it is longer than can be told.
    let name = if flags & 2 != 0 { "n".repeat(5000) } else { "a\0b".to_owned() };
    let mut parameters = SystemParameters::new(CPUS, &topology, RAM_BYTES).with_name(name);
    if flags & 4 != 0 {
        parameters = parameters.with_uuid([7; 16]);
    }
    let calls = StandardCalls::new(parameters, cpus.clone(), console)
        .with_clock(clock.clone())
        .after_os_term(if flags & 8 != 0 { AfterOsTerm::Stop } else { AfterOsTerm::Return });
    let source = SourceNumber(FIRST_INTERRUPT);
    xics.claim(source, InterruptKind::Edge).expect("it can be");
    let line = InterruptLine::new(xics.clone(), source, InterruptKind::Edge);
    let events = EventSources::new(line, clock);
    let button = events.power_button();
    let mut devices = calls.devices();
    devices.extend([xics as Arc<dyn Device>, Arc::new(events)]);
    let handler = Rtas::new(&devices).expect("no call is answered twice");
    let ram = WatchedRam::new(RAM_BYTES);
    for _ in 0..CALLS_MAX {
        if input.is_empty() {
            break;
        }
        let at = write_buffer(&ram, &mut input, &button);
        if let Some(call) = call(&handler, &ram, at) {
            reach.add(call);
        }
    }
    for (cpu, entry, _) in cpus.started() {
        assert!((2..CPUS).contains(&cpu.0) && entry.0 % 4 == 0 && entry.0 < RAM_BYTES);
    }
    reach
}

/// Puts what the input says into RAM; gives the address of the argument buffer.
fn write_buffer(ram: &WatchedRam, input: &mut Input<'_>, button: &PowerButton) -> u64 {
    let kind = input.byte();
    if kind >= 0xf8 {
        if kind == 0xff {
            button.press();
        }
        // Anything, anywhere.
        let (place, len) = (input.number(RAM_BYTES), input.byte().into());
        ram.poke(place, input.bytes(len));
        return input.number(RAM_BYTES);
    }
    let calls: Vec<u32> = calls().map(|(_, token)| token).collect();
    let token = match kind % 32 {
        31 => input.u32(),
        number => calls[usize::from(number) % calls.len()],
    };
    let counts = input.byte();
    let inputs = u32::from(counts >> 4);
    let outputs = match counts & 15 {
        15 => input.u32(),
        few => few.into(),
    };
    let mut cells = vec![token, inputs, outputs];
    cells.extend((0..inputs).map(|_| input.number(RAM_BYTES) as u32));
    let at = if kind & 0x20 != 0 { input.number(RAM_BYTES) } else { BUFFER };
    // What is in the outputs before is not what comes of the call.
    cells.extend([0x5a5a_5a5a; 9]);
    ram.poke_cells(at, &cells);
    at
}

/// Makes a call; gives its number when it did what it is for.
fn call(handler: &Rtas, ram: &WatchedRam, at: u64) -> Option<usize> {
    let [token, inputs, outputs] = [0, 4, 8].map(|offset| ram.peek_cell(at.wrapping_add(offset)));
    let arguments: Vec<u32> =
        (0..6).map(|number| ram.peek_cell(at.wrapping_add(12 + 4 * number))).collect();
    let mut call = Hypercall::new(token::RTAS, &[at]);
    let before = call;
    let next = handler.handle(CpuIndex(0), ram, &mut call);
    assert_eq!(call.args, before.args, "the buffer is where results are");
    let (writes, work) = ram.take();
    assert!(work.accesses <= 6 && work.bytes <= 16 << 10, "{work:?}");
    if call.status() == Status::PARAMETER {
        let bytes = 4 * (3 + u64::from(inputs) + u64::from(outputs));
        let is_none = at.saturating_add(bytes) > RAM_BYTES;
        assert!(is_none || inputs > 16 || outputs > 16 || outputs == 0, "a buffer is refused");
        assert_eq!((next, writes), (Next::Resume, vec![]));
        return None;
    }
    assert_eq!(call.status(), Status::SUCCESS);
    let number = calls().position(|(_, known)| known == token);
    let name = number.and_then(|number| calls().nth(number)).map_or("", |(name, _)| name);
    let results = at + 12 + 4 * u64::from(inputs);
    let results = results..results + 4 * u64::from(outputs);
    assert!(results.end - at <= 4 * BUFFER_CELLS_MAX && results.end <= RAM_BYTES);
    let mut permitted = vec![results.clone()];
    if name == "ibm,get-system-parameter" {
        let (buffer, len) = (u64::from(arguments[1]), u64::from(arguments[2]));
        permitted.push(buffer..buffer + len.min(PARAMETER_BYTES_MAX));
    }
    if name == "check-exception" {
        let (buffer, len) = (u64::from(arguments[4]), u64::from(arguments[5]));
        permitted.push(buffer..buffer + len.min(ERROR_LOG_BYTES_MAX.into()));
    }
    assert!(are_within(&writes, &permitted), "{name} wrote {writes:x?}, not {permitted:x?}");
    let never = match next {
        Next::Resume => None,
        Next::Stop(StopReason::Crash) => {
            assert_eq!(name, "ibm,os-term");
            None
        }
        Next::Stop(StopReason::PowerOff) => Some("power-off"),
        Next::Stop(StopReason::Reset) => Some("system-reboot"),
        Next::Park => Some("stop-self"),
        Next::Stop(_) | Next::Cede => panic!("{name} ends with {next:?}"),
    };
    if let Some(never) = never {
        assert_eq!((name, writes), (never, vec![]), "what does not return has no results");
        return number;
    }
    let status = ram.peek_cell(results.start) as i32;
    assert!(STATUSES.contains(&status), "{name} has the status {status}");
    if status < 0 {
        let others = ram.peek(results.start + 4, (results.end - results.start - 4) as usize);
        assert!(others.iter().all(|&byte| byte == 0), "{name} failed and has results");
        // "Not authorized" is all that there is to be had of it.
        return number.filter(|_| name == "ibm,set-system-parameter" && status == -9002);
    }
    check_results(name, ram, results.start + 4);
    // That there is no event is not what it is for.
    number.filter(|_| name != "check-exception" || status == 0)
}

fn check_results(name: &str, ram: &WatchedRam, at: u64) {
    let result = |number: u64| ram.peek_cell(at + 4 * number);
    match name {
        "get-time-of-day" => {
            let [year, month, day, hour, minute, second, ns] = [0, 1, 2, 3, 4, 5, 6].map(result);
            assert!((1970..=9999).contains(&year) && (1..=12).contains(&month));
            assert!((1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60);
            assert!(ns < 1_000_000_000);
        }
        "query-cpu-stopped-state" => assert!(result(0) <= 2),
        "ibm,get-xive" => assert!(result(0) < CPUS && result(1) <= 0xff),
        _ => {}
    }
}
