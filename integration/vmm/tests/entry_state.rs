//! The state that the firmware image enters a client program in (PowerPC binding to IEEE 1275
//! §8.2.2): the image itself, on the processor in software, with the client interface behind it.
#![cfg(feature = "vof")]

use std::sync::Arc;

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::hypercall::token::VOF_CLIENT;
use arch_ppc64::platform::outline;
use arch_ppc64::{CpuIndex, Hypercall, HypercallBus, Machine, Next, fdt};
use interp::{Cpu, CpuBus, Exit, PageMap, RamRegion, Registers, System};
use vm_memory::GuestMemoryBackend;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vof_device::{Buffer, Context, DeviceTree, Failed, Instance, Package, Transfer, Vof};

/// Where the client is.
const ENTRY: u64 = 0x40_0000;
/// Where the client that `chain` enters is.
const SECOND: u64 = 0x50_0000;
/// `sc 1` with a token that nobody answers: the client shows itself.
const SHOW: [u32; 2] = [0x4400_0022, 0x4800_0000];

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(1, Default::default())
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("console=hvc0")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

struct Board<'a>([RamRegion<'a>; 1]);

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
}

struct Guest {
    ram: GuestMemoryMmap<PageMap>,
    bus: HypercallBus,
    cpu: Cpu,
}

impl Guest {
    /// A machine whose client is a few words of `code` at [`ENTRY`].
    fn new(is_64bit: bool, initrd: Option<(GuestAddress, u64)>, code: &[u32]) -> Self {
        let machine = Machine::new(&Config).unwrap();
        let bytes = machine.memory_map().ram_bytes();
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes as usize)]).unwrap();
        let start =
            fdt::Start::new(GuestAddress(ENTRY), [7; 32]).in_64bit(is_64bit).with_initrd(initrd);
        let tree =
            DeviceTree::from_blob(&outline(&machine).unwrap().blob(&start).unwrap()).unwrap();
        let vof = Vof::builder(tree, machine.memory_map())
            .firmware(GuestAddress(0), vof_firmware::RESERVED_BYTES)
            .package("/vdevice", Arc::new(Slow(0)))
            .build()
            .unwrap();
        let image_at = GuestAddress(vof_firmware::LOAD_ADDRESS);
        ram.write_slice(vof_firmware::IMAGE, image_at).unwrap();
        let mut cpu = Cpu::new(0, machine.cpu().pvr(), Arc::new(System::new(1)));
        cpu.start(vof_firmware::ENTRY, true);
        // No register needs to have a value.
        (0..32).for_each(|number| cpu.set_gpr(number, 0xdead_beef_dead_beef));
        let bus = HypercallBus::new(vec![Arc::new(vof)]).unwrap();
        let guest = Self { ram, bus, cpu };
        guest.put(ENTRY, code);
        guest
    }

    fn put(&self, at: u64, words: &[u32]) {
        for (at, word) in (at..).step_by(4).zip(words) {
            self.ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
        }
    }

    /// Runs until the `sc 1` at `at`, answering those before it; the registers there.
    fn run_to(&mut self, at: u64) -> Registers {
        let region = self.ram.iter().next().unwrap();
        let board = Board([RamRegion::of(region).unwrap()]);
        for _ in 0..20 {
            let exit = self.cpu.run(&board, 10_000);
            assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
            let registers = self.cpu.registers();
            // The CPU goes on behind the instruction.
            if registers.pc == at + 4 {
                return registers;
            }
            let mut call = Hypercall { token: self.cpu.gpr(3), ..Hypercall::default() };
            for (number, argument) in (4..).zip(&mut call.args) {
                *argument = self.cpu.gpr(number);
            }
            assert_eq!(self.bus.dispatch(CpuIndex(0), &self.ram, &mut call), Next::Resume);
            self.cpu.set_gpr(3, call.status);
            for (number, argument) in (4..).zip(call.args) {
                self.cpu.set_gpr(number, argument);
            }
        }
        panic!("the client is not entered");
    }
}

/// Has nothing to be read the first few times.
#[derive(Clone)]
struct Slow(u32);

impl Package for Slow {
    fn open(&self, _: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(self.clone()))
    }
}

impl Instance for Slow {
    fn read(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        self.0 += 1;
        if self.0 < 4 {
            return Ok(Transfer::NotYet);
        }
        buffer.put(0, &self.0.to_be_bytes())?;
        Ok(Transfer::Done(4))
    }
}

