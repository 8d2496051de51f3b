//! RAM with a hole in it: what a guest registers, passes or names has to be RAM from its first byte
//! to its last, not at its ends only.

use std::sync::{Arc, Mutex};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::hypercall::token;
use arch_ppc64::papr::{DispatchCalls, ModeCalls, ProcessTable, ProcessorModes, Prod};
use arch_ppc64::rtas::{self, Rtas, StandardCalls};
use arch_ppc64::topology::{CpuTopology, MemoryMap, MemoryRange, NumaNode};
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, GuestRam, Hypercall, HypercallBus, HypercallHandler,
    Machine, MemoryFault, NoConsole, StartError, Status, VcpuHost, start_cpu,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// RAM is from 0 to here,
const HOLE: u64 = 0x10_0000;
/// and from here on.
const BEHIND: u64 = 0x40_0000;
const END: u64 = 0x50_0000;

/// Three ranges, of which the first two touch.
fn map() -> MemoryMap {
    let ram = |start, end| MemoryRange::ram(GuestAddress(start), end - start);
    let first = [ram(0, 0x8_0000), ram(0x8_0000, HOLE).on_node(NumaNode(1))];
    MemoryMap::new(first.into_iter().chain([ram(BEHIND, END)])).unwrap()
}

fn ram() -> GuestMemoryMmap {
    let map = map();
    let ranges: Vec<_> = map.ram().map(|range| (range.start, range.bytes as usize)).collect();
    GuestMemoryMmap::from_ranges(&ranges).unwrap()
}

#[test]
fn map_and_memory_agree() {
    let (map, ram) = (map(), ram());
    for edge in [0, 0x8_0000, HOLE, BEHIND, END, 1 << 32, u64::MAX - 16] {
        for start in [edge.saturating_sub(1), edge, edge + 1] {
            for bytes in [0, 1, 2, 0x8_0000, BEHIND - HOLE, BEHIND - HOLE + 2, END, u64::MAX / 2] {
                let at = GuestAddress(start);
                let is_ram = ram.check_ram(at, bytes).is_ok();
                assert_eq!(map.is_ram(at, bytes), is_ram, "{bytes:#x} bytes at {start:#x}");
            }
        }
    }
}

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(2, Default::default())
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

/// Processors that do whatever they are told, and remember where they were started.
#[derive(Default)]
struct Obedient {
    started: Mutex<Vec<u64>>,
}

impl VcpuHost for Obedient {
    fn state(&self, _: CpuIndex) -> Option<CpuState> {
        Some(CpuState::Stopped)
    }

    fn start(&self, _: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let entry = registers.pc;
        self.started.lock().unwrap().push(entry.0);
        Ok(())
    }
}

impl Prod for Obedient {
    fn prod(&self, _: CpuIndex) -> bool {
        true
    }
}

impl ProcessorModes for Obedient {
    fn set_interrupt_endianness(&self, _: bool) -> Status {
        Status::SUCCESS
    }

    fn set_interrupt_location(&self, _: u8) -> Status {
        Status::SUCCESS
    }

    fn set_process_table(&self, _: &ProcessTable) -> Status {
        Status::SUCCESS
    }
}

fn call(
    handler: Arc<dyn HypercallHandler>,
    ram: &dyn GuestRam,
    token: u64,
    args: &[u64],
) -> Status {
    let bus = HypercallBus::new(vec![handler]).unwrap();
    let mut call = Hypercall::new(token, args);
    let _ = bus.dispatch(CpuIndex(0), ram, &mut call);
    call.status()
}

#[test]
fn a_range_is_ram_if_every_byte_is() {
    let memory = ram();
    let check = |at, len| (&memory as &dyn GuestRam).check_ram(GuestAddress(at), len);
    for (at, len) in [
        (0, HOLE),
        (0x7_ffff, 2),
        (HOLE - 1, 1),
        (BEHIND, END - BEHIND),
        (END - 1, 1),
        // No bytes are RAM everywhere.
        (0, 0),
        (HOLE, 0),
        (u64::MAX, 0),
    ] {
        assert_eq!(check(at, len), Ok(()), "{len:#x} bytes at {at:#x}");
    }
    for (at, len) in [
        (0, HOLE + 1),
        (HOLE, 1),
        (HOLE - 1, 2),
        (BEHIND - 1, 1),
        (BEHIND - 1, 2),
        (BEHIND, END - BEHIND + 1),
        (0, END),
        (HOLE - 0x1000, BEHIND - HOLE + 0x2000),
        (0, u64::MAX),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
    ] {
        let at_fault = MemoryFault::new(GuestAddress(at), len as usize);
        assert_eq!(check(at, len), Err(at_fault), "{len:#x} bytes at {at:#x}");
    }
}

