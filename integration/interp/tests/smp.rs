//! Two CPUs on the same RAM.

use std::sync::Arc;

use interp::{Cpu, Door, Exit, Registers, System};
use vm_memory::VolatileSlice;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x2_0000;
const END: u32 = 0x4400_0022;

struct Board<'a>(VolatileSlice<'a>);

impl Door for Board<'_> {
    fn ram(&self) -> VolatileSlice<'_> {
        self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
}

/// Runs `words` on each of two CPUs, with its number in r4.
fn run(words: &[u32]) -> GuestMemoryMmap {
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    for (at, word) in (CODE..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
    let system = Arc::new(System::new(2));
    std::thread::scope(|scope| {
        for id in 0..2 {
            let (ram, system) = (&ram, system.clone());
            scope.spawn(move || {
                let region = ram.iter().next().unwrap();
                let board = Board(region.as_volatile_slice().unwrap());
                let mut cpu = Cpu::new(id, 0x004e_1203, system);
                let mut registers = Registers { pc: CODE, ctr: 100_000, ..Registers::default() };
                registers.gpr[3] = DATA;
                registers.gpr[4] = id as u64;
                cpu.set_registers(&registers);
                let exit = cpu.run(&board, 100_000_000);
                assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
            });
        }
    });
    ram
}

#[test]
fn no_increment_is_lost() {
    // 1: ldarx r5,0,r3; addi r5,r5,1; stdcx. r5,0,r3; bne 1b; bdnz 1b
    let words = [0x7ca0_18a8, 0x38a5_0001, 0x7ca0_19ad, 0x4082_fff4, 0x4200_fff0, END];
    let ram = run(&words);
    let count: u64 = ram.read_obj(GuestAddress(DATA)).unwrap();
    assert_eq!(u64::from_be(count), 200_000);
}

/// A quadword is counted in both halves at once; a reservation that saw one half new fails.
#[test]
fn no_increment_of_a_quadword_is_lost() {
    // 1: lqarx r6,0,r3; addi r6,r6,1; addi r7,r7,1; stqcx. r6,0,r3; bne 1b; bdnz 1b
    let words = [0x7cc0_1a28, 0x38c6_0001, 0x38e7_0001, 0x7cc0_196d, 0x4082_fff0, 0x4200_ffec, END];
    let ram = run(&words);
    for half in [DATA, DATA + 8] {
        let count: u64 = ram.read_obj(GuestAddress(half)).unwrap();
        assert_eq!(u64::from_be(count), 200_000);
    }
}

/// Both wait at each `ptesync` for the other to have forgotten translations; neither for ever.
#[test]
fn shoot_downs_do_not_wait_for_each_other() {
    // 1: tlbie r4,r4 (R = 1, PRS = 1); ptesync; bdnz 1b
    let ram = run(&[0x7c83_2264, 0x7c40_04ac, 0x4200_fff8, END]);
    assert_eq!(ram.read_obj::<u64>(GuestAddress(DATA)).unwrap(), 0);
}

/// Memory that one CPU had code in gets other code by another, and one `icbi`, of any address,
/// stands for all of it: on POWER9 instruction caches snoop.
#[test]
fn code_of_another_cpu_is_not_executed_stale() {
    const OTHER: u64 = CODE + 0x1000;
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    // li r3,1; sc 1 for the one; stw r5,0(r3); icbi 0,r4; sync; isync; sc 1 for the other.
    for (at, word) in [
        (CODE, 0x3860_0001),
        (CODE + 4, END),
        (OTHER, 0x90a3_0000),
        (OTHER + 4, 0x7c00_27ac),
        (OTHER + 8, 0x7c00_04ac),
        (OTHER + 12, 0x4c00_012c),
        (OTHER + 16, END),
    ] {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
    let region = ram.iter().next().unwrap();
    let board = Board(region.as_volatile_slice().unwrap());
    let system = Arc::new(System::new(2));
    let mut cpus = [0, 1].map(|id| Cpu::new(id, 0x004e_1203, system.clone()));
    let mut run = |id: usize, pc, gpr: [u64; 6]| {
        let mut registers = Registers { pc, ..Registers::default() };
        registers.gpr[..6].copy_from_slice(&gpr);
        cpus[id].set_registers(&registers);
        let exit = cpus[id].run(&board, 1000);
        assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
        cpus[id].gpr(3)
    };
    assert_eq!(run(0, CODE, [0; 6]), 1);
    // li r3,2
    run(1, OTHER, [0, 0, 0, CODE, DATA, 0x3860_0002]);
    assert_eq!(run(0, CODE, [0; 6]), 2);
    run(1, OTHER, [0, 0, 0, CODE, DATA, 0x3860_0003]);
    // The CPU that wrote executes what it wrote, too.
    assert_eq!(run(1, CODE, [0; 6]), 3);
    assert_eq!(run(0, CODE, [0; 6]), 3);
}