const SF: u64 = 1 << 63;
/// Interrupts, problem state, translation of instructions and data, byte order.
const EE_PR_IR_DR_LE: u64 = 1 << 15 | 1 << 14 | 3 << 4 | 1;

/// r1 a stack with at least 32 KiB below, r5 the client interface, r6 and r7 the arguments and
/// their length, r3 and r4 what the platform says: the initial RAM disk. Real mode, big-endian,
/// interrupts off.
#[test]
fn clients_are_entered_as_the_binding_says() {
    for is_64bit in [true, false] {
        for initrd in [None, Some((GuestAddress(0x80_0000), 0x12345))] {
            let mut guest = Guest::new(is_64bit, initrd, &SHOW);
            let registers = guest.run_to(ENTRY);
            let gpr = registers.gpr;
            assert_eq!(gpr[1], vof_firmware::STACK_FRAME);
            let (at, bytes) = initrd.map_or((0, 0), |(at, bytes)| (at.0, bytes));
            assert_eq!((gpr[3], gpr[4]), (at, bytes));
            assert_eq!(gpr[5], vof_firmware::CLIENT_INTERFACE);
            assert_eq!((gpr[6], gpr[7]), (0, 0));
            assert_eq!(registers.msr & EE_PR_IR_DR_LE, 0);
            assert_eq!(registers.msr & SF != 0, is_64bit);
            // The chain of frames ends.
            let back: u64 = guest.ram.read_obj(GuestAddress(gpr[1])).unwrap();
            assert_eq!(back, 0);
        }
    }
}

/// §6.3.2.5, chain: the other program is entered in the same state, with the arguments that were
/// passed.
#[test]
fn chain_enters_a_program_in_the_same_state() {
    const ARRAY: u64 = 0x60_0000;
    // lis r3, ARRAY@h; mtctr r5; bctr: the client's only call.
    let code = [0x3c60_0060, 0x7ca9_03a6, 0x4e80_0420];
    let mut guest = Guest::new(true, None, &code);
    guest.put(SECOND, &SHOW);
    let name_at = ARRAY as u32 + 0x100;
    guest.ram.write_slice(b"chain\0", GuestAddress(name_at.into())).unwrap();
    let array = [name_at, 5, 0, 0, 0, SECOND as u32, 0x61_0000, 12];
    guest.put(ARRAY, &array);
    let registers = guest.run_to(SECOND);
    let gpr = registers.gpr;
    assert_eq!(gpr[1], vof_firmware::STACK_FRAME);
    assert_eq!((gpr[3], gpr[4]), (0, 0));
    assert_eq!(gpr[5], vof_firmware::CLIENT_INTERFACE);
    assert_eq!((gpr[6], gpr[7]), (0x61_0000, 12));
    assert_eq!(registers.msr & EE_PR_IR_DR_LE, 0);
}

/// A call that waits for the host is made again by the image, as often as it takes: the client gets
/// one answer, and its processor was outside of the hypercall in between.
#[test]
fn a_call_that_waits_is_made_again() {
    const ARRAY: u64 = 0x60_0000;
    const NAME: u32 = 0x60_0100;
    const BUFFER: u32 = 0x60_0200;
    // lis r3, ARRAY@h; mtctr r5; bctrl; sc 1, which is behind the client's only call.
    let code = [0x3c60_0060, 0x7ca9_03a6, 0x4e80_0421, 0x4400_0022];
    for is_64bit in [true, false] {
        let mut guest = Guest::new(is_64bit, None, &code);
        let text = |text: &[u8]| guest.ram.write_slice(text, GuestAddress(NAME.into())).unwrap();
        text(b"open\0/vdevice\0");
        guest.put(ARRAY, &[NAME, 1, 1, NAME + 5, 0]);
        let mut open = Hypercall::new(VOF_CLIENT, &[ARRAY]);
        assert_eq!(guest.bus.dispatch(CpuIndex(0), &guest.ram, &mut open), Next::Resume);
        let ihandle: u32 = guest.ram.read_obj(GuestAddress(ARRAY + 16)).unwrap();
        text(b"read\0");
        guest.put(ARRAY, &[NAME, 3, 1, u32::from_be(ihandle), BUFFER, 64, 0x5a5a_5a5a]);
        let registers = guest.run_to(ENTRY + 12);
        assert_eq!(registers.gpr[3], 0);
        let cell = |at: u64| u32::from_be(guest.ram.read_obj(GuestAddress(at)).unwrap());
        assert_eq!((cell(ARRAY + 24), cell(BUFFER.into())), (4, 4));
    }
}
