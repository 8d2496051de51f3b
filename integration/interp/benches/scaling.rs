//! What several busy CPUs do, beside what one does: `cargo bench -p interp --bench scaling`.
//!
//! Four CPUs of one machine, each on a thread of the host, execute as much each as the only CPU of
//! another machine does alone. On two cores of a host that has nothing else to do, they can do
//! twice the work of one in the same time. What is judged are loops that have nothing to wait for;
//! what CPUs do to memory that all of them change depends on the host's caches, and is told only.
//!
//! What is judged does not depend on what else the host does: of the time that the threads take,
//! that in which they are ready and have to wait for a core is left out, as the host counts it. The
//! time in which they sleep is not. The second ratio is by the clock, and what the host has to spare.

#[path = "../tests/common/ram_only.rs"]
mod ram_only;

use std::fs;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use interp::{Cpu, Exit, PageMap, RamRegion, Registers, System};
use ram_only::RamOnly;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

type Ram = GuestMemoryMmap<PageMap>;

/// The busy CPUs, and the cores of the host that the target is for.
const CPUS: usize = 4;
const CORES: usize = 2;

/// As much more work than one CPU, on two cores.
const TARGET: f64 = 1.8;

const RUNS: usize = 3;
const CODE: u64 = 0x1_0000;
const SHARED: u64 = 0x2_0000;
const FUNCTION: u64 = 0x3_0000;
/// 64 KiB of each CPU.
const OWN: u64 = 0x10_0000;
const END: u32 = 0x4400_0022;

struct Loop {
    name: &'static str,
    words: &'static [u32],
    /// Repetitions, of CTR.
    times: u64,
    /// r3 of a CPU.
    place: fn(u64) -> u64,
    is_judged: bool,
}

const LOOPS: [Loop; 5] = [
    Loop {
        name: "compute",
        // 1: mulld r5,r5,r6; addi r5,r5,13; rotldi r7,r5,11; xor r8,r8,r7; srdi r9,r8,3
        // add r10,r10,r9; bdnz 1b
        words: &[
            0x7ca5_31d2,
            0x38a5_000d,
            0x78a7_5800,
            0x7d08_3a78,
            0x7909_e8c2,
            0x7d4a_4a14,
            0x4200_ffe8,
            END,
        ],
        times: 30_000_000,
        place: |_| 0,
        is_judged: true,
    },
    Loop {
        name: "memory",
        // 1: addi r4,r4,72; rlwinm r4,r4,0,16,28; ldx r5,r3,r4; add r5,r5,r4; stdx r5,r3,r4; bdnz 1b
        words: &[0x3884_0048, 0x5484_0438, 0x7ca3_202a, 0x7ca5_2214, 0x7ca3_212a, 0x4200_ffec, END],
        times: 30_000_000,
        place: |cpu| OWN + cpu * 0x1_0000,
        is_judged: true,
    },
    Loop {
        name: "calls",
        // 1: mtlr r3; blrl; bdnz 1b
        words: &[0x7c68_03a6, 0x4e80_0021, 0x4200_fff8, END],
        times: 20_000_000,
        place: |_| FUNCTION,
        is_judged: true,
    },
    Loop {
        name: "one line",
        // 1: ld r5,0(r3); addi r5,r5,1; std r5,0(r3); bdnz 1b, side by side in a line
        words: &[0xe8a3_0000, 0x38a5_0001, 0xf8a3_0000, 0x4200_fff4, END],
        times: 20_000_000,
        place: |cpu| SHARED + cpu * 8,
        is_judged: false,
    },
    Loop {
        name: "atomic",
        // 1: ldarx r5,0,r3; addi r5,r5,1; stdcx. r5,0,r3; bne 1b; bdnz 1b, all in one place
        words: &[0x7ca0_18a8, 0x38a5_0001, 0x7ca0_19ad, 0x4082_fff4, 0x4200_fff0, END],
        times: 4_000_000,
        place: |_| SHARED,
        is_judged: false,
    },
];

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    if cores != CORES {
        println!("this host has {cores} cores; the target is for {CORES}");
    }
    for guest in &LOOPS {
        let (mut wall, mut spent) = ([f64::INFINITY; 2], [f64::INFINITY; 2]);
        for _ in 0..RUNS {
            for (number, cpus) in [1, CPUS].into_iter().enumerate() {
                let took = run(guest, cpus);
                wall[number] = took.0.min(wall[number]);
                spent[number] = took.1.min(spent[number]);
            }
        }
        let ratio = CORES as f64 * spent[0] * CPUS as f64 / spent[1];
        let by_clock = CPUS as f64 * wall[0] / wall[1];
        let verdict = match (guest.is_judged, ratio >= TARGET) {
            (false, _) => String::new(),
            (true, true) => format!(", target >= {TARGET}: met"),
            (true, false) => format!(", target >= {TARGET}: MISSED"),
        };
        println!(
            "{:10} {CPUS} CPUs do {ratio:.2} times the work of one on {CORES} cores of their own, \
             {by_clock:.2} times by the clock{verdict}",
            guest.name
        );
    }
}

/// Seconds that it takes, and the seconds of all CPUs together, but for those in which they wait for
/// a core.
fn run(guest: &Loop, cpus: usize) -> (f64, f64) {
    let ram = Ram::from_ranges(&[(GuestAddress(0), 4 << 20)]).expect("4 MiB");
    let put = |at: u64, words: &[u32]| {
        for (at, word) in (at..).step_by(4).zip(words) {
            ram.write_obj(word.to_be(), GuestAddress(at)).expect("in RAM");
        }
    };
    put(CODE, guest.words);
    // blr
    put(FUNCTION, &[0x4e80_0020]);
    let system = Arc::new(System::new(cpus));
    let together = Barrier::new(cpus);
    let begin = Instant::now();
    let spent: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cpus)
            .map(|id| {
                let (ram, system, together) = (&ram, system.clone(), &together);
                scope.spawn(move || {
                    let region = ram.iter().next().and_then(RamRegion::of).expect("one region");
                    let board = RamOnly([region]);
                    let mut registers =
                        Registers { pc: CODE, ctr: guest.times, ..Registers::default() };
                    registers.gpr[3] = (guest.place)(id as u64);
                    registers.gpr[6] = 0x9e37_79b9;
                    let mut cpu = Cpu::new(id, 0x004e_1203, system);
                    cpu.set_registers(&registers);
                    together.wait();
                    let (begin, waited) = (Instant::now(), seconds_without_core());
                    let exit = cpu.run(&board, u64::MAX);
                    assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
                    begin.elapsed().as_secs_f64() - (seconds_without_core() - waited)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a CPU")).sum()
    });
    (begin.elapsed().as_secs_f64(), spent)
}

/// Time for which this thread was ready and had no processor, as others had it.
fn seconds_without_core() -> f64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanoseconds = schedstat.split(' ').nth(1).and_then(|second| second.parse::<f64>().ok());
    nanoseconds.expect("the second is the time on a run queue") / 1e9
}
