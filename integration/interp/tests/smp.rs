//! Several CPUs on the same RAM.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use interp::{Cpu, CpuBus, Exit, PageMap, ProcessTable, RamRegion, Registers, System};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x2_0000;
const END: u32 = 0x4400_0022;

const POWER9: u32 = 0x004e_1203;
const SF: u64 = 1 << 63;
const ME: u64 = 1 << 12;
const IR_DR: u64 = 3 << 4;
const KERNEL: u64 = 0xc000_0000_0000_0000;

/// Ends tests that hang.
const HANG: Duration = Duration::from_secs(600);

type Ram = GuestMemoryMmap<PageMap>;

struct Board<'a>([RamRegion<'a>; 1]);

impl<'a> Board<'a> {
    fn new(ram: &'a Ram) -> Self {
        Self([RamRegion::of(ram.iter().next().unwrap()).unwrap()])
    }
}

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.0
    }

    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
}

/// Runs `words` on each of two CPUs, with its number in r4.
fn run(words: &[u32]) -> Ram {
    let ram = Ram::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    for (at, word) in (CODE..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
    let system = Arc::new(System::new(2));
    std::thread::scope(|scope| {
        for id in 0..2 {
            let (ram, system) = (&ram, system.clone());
            scope.spawn(move || {
                let board = Board::new(ram);
                let mut cpu = Cpu::new(id, POWER9, system);
                let mut registers = Registers { pc: CODE, ctr: 100_000, ..Registers::default() };
                registers.gpr[3] = DATA;
                registers.gpr[4] = id as u64;
                cpu.set_registers(&registers);
                let exit = cpu.run(&board, 100_000_000_000);
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

/// Where the other half has changed, `stqcx.` stores nothing: another CPU always finds in the first
/// half what it stored there last.
#[test]
fn a_quadword_store_that_fails_stores_nothing() {
    // lis r9,16; mtctr r9; cmpwi r4,0; bne 2f
    // 1: std r5,0(r3); ld r6,0(r3); cmpd r6,r5; bne 3f; ld r8,8(r3); cmpd r8,r9; bne 1b; sc 1
    // 2: lqarx r6,0,r3; addi r6,r6,1; addi r7,r7,1; std r7,8(r3); stqcx. r6,0,r3; beq 3f; bdnz 2b
    // sc 1; 3: std r3,16(r3); sc 1
    let words = [
        0x3d20_0010,
        0x7d29_03a6,
        0x2c04_0000,
        0x4082_0024,
        0xf8a3_0000,
        0xe8c3_0000,
        0x7c26_2800,
        0x4082_0034,
        0xe903_0008,
        0x7c28_4800,
        0x4082_ffe8,
        END,
        0x7cc0_1a28,
        0x38c6_0001,
        0x38e7_0001,
        0xf8e3_0008,
        0x7cc0_196d,
        0x4182_000c,
        0x4200_ffe8,
        END,
        0xf863_0010,
        END,
    ];
    let ram = run(&words);
    assert_eq!(ram.read_obj::<u64>(GuestAddress(DATA + 16)).unwrap(), 0, "a store was seen");
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
    let ram = Ram::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
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
    let board = Board::new(&ram);
    let system = Arc::new(System::new(2));
    let mut cpus = [0, 1].map(|id| Cpu::new(id, POWER9, system.clone()));
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

/// What another CPU sees that was stored behind `icbi` and `sync` leads it to the new code.
#[test]
fn code_is_as_new_as_what_says_so() {
    const PAGE: u64 = 0x3_0000;
    const LI: u32 = 0x3860_0000;
    const ROUNDS: u32 = 20_000;
    let ram = ram(1 << 20);
    // 1: addi r5,r5,1; stw r5,0(r4); icbi 0,r4; sync; isync; stw r5,0(r3); bdnz 1b
    let writes = [
        0x38a5_0001,
        0x90a4_0000,
        0x7c00_27ac,
        0x7c00_04ac,
        0x4c00_012c,
        0x90a3_0000,
        0x4200_ffe8,
        END,
    ];
    // 1: lwz r7,0(r3); mtctr r4; mr r9,r3; bctrl; clrlwi r7,r7,16; cmpw r3,r7; mr r3,r9; blt 2f
    // lwz r7,0(r9); cmpw r7,r6; bne 1b; sc 1; 2: li r3,0; sc 1
    let calls = [
        0x80e3_0000,
        0x7c89_03a6,
        0x7c69_1b78,
        0x4e80_0421,
        0x54e7_043e,
        0x7c03_3800,
        0x7d23_4b78,
        0x4180_0014,
        0x80e9_0000,
        0x7c07_3000,
        0x4082_ffd8,
        END,
        0x3860_0000,
        END,
    ];
    put(&ram, CODE, &writes);
    put(&ram, CODE + 0x1000, &calls);
    // li r3,0; blr
    put(&ram, PAGE, &[LI, 0x4e80_0020]);
    put(&ram, DATA, &[LI]);
    let system = Arc::new(System::new(2));
    let board = Board::new(&ram);
    let start = |pc| {
        let mut registers = Registers { pc, ctr: ROUNDS.into(), ..Registers::default() };
        registers.gpr[3] = DATA;
        registers.gpr[4] = PAGE;
        registers.gpr[5] = LI.into();
        registers.gpr[6] = (LI + ROUNDS).into();
        registers
    };
    std::thread::scope(|scope| {
        for (id, pc) in [CODE, CODE + 0x1000].into_iter().enumerate() {
            let (board, system, registers) = (&board, system.clone(), start(pc));
            scope.spawn(move || {
                let cpu = to_the_end(board, Cpu::new(id, POWER9, system), &registers);
                assert_eq!(cpu.gpr(3), DATA, "old code was executed");
            });
        }
    });
}

/// Behind `ptesync`, nobody stores by a translation that `tlbie` has dropped: a CPU that is about
/// to do so, while its thread does not come to anything, is waited for.
#[test]
fn dropped_translations_are_not_used() {
    const OLD: u64 = 0x10_0000;
    const NEW: u64 = 0x11_0000;
    let ram = ram(2 << 20);
    // std r5,0(r3); ptesync; li r9,0; tlbie r6,r9,0,1,1; eieio; tlbsync; ptesync; ld r9,0(r7)
    let remaps = [
        0xf8a3_0000,
        0x7c40_04ac,
        0x3920_0000,
        0x7d23_3264,
        0x7c00_06ac,
        0x7c00_046c,
        0x7c40_04ac,
        0xe927_0000,
        END,
    ];
    put(&ram, CODE, &remaps);
    // ld r6,0(r3); mftb r5; std r5,0(r3)
    put(&ram, CODE + 0x1000, &[0xe8c3_0000, 0x7cac_42a6, 0xf8a3_0000, END]);
    let table = tree(&ram);
    leaf(&ram, CODE, CODE);
    let mut remapper = Registers { pc: CODE, ..Registers::default() };
    remapper.gpr[3] = leaf(&ram, DATA, OLD);
    remapper.gpr[5] = LEAF | NEW;
    // A page of 64 KiB.
    remapper.gpr[6] = KERNEL | DATA | 5 << 5;
    remapper.gpr[7] = OLD;
    let mut storer = translated(CODE + 0x1000);
    storer.gpr[3] = KERNEL | DATA;
    let old = || u64::from_be(ram.read_obj(GuestAddress(OLD)).unwrap());

    let system = Arc::new(System::new(2));
    let (holding, asked, answers) = holding(&ram);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut cpu = Cpu::new(1, POWER9, system.clone());
            cpu.set_process_table(Some(table));
            to_the_end(&holding, cpu, &storer);
        });
        asked.recv_timeout(HANG).unwrap();
        let remaps = scope.spawn(|| {
            let cpu = Cpu::new(0, POWER9, system.clone());
            to_the_end(&Board::new(&ram), cpu, &remapper).gpr(9)
        });
        // Time enough to go wrong.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(old(), 0);
        answers.send(()).unwrap();
        // What it saw behind `ptesync` is what stays.
        assert_eq!(remaps.join().unwrap(), 1);
    });
    assert_eq!(old(), 1);
}

/// A CPU that does not look outside, as its thread has no core of the host, does not hold up one
/// that changes code, nor one that changes translations while it uses none.
#[test]
fn who_does_not_look_holds_nobody_up() {
    // 1: icbi 0,r4; sync; bdnz 1b; and 1: tlbie r6,r9,0,1,1; ptesync; bdnz 1b
    let code = [0x7c00_27ac, 0x7c00_04ac, 0x4200_fff8, END];
    let translations = [0x7d23_3264, 0x7c40_04ac, 0x4200_fff8, END];
    let real = Registers { pc: CODE + 0x1000, ..Registers::default() };
    for (words, other) in [(code, translated(CODE + 0x1000)), (translations, real)] {
        let ram = ram(2 << 20);
        put(&ram, CODE, &words);
        // mftb r5
        put(&ram, CODE + 0x1000, &[0x7cac_42a6, END]);
        let table = tree(&ram);
        leaf(&ram, CODE, CODE);
        let system = Arc::new(System::new(2));
        let (holding, asked, answers) = holding(&ram);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut cpu = Cpu::new(1, POWER9, system.clone());
                cpu.set_process_table(Some(table));
                to_the_end(&holding, cpu, &other);
            });
            asked.recv_timeout(HANG).unwrap();
            let mut registers = Registers { pc: CODE, ctr: 1000, ..Registers::default() };
            registers.gpr[4] = DATA;
            to_the_end(&holding.board, Cpu::new(0, POWER9, system.clone()), &registers);
            answers.send(()).unwrap();
        });
    }
}

