//! A machine whose RAM has a hole, from its configuration to the guest's accesses.

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::topology::{MemoryMap, MemoryMapError, MemoryRange};
use arch_ppc64::{EntryRegisters, VcpuExit};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use super::*;
use crate::boot::plain_ram;

const ENTRY: u64 = 0x100;
/// In the hole.
const HOLE: u64 = 0x2000_0000;
/// Where RAM goes on.
const BEHIND: u64 = 0x4000_0000;

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }

    fn memory_map(&self) -> Result<MemoryMap, MemoryMapError> {
        MemoryMap::new([
            MemoryRange::ram(GuestAddress(0), 64 << 20),
            MemoryRange::ram(GuestAddress(BEHIND), 1 << 20),
        ])
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

/// The guest loads, stores and runs code behind the hole; what it asks of the hole, the VMM hears.
#[test]
fn ram_behind_a_hole_is_ram() {
    let machine = Machine::new(&Config).unwrap();
    let host = Arc::new(plain_ram(&machine));
    let ram = host.memory().memory();
    let put = |at: u64, code: &[u32]| {
        for (at, word) in (at..).step_by(4).zip(code) {
            ram.write_obj(word.to_be(), GuestAddress(at)).unwrap();
        }
    };
    let at_first = [
        0x3d20_4000, // lis r9,BEHIND@h
        0xe889_0000, // ld r4,0(r9)
        0x3860_0123, // li r3,0x123
        0xf869_0008, // std r3,8(r9)
        0x4400_0022, // sc 1
        0x3d40_2000, // lis r10,HOLE@h
        0x80aa_0000, // lwz r5,0(r10)
        0x3929_0100, // addi r9,r9,0x100
        0x7d29_03a6, // mtctr r9
        0x4e80_0420, // bctr
    ];
    put(ENTRY, &at_first);
    put(BEHIND + 0x100, &[0x7ca4_2b78, 0x3860_0456, 0x4400_0022]); // mr r4,r5; li r3,0x456; sc 1
    let stored = 0x0011_2233_4455_6677_u64;
    ram.write_obj(stored.to_be(), GuestAddress(BEHIND)).unwrap();

    let host: Arc<dyn HostRam> = host.clone();
    let mut vm = Software::new(Arc::new(Clock::of_host())).create(&machine, &host).unwrap();
    let vcpu = &mut vm.vcpus[0];
    vcpu.start(&EntryRegisters::at(GuestAddress(ENTRY))).unwrap();
    match vcpu.run().unwrap() {
        VcpuExit::Hypercall(call) => assert_eq!((call.token, call.args[0]), (0x123, stored)),
        other => panic!("{other:?}"),
    }
    assert_eq!(ram.read_obj::<u64>(GuestAddress(BEHIND + 8)).unwrap(), 0x123_u64.to_be());
    match vcpu.run().unwrap() {
        VcpuExit::MmioRead(at, data) => {
            assert_eq!((at, data.len()), (GuestAddress(HOLE), 4));
            data.copy_from_slice(&[0, 0, 0, 7]);
        }
        other => panic!("{other:?}"),
    }
    match vcpu.run().unwrap() {
        VcpuExit::Hypercall(call) => assert_eq!((call.token, call.args[0]), (0x456, 7)),
        other => panic!("{other:?}"),
    }
}

/// A thread runs a CPU while memory comes and goes under it.
#[test]
fn plugged_memory_is_ram_until_it_is_taken_out() {
    struct Room;

    impl MachineConfig for Room {
        fn memory(&self) -> Memory {
            Memory::of_size(256 << 20).with_hotplug(512 << 20)
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

    const LMB: u64 = 256 << 20;
    /// The second block of the room.
    const PLUGGED: GuestAddress = GuestAddress(2 * LMB);
    let machine = Machine::new(&Room).unwrap();
    let ram = Arc::new(plain_ram(&machine));
    let put = |at: u64, code: &[u32]| {
        let memory = ram.memory().memory();
        for (at, word) in (at..).step_by(4).zip(code) {
            memory.write_obj(word.to_be(), GuestAddress(at)).unwrap();
        }
    };
    let program = [
        0x3d20_2000, // lis r9,PLUGGED@h
        0x8149_0000, // lwz r10,0(r9)
        0x7d29_03a6, // mtctr r9
        0x2c0a_0000, // cmpwi r10,0
        0x4182_fff4, // beq .-12: until there is code
        0x4e80_0421, // bctrl
        0x4400_0022, // sc 1
        0x4bff_ffe8, // b .-24
    ];
    put(ENTRY, &program);
    let host: Arc<dyn HostRam> = ram.clone();
    let mut vm = Software::new(Arc::new(Clock::of_host())).create(&machine, &host).unwrap();
    let machine_vm = vm.vm.take().unwrap();
    let (told, says) = std::sync::mpsc::sync_channel(1);
    let (goes, go) = std::sync::mpsc::channel();
    let mut vcpu = vm.vcpus.remove(0);
    let kick = vcpu.kicker();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            vcpu.start(&EntryRegisters::at(GuestAddress(ENTRY))).unwrap();
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                match vcpu.run().unwrap() {
                    VcpuExit::Hypercall(call) => {
                        let _ = told.send(Some(call.token));
                        // It has left the memory that is taken out now.
                        let _ = go.recv();
                    }
                    VcpuExit::MmioRead(PLUGGED, data) => {
                        data.fill(0);
                        let _ = told.send(None);
                    }
                    VcpuExit::Interrupted => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        for round in 1..=10_u32 {
            // While it is not there, the VMM is asked.
            while says.recv().unwrap().is_some() {}
            ram.plug(PLUGGED, LMB).unwrap();
            machine_vm.add_memory(PLUGGED).unwrap();
            assert!(machine_vm.add_memory(PLUGGED).is_err());
            // Zero: the program waits for code. What it asked for before is asked.
            put(PLUGGED.0 + 4, &[0x4e80_0020]); // blr
            put(PLUGGED.0, &[0x3860_0000 | round]); // li r3,round
            let said = loop {
                if let Some(said) = says.recv().unwrap() {
                    break said;
                }
            };
            assert_eq!(said, u64::from(round));
            // What was decoded is not run again, wherever other code comes from.
            ram.unplug(PLUGGED, LMB).unwrap();
            machine_vm.remove_memory(PLUGGED).unwrap();
            ram.give_back(PLUGGED, LMB).unwrap();
            assert!(machine_vm.remove_memory(PLUGGED).is_err());
            goes.send(()).unwrap();
        }
        drop((says, goes));
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        kick.kick();
    });
}

/// What the guest stores and what the VMM writes is in one log, by address.
#[test]
fn the_log_has_what_guest_and_vmm_write() {
    let machine = Machine::new(&Config).unwrap();
    let ram = Arc::new(plain_ram(&machine));
    let memory = ram.memory().memory();
    let program: [u32; 4] = [
        0x3d20_4000, // lis r9,BEHIND@h
        0xf869_2008, // std r3,0x2008(r9)
        0x4400_0022, // sc 1
        0x4bff_fff8, // b .-8
    ];
    for (at, word) in (ENTRY..).step_by(4).zip(program) {
        memory.write_obj(word.to_be(), GuestAddress(at)).unwrap();
    }
    let host: Arc<dyn HostRam> = ram.clone();
    let mut made = Software::new(Arc::new(Clock::of_host())).create(&machine, &host).unwrap();
    let (vm, mut vcpu) = (made.vm.unwrap(), made.vcpus.remove(0));
    vcpu.start(&EntryRegisters::at(GuestAddress(ENTRY))).unwrap();
    let mut run = || assert!(matches!(vcpu.run(), Ok(VcpuExit::Hypercall(_))));
    let dirty = || -> Vec<_> {
        let ranges = vm.take_dirty().unwrap();
        let all = ranges.iter().flat_map(|range| range.stretches(u64::MAX));
        all.map(|(at, bytes)| (at.0, bytes)).collect()
    };
    run();
    assert!(vm.take_dirty().is_err());
    vm.set_dirty_log(true).unwrap();
    assert_eq!(dirty(), []);
    memory.write_obj(1_u8, GuestAddress(0x2_0fff)).unwrap();
    run();
    assert_eq!(dirty(), [(0x2_0000, 0x1000), (BEHIND + 0x2000, 0x1000)]);
    // Again, as it was taken.
    run();
    assert_eq!(dirty(), [(BEHIND + 0x2000, 0x1000)]);
    assert_eq!(dirty(), []);
    vm.set_dirty_log(false).unwrap();
    run();
    assert!(vm.take_dirty().is_err());
}
