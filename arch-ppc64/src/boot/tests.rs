//! Both ways in, of machines of the devices that each has.

use std::io;

use vm_memory::{Bytes, GuestMemoryMmap};

use super::*;
use crate::fdt::Tree;
use crate::layout::PAGE_BYTES;
use crate::loader::KERNEL_BASE;
use crate::loader::tests::Elf;
use crate::machine::Machine;
use crate::machine::tests::TestConfig;
use crate::platform::{Describe, NoInterrupts, Nodes, PlatformBuilder, outline};
use crate::topology::MemoryRange;

const MIB: u64 = 1 << 20;
const KERNEL_BYTES: u64 = 2 * MIB;
const SEED: [u8; 32] = [0x5e; 32];

fn platform(config: &TestConfig) -> (Platform, GuestMemoryMmap) {
    let machine = Machine::new(config).unwrap();
    let map = machine.memory_map();
    let ranges: Vec<_> = map.ram().map(|range| (range.start, range.bytes as usize)).collect();
    (outline(&machine).unwrap(), GuestMemoryMmap::from_ranges(&ranges).unwrap())
}

fn flat() -> TestConfig {
    TestConfig { x_vof: false, ..TestConfig::default() }
}

fn kernel() -> Vec<u8> {
    Elf::kernel(KERNEL_BYTES).bytes()
}

fn bytes(ram: &GuestMemoryMmap, at: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    ram.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn number(tree: &Tree, path: &str, name: &str) -> u64 {
    let value = tree.value(path, name).unwrap();
    value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// An initial RAM disk of so many bytes, each of which says which MiB it is in.
struct Large(u64);

impl Source for Large {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0)
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        // The loader's pieces do not cross a MiB.
        buf.fill((offset / MIB) as u8);
        Ok(())
    }
}

/// What the kernel is entered with is where the registers and the tree say.
#[test]
fn the_flat_way_in_has_all_in_place() {
    let (platform, ram) = platform(&flat());
    let (kernel, initrd) = (kernel(), b"the initrd".to_vec());
    let boot = Boot::new(&kernel, SEED).with_initrd(Some(&initrd)).number(3);
    let registers = boot.flat(&platform, &ram).unwrap();
    assert_eq!((registers.pc, registers.is_64bit), (KERNEL_BASE, true));
    assert_eq!((registers.r4, registers.r5), (KERNEL_BASE.0, 0));
    assert_eq!(bytes(&ram, KERNEL_BASE.0, 4), b"text");

    let placement = boot.plan(&platform).unwrap();
    let start = Start::of_placement(&placement, SEED).number(3);
    let blob = platform.blob(&start).unwrap();
    assert_eq!(bytes(&ram, registers.r3, blob.len()), blob);
    let tree = platform.tree(&start).unwrap();
    assert_eq!(number(&tree, "/chosen", "rust-vmm,boot-count"), 3);
    let rtas = number(&tree, "/rtas", "linux,rtas-base");
    assert_eq!(bytes(&ram, rtas, vof_firmware::RTAS_SHIM.len()), vof_firmware::RTAS_SHIM);
    let initrd_at = number(&tree, "/chosen", "linux,initrd-start");
    assert_eq!(bytes(&ram, initrd_at, initrd.len()), initrd);
    // One behind the other.
    assert!(KERNEL_BASE.0 + KERNEL_BYTES <= registers.r3);
    assert!(registers.r3 + blob.len() as u64 <= rtas);
    assert!(rtas + u64::from(rtas::SIZE_BYTES) <= initrd_at);
}

/// The tree is measured with what the start before has agreed on.
#[test]
fn what_was_agreed_on_has_room_in_the_flat_tree() {
    let (platform, ram) = platform(&flat());
    let vectors = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80];
    let cas = crate::cas::Platform::of(platform.machine());
    let (decision, _) = crate::cas::negotiate(&cas, &vectors).unwrap();
    let kernel = kernel();
    let boot = Boot::new(&kernel, SEED).with_decision(Some(decision));
    let registers = boot.flat(&platform, &ram).unwrap();
    let placement = boot.plan(&platform).unwrap();
    let start = Start::of_placement(&placement, SEED).with_decision(Some(decision));
    let blob = platform.blob(&start).unwrap();
    assert_eq!(bytes(&ram, registers.r3, blob.len()), blob);
}