/// Nor does one whose machine panics while translation is on, whether the CPU is kept or not.
#[test]
fn who_panics_holds_nobody_up() {
    let ram = ram(2 << 20);
    // tlbie r6,r9,0,1,1; ptesync
    put(&ram, CODE, &[0x7d23_3264, 0x7c40_04ac, END]);
    // mftb r5
    put(&ram, CODE + 0x1000, &[0x7cac_42a6, END]);
    let table = tree(&ram);
    leaf(&ram, CODE, CODE);
    let system = Arc::new(System::new(2));
    let (holding, asked, answers) = holding(&ram);
    // There will be no answer.
    drop(answers);
    let mut cpu = Cpu::new(1, POWER9, system.clone());
    cpu.set_process_table(Some(table));
    cpu.set_registers(&translated(CODE + 0x1000));
    let run = AssertUnwindSafe(|| cpu.run(&holding, 1000));
    assert!(catch_unwind(run).is_err());
    asked.recv_timeout(HANG).unwrap();

    let (ends, ended) = sync_channel(1);
    std::thread::spawn(move || {
        let real = Registers { pc: CODE, ..Registers::default() };
        to_the_end(&Board::new(&ram), Cpu::new(0, POWER9, system), &real);
        ends.send(()).unwrap();
    });
    assert_eq!(ended.recv_timeout(HANG), Ok(()));
}

