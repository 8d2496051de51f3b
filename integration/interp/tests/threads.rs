//! Threads of a core: what they signal each other by (Power ISA 3.0B, Book III, processor
//! control).
#![cfg(feature = "board")]

mod common;
#[path = "common/ram_only.rs"]
mod ram_only;

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use arch_ppc64::topology::CpuTopology;
use arch_ppc64::{CpuIndex, EntryRegisters, VcpuExit};
use common::{CODE, EE, END, ME, RAM_BYTES, Random, SF};
use interp::board::{Clock, MemoryFlags, Vcpu, Vm, VmOptions, create_vm};
use interp::{Cpu, Exit, PageMap, RamRegion, Registers, System};
use ram_only::RamOnly;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

type Ram = GuestMemoryMmap<PageMap>;

const POWER9: u32 = 0x004e_1203;
const DATA: u64 = 0x2_0000;

/// msgsndp r3, msgclrp r3
const RING: u32 = 0x7c00_191c;
const SILENCE: u32 = 0x7c00_195c;
/// mfspr r5 of DPDES, TIR, PIR
const DPDES: u32 = 0x7cb0_2aa6;
const TIR: u32 = 0x7cbe_6aa6;
const PIR: u32 = 0x7cbf_faa6;

/// A message of `msgsndp`: a directed privileged doorbell to this thread.
const fn message(thread: u64) -> u64 {
    5 << 27 | thread
}

/// Ends tests that hang.
const HANG: Duration = Duration::from_secs(600);

fn ram() -> Ram {
    let ram = Ram::from_ranges(&[(GuestAddress(0), RAM_BYTES)]).unwrap();
    for vector in (0x100..0x1000).step_by(0x20) {
        put(&ram, vector, &[END]);
    }
    ram
}

