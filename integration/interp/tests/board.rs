//! The board as a VMM uses it.
#![cfg(feature = "board")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arch_ppc64::cas::{Decision, InterruptMode, Mmu, Negotiated, Platform};
use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::cpu::CpuModel;
use arch_ppc64::platform::SaveState;
use arch_ppc64::smp::Mailboxes;
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::{CpuIndex, EntryRegisters, Machine, VcpuExit, VcpuHost};
use interp::PageMap;
use interp::board::{Clock, MemoryFlags, Vcpu, VcpuState, Vm, VmError, VmOptions, create_vm};
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
fn token(vcpu: &mut Vcpu) -> u64 {
    match vcpu.run().unwrap() {
        VcpuExit::Hypercall(call) => call.token,
        other => panic!("{other:?}"),
    }
}

fn through_json(state: &VcpuState) -> VcpuState {
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
    let (modes, clock) = (first.modes().save().unwrap(), first.clock().save().unwrap());

    for (state, has_read) in [(&after_call, false), (&after_read, true)] {
        let second = machine(&ram, 1, Clock::of_instructions());
        second.modes().restore(1, &modes).unwrap();
        second.clock().restore(1, &clock).unwrap();
        let mut vcpu = second.create_vcpu(CpuIndex(0)).unwrap();
        vcpu.restore(&through_json(state)).unwrap();
        assert_eq!(vcpu.save().unwrap(), *state);
        // Modes have changed.
        assert!(matches!(vcpu.run().unwrap(), VcpuExit::Interrupted));
        if !has_read {
            read(&mut vcpu);
        }
        turn(&mut vcpu, 1 + 100 + 1000 + 1);
    }
}

#[test]
fn threads_of_a_core_are_refused() {
    for threads in [1, 2, 4, 8] {
        let topology = CpuTopology::new(8).with_threads(threads, 8).unwrap();
        let vm = create_vm(VmOptions::new(&topology, Arc::new(Clock::of_host())));
        assert_eq!(vm.create_vcpu(CpuIndex(1)).is_ok(), threads == 1, "{threads}");
    }
}

#[test]
fn cpus_and_slots_come_and_go() {
    let ram = ram();
    // lis r9,1; sldi r9,r9,16; lwz r3,0(r9); sc 1; b .-8
    put(&ram, CODE, &[0x3d20_0001, 0x7929_83e4, 0x8069_0000, END, 0x4bff_fff8]);
    ram.write_obj(7_u32.to_be(), GuestAddress(HIGH)).unwrap();
    let vm = machine(&ram, 3, Clock::of_host());
    let mut first = started(&vm, 0);
    assert_eq!(token(&mut first), 7);
    let mut second = started(&vm, 2);
    assert_eq!(token(&mut second), 7);
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
    assert_eq!(token(&mut first), 7);
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
        Cpus { boot: 1, max: 1, model: CpuModel::Power9 }
    }
    fn boot(&self) -> Boot<'_> {
        Boot { cmdline: "" }
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
    let usual = Decision::default_for(&Platform::of(&Machine::new(&Config).unwrap()));
    let of = |change: fn(&mut Decision)| {
        let mut decision = usual;
        change(&mut decision);
        cpus.negotiated(&decision)
    };
    assert_eq!(of(|_| {}), Negotiated::Live);
    assert_eq!(of(|usual| usual.compat = Some(0x0f00_0005)), Negotiated::Live);
    assert_eq!(of(|usual| usual.compat = Some(0x0f00_0006)), Negotiated::Refused);
    assert_eq!(of(|usual| usual.mmu = Mmu::Hash), Negotiated::Refused);
    assert_eq!(of(|usual| usual.interrupts = InterruptMode::Xive), Negotiated::Refused);
}
