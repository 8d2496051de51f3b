//! RAM with a hole in it, which the VMM did not tell of: a client's pointers are followed as far as
//! there is RAM, and it is given none that is not.

use std::sync::{Arc, Mutex};

use arch_ppc64::{CpuIndex, CpuState, EntryRegisters, HypercallBus, StartError, VcpuHost};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vof_device::Vof;
use vof_device::test_utils::{
    Argument, Client, FIRMWARE_BYTES, WORKSPACE, WORKSPACE_BYTES, sample_tree,
};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;
/// No RAM is from here
const HOLE: u32 = 4 << 20;
/// to here.
const BEHIND: u32 = 8 << 20;

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
        let ram = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), HOLE as usize),
            (GuestAddress(BEHIND.into()), RAM_BYTES as usize - BEHIND as usize),
        ])
        .unwrap();
        let started = Arc::new(Started::default());
        let vof = Vof::builder(sample_tree(), RAM_BYTES)
            .firmware(GuestAddress(0), FIRMWARE_BYTES)
            .reserve(GuestAddress(WORKSPACE.into()), WORKSPACE_BYTES.into())
            .cpus(started.clone())
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
    // The lowest 6 MiB that are free have the hole in them.
    assert_eq!(claim(0, 6 << 20, 4096), NONE);
    assert_eq!(machine.free(), before, "what fails claims nothing");
    assert_eq!(claim(BEHIND, 4096, 0), BEHIND);
    assert_eq!(claim(HOLE - 4096, 4096, 0), HOLE - 4096);
    assert_eq!(machine.free(), before - 8192);
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
