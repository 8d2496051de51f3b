//! The board as a VMM uses it.
#![cfg(all(feature = "board", feature = "serde"))]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arch_ppc64::cas::{self, Decision, InterruptMode, Mmu, Negotiated, Support};
use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::hpt::Order;
use arch_ppc64::hypercall::token;
use arch_ppc64::platform::{Platform, PlatformBuilder, SaveState, StateValue};
use arch_ppc64::smp::Mailboxes;
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::{CpuIndex, EntryRegisters, Hypercall, Machine, Status, VcpuExit, VcpuHost};
use interp::board::{Clock, MemoryFlags, Vcpu, VcpuState, Vm, VmError, VmOptions, create_vm};
use interp::{PageMap, ProcessTable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

type Ram = GuestMemoryMmap<PageMap>;

const CODE: u64 = 0x1_0000;
const HIGH: u64 = 0x1_0000_0000;
const BYTES: usize = 1 << 20;
const END: u32 = 0x4400_0022;

fn ram() -> Ram {
    Ram::from_ranges(&[(GuestAddress(0), BYTES), (GuestAddress(HIGH), BYTES)]).unwrap()
}

fn put(ram: &Ram, at: u64, words: &[u32]) {
    for (at, word) in (at..).step_by(4).zip(words) {
        ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
}

/// RAM outlives the machine in each of these tests.
fn plug(vm: &Vm, slot: u32, ram: &Ram) -> Result<(), VmError> {
    let region = ram.iter().nth(slot as usize).unwrap();
    let host = NonNull::new(ram.get_host_address(region.start_addr()).unwrap()).unwrap();
    let (at, bytes) = (region.start_addr(), region.len());
    let pages = region.bitmap().whole().clone();
    // SAFETY: it is mapped as long as `ram`, which the tests keep; vm-memory makes no references.
    unsafe { vm.set_tracked_memory_region(slot, at, host, bytes, MemoryFlags::PLAIN, pages) }
}

fn machine(ram: &Ram, cpus: u32, clock: Clock) -> Arc<Vm> {
    let vm = create_vm(VmOptions::new(&CpuTopology::new(cpus), Arc::new(clock)));
    plug(&vm, 0, ram).unwrap();
    plug(&vm, 1, ram).unwrap();
    vm
}

fn started(vm: &Arc<Vm>, index: u32) -> Vcpu {
    let mut vcpu = vm.create_vcpu(CpuIndex(index)).unwrap();
    vcpu.start(&EntryRegisters::at(GuestAddress(CODE))).unwrap();
    vcpu
}

/// The token of the hypercall that comes next, which is left open.
fn next_token(vcpu: &mut Vcpu) -> u64 {
    match vcpu.run().unwrap() {
        VcpuExit::Hypercall(call) => call.token,
        other => panic!("{other:?}"),
    }
}

fn through_json<T: Serialize + DeserializeOwned>(state: &T) -> T {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// A guest that counts by hypercalls and reads a device goes on in another machine, with the RAM of
/// the first, from where it was: and the time, too.
#[test]
fn a_guest_goes_on_in_another_machine() {
    let ram = ram();
    // lis r9,0x1000; li r8,0; addi r8,r8,1; mr r3,r8; sc 1; add r8,r8,r4; lwz r7,0(r9);
    // add r8,r8,r7; mftb r10; b .-28
    let words = [
        0x3d20_1000,
        0x3900_0000,
        0x3908_0001,
        0x7d03_4378,
        END,
        0x7d08_2214,
        0x80e9_0000,
        0x7d08_3a14,
        0x7d4c_42a6,
        0x4bff_ffe4,
    ];
    put(&ram, CODE, &words);
    let turn = |vcpu: &mut Vcpu, expected: u64| {
        let VcpuExit::Hypercall(call) = vcpu.run().unwrap() else { panic!() };
        assert_eq!(call.token, expected);
        call.args[0] = 100;
    };
    let read = |vcpu: &mut Vcpu| {
        let VcpuExit::MmioRead(at, data) = vcpu.run().unwrap() else { panic!() };
        assert_eq!((at.0, data.len()), (0x1000_0000, 4));
        data.copy_from_slice(&1000_u32.to_be_bytes());
    };
    let first = machine(&ram, 1, Clock::of_instructions());
    let mut vcpu = started(&first, 0);
    turn(&mut vcpu, 1);
    // Nothing open is saved: it is completed first.
    assert!(vcpu.save().is_err());
    assert!(vcpu.complete().unwrap().is_none());
    let after_call = vcpu.save().unwrap();
    read(&mut vcpu);
    assert!(vcpu.save().is_err());
    assert!(vcpu.complete().unwrap().is_none());
    let after_read = vcpu.save().unwrap();
    let vm = first.save().unwrap();

    for (state, has_read) in [(&after_call, false), (&after_read, true)] {
        let second = machine(&ram, 1, Clock::of_instructions());
        second.restore(1, &vm).unwrap();
        let mut vcpu = second.create_vcpu(CpuIndex(0)).unwrap();
        vcpu.restore(&through_json(state)).unwrap();
        assert_eq!(vcpu.save().unwrap(), *state);
        if !has_read {
            read(&mut vcpu);
        }
        turn(&mut vcpu, 1 + 100 + 1000 + 1);
    }
}

fn platform(vm: &Vm) -> Platform {
    let machine = Machine::new(&Config).unwrap();
    let mut builder = PlatformBuilder::new(&machine, vm.interrupts().clone());
    builder.add_all(vm.devices());
    builder.build().unwrap()
}

/// A guest that translates by a hashed page table goes on elsewhere: segments, table and all.
#[test]
fn a_hash_guest_goes_on_in_another_machine() {
    const EA: u64 = 0xc000_0000_0000_0000;
    const VSID: u64 = 0x55;
    let ram = ram();
    // ld r3,0(r9); sc 1; b .-8
    put(&ram, CODE, &[0xe869_0000, END, 0x4bff_fff8]);
    ram.write_obj(0x1234_u64.to_be(), GuestAddress(0x2_0000)).unwrap();
    let machine = |mmu| {
        let options = VmOptions::new(&CpuTopology::new(1), Arc::new(Clock::of_instructions()));
        let vm = create_vm(options.with_mmu(mmu, Order::MIN));
        plug(&vm, 0, &ram).unwrap();
        vm
    };
    let first = machine(Support::Only(Mmu::Hash));
    let devices = platform(&first);
    let mut call = Hypercall::new(token::ENTER, &[0, VSID * 8, VSID << 12 | 1, 0x2_0000 | 0x12]);
    let _ = devices.hypercalls().dispatch(CpuIndex(0), &ram, &mut call);
    assert_eq!((call.status(), call.args[0]), (Status::SUCCESS, VSID * 8));
    let mut vcpu = started(&first, 0);
    let mut state = vcpu.save().unwrap();
    state.cpu.slb = vec![(EA | 1 << 27, VSID << 12)];
    state.cpu.gpr[9] = EA;
    state.cpu.msr |= 1 << 4;
    vcpu.restore(&state).unwrap();
    assert_eq!(next_token(&mut vcpu), 0x1234);
    assert!(vcpu.complete().unwrap().is_none());
    let vm = through_json(&first.save().unwrap());
    let cpu = through_json(&vcpu.save().unwrap());
    let saved = through_json(&devices.save().unwrap());
    let second = machine(Support::Either);
    second.restore(first.version(), &vm).unwrap();
    let mut vcpu = second.create_vcpu(CpuIndex(0)).unwrap();
    vcpu.restore(&cpu).unwrap();
    platform(&second).restore(&saved).unwrap();
    assert_eq!(next_token(&mut vcpu), 0x1234);
    // A machine that has no such tables does not go on as something else.
    let third = machine(Support::Only(Mmu::Radix));
    assert!(third.restore(first.version(), &vm).is_err());
}

/// The modes that a guest has set are the machine's: of the CPU that goes on, and of one that is
/// started when all is restored.
#[test]
fn modes_go_on_in_another_machine() {
    /// What CPUs are to have.
    fn modes(state: &VcpuState) -> (bool, u8, Option<ProcessTable>) {
        let cpu = &state.cpu;
        (cpu.interrupts_are_little_endian, cpu.interrupt_location, cpu.process_table)
    }
    // The first instruction of a system call interrupt, in whatever byte order it is taken.
    const SYSTEM_CALL: u64 = 0xc00;
    let ram = ram();
    // sc 1; li r3,1; sc; b .
    put(&ram, CODE, &[END, 0x3860_0001, 0x4400_0002, 0x4800_0000]);
    // sc 1, little-endian.
    put(&ram, SYSTEM_CALL, &[END.swap_bytes()]);
    let first = machine(&ram, 2, Clock::of_host());
    let mut vcpu = started(&first, 0);
    next_token(&mut vcpu);
    let devices = platform(&first);
    for (token, args) in [
        (token::SET_MODE, [1, 4, 0, 0, 0]),
        (token::SET_MODE, [3, 3, 0, 0, 0]),
        (token::REGISTER_PROC_TBL, [0x1d, 0x8_0000, 0, 0, 0]),
    ] {
        let mut call = Hypercall::new(token, &args);
        let _ = devices.hypercalls().dispatch(CpuIndex(0), &ram, &mut call);
        assert_eq!(call.status(), Status::SUCCESS, "{token:#x}");
    }
    assert!(vcpu.complete().unwrap().is_none());
    let vm = through_json(&first.save().unwrap());
    let saved = through_json(&devices.save().unwrap());
    // The CPU itself has not heard of any of this yet.
    let cpu = through_json(&vcpu.save().unwrap());
    assert_eq!(modes(&cpu), (false, 0, None));

    let second = machine(&ram, 2, Clock::of_host());
    let mut vcpus = [0, 1].map(|index| second.create_vcpu(CpuIndex(index)).unwrap());
    second.restore(1, &vm).unwrap();
    vcpus[0].restore(&cpu).unwrap();
    platform(&second).restore(&saved).unwrap();
    vcpus[1].start(&EntryRegisters::at(GuestAddress(CODE + 4))).unwrap();
    let table = ProcessTable { base: 0x8_0000, size_bytes: 4096 };
    for vcpu in &mut vcpus {
        let token = loop {
            match vcpu.run().unwrap() {
                VcpuExit::Hypercall(call) => break call.token,
                // It was told of the change.
                VcpuExit::Interrupted => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(token, 1);
        assert!(vcpu.complete().unwrap().is_none());
        let state = vcpu.save().unwrap();
        assert_eq!(state.cpu.pc, SYSTEM_CALL + 4);
        assert_eq!(modes(&state), (true, 3, Some(table)));
    }
    // A CPU has what its machine has, not what its own state says.
    let third = machine(&ram, 2, Clock::of_host());
    let mut vcpu = third.create_vcpu(CpuIndex(0)).unwrap();
    let mut other = cpu;
    (other.cpu.pc, other.cpu.interrupts_are_little_endian) = (CODE, true);
    (other.cpu.interrupt_location, other.cpu.process_table) = (3, Some(table));
    vcpu.restore(&other).unwrap();
    next_token(&mut vcpu);
    assert!(vcpu.complete().unwrap().is_none());
    assert_eq!(modes(&vcpu.save().unwrap()), (false, 0, None));
}

/// The modes may be right and the clock wrong, or the other way round: nothing has changed then.
#[test]
fn a_machine_takes_up_all_of_a_state_or_nothing() {
    let ram = ram();
    let vm = machine(&ram, 1, Clock::of_instructions());
    let own = vm.save().unwrap();
    let text = serde_json::to_string(&own).unwrap();
    let good = text.replace("\"ail\":0", "\"ail\":3").replace("\"slept\":0", "\"slept\":9");
    let table = r#""table":{"base":18446744073709551615,"size_bytes":4096}"#;
    for (from, to) in [
        ("\"ail\":3", "\"ail\":1"),
        ("\"table\":null", table),
        ("\"slept\":9", "\"slept\":null"),
        ("\"slept\":9", "\"slept\":-9"),
        ("\"slept\":9", "\"slept\":9,\"more\":1"),
        ("\"ail\":3", "\"ail\":3,\"more\":1"),
    ] {
        assert!(good.contains(from), "{good}");
        let wrong: StateValue = serde_json::from_str(&good.replace(from, to)).unwrap();
        assert!(vm.restore(1, &wrong).is_err(), "{to}");
        assert_eq!(vm.save().unwrap(), own, "{to}");
    }
    let good: StateValue = serde_json::from_str(&good).unwrap();
    assert!(vm.restore(0, &good).is_err());
    assert!(vm.restore(4, &good).is_err());
    vm.restore(2, &good).unwrap();
    assert_eq!(vm.save().unwrap(), good);
}

/// A machine that may have as many CPUs as there can be, of which one after the other is made, used
/// and dropped while another one runs.
#[test]
fn cpus_come_and_go_while_others_run() {
    let ram = ram();
    // li r3,1; sc 1; b .-8
    put(&ram, CODE, &[0x3860_0001, END, 0x4bff_fff8]);
    let topology = CpuTopology::new(2048).with_threads(8, 8).unwrap();
    let vm = create_vm(VmOptions::new(&topology, Arc::new(Clock::of_host())));
    plug(&vm, 0, &ram).unwrap();
    let (over, runs_on) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut runs = started(&vm, 0);
        let (over, runs_on) = (&over, &runs_on);
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                next_token(&mut runs);
                runs_on.fetch_add(1, Ordering::SeqCst);
            }
        });
        let count = || runs_on.load(Ordering::SeqCst);
        for index in (1..2048).step_by(97) {
            for _ in 0..3 {
                let mut comes = started(&vm, index);
                assert_eq!(next_token(&mut comes), 1);
                assert!(vm.create_vcpu(CpuIndex(index)).is_err(), "there is one");
                comes.kicker().kick();
                comes.stop();
                drop(comes);
                // It was not the new one that was kicked.
                assert_eq!(next_token(&mut started(&vm, index)), 1);
                let before = count();
                while count() == before {
                    std::thread::yield_now();
                }
            }
        }
        over.store(true, Ordering::SeqCst);
    });
}

