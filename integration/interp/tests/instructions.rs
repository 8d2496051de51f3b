//! Instructions that have no vectors, or that the oracle of the vectors gets wrong.

#[path = "instructions/bcd.rs"]
mod bcd;
#[path = "instructions/quad.rs"]
mod quad;
#[path = "common/ram_only.rs"]
mod ram_only;

use std::sync::Arc;

use interp::{Cpu, Exit, RamRegion, Registers, System};
use ram_only::RamOnly;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x2_0000;
const END: u32 = 0x4400_0022;
/// 64-bit, big-endian, with floating point, VMX and VSX.
const MSR: u64 = 1 << 63 | 1 << 25 | 1 << 23 | 1 << 13 | 1 << 12;

/// Executes one word; the registers after it, and the memory at [`DATA`].
fn execute(word: u32, set: impl FnOnce(&mut Registers)) -> (Registers, Vec<u8>) {
    let mut ram = vec![0; 0x3_0000];
    for (at, byte) in ram[DATA as usize..][..256].iter_mut().enumerate() {
        *byte = at as u8;
    }
    let slice = VolatileSlice::from(ram.as_mut_slice());
    slice.write_obj(word.to_be(), CODE as usize).unwrap();
    slice.write_obj(END.to_be(), CODE as usize + 4).unwrap();
    let mut cpu = Cpu::new(0, 0x004e_1203, Arc::new(System::new(1)));
    let mut registers = Registers { pc: CODE, msr: MSR, ..Registers::default() };
    set(&mut registers);
    cpu.set_registers(&registers);
    let exit = cpu.run(&RamOnly([RamRegion::new(GuestAddress(0), slice)]), 100);
    assert!(matches!(exit, Exit::Hypercall), "{word:08x}: {exit:?}");
    let after = cpu.registers();
    (after, ram[DATA as usize..][..256].to_vec())
}

fn fpr(value: f64) -> u128 {
    u128::from(value.to_bits()) << 64
}

fn upper(value: u128) -> u64 {
    (value >> 64) as u64
}