/// What does not fit below a hole goes behind it, and nothing into it.
#[test]
fn a_machine_with_holes_is_started() {
    let range = |start, bytes| MemoryRange::ram(GuestAddress(start), bytes);
    let ranges = vec![range(0, 64 * MIB), range(256 * MIB, 96 * MIB)];
    let initrd = Large(80 * MIB);
    let kernel = kernel();
    let boot = Boot::new(&kernel, SEED).with_initrd(Some(&initrd));
    for x_vof in [false, true] {
        let config = TestConfig { ranges: ranges.clone(), x_vof, ..TestConfig::default() };
        let (platform, ram) = platform(&config);
        if x_vof {
            let reserved = boot.client(&platform, &ram).unwrap().reserved;
            let initrd = (GuestAddress(256 * MIB), 80 * MIB);
            assert_eq!(reserved, [(KERNEL_BASE, KERNEL_BYTES), initrd]);
        } else {
            let registers = boot.flat(&platform, &ram).unwrap();
            assert!(registers.r3 < 64 * MIB);
            assert_eq!(bytes(&ram, registers.r3, 4), [0xd0, 0x0d, 0xfe, 0xed]);
        }
        for mib in [0, 79] {
            assert_eq!(bytes(&ram, (256 + mib + 1) * MIB - 1, 1), [mib as u8], "{x_vof}");
        }
        assert_eq!(boot.initrd_room(&platform).unwrap(), 96 * MIB);
        let larger = Large(96 * MIB + 1);
        let error = boot.with_initrd(Some(&larger)).plan(&platform).unwrap_err();
        assert!(matches!(error, BootError::Load(LoadError::InitrdTooLarge { .. })), "{error}");
    }
}

#[test]
fn the_client_interface_way_in_starts_the_image() {
    let (platform, ram) = platform(&TestConfig::default());
    let (kernel, initrd) = (kernel(), b"the initrd".to_vec());
    let boot = Boot::new(&kernel, SEED).with_initrd(Some(&initrd)).number(2);
    // It writes into itself, and is as new at each start.
    ram.write_slice(&[0xff; 0x1000], GuestAddress(0)).unwrap();
    let made = boot.client(&platform, &ram).unwrap();
    assert_eq!(made.registers, EntryRegisters::at(GuestAddress(vof_firmware::ENTRY)));
    let image = bytes(&ram, vof_firmware::LOAD_ADDRESS, vof_firmware::IMAGE.len());
    assert_eq!(image, vof_firmware::IMAGE);
    assert_eq!(made.firmware, (GuestAddress(0), vof_firmware::RESERVED_BYTES));
    let placement = boot.plan(&platform).unwrap();
    assert_eq!(made.reserved, [placement.client(), placement.initrd().unwrap()]);
    assert_eq!(bytes(&ram, KERNEL_BASE.0, 4), b"text");
    let (initrd_at, _) = made.reserved[1];
    assert_eq!(bytes(&ram, initrd_at.0, initrd.len()), initrd);
    let start = Start::of_placement(&placement, SEED).number(2);
    assert_eq!(made.tree, platform.blob(&start).unwrap());
    // Without an initial RAM disk.
    let made = Boot::new(&kernel, SEED).client(&platform, &ram).unwrap();
    assert_eq!(made.reserved, [(KERNEL_BASE, KERNEL_BYTES)]);
}

/// For both ways in: the flat tree has room for them.
#[test]
fn the_tree_says_where_the_program_came_from() {
    let (bootpath, bootargs) = ("/pci@0/scsi@1:1", "x".repeat(9000));
    for x_vof in [false, true] {
        let (platform, ram) = platform(&TestConfig { x_vof, ..TestConfig::default() });
        let kernel = kernel();
        let boot = Boot::new(&kernel, SEED);
        let boot = boot.with_bootpath(Some(bootpath)).with_bootargs(Some(&bootargs));
        let boot = boot.with_bootp_response(Some(&[1, 2, 3]));
        let placement = boot.plan(&platform).unwrap();
        let start = Start::of_placement(&placement, SEED)
            .with_bootpath(Some(bootpath.to_owned()))
            .with_bootp_response(Some(vec![1, 2, 3]))
            .with_bootargs(Some(bootargs.clone()));
        let blob = platform.blob(&start).unwrap();
        match x_vof {
            true => assert_eq!(boot.client(&platform, &ram).unwrap().tree, blob),
            false => {
                let registers = boot.flat(&platform, &ram).unwrap();
                assert_eq!(bytes(&ram, registers.r3, blob.len()), blob);
            }
        }
        let tree = platform.tree(&start).unwrap();
        let text = |name| tree.value("/chosen", name).unwrap();
        assert_eq!(text("bootpath"), [bootpath.as_bytes(), &[0]].concat());
        assert_eq!(text("bootargs"), [bootargs.as_bytes(), &[0]].concat());
        assert_eq!(text("bootp-response"), [1, 2, 3]);
        // Else the machine says what the arguments are.
        let tree = platform.tree(&Start::of_placement(&placement, SEED)).unwrap();
        assert_eq!(tree.value("/chosen", "bootpath"), None);
        let cmdline = platform.machine().cmdline();
        assert_eq!(tree.value("/chosen", "bootargs").unwrap(), [cmdline.as_bytes(), &[0]].concat());
    }
}

