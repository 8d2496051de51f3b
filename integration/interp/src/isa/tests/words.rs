//! Which words of an instruction are tried.

use super::decimal;
use super::machine::{AT, Random, Snapshot};
use crate::float::is_nan;
use crate::isa::{Insn, fields::*, lookup};

/// Not for programs, or not for a vector: time, machine state, reservations (another file's
/// tests), what reaches the oracle's own registers, what the processor may do as it likes.
const WITHOUT: &[&str] = &[
    "(illegal)",
    "sc",
    "scv",
    "rfid",
    "rfscv",
    "mtmsr",
    "mtmsrd",
    "mfmsr",
    "mfdec",
    "mtdec",
    "mfpurr",
    "mfspurr",
    "mfvtb",
    "mftb",
    "mftbu",
    "mfspr",
    "mtspr",
    "tlbie",
    "tlbiel",
    "tlbsync",
    "wait",
    "cp_abort",
    "icbi",
    "darn",
    "bctar",
    "stbcx.",
    "sthcx.",
    "stwcx.",
    "stdcx.",
    "lmw",
    "stmw",
    "dst",
    "dstst",
    "dss",
    "stwat",
    "stdat",
    "icbt",
    // The oracle does not insert.
    "vrldmi",
    // Estimates: no two processors give the same.
    "fre",
    "fres",
    "frsqrte",
    "frsqrtes",
    "xsresp",
    "xsredp",
    "xvresp",
    "xvredp",
    "xsrsqrtesp",
    "xsrsqrtedp",
    "xvrsqrtesp",
    "xvrsqrtedp",
    "vexptefp",
    "vlogefp",
    "vrefp",
    "vrsqrtefp",
];

/// Classes that are not for programs as a whole, or all reservations, or what faults for all.
const CLASSES_WITHOUT: &[&str] = &["atomics", "control", "priority", "segments"];

/// The instructions of a class that are to have vectors.
pub(super) fn wanted(class: &str, insns: &[Insn]) -> Vec<Insn> {
    if CLASSES_WITHOUT.contains(&class) {
        return Vec::new();
    }
    insns.iter().filter(|i| i.is_implemented() && !WITHOUT.contains(&i.name)).copied().collect()
}

/// Alignment interrupts in little-endian mode.
pub(super) fn big_endian_only(name: &str) -> bool {
    ["lswi", "lswx", "stswi", "stswx"].contains(&name)
}

pub(super) fn uses_memory(name: &str) -> bool {
    let loads = ["lvsl", "lvsr"];
    let others = ["dcbz", "dcbt", "dcbtst", "dcbf", "dcbst", "icbt"];
    (name.starts_with('l') || name.starts_with("st")) && !loads.contains(&name)
        || others.contains(&name)
}

pub(super) fn alignment(name: &str) -> u64 {
    let is_atomic = name.ends_with("arx") || ["lwat", "ldat"].contains(&name);
    if is_atomic || ["lq", "stq"].contains(&name) { 16 } else { 1 }
}

pub(super) fn has_length(name: &str) -> bool {
    ["lxvl", "lxvll", "stxvl", "stxvll"].contains(&name)
}

fn operands(insn: &Insn) -> Vec<&'static str> {
    let operands = insn.operands.split_once(' ').map_or(insn.operands, |split| split.1);
    operands.split(',').collect()
}

/// The bits of an operand.
fn field(name: &str) -> u32 {
    match name {
        "rt" | "rs" | "frt" | "frs" | "vrt" | "vrs" | "bo" | "to" | "bt" => 31 << 21,
        "ra" | "ra0" | "fra" | "vra" | "bi" | "ba" | "sim" => 31 << 16,
        "rb" | "frb" | "vrb" | "sh" | "nb" | "fc" | "bb" => 31 << 11,
        "rc" | "frc" | "vrc" | "bc" | "mb" => 31 << 6,
        "me" => 31 << 1,
        "xt" | "xs" => 31 << 21 | 1 | 8,
        "xa" => 31 << 16 | 4,
        "xb" => 31 << 11 | 2,
        "xc" => 31 << 6 | 8,
        "si" | "ui" | "bd" | "d(ra)" | "ds(ra)" | "dq(ra)" => 0xffff | 31 << 16,
        "d" => 0x1f_ffc1,
        "target" => 0x03ff_fffe,
        "bf" => 7 << 23,
        "bfa" => 7 << 18,
        "l" => 1 << 21,
        "sh6" => 31 << 11 | 2,
        "mb6" => 63 << 5,
        "fxm" => 0xff << 12,
        "dm" => 3 << 8,
        "imm8" => 0xff << 11,
        "uim" => 15 << 16,
        "dcmx" => 0x7f << 16,
        "dcmxv" => 0x1f << 16 | 1 << 6 | 4,
        "shb" => 15 << 6,
        "st" => 1 << 15,
        "six" => 15 << 11,
        "flm" => 0xff << 17 | 1 << 25 | 1 << 16,
        "u" => 15 << 12 | 1 << 16,
        "drm" => 7 << 11,
        "rm" => 3 << 11,
        "r" => 1 << 16,
        "rmc" => 3 << 9,
        "ps" => 1 << 9,
        "cy" | "l9" | "" => 0,
        other => unreachable!("operand {other}"),
    }
}