#[test]
fn a_process_table_does_not_reach_over_a_hole() {
    let ram = ram();
    let register = |base, order| {
        let calls = Arc::new(ModeCalls::new(&CpuTopology::new(1), Arc::new(Obedient::default())));
        call(calls, &ram, token::REGISTER_PROC_TBL, &[0x1d, base, 0, order])
    };
    assert_eq!(register(HOLE - 0x1_0000, 4), Status::SUCCESS);
    // 4 MiB: both ends are RAM.
    assert_eq!(register(HOLE - 0x1_0000, 10), Status::P2);
    assert_eq!(register(HOLE, 0), Status::P2);
    assert_eq!(register(BEHIND - 0x1000, 1), Status::P2);
}

/// An area about a processor: the virtual processor area, the dispatch trace log, the SLB shadow.
#[test]
fn areas_end_before_a_hole() {
    let ram = ram();
    let at = HOLE - 128;
    let calls = Arc::new(DispatchCalls::new(&CpuTopology::new(1), Arc::new(Obedient::default())));
    let register = |function: u64, at: u64, size: [u8; 4]| {
        (&ram as &dyn GuestRam).write(GuestAddress(at + 4), &size).unwrap();
        call(calls.clone(), &ram, token::REGISTER_VPA, &[function << 45, 0, at])
    };
    let vpa = [2, 0x80, 0, 0];
    assert_eq!(register(1, at, vpa), Status::PARAMETER);
    assert_eq!(register(1, BEHIND, vpa), Status::SUCCESS);
    for (function, fits, too_long) in [(2, 48, 4096), (3, 128, 256)] {
        assert_eq!(register(function, at, u32::to_be_bytes(fits)), Status::SUCCESS);
        assert_eq!(register(function, at, u32::to_be_bytes(too_long)), Status::PARAMETER);
    }
}

#[test]
fn a_cpu_starts_where_there_is_an_instruction() {
    let (ram, cpus) = (ram(), Obedient::default());
    let start = |entry| start_cpu(&cpus, &ram, CpuIndex(1), GuestAddress(entry), 0);
    for entry in [0x62, 1, HOLE - 2, HOLE, BEHIND - 4, END, 0xf000_0000, u64::MAX] {
        assert_eq!(start(entry), Err(StartError::NoCode), "{entry:#x}");
    }
    assert!(cpus.started.lock().unwrap().is_empty());
    for entry in [0, HOLE - 4, BEHIND] {
        assert_eq!(start(entry), Ok(()));
    }
    assert_eq!(*cpus.started.lock().unwrap(), [0, HOLE - 4, BEHIND]);
}

#[test]
fn rtas_is_whole_and_touches_only_ram() {
    let memory = ram();
    let ram: &dyn GuestRam = &memory;
    for base in [HOLE - 0x800, HOLE, BEHIND - 0x800] {
        assert!(rtas::instantiate(ram, GuestAddress(base)).is_err(), "{base:#x}");
    }
    let machine = Machine::new(&Config).unwrap();
    let calls = StandardCalls::new(&machine, Arc::new(Obedient::default()), Arc::new(NoConsole));
    let rtas = Arc::new(Rtas::new(&calls.devices()).unwrap());
    let made = |at: u64, cells: &[u32]| {
        for (cell, at) in cells.iter().zip((at..).step_by(4)) {
            let _ = ram.write_be_u32(GuestAddress(at), *cell);
        }
        call(rtas.clone(), ram, token::RTAS, &[at])
    };
    // A buffer whose outputs lie in the hole.
    let get_time = rtas::token_of("get-time-of-day").unwrap();
    assert_eq!(made(HOLE - 40, &[get_time, 0, 8]), Status::PARAMETER);
    assert_eq!(made(HOLE - 44, &[get_time, 0, 8]), Status::SUCCESS);
    // A parameter that would end in the hole is not written in part.
    let get_parameter = rtas::token_of("ibm,get-system-parameter").unwrap();
    let answer = |buffer: u64| {
        let cells = [get_parameter, 3, 1, 20, buffer as u32, 64, 7];
        assert_eq!(made(0x1000, &cells), Status::SUCCESS);
        ram.read_be_u32(GuestAddress(0x1000 + 24)).unwrap() as i32
    };
    let tail = GuestAddress(HOLE - 8);
    ram.write(tail, &[0xaa; 8]).unwrap();
    assert_eq!(answer(tail.0), -9999);
    let mut untouched = [0; 8];
    ram.read(tail, &mut untouched).unwrap();
    assert_eq!(untouched, [0xaa; 8]);
    assert_eq!(answer(HOLE - 64), 0);
}
