//! CPUs that wait for others, where cores are few.

mod common;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use common::{CODE, RAM_BYTES};
use interp::{Cpu, CpuBus, Exit, RamRegion, Registers, System};
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

/// More CPUs than any host that runs this has cores.
const CPUS: usize = 1 << 13;

/// 64 slices.
const BUDGET: u64 = 64 << 12;

struct Board<'a> {
    regions: [RamRegion<'a>; 1],
    leaves: bool,
    asked: Cell<u32>,
    rests: RefCell<Vec<Duration>>,
}

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.regions
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }

    fn leaves_to_wait(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.leaves
    }

    fn rest(&self, time: Duration) {
        self.rests.borrow_mut().push(time);
    }
}

/// Runs a CPU of so many; what it has executed, and how it rested.
fn run(words: &[u32], cpus: usize, leaves: bool) -> (u64, u32, Vec<Duration>) {
    let mut ram = vec![0; RAM_BYTES];
    let ram = VolatileSlice::from(ram.as_mut_slice());
    for (at, word) in (CODE as usize..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), at).unwrap();
    }
    let regions = [RamRegion::new(GuestAddress(0), ram)];
    let board = Board { regions, leaves, asked: Cell::new(0), rests: RefCell::default() };
    let mut cpu = Cpu::new(cpus - 1, 0x004e_1203, Arc::new(System::new(cpus)));
    cpu.set_registers(&Registers { pc: CODE, ..Registers::default() });
    let exit = cpu.run(&board, BUDGET);
    assert!(matches!(exit, Exit::Budget), "{exit:?}");
    (cpu.instructions(), board.asked.get(), board.rests.take())
}

/// Low priority, then normal again, around twenty instructions: what the kernel's loops do.
fn hints() -> Vec<u32> {
    // or 1,1,1; or 2,2,2; 20 addi r5,r5,1; b to the start
    let mut words = vec![0x7c21_0b78, 0x7c42_1378];
    words.extend([0x38a5_0001; 20]);
    words.push(0x4bff_ffa8);
    words
}

#[test]
fn who_waits_for_long_rests_where_cores_are_few() {
    // lwz r4,0(r5); cmpwi r4,0; beq .-8, and the same by hints.
    for words in [vec![0x8085_0000, 0x2c04_0000, 0x4182_fff8], hints()] {
        let (executed, asked, rests) = run(&words, CPUS, false);
        assert!(executed >= BUDGET && asked > 60, "{asked}");
        assert!(rests.len() > 40, "{rests:?}");
        assert!(rests.is_sorted() && rests[0] < rests[40], "{rests:?}");
        let waited: Duration = rests.iter().sum();
        assert!(rests[rests.len() - 1] < waited / 3, "{rests:?}");
        // It leaves guest code where its machine wants that, after one slice.
        let (executed, asked, rests) = run(&words, CPUS, true);
        assert!(executed < BUDGET / 32 && asked == 1 && rests.is_empty(), "{executed}");
    }
}

#[test]
fn who_works_or_is_alone_does_not_rest() {
    // addi r5,r5,1; b .-4
    let (_, asked, rests) = run(&[0x38a5_0001, 0x4bff_fffc], CPUS, true);
    assert_eq!((asked, rests.len()), (0, 0));
    let (_, asked, rests) = run(&hints(), 1, true);
    assert_eq!((asked, rests.len()), (0, 0));
}
