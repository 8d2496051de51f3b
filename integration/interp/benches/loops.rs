//! How fast the core computes: `cargo bench -p interp`.
//!
//! Prints, for each workload of `guest/loops.c`, millions of instructions a second of processor
//! time, the best of a few runs, and checks that the result is the one that the same loops give
//! elsewhere.

use std::fs;
use std::sync::Arc;

use interp::{Cpu, Door, Exit, Registers, System};
use vm_memory::VolatileSlice;

const PROGRAM: &[u8] = include_bytes!("guest/loops.bin");
const ENTRY: u64 = 0x1_0000;
const RAM_BYTES: usize = 4 << 20;

/// Name, repetitions, and the checksum that the same loops give as a program of qemu-ppc64le.
const WORKLOADS: [(&str, u64, u64); 5] = [
    ("crc32", 200, 0xd052_679c_aa8c_dda0),
    ("sha256", 40, 0x5b5f_87b6_b61a_8720),
    ("heapsort", 60, 0x0a72_7b83_2c1b_2a38),
    ("hash", 1200, 0x1ccc_28bf_ad68_9980),
    ("copy", 1500, 0x37b8_3a95_050d_0ba0),
];

/// What the core should reach in each loop.
const TARGET_MIPS: f64 = 300.0;

/// How often each is run.
const RUNS: usize = 3;

struct Board<'a>(VolatileSlice<'a>);

impl Door for Board<'_> {
    fn ram(&self) -> VolatileSlice<'_> {
        self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
}

fn main() {
    let mut total = (0.0, 0.0);
    for (number, (name, times, checksum)) in (0..).zip(WORKLOADS) {
        let runs: [(f64, f64); RUNS] = std::array::from_fn(|_| run(number, times, checksum));
        let (millions, seconds) = runs[0];
        let seconds = runs.iter().fold(seconds, |best, (_, seconds)| best.min(*seconds));
        let mips = millions / seconds;
        let verdict = if mips >= TARGET_MIPS { "met" } else { "MISSED" };
        println!(
            "{name:10} {millions:7.1} M in {seconds:5.2} s: {mips:4.0} MIPS, \
             target >= {TARGET_MIPS}: {verdict}"
        );
        total = (total.0 + millions, total.1 + seconds);
    }
    println!("all        {:7.1} M in {:5.2} s: {:4.0} MIPS", total.0, total.1, total.0 / total.1);
}

/// Runs a workload. Gives millions of instructions, and seconds.
fn run(number: u64, times: u64, checksum: u64) -> (f64, f64) {
    let mut ram = vec![0; RAM_BYTES];
    ram[ENTRY as usize..][..PROGRAM.len()].copy_from_slice(PROGRAM);
    let board = Board(VolatileSlice::from(ram.as_mut_slice()));
    let mut cpu = Cpu::new(0, 0x004e_1203, Arc::new(System::new(1)));
    let mut registers = Registers { pc: ENTRY, ..Registers::default() };
    registers.msr |= 1;
    registers.gpr[1] = RAM_BYTES as u64 - 0x1000;
    registers.gpr[3] = number;
    registers.gpr[4] = times;
    cpu.set_registers(&registers);
    let begin = processor_seconds();
    let exit = cpu.run(&board, u64::MAX);
    let seconds = processor_seconds() - begin;
    assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
    assert_eq!(cpu.gpr(4), checksum, "{}", WORKLOADS[number as usize].0);
    (cpu.instructions() as f64 / 1e6, seconds)
}

/// Time for which this thread had a processor: other jobs of the machine do not count.
fn processor_seconds() -> f64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanoseconds = schedstat.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.expect("the first is the time on a processor") / 1e9
}
