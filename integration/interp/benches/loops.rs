//! How fast the core computes: `cargo bench -p interp`.
//!
//! Prints, for each workload of `guest/loops.c`, millions of instructions a second of processor
//! time, the best of a few runs, and checks that the result is the one that the same loops give
//! elsewhere. What is judged is how many steps of the plainest interpreter an instruction takes, in
//! turns with it: that does not depend on the machine, nor on what else it does.

#[path = "../tests/common/ram_only.rs"]
mod ram_only;

use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use interp::{Cpu, Exit, RamRegion, Registers, System};
use ram_only::RamOnly;
use vm_memory::{GuestAddress, VolatileSlice};

/// The loops in both byte orders, and what MSR.LE is for each.
const PROGRAMS: [(&str, &[u8], u64); 2] = [
    ("little-endian", include_bytes!("guest/loops.bin"), 1),
    ("big-endian", include_bytes!("guest/loops-big-endian.bin"), 0),
];
const ENTRY: u64 = 0x1_0000;
const RAM_BYTES: usize = 4 << 20;

/// Name, repetitions, and the checksums that the same loops give as programs of qemu-ppc64le and
/// qemu-ppc64.
const WORKLOADS: [(&str, u64, [u64; 2]); 5] = [
    ("crc32", 200, [0xd052_679c_aa8c_dda0; 2]),
    ("sha256", 40, [0x5b5f_87b6_b61a_8720; 2]),
    ("heapsort", 60, [0x0a72_7b83_2c1b_2a38; 2]),
    ("hash", 1200, [0x1ccc_28bf_ad68_9980, 0x30b6_cc71_d1d9_94e0]),
    ("copy", 1500, [0x37b8_3a95_050d_0ba0, 0x11d8_9e73_f929_09c8]),
];

/// As many steps of [`plain`] an instruction of each loop may take. On the machine of
/// docs/performance.md a step takes about 2.5 ns, and this is 300 MIPS.
const TARGET_STEPS: f64 = 1.3;

/// How often each is run.
const RUNS: usize = 3;

fn main() {
    for order in 0..PROGRAMS.len() {
        all_loops(order);
    }
}

/// Runs each workload in one byte order.
fn all_loops(order: usize) {
    let mut total = (0.0, 0.0);
    println!("{}", PROGRAMS[order].0);
    for (number, (name, ..)) in WORKLOADS.iter().enumerate() {
        let (mut millions, mut seconds, mut step) = (0.0, f64::INFINITY, f64::INFINITY);
        for _ in 0..RUNS {
            let (made, took) = run(order, number);
            (millions, seconds) = (made, took.min(seconds));
            step = plain().min(step);
        }
        let mips = millions / seconds;
        let steps = seconds / millions / 1e6 / step;
        let verdict = if steps <= TARGET_STEPS { "met" } else { "MISSED" };
        println!(
            "{name:10} {millions:7.1} M in {seconds:5.2} s: {mips:4.0} MIPS, {steps:.2} plain \
             steps an instruction, target <= {TARGET_STEPS}: {verdict}"
        );
        total = (total.0 + millions, total.1 + seconds);
    }
    println!("all        {:7.1} M in {:5.2} s: {:4.0} MIPS", total.0, total.1, total.0 / total.1);
}

/// Runs a workload in one byte order. Gives millions of instructions, and seconds.
fn run(order: usize, number: usize) -> (f64, f64) {
    let (_, program, msr_le) = PROGRAMS[order];
    let (name, times, checksums) = WORKLOADS[number];
    let mut ram = vec![0; RAM_BYTES];
    ram[ENTRY as usize..][..program.len()].copy_from_slice(program);
    let ram = VolatileSlice::from(ram.as_mut_slice());
    let board = RamOnly([RamRegion::new(GuestAddress(0), ram)]);
    let mut cpu = Cpu::new(0, 0x004e_1203, Arc::new(System::new(1)));
    let mut registers = Registers { pc: ENTRY, ..Registers::default() };
    registers.msr |= msr_le;
    registers.gpr[1] = RAM_BYTES as u64 - 0x1000;
    registers.gpr[3] = number as u64;
    registers.gpr[4] = times;
    cpu.set_registers(&registers);
    let begin = processor_seconds();
    let exit = cpu.run(&board, u64::MAX);
    let seconds = processor_seconds() - begin;
    assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
    assert_eq!(cpu.gpr(4), checksums[order], "{name}");
    (cpu.instructions() as f64 / 1e6, seconds)
}

/// An interpreter of eight instructions on registers, and nothing else: seconds of one step.
fn plain() -> f64 {
    const STEPS: u32 = 20_000_000;
    // A loop of 61 instructions, in no order that a processor could learn at once.
    let program: Vec<[u8; 4]> = (0..61_u32)
        .map(|number| number.wrapping_mul(0x9e37_79b9).rotate_left(11).to_ne_bytes())
        .collect();
    let program = black_box(program);
    let mut registers = [1_u64; 32];
    let begin = processor_seconds();
    let mut at = 0;
    for _ in 0..STEPS {
        let [code, to, from, other] = program[at];
        let (from, other) = (registers[usize::from(from) % 32], registers[usize::from(other) % 32]);
        let to = &mut registers[usize::from(to) % 32];
        match code % 8 {
            0 => *to = from.wrapping_add(other),
            1 => *to = from.wrapping_sub(other),
            2 => *to = from.wrapping_mul(other),
            3 => *to = from ^ other,
            4 => *to = from & other | 1,
            5 => *to = from.rotate_left(other as u32 & 63),
            6 => *to = u64::from(from < other),
            _ => *to = if from == 0 { other } else { from >> 1 },
        }
        at = if at + 1 == program.len() { 0 } else { at + 1 };
    }
    black_box(registers);
    (processor_seconds() - begin) / f64::from(STEPS)
}

/// Time for which this thread had a processor: other jobs of the machine do not count.
fn processor_seconds() -> f64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanoseconds = schedstat.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.expect("the first is the time on a processor") / 1e9
}
