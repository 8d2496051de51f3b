//! RAM with a hole in it: a client's pointers are followed as far as there is RAM, it is given none
//! that is not, and is told where it is.

use std::sync::{Arc, Mutex};

use arch_ppc64::topology::{CpuTopology, MemoryMap, MemoryRange, NumaNode};
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, HypercallBus, Next, StartError, Status, VcpuHost,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vof_device::test_utils::{
    Argument, Client, FIRMWARE_BYTES, TestMachine, WORKSPACE, WORKSPACE_BYTES, sample_tree,
};
use vof_device::{BuildError, RestoreError, Vof};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;
/// No RAM is from here
const HOLE: u32 = 4 << 20;
/// to here.
const BEHIND: u32 = 8 << 20;
/// But this is memory of a device.
const DEVICE: u32 = 6 << 20;

fn map() -> MemoryMap {
    let at = |start: u32| GuestAddress(start.into());
    let middle = 12 << 20;
    MemoryMap::new([
        MemoryRange::ram(at(0), HOLE.into()),
        MemoryRange::reserved(at(DEVICE), 0x1_0000),
        MemoryRange::ram(at(BEHIND), u64::from(middle - BEHIND)),
        MemoryRange::ram(at(middle), RAM_BYTES - u64::from(middle)).on_node(NumaNode(1)),
    ])
    .unwrap()
}

#[derive(Default)]
struct Started(Mutex<Vec<u64>>);

impl VcpuHost for Started {
    fn state(&self, _: CpuIndex) -> Option<CpuState> {
        Some(CpuState::Stopped)
    }

    fn start(&self, _: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let entry = registers.pc;
        self.0.lock().unwrap().push(entry.0);
        Ok(())
    }
}

struct Machine {
    ram: GuestMemoryMmap,
    bus: HypercallBus,
    vof: Arc<Vof>,
    started: Arc<Started>,
}

impl Machine {
    fn new() -> Self {
        // As if devices were in the hole, whose registers the VMM has as memory.
        let ram = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), HOLE as usize),
            (GuestAddress(DEVICE.into()), 0x1_0000),
            (GuestAddress(BEHIND.into()), RAM_BYTES as usize - BEHIND as usize),
        ])
        .unwrap();
        let started = Arc::new(Started::default());
        let vof = Vof::builder(sample_tree(), &map())
            .firmware(GuestAddress(0), FIRMWARE_BYTES)
            .reserve(GuestAddress(WORKSPACE.into()), WORKSPACE_BYTES.into())
            .cpus(started.clone(), &CpuTopology::new(2))
            .build();
        let vof = Arc::new(vof.unwrap());
        let bus = HypercallBus::new(vec![vof.clone()]).unwrap();
        Self { ram, bus, vof, started }
    }

    fn client(&self) -> Client<'_> {
        Client::new(&self.bus, &self.ram, WORKSPACE, WORKSPACE_BYTES)
    }

    fn free(&self) -> u64 {
        let free = self.vof.state().unwrap().vof.free_memory;
        free.iter().map(|range| range.end - range.start).sum()
    }
}

#[test]
fn buffers_are_not_filled_in_part() {
    let machine = Machine::new();
    let client = machine.client();
    let chosen = client.phandle("/chosen");
    let at = HOLE - 4;
    machine.ram.write_slice(&[0xaa; 4], GuestAddress(at.into())).unwrap();
    let pointer = |len: u32| [Argument::from(chosen), "bootargs".into(), at.into(), len.into()];
    assert_eq!(client.one("getprop", &pointer(64)), NONE);
    assert_eq!(client.peek(at, 4), [0xaa; 4]);
    assert_eq!(client.one("setprop", &pointer(8)), NONE);
    assert_eq!(client.one("package-to-path", &[chosen.into(), at.into(), 64.into()]), NONE);
    assert_eq!(client.peek(at, 4), [0xaa; 4]);
    // As far as there is RAM, and behind the hole.
    assert_eq!(client.one("getprop", &pointer(4)), 13);
    assert_eq!(client.peek(at, 4), b"cons");
    let behind = [chosen.into(), "bootargs".into(), BEHIND.into(), 64.into()];
    assert_eq!(client.one("getprop", &behind), 13);
    assert_eq!(client.peek(BEHIND, 13), b"console=hvc0\0");
}

#[test]
fn claims_are_ram_or_fail() {
    let machine = Machine::new();
    let client = machine.client();
    let before = machine.free();
    let claim = |at: u32, size: u32, align: u32| {
        client.one("claim", &[at.into(), size.into(), align.into()])
    };
    for (at, size) in
        [(HOLE, 1), (HOLE - 4096, 8192), (BEHIND - 1, 2), (HOLE - 1, BEHIND - HOLE + 2)]
    {
        assert_eq!(claim(at, size, 0), NONE, "{size:#x} bytes at {at:#x}");
    }
    for (at, size) in [(DEVICE, 4096), (RAM_BYTES as u32, 1)] {
        assert_eq!(claim(at, size, 0), NONE, "{size:#x} bytes at {at:#x}");
        let released = client.call("release", &[at.into(), size.into()], 0);
        assert_eq!(released.status, Status::SUCCESS);
    }
    assert_eq!(claim(0, (8 << 20) + 1, 4096), NONE);
    assert_eq!(machine.free(), before, "what fails claims nothing");
    // The lowest 6 MiB that are free are behind the hole, in two ranges that touch.
    assert_eq!(claim(0, 6 << 20, 4096), BEHIND);
    client.call("release", &[BEHIND.into(), (6 << 20).into()], 0);
    assert_eq!(machine.free(), before);
    assert_eq!(claim(BEHIND, 4096, 0), BEHIND);
    assert_eq!(claim(HOLE - 4096, 4096, 0), HOLE - 4096);
    assert_eq!(machine.free(), before - 8192);
    // What is claimed up to the hole, and released with it, stays claimed.
    client.call("release", &[(HOLE - 4096).into(), 8192.into()], 0);
    assert_eq!(machine.free(), before - 8192);
}

