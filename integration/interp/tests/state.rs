//! What one CPU keeps, another goes on with.
#![cfg(feature = "serde")]

mod common;

use interp::{Cpu, CpuState, CpuStateError, Exit, ProcessTable};

use common::*;

const PVR: u32 = 0x004e_1203;

fn through_json(state: &CpuState) -> CpuState {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// A program of all kinds of registers, cut everywhere: the end is the same.
#[test]
fn another_cpu_goes_on_at_every_instruction() {
    let mtspr = |number: u32, rs: u32| {
        31 << 26 | rs << 21 | (number & 31) << 16 | number >> 5 << 11 | 467 << 1
    };
    let mfspr = |number: u32, rt: u32| {
        31 << 26 | rt << 21 | (number & 31) << 16 | number >> 5 << 11 | 339 << 1
    };
    let numbers = [1, 8, 9, 17, 18, 19, 26, 27, 28, 29, 61, 153, 157, 256, 272, 275, 804, 815, 795];
    let mut words: Vec<u32> = numbers.iter().map(|&number| mtspr(number, 5)).collect();
    // addic. r6,r6,-1; vspltisw v3,7; xsadddp vs1,vs2,vs2; mtdec r7; msgsndp r8
    words.extend([0x34c6_ffff, 0x1067_038c, 0xf022_1100, 0x7cf6_03a6, 0x7c00_411c]);
    // A sum of them all in r4.
    words.extend(numbers.iter().flat_map(|&number| [mfspr(number, 9), 0x7c84_4a14]));
    // mfdec r10
    words.extend([0x7d56_02a6, END]);
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &words);
    bench.cpu.set_process_table(Some(ProcessTable { base: 0x8_0000, size_bytes: 4096 }));
    bench.cpu.set_interrupt_location(3);
    bench.registers(|r| {
        r.msr |= 1 << 13 | 1 << 23 | 1 << 25;
        (r.gpr[5], r.gpr[7], r.gpr[8]) = (0x1234_5678_9abc_def4, 0x7000_0000, 5 << 27);
        r.vsr[2] = 0x3ff8_u128 << 112;
    });
    let start = bench.cpu.state().unwrap();
    let end = bench.run();
    let end_state = bench.cpu.state().unwrap();
    assert_ne!(end.gpr[4], 0);
    for cut in 0..words.len() {
        let mut first = Cpu::new(0, PVR, bench.system.clone());
        first.set_state(&start).unwrap();
        for _ in 0..cut {
            assert!(first.step(&bench.board).is_none());
        }
        let state = first.state().unwrap();
        let mut second = Cpu::new(0, PVR, bench.system.clone());
        second.set_state(&through_json(&state)).unwrap();
        assert_eq!(second.state().unwrap(), state);
        assert!(matches!(second.run(&bench.board, 1000), Exit::Hypercall));
        assert_eq!(second.registers(), end, "cut at {cut}");
        assert_eq!(second.state().unwrap(), end_state, "cut at {cut}");
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut ram = Vec::new();
    let mut bench = bench(&mut ram, &[END]);
    let good = bench.cpu.state().unwrap();
    let mut refused = |change: &dyn Fn(&mut CpuState)| {
        let mut state = good.clone();
        change(&mut state);
        let error = bench.cpu.set_state(&state).unwrap_err();
        assert_eq!(bench.cpu.state().unwrap(), good);
        error.to_string()
    };
    assert!(refused(&|s| s.vsr.truncate(63)).contains("63 VSX registers"));
    assert!(refused(&|s| s.slb.push((0, 0))).contains("33 segment entries"));
    assert!(refused(&|s| s.spr.push((8, 1))).contains("register 8,"));
    assert!(refused(&|s| s.spr.push((314, 1))).contains("register 314,"));
    assert!(refused(&|s| s.msr |= 1 << 60).contains("MSR"));
    assert!(refused(&|s| s.msr |= PR).contains("MSR"));
    assert!(refused(&|s| s.pc = 2).contains("program counter"));
    assert!(refused(&|s| s.interrupt_location = 1).contains("AIL"));
    let table = ProcessTable { base: u64::MAX, size_bytes: 16 };
    assert!(refused(&|s| s.process_table = Some(table)).contains("process table"));
    let pvr = |s: &mut CpuState| s.spr.iter_mut().filter(|r| r.0 == 287).for_each(|r| r.1 = 1);
    assert!(refused(&pvr).contains("version 0x1"));
    // One that was written before a register was known.
    let mut state = good.clone();
    state.spr.retain(|register| register.0 != 815);
    bench.cpu.set_state(&state).unwrap();
}

#[test]
fn there_is_no_state_within_an_instruction() {
    let mut ram = Vec::new();
    // lwz r5,0(r3)
    let mut bench = bench(&mut ram, &[0x80a3_0000, END]);
    bench.registers(|r| r.gpr[3] = 0x100_0000);
    assert!(matches!(bench.cpu.run(&bench.board, 100), Exit::MmioRead { .. }));
    assert_eq!(bench.cpu.state(), Err(CpuStateError::OpenAccess));
    bench.cpu.complete_mmio([0; 8]);
    assert!(bench.cpu.state().is_ok());
}