/// A program that calls each of so many pages once: `blr`.
fn pages_of_code(ram: &Ram, first: u64, pages: u64) {
    // 1: mtctr r3; bctrl; addi r3,r3,4096; addi r4,r4,-1; cmpdi r4,0; bne 1b
    let words = [0x7c69_03a6, 0x4e80_0421, 0x3863_1000, 0x3884_ffff, 0x2c24_0000, 0x4082_ffec, END];
    put(ram, CODE, &words);
    for page in 0..pages {
        put(ram, first + (page << 12), &[0x4e80_0020]);
    }
}

/// Has a CPU call them; how many pages were decoded for it.
fn call_pages(board: &Board<'_>, cpu: Cpu, first: u64, pages: u64) -> (u64, Cpu) {
    let before = cpu.stats().decodes;
    let mut registers = Registers { pc: CODE, ..Registers::default() };
    registers.gpr[3] = first;
    registers.gpr[4] = pages;
    let cpu = to_the_end(board, cpu, &registers);
    (cpu.stats().decodes - before, cpu)
}

/// However many CPUs execute however much.
#[test]
fn decoded_code_has_one_bound() {
    const CPUS: usize = 5;
    const PAGES: u64 = 2000;
    const FIRST: u64 = 0x10_0000;
    let ram = ram(FIRST as usize + CPUS * (PAGES << 12) as usize);
    pages_of_code(&ram, FIRST, CPUS as u64 * PAGES);
    let system = Arc::new(System::new(CPUS));
    let board = Board::new(&ram);
    // Kept, with what they have decoded: each something else.
    let cpus: Vec<Cpu> = (0..CPUS)
        .map(|id| {
            let first = FIRST + id as u64 * (PAGES << 12);
            call_pages(&board, Cpu::new(id, POWER9, system.clone()), first, PAGES).1
        })
        .collect();
    assert_eq!(system.decoded_bytes_max(), 96 << 20);
    let bytes = system.decoded_bytes();
    assert!(bytes > 80 << 20 && bytes <= 96 << 20, "{bytes}");
    drop(cpus);
}

/// What one CPU has decoded is decoded for all, until it is written to: the store of any of them
/// is noticed by those who executed there, and code that others decoded is as new as it has to be.
#[test]
fn code_is_decoded_once_for_all() {
    const FIRST: u64 = 0x10_0000;
    const PAGES: u64 = 3000;
    let ram = ram(FIRST as usize + (PAGES << 12) as usize);
    pages_of_code(&ram, FIRST, PAGES);
    let board = Board::new(&ram);
    let system = Arc::new(System::new(8));
    let mut cpus = Vec::new();
    for (id, expected) in [(0, PAGES + 1), (1, 0), (7, 0)] {
        let cpu = Cpu::new(id, POWER9, system.clone());
        let (decodes, cpu) = call_pages(&board, cpu, FIRST, PAGES);
        assert_eq!(decodes, expected);
        cpus.push(cpu);
    }
    assert_eq!(system.decoded_bytes(), (PAGES as usize + 1) * (8192 + 4096));
    // Somebody writes there what does the same: addi r5,r5,1; blr.
    put(&ram, FIRST + (7 << 12), &[0x38a5_0001, 0x4e80_0020]);
    let mut decoded = 0;
    for cpu in cpus.drain(..) {
        let (decodes, cpu) = call_pages(&board, cpu, FIRST, PAGES);
        assert_eq!(cpu.gpr(5), 1);
        decoded += decodes;
    }
    assert_eq!(decoded, 1);
}