#[test]
fn multiple_words() {
    // lmw r29,4(r3)
    let (after, _) = execute(0xbba3_0004, |r| r.gpr[3] = DATA);
    assert_eq!(after.gpr[29..], [0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f]);
    // stmw r30,0(r3)
    let (_, memory) = execute(0xbfc3_0000, |r| {
        (r.gpr[3], r.gpr[30], r.gpr[31]) = (DATA, 0x1_1122_3344, 0x5566_7788);
    });
    assert_eq!(memory[..8], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
}

#[test]
fn atomic_store_adds() {
    // stdat r4,r3,0: store add
    let (_, memory) = execute(0x7c83_05cc, |r| (r.gpr[3], r.gpr[4]) = (DATA, 1));
    assert_eq!(memory[..8], [0, 1, 2, 3, 4, 5, 6, 8]);
}

/// darn gives all ones where there is no random number (Book I §3.3.9).
#[test]
fn no_random_number() {
    assert_eq!(execute(0x7c61_05e6, |_| ()).0.gpr[3], u64::MAX);
}

/// vrldmi: where the mask has zeros, VRT stays (Book I §6.9).
#[test]
fn rotate_then_mask_insert() {
    // vrldmi v1,v2,v3
    let (after, _) = execute(0x1022_18c5, |r| {
        r.vsr[33] = u128::MAX;
        r.vsr[34] = 0x0123_4567_89ab_cdef << 64;
        // Bits 8 to 15, rotated left by 4.
        r.vsr[35] = u128::from(8u64 << 16 | 15 << 8 | 4) << 64 | (63 << 8);
    });
    assert_eq!(after.vsr[33], 0xff34_ffff_ffff_ffff << 64);
}

/// Estimates are to be good to one part in 256 for reciprocals, in 32 for square roots (Book I
/// §4.6.6.1), in 4096 for VMX (§6.10.5).
#[test]
fn estimates_are_near() {
    for value in [1.0, 3.0, 0.1, 12345.678, 1e-20] {
        for (word, exact, parts) in [
            // fre f1,f2; frsqrte f1,f2; xsredp vs1,vs2; xsrsqrtedp vs1,vs2
            (0xfc20_1030, 1.0 / value, 256.0),
            (0xfc20_1034, 1.0 / f64::sqrt(value), 32.0),
            (0xf020_1168, 1.0 / value, 16384.0),
            (0xf020_1128, 1.0 / f64::sqrt(value), 16384.0),
        ] {
            let (after, _) = execute(word, |r| r.vsr[2] = fpr(value));
            let estimate = f64::from_bits(upper(after.vsr[1]));
            assert!((estimate / exact - 1.0).abs() <= 1.0 / parts, "{word:x} {value}");
        }
        // vrefp v1,v2
        let single = value as f32;
        let (after, _) = execute(0x1020_110a, |r| r.vsr[34] = u128::from(single.to_bits()) << 96);
        let estimate = f32::from_bits((after.vsr[33] >> 96) as u32);
        assert!((estimate * single - 1.0).abs() <= 1.0 / 4096.0);
    }
}

/// Negation comes after rounding: toward +infinity, the negated sum is rounded away
/// from it (Book I §4.6.6.1, fnmadd).
#[test]
fn negation_comes_after_rounding() {
    const UP: u64 = 2;
    let tiny = f64::from_bits(1);
    // fnmadd f1,f2,f3,f4
    let (after, _) = execute(0xfc22_20fe, |r| {
        r.fpscr = UP;
        (r.vsr[2], r.vsr[3], r.vsr[4]) = (fpr(1.0), fpr(1.0), fpr(tiny));
    });
    assert_eq!(f64::from_bits(upper(after.vsr[1])), -1.000_000_000_000_000_2);
}

/// An enabled overflow gives the result scaled by 2^-1536, an enabled underflow by 2^1536 (Book I
/// §4.4.3, §4.4.4).
#[test]
fn enabled_exceptions_scale() {
    const OE: u64 = 1 << 6;
    const UE: u64 = 1 << 5;
    // fmul f1,f2,f3
    let product = |factor: f64, enable: u64| {
        let (after, _) = execute(0xfc22_00f2, |r| {
            r.fpscr = enable;
            (r.vsr[2], r.vsr[3]) = (fpr(factor), fpr(factor));
        });
        (f64::from_bits(upper(after.vsr[1])), after.fpscr)
    };
    let two = |power: i32| f64::from_bits(((1023 + power) as u64) << 52);
    let (value, fpscr) = product(two(1000), OE);
    assert_eq!((value, fpscr >> 28 & 1), (two(2000 - 1536), 1));
    let (value, fpscr) = product(two(-1000), UE);
    assert_eq!((value, fpscr >> 27 & 1), (two(1536 - 2000), 1));
    assert_eq!(product(two(1000), 0).0, f64::INFINITY);
    assert_eq!(product(two(-1000), 0).0, 0.0);
}

/// FR tells that the magnitude grew (Book I §4.2.2); the oracle has no FR.
#[test]
fn fraction_rounded() {
    // fadd f1,f2,f3
    for (a, b, fr) in [(1.0, f64::EPSILON * 0.75, 1), (1.0, f64::EPSILON * 0.25, 0)] {
        let (after, _) = execute(0xfc22_182a, |r| (r.vsr[2], r.vsr[3]) = (fpr(a), fpr(b)));
        assert_eq!((after.fpscr >> 18 & 1, after.fpscr >> 17 & 1), (fr, 1));
    }
}

/// Without MSR.FP there is no floating point, and so on (Book III §6.5).
#[test]
fn facilities_are_needed() {
    // fmr f1,f2; vor v1,v2,v3; xxlor vs1,vs2,vs3
    for (word, vector) in [(0xfc20_1090, 0x800), (0x1022_1c84, 0xf20), (0xf022_1c90, 0xf40)] {
        let mut ram = vec![0; 0x2_0000];
        ram[CODE as usize..][..4].copy_from_slice(&u32::to_be_bytes(word));
        ram[vector as usize..][..4].copy_from_slice(&END.to_be_bytes());
        let mut cpu = Cpu::new(0, 0x004e_1203, Arc::new(System::new(1)));
        cpu.start(CODE, true);
        let slice = VolatileSlice::from(ram.as_mut_slice());
        let exit = cpu.run(&RamOnly([RamRegion::new(GuestAddress(0), slice)]), 100);
        assert!(matches!(exit, Exit::Hypercall), "{word:08x}: {exit:?}");
        assert_eq!(cpu.registers().pc, vector + 4, "{word:08x}");
    }
}
