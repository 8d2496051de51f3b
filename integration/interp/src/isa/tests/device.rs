//! Every load and store outside RAM does to registers what it does in RAM, and to the device what
//! it does to memory: each byte is accessed once, whatever interrupts come.

use std::cell::Cell;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use super::machine::Random;
use crate::bits::msr;
use crate::interrupt::vector;
use crate::isa::{Insn, Kind, kind, table};
use crate::{Cpu, CpuBus, Exit, RamRegion, Registers, System};

const RAM_BYTES: usize = 0x4_0000;
const CODE: u64 = 0x1_0000;
const IN_RAM: u64 = 0x2_0000;
const OUTSIDE: u64 = 0x1000_0000;
/// What RB adds where it is an index.
const INDEX: u64 = 0x100;
const WINDOW: usize = 64;
const END: u32 = 0x4400_0022;

/// What is an alignment interrupt outside RAM (Book III §6.5.8).
const ALIGNMENT: [&str; 7] = ["lmw", "stmw", "lswi", "lswx", "stswi", "stswx", "dcbz"];

/// What is a data storage interrupt there (§6.5.3, DSISR bit 37).
const DATA_STORAGE: [&str; 18] = [
    "lq", "stq", "lbarx", "lharx", "lwarx", "ldarx", "lqarx", "stbcx.", "sthcx.", "stwcx.",
    "stdcx.", "stqcx.", "lwat", "ldat", "stwat", "stdat", "copy", "paste.",
];

struct Board<'a> {
    ram: VolatileSlice<'a>,
    regions: [RamRegion<'a>; 1],
    external: Cell<bool>,
}

impl CpuBus for Board<'_> {
    fn ram(&self) -> &[RamRegion<'_>] {
        &self.regions
    }
    fn timebase(&self, instructions: u64) -> u64 {
        instructions
    }
    fn external_interrupt(&self) -> bool {
        self.external.get()
    }
}

/// Loads and stores that a partition has, without hints.
fn forms() -> impl Iterator<Item = &'static Insn> {
    let hints = ["dcbt", "dcbtst", "dcbst", "dcbf", "dst", "dstst", "icbi", "icbt", "stop"];
    table().iter().filter(move |insn| {
        matches!(kind(insn.value), Kind::Load | Kind::Store)
            && !hints.contains(&insn.name)
            && !insn.name.ends_with("cix")
    })
}

fn word(insn: &Insn) -> u32 {
    let field = |name: &str, value: u32| if insn.operands.contains(name) { value } else { 0 };
    insn.value | 6 << 21 | 3 << 16 | field("rb", 4 << 11) | field("nb", 8 << 11)
}

fn takes_length(name: &str) -> bool {
    ["lxvl", "lxvll", "stxvl", "stxvll"].contains(&name)
}

struct Run {
    registers: Registers,
    window: [u8; WINDOW],
    exits: usize,
}