fn put(ram: &Ram, at: u64, words: &[u32]) {
    for (at, word) in (at..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
}

/// Eight CPUs, so many threads a core, that execute these words each.
struct Cores {
    ram: Ram,
    cpus: Vec<Cpu>,
}

impl Cores {
    fn new(threads: usize, words: &[u32]) -> Self {
        let ram = ram();
        put(&ram, CODE, words);
        let system = Arc::new(System::with_threads(8, threads));
        Self { ram, cpus: (0..8).map(|id| Cpu::new(id, POWER9, system.clone())).collect() }
    }

    /// Has a CPU execute the code with this value of r3 and of MSR; its registers at the end.
    fn run(&mut self, cpu: usize, r3: u64, msr: u64) -> Registers {
        let mut registers = Registers { pc: CODE, msr: SF | ME | msr, ..Registers::default() };
        registers.gpr[3] = r3;
        let cpu = &mut self.cpus[cpu];
        cpu.set_registers(&registers);
        let board = RamOnly([RamRegion::of(self.ram.iter().next().unwrap()).unwrap()]);
        let exit = cpu.run(&board, 10_000);
        assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
        cpu.registers()
    }

    fn rung(&self) -> Vec<usize> {
        (0..8).filter(|&cpu| self.cpus[cpu].doorbell_is_rung()).collect()
    }
}

/// "The thread … whose TIR is the message's tag": of this core, or nobody.
#[test]
fn a_message_reaches_the_sibling_that_it_names() {
    for threads in [1, 2, 4, 8] {
        for from in 0..8 {
            for tag in (0..9).chain([0x7f]) {
                let mut cores = Cores::new(threads, &[RING, END]);
                cores.run(from, message(tag), 0);
                let to = from / threads * threads + tag as usize;
                let expected = if tag < threads as u64 { vec![to] } else { vec![] };
                assert_eq!(cores.rung(), expected, "{threads} threads, {from} to {tag}");
            }
        }
    }
}

#[test]
fn threads_know_themselves_and_their_core() {
    for threads in [1, 2, 4, 8] {
        let mut tirs = Cores::new(threads, &[TIR, END]);
        let mut rings = Cores::new(threads, &[RING, END]);
        for cpu in 0..8 {
            assert_eq!(tirs.run(cpu, 0, 0).gpr[5], (cpu % threads) as u64);
            rings.run(cpu, message((threads - 1) as u64), 0);
        }
        // Each core has one doorbell rung, and all of its threads see it.
        put(&rings.ram, CODE, &[DPDES, END]);
        for cpu in 0..8 {
            assert_eq!(rings.run(cpu, 0, 0).gpr[5], 1 << (threads - 1), "{threads}");
        }
    }
}

/// The interrupt is the one of the thread that was rung at, where EE is set, and it is over then.
#[test]
fn the_sibling_takes_the_interrupt() {
    let mut cores = Cores::new(4, &[RING, END]);
    cores.run(4, message(3), EE);
    cores.run(4, message(1), 0);
    put(&cores.ram, CODE, &[0x6000_0000, END]);
    // Not while EE is off.
    assert_eq!(cores.run(7, 0, 0).pc, CODE + 8);
    assert_eq!(cores.rung(), [5, 7]);
    let taken = cores.run(7, 0, EE);
    assert_eq!((taken.pc, taken.srr0), (0xa04, CODE));
    assert_eq!(cores.rung(), [5]);
    assert_eq!(cores.run(7, 0, EE).pc, CODE + 8);
    // What a thread takes back is its own.
    put(&cores.ram, CODE, &[SILENCE, END]);
    cores.run(6, message(1), 0);
    assert_eq!(cores.rung(), [5]);
    cores.run(5, message(0), 0);
    assert!(cores.rung().is_empty());
}

/// Each thread keeps its own doorbell.
#[cfg(feature = "serde")]
#[test]
fn doorbells_are_saved_by_the_thread() {
    let mut first = Cores::new(4, &[RING, END]);
    first.run(4, message(2), 0);
    first.run(6, message(3), 0);
    let states: Vec<_> = first.cpus.iter().map(|cpu| cpu.state().unwrap()).collect();
    let mut second = Cores::new(4, &[RING, END]);
    second.run(4, message(1), 0);
    for (cpu, state) in second.cpus.iter_mut().zip(&states) {
        cpu.set_state(state).unwrap();
    }
    assert_eq!(second.rung(), [6, 7]);
}

/// Whatever the operand is, nobody outside the core hears of it, and nobody is harmed.
#[test]
fn any_operand_of_msgsndp_is_allowed() {
    let mut random = Random(16);
    let mut cores = Cores::new(2, &[RING, SILENCE, RING, END]);
    for _ in 0..5000 {
        let r3 = match random.next() % 3 {
            0 => random.next(),
            1 => message(random.next() & 0x7ff_ffff),
            _ => message(random.next() & 0x7f) | random.next() << 32,
        };
        cores.run(2, r3, 0);
        assert!(cores.rung().iter().all(|cpu| [2, 3].contains(cpu)), "{r3:#x}");
    }
}

/// Two siblings on threads of the host, each of which waits for the other's doorbell: none is lost.
#[test]
fn no_doorbell_is_lost_between_threads_of_the_host() {
    const ROUNDS: u64 = 2000;
    let ram = ram();
    // cmpwi r6,0; beq 1f; sync; msgsndp r4
    // 1: mfdpdes r7; and. r7,r7,r5; beq 1b; msgclrp r3; addi r8,r8,1; sync; msgsndp r4; bdnz 1b
    // mftir r9; sc 1
    let words = [
        0x2c06_0000,
        0x4182_000c,
        0x7c00_04ac,
        0x7c00_211c,
        0x7cf0_2aa6,
        0x7ce7_2839,
        0x4182_fff8,
        0x7c00_195c,
        0x3908_0001,
        0x7c00_04ac,
        0x7c00_211c,
        0x4200_ffe4,
        0x7d3e_6aa6,
        END,
    ];
    put(&ram, CODE, &words);
    let system = Arc::new(System::with_threads(4, 2));
    std::thread::scope(|scope| {
        for id in [2, 3] {
            let (ram, system) = (&ram, system.clone());
            scope.spawn(move || {
                let thread = id % 2;
                let mut registers =
                    Registers { pc: CODE, ctr: ROUNDS, msr: SF | ME, ..Registers::default() };
                registers.gpr[3] = message(thread);
                registers.gpr[4] = message(1 - thread);
                registers.gpr[5] = 1 << thread;
                registers.gpr[6] = thread;
                let board = RamOnly([RamRegion::of(ram.iter().next().unwrap()).unwrap()]);
                let mut cpu = Cpu::new(id as usize, POWER9, system);
                cpu.set_registers(&registers);
                let exit = cpu.run(&board, u64::MAX);
                assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
                assert_eq!((cpu.gpr(8), cpu.gpr(9)), (ROUNDS, thread));
            });
        }
    });
}

/// Reservations are a thread's own, also beside those of its siblings.
#[test]
fn no_increment_is_lost_among_siblings() {
    const EACH: u64 = 20_000;
    let ram = ram();
    // 1: ldarx r5,0,r3; addi r5,r5,1; stdcx. r5,0,r3; bne 1b; bdnz 1b
    put(&ram, CODE, &[0x7ca0_18a8, 0x38a5_0001, 0x7ca0_19ad, 0x4082_fff4, 0x4200_fff0, END]);
    let system = Arc::new(System::with_threads(4, 4));
    std::thread::scope(|scope| {
        for id in 0..4 {
            let (ram, system) = (&ram, system.clone());
            scope.spawn(move || {
                let mut registers = Registers { pc: CODE, ctr: EACH, ..Registers::default() };
                registers.gpr[3] = DATA;
                let board = RamOnly([RamRegion::of(ram.iter().next().unwrap()).unwrap()]);
                let mut cpu = Cpu::new(id, POWER9, system);
                cpu.set_registers(&registers);
                assert!(matches!(cpu.run(&board, u64::MAX), Exit::Hypercall));
            });
        }
    });
    let count: u64 = ram.read_obj(GuestAddress(DATA)).unwrap();
    assert_eq!(u64::from_be(count), 4 * EACH);
}

/// Two cores of two threads, whose numbers are eight apart.
fn machine(ram: &Ram) -> Arc<Vm> {
    let topology = CpuTopology::new(4).with_threads(2, 8).unwrap();
    let vm = create_vm(VmOptions::new(&topology, Arc::new(Clock::of_host())));
    let host = NonNull::new(ram.get_host_address(GuestAddress(0)).unwrap()).unwrap();
    // SAFETY: it is mapped as long as `ram`, which the tests keep; vm-memory makes no references.
    unsafe { vm.set_memory_region(0, GuestAddress(0), host, RAM_BYTES as u64, MemoryFlags::PLAIN) }
        .unwrap();
    vm
}

fn start(vcpu: &mut Vcpu, r3: u64) {
    let entry = EntryRegisters::at(GuestAddress(CODE)).with_arguments([r3, 0, 0]);
    vcpu.start(&entry).unwrap();
}

fn to_hypercall(vcpu: &mut Vcpu) {
    loop {
        match vcpu.run().unwrap() {
            VcpuExit::Hypercall(_) => return,
            VcpuExit::Interrupted => {}
            other => panic!("{other:?}"),
        }
    }
}

/// PIR is the number that the tree has.
#[test]
fn a_board_has_cores_of_threads() {
    let ram = ram();
    put(&ram, CODE, &[PIR, END]);
    let vm = machine(&ram);
    for (index, server) in [(0, 0), (1, 1), (2, 8), (3, 9)] {
        let mut vcpu = vm.create_vcpu(CpuIndex(index)).unwrap();
        start(&mut vcpu, 0);
        to_hypercall(&mut vcpu);
        assert!(vcpu.complete().unwrap().is_none());
        assert_eq!(vcpu.save().unwrap().cpu.gpr[5], server);
    }
}

/// A CPU that has ceded sleeps until its sibling rings; one that was rung at before does not sleep.
#[test]
fn a_doorbell_ends_the_sleep_of_a_sibling() {
    let ram = ram();
    put(&ram, CODE, &[RING, END]);
    let vm = machine(&ram);
    let mut rings = vm.create_vcpu(CpuIndex(2)).unwrap();
    let mut sleeps = vm.create_vcpu(CpuIndex(3)).unwrap();
    // To itself, so that it takes it back: nothing is pending.
    put(&ram, CODE, &[SILENCE, END]);
    start(&mut sleeps, message(1));
    to_hypercall(&mut sleeps);
    put(&ram, CODE, &[RING, END]);
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                sleeps.cede();
                // What woke it.
                assert!(matches!(sleeps.run().unwrap(), VcpuExit::Hypercall(_)));
                assert!(sleeps.complete().unwrap().is_none());
                let state = sleeps.save().unwrap();
                tell.send((state.cpu.pc, state.cpu.instructions)).unwrap();
            }
        });
        let mut before = 0;
        for _ in 0..2 {
            start(&mut rings, message(1));
            to_hypercall(&mut rings);
            let (pc, instructions) = told.recv_timeout(HANG).unwrap();
            assert_eq!(pc, 0xa04);
            assert!(instructions > before);
            before = instructions;
        }
    });
}

/// What was sent to a CPU that there was is nothing to one that comes later in its place.
#[test]
fn a_new_cpu_has_no_doorbell() {
    let ram = ram();
    put(&ram, CODE, &[RING, END]);
    let vm = machine(&ram);
    let mut rings = vm.create_vcpu(CpuIndex(0)).unwrap();
    start(&mut rings, message(1));
    to_hypercall(&mut rings);
    put(&ram, CODE, &[DPDES, END]);
    let mut comes = vm.create_vcpu(CpuIndex(1)).unwrap();
    start(&mut comes, 0);
    to_hypercall(&mut comes);
    assert!(comes.complete().unwrap().is_none());
    assert_eq!(comes.save().unwrap().cpu.gpr[5], 0);
}
