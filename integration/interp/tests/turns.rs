//! Several CPUs whose time is what they execute: they do so in turns, and every run is the same.
#![cfg(all(feature = "board", feature = "serde"))]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arch_ppc64::hypercall::token;
use arch_ppc64::platform::SaveState;
use arch_ppc64::smp::{Mailboxes, Order};
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::{CpuIndex, EntryRegisters, Kick, VcpuExit, VcpuHost};
use interp::PageMap;
use interp::board::{Clock, MemoryFlags, Vcpu, Vm, VmOptions, create_vm};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

type Ram = GuestMemoryMmap<PageMap>;

const BYTES: usize = 1 << 20;
const CODE: u64 = 0x1_0000;
const COUNTER: u64 = 0x2_0000;
const LOG: u64 = 0x3_0000;
const DECREMENTER: u64 = 0x900;
const ROUNDS: u64 = 40;
const CPUS: u32 = 4;

fn ram(words: &[u32]) -> Ram {
    let ram = Ram::from_ranges(&[(GuestAddress(0), BYTES)]).unwrap();
    put(&ram, CODE, words);
    // lis r11,0x7fff; mtdec r11; rfid
    put(&ram, DECREMENTER, &[0x3d60_7fff, 0x7d76_03a6, 0x4c00_0024]);
    ram
}

