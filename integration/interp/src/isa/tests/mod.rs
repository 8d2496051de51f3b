//! Vectors: what the real instruction did, according to an independent oracle, and whether this
//! core does the same.
//!
//! A vector is a word, a seed from which the registers before it are made ([`machine::before`]),
//! and what was different after it. They are in `vectors/*.bin`, a file a class, made by
//! [`oracle::generate`]. `docs` of both are in `vectors/README.md`.

mod decimal;
mod device;
mod machine;
mod oracle;
mod quad;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{CLASSES, Insn, lookup};
use crate::bits::msr;
use crate::ram::Ram;
use crate::state::State;
use crate::trap::Trap;
use crate::{System, disassemble};
use machine::{Order, Snapshot};

/// One observation.
struct Vector {
    word: u32,
    seed: u32,
    /// Which doublewords of the snapshot changed, and to what.
    changes: Vec<(u8, u64)>,
}

fn path(class: &str, order: Order) -> PathBuf {
    let order = if order == Order::Little { "" } else { "-be" };
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{class}{order}.bin"))
}

fn encode(vectors: &[Vector]) -> Vec<u8> {
    let mut data = Vec::new();
    for vector in vectors {
        data.extend(vector.word.to_le_bytes());
        data.extend(vector.seed.to_le_bytes());
        data.push(vector.changes.len() as u8);
        for (index, value) in &vector.changes {
            data.push(*index);
            data.extend(value.to_le_bytes());
        }
    }
    data
}

fn decode(mut data: &[u8]) -> Vec<Vector> {
    let mut take = |count: usize| {
        let (head, rest) = data.split_at_checked(count)?;
        data = rest;
        Some(head.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    };
    let mut vectors = Vec::new();
    while let Some(word) = take(4) {
        let seed = take(4).unwrap() as u32;
        let changes =
            (0..take(1).unwrap()).map(|_| (take(1).unwrap() as u8, take(8).unwrap())).collect();
        vectors.push(Vector { word: word as u32, seed, changes });
    }
    vectors
}

/// Classes of instructions by the name of their file, as one list each.
fn classes() -> BTreeMap<&'static str, Vec<Insn>> {
    let mut classes = BTreeMap::<_, Vec<Insn>>::new();
    for (name, table) in CLASSES {
        classes.entry(*name).or_default().extend_from_slice(table);
    }
    classes
}

/// Replays the vectors of a class; what differs, as text.
fn replay(class: &str, order: Order) -> Vec<String> {
    let data = std::fs::read(path(class, order)).unwrap();
    let mut wrong = Vec::new();
    for vector in decode(&data) {
        let before = machine::before(vector.word, vector.seed);
        let mut expected = before.to_doublewords();
        for &(index, value) in &vector.changes {
            expected[usize::from(index)] = value;
        }
        let actual = machine::execute(vector.word, &before, order).to_doublewords();
        let name = lookup(vector.word).unwrap().name;
        let differences: Vec<_> = (0..expected.len())
            .filter(|&index| {
                let mask = Snapshot::mask(index) & !words::ignored(name, index);
                (expected[index] ^ actual[index]) & mask != 0
            })
            .map(|index| {
                let (before, expected) = (before.to_doublewords()[index], expected[index]);
                let name = Snapshot::name(index);
                format!("{name}: {before:x} -> {expected:x}, not {:x}", actual[index])
            })
            .collect();
        if !differences.is_empty() {
            let text = disassemble(vector.word);
            wrong.push(format!(
                "{text} ({:08x}, seed {}): {}",
                vector.word,
                vector.seed,
                differences.join("; ")
            ));
        }
    }
    wrong
}

/// An earlier line must not hide a later one wholly.
#[test]
fn every_line_is_found_by_its_own_bits() {
    for insn in super::table().iter().skip(1) {
        assert!(insn.value & !insn.mask == 0, "{}", insn.name);
        // Their free bits may be another instruction's: all of them must not be.
        let words = [insn.value, insn.value | !insn.mask];
        let found = words.map(|word| lookup(word).unwrap().name);
        assert!(found.contains(&insn.name), "{} is hidden by {found:?}", insn.name);
    }
}

/// The first that each of them does is to look whether MSR.VSX, or VEC, lets it.
#[test]
fn facilities_come_before_any_effect() {
    let (vsx, vmx) = (Trap::VsxUnavailable, Trap::VmxUnavailable);
    let classes = classes();
    for (class, trap) in
        [("quad_arith", vsx), ("quad_convert", vsx), ("quad_move", vsx), ("bcd", vmx)]
    {
        for insn in &classes[class] {
            let mut state = State::new(0, 0x004e_1203, Arc::new(System::new(1)));
            let other = if trap == vsx { msr::VEC } else { msr::VSX };
            state.set_msr(state.msr() | other | msr::FP | msr::FE0);
            state.vsr = std::array::from_fn(|number| u128::MAX / (number as u128 + 1));
            state.cr = [5; 8];
            let (vsr, cr, fpscr) = (state.vsr, state.cr, state.fpscr);
            let ram = Ram::new(&[]);
            assert_eq!(insn.execute(&mut state, &ram, insn.value), Err(trap), "{}", insn.name);
            assert!((state.vsr, state.cr, state.fpscr) == (vsr, cr, fpscr), "{}", insn.name);
        }
    }
}

fn check(class: &str, order: Order) {
    let wrong = replay(class, order);
    let shown = wrong.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} vectors of {class} differ:\n{shown}", wrong.len());
}

macro_rules! class_tests {
    ($($class:ident),* $(,)?) => {
        $(#[test]
        fn $class() {
            check(stringify!($class), Order::Little);
        })*

        /// Every implemented instruction that a program can use has vectors.
        #[test]
        fn no_instruction_is_without_vectors() {
            let tested = [$(stringify!($class)),*];
            for (class, insns) in classes() {
                let words = words::wanted(class, &insns);
                if words.is_empty() {
                    continue;
                }
                assert!(tested.contains(&class), "{class} has no test");
                let vectors = decode(&std::fs::read(path(class, Order::Little)).unwrap());
                for insn in words {
                    let has = vectors.iter().any(|vector| {
                        lookup(vector.word).is_some_and(|found| found.name == insn.name)
                    });
                    assert!(has || words::big_endian_only(insn.name), "{}", insn.name);
                }
            }
        }
    };
}

class_tests! {
    fixed, fixed_more, logical, branch, storage, storage_more, system, fp_arith, fp_move,
    vector_storage, vmx_arith, vmx_bits, vmx_permute, vmx_float, vmx_crypto, vsx_move,
    vsx_convert, vsx_arith, quad_arith, quad_convert, quad_move, bcd,
}

#[test]
fn storage_big_endian() {
    check("storage", Order::Big);
}

#[test]
fn storage_more_big_endian() {
    check("storage_more", Order::Big);
}

#[test]
fn vector_storage_big_endian() {
    check("vector_storage", Order::Big);
}

#[test]
fn fp_move_big_endian() {
    check("fp_move", Order::Big);
}
