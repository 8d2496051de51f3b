//! Both byte orders, of code and of data: in turns, and the compute loops of the benches in each.

mod common;
#[path = "common/ram_only.rs"]
mod ram_only;

use std::sync::Arc;

use common::{CODE, END, Random, bench};
use interp::{Cpu, Exit, RamRegion, Registers, System};
use ram_only::RamOnly;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

const LITTLE: u64 = CODE + 0x1000;
const BACK: u64 = CODE + 0x100;
const DATA: u64 = 0x2_0000;

const LWZ_5_6: u32 = 0x80a6_0000;
const LDU_7_6: u32 = 0xe8e6_0009;
const STW_5_6: u32 = 0x90a6_0008;
const STHU_5_6: u32 = 0xb4a6_000c;
const LHAX_9_6_10: u32 = 0x7d26_52ae;

/// `mfmsr 3`, `xori 3,3,1`, `mtsrr1 3`, `mtsrr0 4`, `rfid`.
const TURN_TO_4: [u32; 5] = [0x7c60_00a6, 0x6863_0001, 0x7c7b_03a6, 0x7c9a_03a6, 0x4c00_0024];
/// The same, with the address in r8.
const TURN_TO_8: [u32; 5] = [0x7c60_00a6, 0x6863_0001, 0x7c7b_03a6, 0x7d1a_03a6, 0x4c00_0024];

/// Each access has the byte order that MSR.LE says when it is executed (Book I §1.10.1).
#[test]
fn a_program_changes_its_byte_order_and_back() {
    let mut random = Random(7);
    for _ in 0..100 {
        let (first, second) = (random.next(), random.next());
        let mut ram = Vec::new();
        let mut bench = bench(&mut ram, &TURN_TO_4);
        bench.write(DATA, first);
        bench.write(DATA + 8, second);
        let little = [&[LWZ_5_6, LDU_7_6, STW_5_6][..], &TURN_TO_8].concat();
        for (at, word) in (LITTLE..).step_by(4).zip(little) {
            bench.board.ram.write_obj(word.to_le(), at as usize).unwrap();
        }
        for (at, word) in (BACK..).step_by(4).zip([LHAX_9_6_10, STHU_5_6, END]) {
            bench.board.ram.write_obj(word.to_be(), at as usize).unwrap();
        }
        bench.registers(|r| {
            r.gpr[4] = LITTLE;
            r.gpr[6] = DATA;
            r.gpr[8] = BACK;
        });
        let end = bench.run();
        let word = (first >> 32) as u32;
        assert_eq!(end.gpr[5], u64::from(word.swap_bytes()));
        assert_eq!(end.gpr[7], second.swap_bytes());
        assert_eq!(end.gpr[9], (second >> 48) as i16 as u64);
        assert_eq!(end.gpr[6], DATA + 8 + 12);
        assert_eq!(bench.read(DATA + 16) >> 32, u64::from(word), "as it was loaded");
        let halfword = u64::from(word.swap_bytes() as u16);
        assert_eq!(bench.read(DATA + 16) >> 16 & 0xffff, halfword);
    }
}

/// The loops, and what MSR.LE is for each.
const LOOPS: [(&[u8], u64); 2] = [
    (include_bytes!("../benches/guest/loops.bin"), 1),
    (include_bytes!("../benches/guest/loops-big-endian.bin"), 0),
];

/// The checksums of two rounds of each, as programs of qemu-ppc64le and qemu-ppc64 give them.
const CHECKSUMS: [[u64; 2]; 5] = [
    [0x0000_0002_ec58_2248; 2],
    [0x50da_d723_1fd8_77c8; 2],
    [0x3ea0_0816_09d5_0614; 2],
    [0xd5e6_9831_f9e6_ecd0, 0x293a_0940_b3d5_cd64],
    [0xce82_4633_7e33_aff0, 0xf3ae_337e_3246_81cc],
];

#[test]
fn loops_of_both_byte_orders_compute_what_they_should() {
    const RAM_BYTES: usize = 2 << 20;
    for (number, checksums) in (0..).zip(CHECKSUMS) {
        for ((program, le), checksum) in LOOPS.into_iter().zip(checksums) {
            let mut ram = vec![0; RAM_BYTES];
            ram[CODE as usize..][..program.len()].copy_from_slice(program);
            let ram = VolatileSlice::from(ram.as_mut_slice());
            let board = RamOnly([RamRegion::new(GuestAddress(0), ram)]);
            let mut cpu = Cpu::new(0, 0x004e_1203, Arc::new(System::new(1)));
            let mut registers = Registers { pc: CODE, ..Registers::default() };
            registers.msr |= le;
            registers.gpr[1] = RAM_BYTES as u64 - 0x1000;
            registers.gpr[3] = number;
            registers.gpr[4] = 2;
            cpu.set_registers(&registers);
            let exit = cpu.run(&board, u64::MAX);
            assert!(matches!(exit, Exit::Hypercall), "{exit:?}");
            assert_eq!(cpu.gpr(4), checksum, "loop {number}, MSR.LE = {le}");
        }
    }
}