pub(super) fn has_index(word: u32) -> bool {
    let insn = lookup(word);
    insn.is_some_and(|insn| operands(insn).contains(&"rb"))
}

/// Bits of a doubleword of the snapshot that are not compared: undefined ones, and where the
/// oracle is known to be wrong.
pub(super) fn ignored(name: &str, index: usize) -> u64 {
    /// FX is set when an exception bit becomes 1 that was 0 (Book I §4.2.2); the oracle sets it
    /// with every exception. CR field 1 is a copy.
    const FX: u64 = 1 << 31;
    const CR1_FX: u64 = 8 << 24;
    /// C, the class bit: the oracle takes small singles as normal, and comparisons set it.
    const CLASS: u64 = 1 << 16;
    let of_single = name.ends_with("sp") || name.starts_with('f') && name.ends_with('s');
    /// FPRF, which integers do not have.
    const FPRF: u64 = 0x1f << 12;
    let to_integer = name.starts_with("fcti") || name.starts_with("xscvdp") && name.ends_with('s')
        // The oracle forgets it.
        || name.starts_with("fcfidu") || name == "fcfids"
        || name.starts_with("xscvqp") && name.ends_with('z');
    let compares = name.starts_with("fcmp") || name.starts_with("xscmp");
    let moves_to_scalar = name.starts_with("lxs") || name.starts_with("mtvsr");
    match index {
        160 if name == "bcdus." => CR1_FX | decimal::ORDER,
        160 => CR1_FX,
        // NJ and SAT are all there is.
        165 => !0x1_0001,
        // The word beside an integer of 32 bits.
        32..160 if name.starts_with("fctiw") && index % 2 == 0 => 0xffff_ffff_0000_0000,
        164 if to_integer => FX | FPRF,
        164 if of_single || compares => FX | CLASS,
        164 => FX,
        // The second doubleword beside a scalar.
        32..160 if moves_to_scalar && index % 2 == 1 => u64::MAX,
        _ => 0,
    }
}

/// Operands have to be singles, else result and status are undefined (Book I §4.3.5).
pub(super) fn wants_singles(name: &str) -> bool {
    let is_scalar = name.starts_with("xs") && name.ends_with("sp")
        || name.starts_with('f') && name.ends_with('s') && !name.starts_with("fcti");
    is_scalar
        && !["xsrsp", "xscvdpsp", "fabs", "fnabs", "fcfids", "fcfidus"].contains(&name)
        && !name.starts_with("xscv")
}

/// Operands in quad format.
pub(super) fn wants_quads(name: &str) -> bool {
    let from_others = ["xscvdpqp", "xscvsdqp", "xscvudqp"];
    name.starts_with("xs") && name.contains("qp") && !from_others.contains(&name)
}

/// Whether the result of an instruction is defined for these operands, and the oracle right.
pub(super) fn is_comparable(word: u32, before: &Snapshot, after: &Snapshot) -> bool {
    const VE_FEX: u64 = 1 << 7 | 1 << 30;
    const VXCVI: u64 = 1 << 8;
    const OX: u64 = 1 << 28;
    let name = lookup(word).map_or("", |insn| insn.name);
    let (a, b) = (before.gpr[ra(word) as usize], before.gpr[rb(word) as usize]);
    let signed = |value: u64| i128::from(value as i64);
    let word_of = |value: u64| i128::from(value as i32);
    let fits = |a: i128, b: i128, bits: u32| {
        b != 0 && (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&a.wrapping_div(b))
    };
    if name.starts_with("bcd") {
        return decimal::is_comparable(name, word, before, after);
    }
    match name {
        "divw" | "modsw" => fits(word_of(a), word_of(b), 32),
        "divd" | "modsd" => fits(signed(a), signed(b), 64),
        "divwe" => fits(word_of(a) << 32, word_of(b), 32),
        "divde" => fits(signed(a) << 64, signed(b), 64),
        "divwu" | "moduw" => b as u32 != 0,
        "divdu" | "modud" => b != 0,
        "divweu" => (a as u32) < b as u32,
        "divdeu" => a < b,
        "vextuhlx" | "vextuhrx" => a & 15 <= 14,
        "vextuwlx" | "vextuwrx" => a & 15 <= 12,
        // The oracle takes small singles as zero.
        "xststdcsp" => {
            let exponent = before.vsr[xb(word)] >> 116 & 0x7ff;
            exponent == 0 || exponent > 0x380
        }
        // The oracle does not round to odd.
        "xsnmsubqp" if last(word) != 0 => false,
        // It takes the number of FPSCR's mode for one of another list.
        "xsrqpi" | "xsrqpxp" if word >> 9 & 0x83 == 3 && before.fpscr & 1 != 0 => false,
        // It cuts NaNs off.
        "xsrqpxp" => !(is_nan(before.vsr[32 + rb(word) as usize])),
        // It compares all of a register with a word.
        "lwat" => !(4..8).contains(&rb(word)),
        // An element that does not convert has the later ones follow it.
        _ if name.starts_with("xvcv") => after.fpscr & (VXCVI | OX) == 0,
        // Of an overflow and an underflow, only one is noticed there.
        _ if name.starts_with("xv") && after.fpscr & OX != 0 => false,
        // Negation comes after rounding: the oracle rounds the negative.
        _ if name.contains("nmadd") || name.contains("nmsub") && !name.contains("fp") => {
            after.fpscr & 3 < 2
        }
        // Vector comparisons do not trap there, nor keep their targets.
        _ => !(name.starts_with("xv") && after.fpscr & VE_FEX == VE_FEX),
    }
}