/// IEEE 1275 §3.7.6: "available" has an entry for each range.
#[test]
fn free_memory_is_listed_range_by_range() {
    let machine = Machine::new();
    let client = machine.client();
    let memory = client.phandle("/memory@0");
    let list = client.getprop(memory, "available").unwrap();
    let numbers: Vec<u64> =
        list.chunks_exact(8).map(|cell| u64::from_be_bytes(cell.try_into().unwrap())).collect();
    let first = u64::from(WORKSPACE + WORKSPACE_BYTES);
    let behind = u64::from(BEHIND);
    assert_eq!(numbers, [first, u64::from(HOLE) - first, behind, RAM_BYTES - behind]);
}

#[test]
fn pointers_into_a_hole_are_refused() {
    let machine = Machine::new();
    let client = machine.client();
    // Where the VMM has memory that is no RAM of the guest.
    machine.ram.write_slice(b"/chosen\0", GuestAddress(DEVICE.into())).unwrap();
    assert_eq!(client.one("finddevice", &[DEVICE.into()]), NONE);
    let chosen = client.phandle("/chosen");
    let into = [chosen.into(), "bootargs".into(), DEVICE.into(), 64.into()];
    assert_eq!(client.one("getprop", &into), NONE);
    let mut found = [0; 8];
    machine.ram.read_slice(&mut found, GuestAddress(DEVICE.into())).unwrap();
    assert_eq!(&found, b"/chosen\0");
    // An argument array there is none.
    for at in [HOLE, DEVICE, BEHIND - 12, RAM_BYTES as u32] {
        let outcome = client.call_array(at.into(), 0, 0);
        assert_eq!((outcome.status, outcome.next), (Status::PARAMETER, Next::Resume), "{at:#x}");
    }
}

/// What is reserved for a client has to be RAM.
#[test]
fn holes_cannot_be_reserved() {
    for (start, bytes) in [(HOLE - 4096, 8192), (DEVICE, 4096), (BEHIND - 1, 1), (HOLE, 1)] {
        let start = GuestAddress(start.into());
        let error = Vof::builder(sample_tree(), &map()).reserve(start, bytes).build().unwrap_err();
        assert_eq!(error, BuildError::NotRam { start, bytes });
    }
    let start = GuestAddress((12 << 20) - 4096);
    assert!(Vof::builder(sample_tree(), &map()).reserve(start, 8192).build().is_ok());
}

/// A state is of the memory that it was saved of.
#[test]
fn state_says_where_ram_is() {
    let saved = Machine::new().vof.state().unwrap();
    let ram: Vec<_> = saved.vof.ram.iter().map(|range| (range.start, range.end)).collect();
    assert_eq!(ram, [(0, HOLE.into()), (BEHIND.into(), RAM_BYTES)]);
    let restored = |map: &MemoryMap| {
        let builder = Vof::builder(sample_tree(), map).firmware(GuestAddress(0), FIRMWARE_BYTES);
        builder.restore(&saved)
    };
    assert!(restored(&map()).is_ok());
    let whole = MemoryMap::of_size(RAM_BYTES).unwrap();
    assert!(matches!(restored(&whole), Err(RestoreError::Ram { .. })));
}

/// The `reg` of a processor's node is the number of its server, which need not be its index.
#[test]
fn processors_are_found_by_the_number_of_their_server() {
    let started = Arc::new(Started::default());
    let sparse = CpuTopology::new(2).with_threads(1, 8).unwrap();
    let machine = TestMachine::in_memory(sample_tree(), &map(), |builder| {
        builder.cpus(started.clone(), &sparse)
    });
    let client = machine.client();
    let start = |number: u32| {
        let cpu = client.phandle(&format!("/cpus/PowerPC,POWER9@{number}"));
        client.call("start-cpu", &[cpu.into(), 0x60.into(), 0.into()], 0);
    };
    // Nobody has the number 1.
    start(1);
    assert!(started.0.lock().unwrap().is_empty());
    start(0);
    assert_eq!(*started.0.lock().unwrap(), [0x60]);
}

#[test]
fn processors_start_where_there_is_an_instruction() {
    let machine = Machine::new();
    let client = machine.client();
    let cpu = client.phandle("/cpus/PowerPC,POWER9@1");
    let start = |entry: u32| {
        client.call("start-cpu", &[cpu.into(), entry.into(), 0.into()], 0);
    };
    for entry in [0x62, HOLE - 2, HOLE, BEHIND - 4, RAM_BYTES as u32, 0xf000_0001, 0xffff_fffc] {
        start(entry);
    }
    assert!(machine.started.0.lock().unwrap().is_empty());
    start(0x60);
    start(BEHIND);
    assert_eq!(*machine.started.0.lock().unwrap(), [0x60, BEHIND.into()]);
}