/// A 32-bit program lives on the client interface.
#[test]
fn programs_start_through_the_client_interface_only() {
    let program = Elf::program().bytes();
    let boot = Boot::new(&program, SEED);
    let (machine, ram) = platform(&TestConfig::default());
    let made = boot.client(&machine, &ram).unwrap();
    assert_eq!(made.reserved, [(GuestAddress(2 * MIB), 0x3_0000)]);
    let (machine, ram) = platform(&flat());
    let error = boot.flat(&machine, &ram).unwrap_err();
    assert_eq!(error, BootError::Load(LoadError::NeedsClientInterface));
}

#[test]
fn no_machine_is_started_the_other_way() {
    let kernel = kernel();
    let boot = Boot::new(&kernel, SEED);
    let (machine, ram) = platform(&TestConfig::default());
    let error = boot.flat(&machine, &ram).unwrap_err();
    assert_eq!(error, BootError::OtherWay { x_vof: true });
    let (machine, other) = platform(&flat());
    let error = boot.client(&machine, &other).unwrap_err();
    assert_eq!(error, BootError::OtherWay { x_vof: false });
    let said = "the machine has x-vof off, and is started with the client interface";
    assert_eq!(error.to_string(), said);
    for ram in [&ram, &other] {
        assert_eq!(bytes(ram, KERNEL_BASE.0, 4), [0; 4], "nothing is loaded");
    }
}

/// A device that does not say the same each time must not have the tree run into RTAS.
#[test]
fn a_tree_that_is_longer_than_it_was_is_refused() {
    let machine = Machine::new(&flat()).unwrap();
    let mut builder = PlatformBuilder::new(&machine, std::sync::Arc::new(NoInterrupts));
    builder.add(std::sync::Arc::new(crate::xics::KernelXics::new(machine.topology())));
    builder.add(std::sync::Arc::new(Nodes::new("odd", |tree: &mut Tree, cx: &Describe<'_>| {
        let known = if cx.start.entry == GuestAddress(0) { 1 } else { PAGE_BYTES as usize };
        tree.node("/odd")?.bytes("known", &vec![0; known])?;
        Ok(())
    })));
    let platform = builder.build().unwrap();
    let (_, ram) = self::platform(&flat());
    let kernel = kernel();
    let error = Boot::new(&kernel, SEED).flat(&platform, &ram).unwrap_err();
    let BootError::TreeGrew { planned, bytes: found } = error else { panic!("{error}") };
    assert!(found >= planned + PAGE_BYTES - 4, "{planned} {found}");
    assert_eq!(bytes(&ram, KERNEL_BASE.0, 4), [0; 4], "nothing is loaded");
}

#[test]
fn errors_say_which_file_they_are_about() {
    let (platform, ram) = platform(&flat());
    let (kernel, script, empty) = (kernel(), b"#!/bin/sh".to_vec(), Vec::new());
    let part = |boot: Boot<'_>| {
        let planned = boot.plan(&platform).unwrap_err();
        let BootError::Load(error) = boot.flat(&platform, &ram).unwrap_err() else {
            panic!("it is no error of a file")
        };
        assert_eq!(planned, BootError::Load(error.clone()));
        error.part()
    };
    assert_eq!(part(Boot::new(&script, SEED)), Part::Program);
    assert_eq!(part(Boot::new(&kernel, SEED).with_initrd(Some(&empty))), Part::Initrd);
    assert_eq!(part(Boot::new(&script, SEED).with_initrd(Some(&empty))), Part::Program);
}

#[test]
fn ram_that_is_not_there_is_told() {
    let (platform, _) = platform(&flat());
    let kernel = kernel();
    let with_ram = |bytes: u64| {
        let ranges = [(GuestAddress(0), bytes as usize)];
        let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&ranges).unwrap();
        Boot::new(&kernel, SEED).flat(&platform, &ram).unwrap_err()
    };
    let error = with_ram(KERNEL_BASE.0 + KERNEL_BYTES / 2);
    assert!(matches!(error, BootError::Load(LoadError::Memory(_))), "{error}");
    // For the tree.
    let error = with_ram(KERNEL_BASE.0 + KERNEL_BYTES);
    assert!(matches!(error, BootError::Memory(_)), "{error}");
}