/// CPUs that do not execute do not keep others from having their code decoded once for all.
#[test]
fn who_rests_leaves_its_room_to_others() {
    const FIRST: u64 = 0x10_0000;
    const PAGES: u64 = 3000;
    let ram = ram(FIRST as usize + ((4 * PAGES) << 12) as usize);
    pages_of_code(&ram, FIRST, 4 * PAGES);
    let board = Board::new(&ram);
    let at = |part: u64| FIRST + part * (PAGES << 12);
    for rest in [Cpu::stop, Cpu::sleep] {
        let system = Arc::new(System::new(4));
        let [mut hogs @ .., mut cpu] = [0, 1, 2].map(|id| Cpu::new(id, POWER9, system.clone()));
        for (part, hog) in (0..).zip(&mut hogs) {
            let fresh = Cpu::new(3, POWER9, system.clone());
            *hog = call_pages(&board, std::mem::replace(hog, fresh), at(part), PAGES).1;
        }
        cpu = call_pages(&board, cpu, at(2), PAGES).1;
        let (decodes, same) = call_pages(&board, cpu, at(2), PAGES);
        assert!(decodes > 100, "there was room: {decodes}");
        hogs.iter_mut().for_each(rest);
        cpu = call_pages(&board, same, at(2), PAGES).1;
        assert_eq!(call_pages(&board, cpu, at(2), PAGES).0, 0);
        // They can go on.
        for hog in hogs {
            call_pages(&board, hog, at(3), 10);
        }
    }
}

fn ram(bytes: usize) -> Ram {
    Ram::from_ranges(&[(GuestAddress(0), bytes)]).unwrap()
}

fn put(ram: &Ram, at: u64, words: &[u32]) {
    for (at, word) in (at..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
}

fn to_the_end(bus: &dyn CpuBus, mut cpu: Cpu, registers: &Registers) -> Cpu {
    cpu.set_registers(registers);
    let exit = cpu.run(bus, 100_000_000_000);
    assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
    cpu
}

/// The nodes of a radix tree of 52 bits (13, 9, 9 and 5), behind the process table.
const TABLE: u64 = 0x8_0000;
const NODES: [u64; 4] = [0x9_0000, 0xa_0000, 0xb_0000, 0xc_0000];

/// Valid, a leaf, referenced, changed, privileged, all accesses allowed.
const LEAF: u64 = 3 << 62 | 0x100 | 0x80 | 0x8 | 0x7;

/// An empty tree for the kernel's lowest addresses.
fn tree(ram: &Ram) -> ProcessTable {
    let put = |at: u64, entry: u64| ram.write_obj(entry.to_be(), GuestAddress(at)).unwrap();
    put(TABLE, 2 << 61 | NODES[0] | 5 << 5 | 13);
    put(NODES[0], 1 << 63 | NODES[1] | 9);
    put(NODES[1], 1 << 63 | NODES[2] | 9);
    put(NODES[2], 1 << 63 | NODES[3] | 5);
    ProcessTable { base: TABLE, size_bytes: 4096 }
}

/// Maps 64 KiB of the kernel's; where the entry is.
fn leaf(ram: &Ram, ea: u64, real: u64) -> u64 {
    let at = NODES[3] + (ea >> 16) * 8;
    ram.write_obj((LEAF | real).to_be(), GuestAddress(at)).unwrap();
    at
}

/// The registers of a kernel that runs behind translation.
fn translated(pc: u64) -> Registers {
    Registers { pc: KERNEL | pc, msr: SF | ME | IR_DR, ..Registers::default() }
}

fn holding(ram: &Ram) -> (Holding<'_>, Receiver<()>, SyncSender<()>) {
    let (asks, asked) = sync_channel(1);
    let (answers, answered) = sync_channel(1);
    let questions = AtomicUsize::new(0);
    (
        Holding { board: Board::new(ram), questions, asks, answered: Mutex::new(answered) },
        asked,
        answers,
    )
}

/// A machine that does not answer what the time is, but for DEC at the start, until it is told to.
struct Holding<'a> {
    board: Board<'a>,
    questions: AtomicUsize,
    asks: SyncSender<()>,
    answered: Mutex<Receiver<()>>,
}

impl CpuBus for Holding<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        self.board.ram()
    }

    fn timebase(&self, instructions: u64) -> u64 {
        if self.questions.fetch_add(1, Ordering::SeqCst) == 1 {
            self.asks.send(()).unwrap();
            self.answered.lock().unwrap().recv_timeout(HANG).unwrap();
        }
        instructions
    }
}