/// A word of an instruction, its free bits random, as far as the oracle can execute it.
pub(super) fn word(insn: &Insn, random: &mut Random) -> u32 {
    let operands = operands(insn);
    // Reserved bits are zero: the oracle is strict about them.
    let flags = insn.operands.split_once(' ').map_or("", |split| split.0);
    let mut free = operands.iter().fold(0, |bits, name| bits | field(name));
    for (flag, bit) in [(".", 1), ("O", 1), ("x", 1), ("o", 1 << 10), (";", 1 << 10)] {
        if flags.contains(flag) {
            free |= bit;
        }
    }
    if ["b", "bc", "bclr", "bcctr"].contains(&insn.name) {
        free |= 1;
    }
    let mut w = insn.value | random.next() as u32 & !insn.mask & free;
    let register = |random: &mut Random| match random.below(29) as u32 {
        0 => 0,
        number => number + 1,
    };
    let set = |w: &mut u32, shift: u32, value: u32| {
        if insn.mask >> shift & 31 == 0 {
            *w = *w & !(31 << shift) | value << shift;
        }
    };
    for (name, shift) in [("rt", 21), ("rs", 21), ("ra", 16), ("ra0", 16), ("rb", 11), ("rc", 6)] {
        if operands.contains(&name) {
            set(&mut w, shift, register(random));
        }
    }
    if uses_memory(insn.name) {
        // A base that is no other operand, so that it can point to memory.
        let may_be_zero = operands.contains(&"ra0")
            && operands.contains(&"rb")
            && !has_length(insn.name)
            && !insn.name.ends_with("ux");
        let base =
            if may_be_zero && random.below(8) == 0 { 0 } else { 20 + random.below(5) as u32 };
        set(&mut w, 16, base);
        if operands.contains(&"rb") {
            set(&mut w, 11, 25 + random.below(5) as u32);
        }
        if operands.contains(&"rt") || operands.contains(&"rs") {
            set(&mut w, 21, 2 + random.below(8) as u32);
        }
        if let Some(form) = operands.iter().find(|name| name.ends_with("(ra)")) {
            let granule = match *form {
                "d(ra)" => 1,
                "ds(ra)" => 4,
                _ => 16,
            };
            let align = alignment(insn.name).max(granule) as u32;
            let displacement = (random.below(96) as u32).wrapping_sub(48) & !(align - 1) & 0xffff;
            w = w & (0xffff_0000 | (granule as u32 - 1)) | displacement;
        }
        if operands.contains(&"fc") {
            w = w & !(31 << 11) | (random.below(9) as u32) << 11;
        }
    }
    match insn.name {
        // To a landing pad: an odd number of words away.
        "b" | "bc" => {
            let words = 2 * (random.below(200) as i32 - 100) + 1;
            let words = if words == -1 { 1 } else { words };
            let displacement = (words * 4) as u32;
            w &= !2;
            if insn.name == "b" {
                w = w & !0x03ff_fffc | displacement & 0x03ff_fffc;
                if random.below(4) == 0 {
                    w = w & !0x03ff_fffc
                        | (AT.wrapping_add(i64::from(words * 4) as u64)) as u32
                        | 2;
                }
            } else {
                w = w & !0xfffc | displacement & 0xfffc;
            }
        }
        // Pairs of registers.
        "lfdp" | "lfdpx" | "stfdp" | "stfdpx" | "lq" | "stq" => w &= !(1 << 21),
        // One field.
        "mfocrf" | "mtocrf" => w = w & !0xff000 | 1 << (12 + random.below(8)),
        // Two pairs of R and RMC are reserved.
        "xsrqpi" | "xsrqpxp" if w & 1 << 16 == 0 && matches!(w >> 9 & 3, 1 | 2) => w |= 3 << 9,
        // All of the element must be inside.
        "vextractub" | "vinsertb" => {}
        "vextractuh" | "vinserth" => w = w & !(15 << 16) | (random.below(15) as u32) << 16,
        "vextractuw" | "vinsertw" | "xxextractuw" | "xxinsertw" => {
            w = w & !(15 << 16) | (random.below(13) as u32) << 16;
        }
        "vextractd" | "vinsertd" => w = w & !(15 << 16) | (random.below(9) as u32) << 16,
        // It cannot count CTR down: that is an invalid form.
        "bcctr" => w |= 4 << 21,
        _ => {}
    }
    w
}