fn put(ram: &Ram, at: u64, words: &[u32]) {
    for (at, word) in (at..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
}

fn machine(ram: &Ram, clock: &Arc<Clock>) -> Arc<Vm> {
    let topology = CpuTopology::new(CPUS).with_threads(2, 2).unwrap();
    let vm = create_vm(VmOptions::new(&topology, clock.clone()));
    let host = NonNull::new(ram.get_host_address(GuestAddress(0)).unwrap()).unwrap();
    // SAFETY: it is mapped as long as `ram`, which the tests keep; vm-memory makes no references.
    unsafe { vm.set_memory_region(0, GuestAddress(0), host, BYTES as u64, MemoryFlags::PLAIN) }
        .unwrap();
    vm
}

/// Writes who it is and what time it is into a log that all share, computes for a while, and sleeps
/// every fourth time until its decrementer wakes it.
///
/// r3 = number, r4 = log, r5 = counter. li r12,40; mr r13,r3
/// 1: lwarx r7,0,r5; addi r8,r7,1; stwcx. r8,0,r5; bne 1b; sldi r9,r7,4; add r9,r9,r4
/// mftb r10; std r10,0(r9); std r13,8(r9); mulli r11,r13,3000; addi r11,r11,777; mtctr r11; bdnz .
/// andi. r11,r12,3; bne 3f; addi r11,r13,1; sldi r11,r11,17; mtdec r11; li r3,0xe0; sc 1
/// li r11,0; mtmsrd r11,1
/// 3: addi r12,r12,-1; cmpdi r12,0; bne 1b; li r3,1; sc 1
const LOGS: [u32; 29] = [
    0x3980_0028,
    0x7c6d_1b78,
    0x7ce0_2828,
    0x3907_0001,
    0x7d00_292d,
    0x4082_fff4,
    0x78e9_26e4,
    0x7d29_2214,
    0x7d4c_42a6,
    0xf949_0000,
    0xf9a9_0008,
    0x1d6d_0bb8,
    0x396b_0309,
    0x7d69_03a6,
    0x4200_0000,
    0x718b_0003,
    0x4082_0020,
    0x396d_0001,
    0x796b_8ba4,
    0x7d76_03a6,
    0x3860_00e0,
    0x4400_0022,
    0x3960_0000,
    0x7d61_0164,
    0x398c_ffff,
    0x2c2c_0000,
    0x4082_ffa0,
    0x3860_0001,
    0x4400_0022,
];

fn entry(number: u32) -> EntryRegisters {
    EntryRegisters::at(GuestAddress(CODE)).with_arguments([number.into(), LOG, COUNTER])
}

/// Runs a CPU to the hypercall 1; what it has executed.
fn to_the_end(vcpu: &mut Vcpu) -> u64 {
    loop {
        match vcpu.run().unwrap() {
            VcpuExit::Hypercall(call) if call.token == token::CEDE => {
                call.status = 0;
                vcpu.cede();
            }
            VcpuExit::Hypercall(_) => break,
            VcpuExit::Interrupted => {}
            other => panic!("{other:?}"),
        }
    }
    vcpu.stop();
    vcpu.instructions()
}

/// The times and numbers that were logged.
fn log(ram: &Ram) -> Vec<(u64, u64)> {
    let get = |at: u64| u64::from_be(ram.read_obj(GuestAddress(at)).unwrap());
    (0..ROUNDS * u64::from(CPUS)).map(|n| (get(LOG + n * 16), get(LOG + n * 16 + 8))).collect()
}

/// All CPUs from the start to the end: what is in the log, and how much each has executed. All the
/// while, `disturb` may do what a guest does not notice.
fn run(disturb: impl FnOnce(&[Arc<dyn Kick>], &AtomicBool) + Send) -> (Vec<(u64, u64)>, Vec<u64>) {
    let ram = ram(&LOGS);
    let vm = machine(&ram, &Arc::new(Clock::of_instructions()));
    let mut vcpus: Vec<Vcpu> =
        (0..CPUS).map(|index| vm.create_vcpu(CpuIndex(index)).unwrap()).collect();
    let kickers: Vec<Arc<dyn Kick>> = vcpus.iter().map(Vcpu::kicker).collect();
    let over = AtomicBool::new(false);
    for (number, vcpu) in (0..).zip(&mut vcpus) {
        vcpu.start(&entry(number)).unwrap();
        vcpu.kicker().starts();
    }
    let executed = std::thread::scope(|scope| {
        scope.spawn(|| disturb(&kickers, &over));
        // The threads come in any order.
        let threads: Vec<_> = vcpus
            .iter_mut()
            .rev()
            .map(|vcpu| {
                std::thread::sleep(Duration::from_millis(5));
                scope.spawn(|| to_the_end(vcpu))
            })
            .collect();
        let executed = threads.into_iter().rev().map(|thread| thread.join().unwrap()).collect();
        over.store(true, Ordering::SeqCst);
        executed
    });
    (log(&ram), executed)
}

#[test]
fn two_runs_are_the_same() {
    let (log, executed) = run(|_, _| {});
    assert!(log.is_sorted_by_key(|(time, _)| *time), "{log:?}");
    for cpu in 0..u64::from(CPUS) {
        assert_eq!(log.iter().filter(|(_, number)| *number == cpu).count() as u64, ROUNDS);
    }
    // They do take turns.
    let changes = log.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    assert!(changes > 20, "{log:?}");
    assert_eq!(run(|_, _| {}), (log, executed));
}

/// Kicks get CPUs out of guest code, out of their sleep, and out of waiting for their turn: the
/// guest sees nothing of it.
#[test]
fn who_is_kicked_executes_the_same() {
    let quiet = run(|_, _| {});
    let kicked = run(|kickers, over| {
        while !over.load(Ordering::SeqCst) {
            for kicker in kickers {
                kicker.kick();
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(quiet, kicked);
}

/// A CPU that another one starts has its first turn then, whenever its thread comes.
#[test]
fn a_cpu_that_is_told_to_start_has_its_turn() {
    // CPU 0: li r3,7; sc 1, whose handler starts the others; then all log.
    let mut words = vec![0x3860_0007, 0x4400_0022, 0x3860_0000];
    words.extend(LOGS);
    let runs: Vec<_> = [0, 20]
        .map(|late_ms| {
            let ram = ram(&words);
            let vm = machine(&ram, &Arc::new(Clock::of_instructions()));
            let mail = Mailboxes::new();
            let vcpus: Vec<Vcpu> =
                (0..CPUS).map(|index| vm.create_vcpu(CpuIndex(index)).unwrap()).collect();
            for vcpu in &vcpus {
                mail.add(vcpu.kicker());
            }
            mail.start(CpuIndex(0), entry(0)).unwrap();
            let executed: Vec<u64> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..)
                    .zip(vcpus)
                    .map(|(number, mut vcpu)| {
                        let mail = &mail;
                        scope.spawn(move || {
                            let Order::Start(entry) = mail.wait(CpuIndex(number)) else { panic!() };
                            vcpu.start(&entry).unwrap();
                            if number == 0 {
                                assert!(matches!(vcpu.run().unwrap(), VcpuExit::Hypercall(_)));
                                for other in 1..CPUS {
                                    let at = GuestAddress(CODE + 12);
                                    let arguments = [other.into(), LOG, COUNTER];
                                    let registers =
                                        EntryRegisters::at(at).with_arguments(arguments);
                                    mail.start(CpuIndex(other), registers).unwrap();
                                }
                            } else {
                                let late = Duration::from_millis(late_ms);
                                std::thread::sleep(late * number);
                            }
                            to_the_end(&mut vcpu)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            (log(&ram), executed)
        })
        .into();
    assert_eq!(runs[0], runs[1]);
}

/// When all sleep, time goes to the first decrementer at once.
#[test]
fn time_jumps_when_all_sleep() {
    // addi r9,r3,1; sldi r9,r9,18; mtdec r9; mr r13,r3; li r3,0xe0; sc 1; li r11,0; mtmsrd r11,1
    // lwarx r7,0,r5; addi r8,r7,1; stwcx. r8,0,r5; bne .-12; sldi r9,r7,4; add r9,r9,r4
    // mftb r10; std r10,0(r9); std r13,8(r9); li r3,1; sc 1
    let words = [
        0x3923_0001,
        0x7929_9364,
        0x7d36_03a6,
        0x7c6d_1b78,
        0x3860_00e0,
        0x4400_0022,
        0x3960_0000,
        0x7d61_0164,
        0x7ce0_2828,
        0x3907_0001,
        0x7d00_292d,
        0x4082_fff4,
        0x78e9_26e4,
        0x7d29_2214,
        0x7d4c_42a6,
        0xf949_0000,
        0xf9a9_0008,
        0x3860_0001,
        0x4400_0022,
    ];
    let ram = ram(&words);
    let vm = machine(&ram, &Arc::new(Clock::of_instructions()));
    let vcpus: Vec<Vcpu> = (0..CPUS)
        .map(|number| {
            let mut vcpu = vm.create_vcpu(CpuIndex(number)).unwrap();
            // The first sleeps for the longest.
            let arguments = [u64::from(CPUS - 1 - number), LOG, COUNTER];
            let entry = EntryRegisters::at(GuestAddress(CODE)).with_arguments(arguments);
            vcpu.start(&entry).unwrap();
            vcpu.kicker().starts();
            vcpu
        })
        .collect();
    std::thread::scope(|scope| {
        for mut vcpu in vcpus {
            scope.spawn(move || assert!(to_the_end(&mut vcpu) < 100));
        }
    });
    let woken = &log(&ram)[..CPUS as usize];
    for (number, &(time, cpu)) in (0..).zip(woken) {
        assert_eq!(cpu, number);
        let due = (number + 1) << 18;
        assert!((due..due + 1000).contains(&time), "{woken:?}");
    }
}

/// Whoever is kicked before it waits for the host's clock, as all sleep, does not wait.
#[test]
fn a_kick_before_a_sleep_is_not_lost() {
    // lis r9,0x7fff; mtdec r9; li r3,0xe0; sc 1
    let ram = ram(&[0x3d20_7fff, 0x7d36_03a6, 0x3860_00e0, 0x4400_0022]);
    let vm = machine(&ram, &Arc::new(Clock::of_instructions()));
    let mut vcpu = vm.create_vcpu(CpuIndex(0)).unwrap();
    vcpu.start(&entry(0)).unwrap();
    let VcpuExit::Hypercall(call) = vcpu.run().unwrap() else { panic!("no hypercall") };
    assert_eq!(call.token, token::CEDE);
    vcpu.kicker().kick();
    let before = Instant::now();
    vcpu.cede();
    // The decrementer is due after four seconds.
    assert!(before.elapsed() < Duration::from_secs(4));
}

/// A machine that is saved in the middle of a turn goes on with it in another one.
#[test]
fn a_turn_goes_on_in_another_machine() {
    let ram = ram(&LOGS);
    let clock = || Arc::new(Clock::of_instructions());
    let first = machine(&ram, &clock());
    let mut vcpu = first.create_vcpu(CpuIndex(2)).unwrap();
    vcpu.start(&entry(2)).unwrap();
    // Its first sleep.
    assert!(matches!(vcpu.run().unwrap(), VcpuExit::Hypercall(_)));
    assert!(vcpu.complete().unwrap().is_none());
    let (vm, cpu) = (first.save().unwrap(), vcpu.save().unwrap());
    let text = serde_json::to_string(&vm).unwrap();
    assert!(text.contains(r#""turn":{"cpu":2,"ends_at":65536}"#), "{text}");

    let second = machine(&ram, &clock());
    let newest = second.version();
    second.restore(newest, &serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&second.save().unwrap()).unwrap(), text);
    let mut vcpu = second.create_vcpu(CpuIndex(2)).unwrap();
    vcpu.restore(&cpu).unwrap();
    vcpu.kicker().starts();
    to_the_end(&mut vcpu);
    // Version 1 knows nothing of turns; nobody has the turn of a CPU that there is not.
    let old = text.replace(r#","turn":{"cpu":2,"ends_at":65536}"#, "");
    second.restore(1, &serde_json::from_str(&old).unwrap()).unwrap();
    let wrong = text.replace(r#""cpu":2"#, r#""cpu":4"#);
    assert!(second.restore(newest, &serde_json::from_str(&wrong).unwrap()).is_err());
}

/// A saved state may say that it is the turn of a CPU that does not run: the others go on.
#[test]
fn the_turn_of_who_does_not_run_is_nobodys() {
    let ram = ram(&LOGS);
    let clock = || Arc::new(Clock::of_instructions());
    let first = machine(&ram, &clock());
    let saved = serde_json::to_string(&first.save().unwrap()).unwrap();
    let saved =
        saved.replace(r#""turn":null"#, r#""turn":{"cpu":3,"ends_at":18446744073709551615}"#);
    let second = machine(&ram, &clock());
    second.restore(2, &serde_json::from_str(&saved).unwrap()).unwrap();
    let mut vcpu = second.create_vcpu(CpuIndex(1)).unwrap();
    vcpu.start(&entry(1)).unwrap();
    assert!(to_the_end(&mut vcpu) > 0);
}