/// Executes the instruction with its operand at `base + offset`, the bytes there being `window`.
fn run(insn: &Insn, little: bool, base: u64, offset: u64, seed: u64, alarm: bool) -> Run {
    let mut random = Random(seed);
    let mut ram = vec![0; RAM_BYTES];
    let ram = VolatileSlice::from(&mut ram[..]);
    let regions = [RamRegion::new(GuestAddress(0), ram)];
    let board = Board { ram, regions, external: Cell::new(false) };
    let order = |word: u32| if little { word.to_le() } else { word.to_be() };
    for vector in (0x100..0x1000).step_by(0x20) {
        board.ram.write_obj(END.to_be(), vector).unwrap();
    }
    board.ram.write_obj(order(word(insn)), CODE as usize).unwrap();
    board.ram.write_obj(order(END), CODE as usize + 4).unwrap();
    let mut window = [0; WINDOW];
    window.fill_with(|| random.next() as u8);
    board.ram.write_slice(&window, IN_RAM as usize).unwrap();
    let mut cpu = Cpu::new(0, 0x004e_1203, Arc::new(System::new(1)));
    cpu.start(CODE, true);
    let mut registers = cpu.registers();
    registers.gpr.fill_with(|| random.next());
    registers.vsr.fill_with(|| u128::from(random.next()) << 64 | u128::from(random.next()));
    registers.xer = 8;
    registers.msr |= msr::EE | msr::FP | msr::VEC | msr::VSX | u64::from(little);
    let index = if insn.operands.contains("rb") && !takes_length(insn.name) { INDEX } else { 0 };
    registers.gpr[3] = base + offset - index;
    registers.gpr[4] = if takes_length(insn.name) { 11 << 56 } else { index };
    cpu.set_registers(&registers);
    let (mut exits, mut seen) = (0, [0; WINDOW]);
    let mut at = |address: u64, bytes: usize| {
        assert_eq!(address % bytes as u64, 0, "{}", insn.name);
        let at = (address - OUTSIDE) as usize;
        for byte in &mut seen[at..at + bytes] {
            *byte += 1;
            assert_eq!(*byte, 1, "{} accesses a byte again", insn.name);
        }
        at
    };
    loop {
        match cpu.run(&board, 100) {
            Exit::Hypercall => break,
            Exit::MmioRead { address, bytes } => {
                let at = at(address, bytes);
                let mut data = [0; 8];
                data[..bytes].copy_from_slice(&window[at..at + bytes]);
                drop(cpu.complete_mmio(data));
            }
            Exit::MmioWrite { address, data, bytes } => {
                let at = at(address, bytes);
                window[at..at + bytes].copy_from_slice(&data[..bytes]);
                drop(cpu.complete_mmio([0xee; 8]));
            }
            other => panic!("{}: {other:?}", insn.name),
        }
        exits += 1;
        board.external.set(alarm);
    }
    if base == IN_RAM {
        board.ram.read_slice(&mut window, IN_RAM as usize).unwrap();
    }
    let mut registers = cpu.registers();
    // Update forms have the address there.
    registers.gpr[3] = registers.gpr[3].wrapping_sub(base);
    Run { registers, window, exits }
}

#[test]
fn all_forms_complete_outside_ram() {
    let mut count = 0;
    for insn in forms() {
        if ALIGNMENT.contains(&insn.name) || DATA_STORAGE.contains(&insn.name) {
            continue;
        }
        for (little, offset) in
            [false, true].into_iter().flat_map(|l| (16..33).map(move |o| (l, o)))
        {
            let seed = 1000 * offset + u64::from(little);
            let inside = run(insn, little, IN_RAM, offset, seed, false);
            let outside = run(insn, little, OUTSIDE, offset, seed, false);
            let name = insn.name;
            assert_eq!(inside.registers, outside.registers, "{name} at {offset}, {little}");
            assert_eq!(inside.window, outside.window, "{name} at {offset}, {little}");
            assert!(inside.exits == 0 && outside.exits > 0, "{name}");
            // An interrupt is taken behind the instruction, not within it.
            let alarmed = run(insn, little, OUTSIDE, offset, seed, true);
            let mut registers = alarmed.registers;
            assert_eq!((registers.pc, registers.srr0), (vector::EXTERNAL + 4, CODE + 4), "{name}");
            registers.pc = inside.registers.pc;
            registers.msr = inside.registers.msr;
            (registers.srr0, registers.srr1) = (inside.registers.srr0, inside.registers.srr1);
            assert_eq!(registers, inside.registers, "{name} at {offset}, {little}");
            assert_eq!(alarmed.window, inside.window, "{name} at {offset}, {little}");
            count += 1;
        }
    }
    assert!(count > 100 * 34, "{count}");
}

#[test]
fn what_needs_ram_is_an_interrupt_outside() {
    for insn in forms() {
        let name = insn.name;
        let (vector, dsisr) = match (ALIGNMENT.contains(&name), DATA_STORAGE.contains(&name)) {
            (true, _) => (vector::ALIGNMENT, 0),
            (_, true) if name == "copy" => (vector::DATA_STORAGE, 0x8),
            (_, true) if name == "paste." => (vector::DATA_STORAGE, 0x0200_0008),
            (_, true) if name.starts_with('l') && !name.ends_with("at") => {
                (vector::DATA_STORAGE, 0x0400_0000)
            }
            (_, true) => (vector::DATA_STORAGE, 0x0600_0000),
            _ => continue,
        };
        let after = run(insn, false, OUTSIDE, 0, 1, true);
        let Registers { pc, dar, dsisr: told, srr0, .. } = after.registers;
        assert_eq!((pc, srr0, told), (vector + 4, CODE, dsisr), "{name}");
        assert_eq!((dar, after.exits), (OUTSIDE, 0), "{name}");
    }
}
