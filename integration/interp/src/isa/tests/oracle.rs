//! Makes the vectors, by asking qemu-user. Not part of a normal run:
//!
//! ```text
//! cargo test -p interp --release generate -- --ignored
//! ```
//!
//! Needs `qemu-ppc64le`, `qemu-ppc64` and `powerpc64le-linux-gnu-as`.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::decimal;
use super::machine::{MEMORY_BYTES, Order, Random, Snapshot, before};
use super::{Vector, classes, encode, path, words};
use crate::isa::lookup;

/// Layout of the oracle's record: see `vectors/oracle.s`.
const RECORD_BYTES: usize = 1632;

/// Vectors for each instruction.
const COUNT: usize = 24;
/// Where status and rounding have a say.
const FLOAT_COUNT: usize = 48;
/// Where all enabled exceptions have one too, or operands are no numbers.
const EXACT_COUNT: usize = 192;

fn record(word: u32, snapshot: &Snapshot, order: Order) -> Vec<u8> {
    let mut data = Vec::new();
    let put = |data: &mut Vec<u8>, value: u64| match order {
        Order::Little => data.extend(value.to_le_bytes()),
        Order::Big => data.extend(value.to_be_bytes()),
    };
    for value in snapshot.gpr {
        put(&mut data, value);
    }
    for value in snapshot.vsr {
        put(&mut data, (value >> 64) as u64);
        put(&mut data, value as u64);
    }
    let Snapshot { cr, xer, lr, ctr, fpscr, vscr, .. } = *snapshot;
    for value in [cr, xer, lr, ctr, fpscr, 0] {
        put(&mut data, value);
    }
    // The status register is the last word of a quadword.
    let quad = if order == Order::Little { [vscr, 0] } else { [0, vscr] };
    for value in [quad[0], quad[1], 0, 0] {
        put(&mut data, value);
    }
    let upper = if order == Order::Little { u64::from(word) } else { u64::from(word) << 32 };
    put(&mut data, upper);
    put(&mut data, 0);
    data.extend(snapshot.memory);
    assert_eq!(data.len(), RECORD_BYTES);
    data
}

fn parse(data: &[u8], order: Order) -> Snapshot {
    let get = |at: usize| {
        let bytes = data[at..at + 8].try_into().unwrap();
        match order {
            Order::Little => u64::from_le_bytes(bytes),
            Order::Big => u64::from_be_bytes(bytes),
        }
    };
    let vscr = if order == Order::Little { get(1328) } else { get(1336) };
    let mut memory = [0; MEMORY_BYTES];
    memory.copy_from_slice(&data[1376..]);
    let signal = get(1352);
    Snapshot {
        gpr: std::array::from_fn(|number| get(number * 8)),
        vsr: std::array::from_fn(|number| {
            u128::from(get(256 + number * 16)) << 64 | u128::from(get(264 + number * 16))
        }),
        cr: get(1280),
        xer: get(1288),
        lr: get(1296),
        ctr: get(1304),
        fpscr: get(1312),
        vscr: vscr & 0xffff_ffff,
        signal,
        pad: if signal == 0 { get(1344) } else { 0 },
        memory,
    }
}

/// Runs the oracle over all words.
fn ask(order: Order, questions: &[(u32, u32)]) -> Vec<Snapshot> {
    let directory = std::env::temp_dir().join(format!("interp-oracle-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/build.sh");
    assert!(Command::new(script).arg(&directory).status().unwrap().success());
    let (emulator, program) = match order {
        Order::Little => ("qemu-ppc64le", "oracle-little"),
        Order::Big => ("qemu-ppc64", "oracle-big"),
    };
    let mut oracle = Command::new(emulator)
        .args(["-cpu", "power9"])
        .arg(directory.join(program))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = oracle.stdin.take().unwrap();
    let mut output = oracle.stdout.take().unwrap();
    let mut answers = Vec::new();
    for &(word, seed) in questions {
        input.write_all(&record(word, &before(word, seed), order)).unwrap();
        let mut data = vec![0; RECORD_BYTES];
        if let Err(error) = output.read_exact(&mut data) {
            panic!("{word:08x} {}: {error}", crate::disassemble(word));
        }
        answers.push(parse(&data, order));
    }
    drop(input);
    oracle.wait().unwrap();
    answers
}

fn generate_class(class: &str, order: Order) -> usize {
    let insns = words::wanted(class, &classes()[class]);
    let mut random = Random(0x5eed);
    let mut questions = Vec::new();
    for insn in insns {
        if order == Order::Little && words::big_endian_only(insn.name)
            || order == Order::Big && !words::uses_memory(insn.name)
        {
            continue;
        }
        let is_float =
            class.starts_with("fp_a") || class.starts_with("vsx_a") || class.starts_with("vsx_c");
        let mut count = match class {
            "quad_arith" | "quad_convert" | "bcd" => EXACT_COUNT,
            _ if is_float => FLOAT_COUNT,
            _ => COUNT,
        };
        while count > 0 {
            let word = words::word(&insn, &mut random);
            // A more special instruction may share the bits.
            if lookup(word).is_some_and(|found| found.name == insn.name) {
                questions.push((word, random.next() as u32));
                count -= 1;
            }
        }
    }
    let answers = ask(order, &questions);
    let mut vectors = Vec::new();
    for (&(word, seed), after) in questions.iter().zip(&answers) {
        if !words::is_comparable(word, &before(word, seed), after) {
            continue;
        }
        let (old, new) = (before(word, seed).to_doublewords(), after.to_doublewords());
        // An instruction that the oracle has not, or whose enabled exceptions trap there.
        if [4, 8].contains(&after.signal) {
            eprintln!("signal {}: {}", after.signal, crate::disassemble(word));
            continue;
        }
        let changes = (0..new.len())
            .filter(|&index| Snapshot::mask(index) != 0 && old[index] != new[index])
            .filter(|&index| !decimal::is_undefined(word, after, index))
            .map(|index| (index as u8, new[index]))
            .collect();
        vectors.push(Vector { word, seed, changes });
    }
    std::fs::write(path(class, order), encode(&vectors)).unwrap();
    vectors.len()
}

#[test]
#[ignore = "needs qemu-user; rewrites the files"]
fn generate() {
    for class in classes().keys() {
        if words::wanted(class, &classes()[class]).is_empty() {
            continue;
        }
        let little = generate_class(class, Order::Little);
        let has_memory = ["storage", "storage_more", "vector_storage", "fp_move"].contains(class);
        let big = if has_memory { generate_class(class, Order::Big) } else { 0 };
        println!("{class}: {little} + {big}");
    }
}