/// What the guest has sent to a CPU that was not there is not for the one that comes.
#[test]
fn a_cpu_that_comes_finds_nothing_of_before() {
    let ram = ram();
    let vm = machine(&ram, 2, Clock::of_host());
    let platform = platform(&vm);
    let call = |token: u64, arguments: &[u64]| {
        let mut call = Hypercall::new(token, arguments);
        let _ = platform.hypercalls().dispatch(CpuIndex(0), &ram, &mut call);
        assert_eq!(call.status(), Status::SUCCESS, "{token:#x}");
        call.args
    };
    // The favour of the processor that nothing asks for is ff.
    let asked_for = || call(token::IPOLL, &[1])[1];
    call(token::IPI, &[1, 5]);
    assert_eq!(asked_for(), 5);
    let _comes = vm.create_vcpu(CpuIndex(1)).unwrap();
    assert_eq!(asked_for(), 0xff);
}

#[test]
fn cpus_and_slots_come_and_go() {
    let ram = ram();
    // lis r9,1; sldi r9,r9,16; lwz r3,0(r9); sc 1; b .-8
    put(&ram, CODE, &[0x3d20_0001, 0x7929_83e4, 0x8069_0000, END, 0x4bff_fff8]);
    ram.write_obj(7_u32.to_be(), GuestAddress(HIGH)).unwrap();
    let vm = machine(&ram, 3, Clock::of_host());
    let mut first = started(&vm, 0);
    assert_eq!(next_token(&mut first), 7);
    let mut second = started(&vm, 2);
    assert_eq!(next_token(&mut second), 7);
    assert!(vm.create_vcpu(CpuIndex(2)).is_err());
    assert!(vm.create_vcpu(CpuIndex(3)).is_err());
    assert!(plug(&vm, 1, &ram).is_err());
    assert!(vm.remove_memory_region(9).is_err());

    vm.remove_memory_region(1).unwrap();
    for vcpu in [&mut first, &mut second] {
        // A change of memory kicks.
        let exit = loop {
            match vcpu.run().unwrap() {
                VcpuExit::Interrupted => {}
                VcpuExit::MmioRead(at, _) => break at.0,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(exit, HIGH);
    }
    plug(&vm, 1, &ram).unwrap();
    // The answer of the device that was there meanwhile.
    loop {
        match first.run().unwrap() {
            VcpuExit::Interrupted => {}
            VcpuExit::Hypercall(call) => break assert_eq!(call.token, 0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next_token(&mut first), 7);
}

/// A slot is removed while CPUs run: when that returns, nobody uses it.
#[test]
fn a_slot_is_removed_while_a_cpu_stores_there() {
    let ram = ram();
    // lis r9,1; sldi r9,r9,16; addi r5,r5,1; std r5,0(r9); b .-8
    put(&ram, CODE, &[0x3d20_0001, 0x7929_83e4, 0x38a5_0001, 0xf8a9_0000, 0x4bff_fff8]);
    let vm = machine(&ram, 1, Clock::of_host());
    let mut vcpu = started(&vm, 0);
    let over = AtomicBool::new(false);
    let get = || ram.read_obj::<u64>(GuestAddress(HIGH)).unwrap();
    let kicker = vcpu.kicker();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                match vcpu.run().unwrap() {
                    VcpuExit::Interrupted | VcpuExit::MmioWrite(..) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        for _ in 0..20 {
            let before = get();
            while get() == before {
                std::thread::yield_now();
            }
            vm.remove_memory_region(1).unwrap();
            let stopped = get();
            std::thread::yield_now();
            assert_eq!(get(), stopped);
            plug(&vm, 1, &ram).unwrap();
        }
        over.store(true, Ordering::SeqCst);
        kicker.kick();
    });
}

#[test]
fn the_log_of_a_slot_has_stores_of_all() {
    let ram = ram();
    // lis r9,1; sldi r9,r9,16; std r5,0(r9); sc 1; b .-8
    put(&ram, CODE, &[0x3d20_0001, 0x7929_83e4, 0xf8a9_0000, END, 0x4bff_fff8]);
    let vm = machine(&ram, 1, Clock::of_host());
    assert!(vm.dirty_log(1).is_err());
    vm.set_dirty_log(1, true).unwrap();
    let mut vcpu = started(&vm, 0);
    let mut turn = || loop {
        match vcpu.run().unwrap() {
            VcpuExit::Interrupted => {}
            VcpuExit::Hypercall(_) => break,
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..3 {
        turn();
        ram.write_obj(1_u8, GuestAddress(HIGH + 0x5000)).unwrap();
        let dirty = vm.dirty_log(1).unwrap();
        assert_eq!(dirty.offsets().collect::<Vec<_>>(), [0, 0x5000]);
    }
}

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(512 << 20)
    }
    fn cpus(&self) -> Cpus {
        Cpus::new(1, CpuModel::Power9)
    }
    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }
    fn x_vof(&self) -> bool {
        true
    }
}

/// What the processor cannot be is refused, and so is what the board does not do.
#[test]
fn what_is_negotiated_is_up_to_the_back_end() {
    let vm = create_vm(VmOptions::new(&CpuTopology::new(1), Arc::new(Clock::of_host())));
    let cpus = Mailboxes::new().with_negotiated(move |decision| vm.negotiated(decision));
    let usual = Decision::default_for(&cas::Platform::of(&Machine::new(&Config).unwrap()));
    let of = |change: fn(&mut Decision)| {
        let mut decision = usual;
        change(&mut decision);
        cpus.negotiated(&decision)
    };
    assert_eq!(of(|_| {}), Negotiated::Live);
    assert_eq!(of(|usual| usual.compat = Some(0x0f00_0005)), Negotiated::Live);
    assert_eq!(of(|usual| usual.compat = Some(0x0f00_0004)), Negotiated::Live);
    for level in [0x0f00_0003, 0x0f00_0006] {
        let mut decision = usual;
        decision.compat = Some(level);
        assert_eq!(cpus.negotiated(&decision), Negotiated::Refused);
    }
    assert_eq!(of(|usual| usual.mmu = Mmu::Hash), Negotiated::Refused);
    assert_eq!(of(|usual| usual.interrupts = InterruptMode::Xive), Negotiated::Refused);

    // Where the machine has the choice, its controller is what was agreed on last.
    let options = VmOptions::new(&CpuTopology::new(1), Arc::new(Clock::of_host()));
    let vm = create_vm(options.with_interrupts(Support::Either));
    for interrupts in [InterruptMode::Xive, InterruptMode::Xics, InterruptMode::Xive] {
        let mut decision = usual;
        decision.interrupts = interrupts;
        assert_eq!(vm.negotiated(&decision), Negotiated::Live);
        assert_eq!(vm.interrupts().mode(), interrupts);
        decision.compat = Some(0x0f00_0006);
        decision.interrupts = InterruptMode::Xics;
        assert_eq!(vm.negotiated(&decision), Negotiated::Refused);
        assert_eq!(vm.interrupts().mode(), interrupts, "what is refused changes nothing");
    }
}
