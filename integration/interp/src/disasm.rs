//! Assembly language of an instruction word, for messages.

use std::fmt::Write;

use crate::isa::{self, fields::*};

/// What an assembler would have made this word of, roughly; `.long` for what is no instruction.
pub fn disassemble(word: u32) -> String {
    let Some(insn) = isa::lookup(word) else { return format!(".long {word:#010x}") };
    let (flags, operands) = match insn.operands.split_once(' ') {
        Some((flags, operands)) => (flags, operands),
        None if insn.operands == "." || insn.operands == "o." => (insn.operands, ""),
        None => ("", insn.operands),
    };
    let mut text = insn.name.to_owned();
    if flags.contains('o') && oe(word) != 0 {
        text.push('o');
    }
    for (flag, suffix) in [('.', '.'), ('O', 'o'), ('x', 'x')] {
        if flags.contains(flag) && last(word) != 0 {
            text.push(suffix);
        }
    }
    if flags.contains(';') && word >> 10 & 1 != 0 {
        text.push('.');
    }
    for (number, name) in operands.split(',').filter(|name| !name.is_empty()).enumerate() {
        text.push_str(if number == 0 { " " } else { "," });
        operand(&mut text, name, word);
    }
    text
}

fn operand(text: &mut String, name: &str, w: u32) {
    let signed = |value: u32| value as i32;
    let _ = match name {
        "rt" | "rs" => write!(text, "r{}", rt(w)),
        "ra" => write!(text, "r{}", ra(w)),
        "ra0" if ra(w) == 0 => write!(text, "0"),
        "ra0" => write!(text, "r{}", ra(w)),
        "rb" => write!(text, "r{}", rb(w)),
        "rc" => write!(text, "r{}", rc(w)),
        "frt" | "frs" => write!(text, "f{}", rt(w)),
        "fra" => write!(text, "f{}", ra(w)),
        "frb" => write!(text, "f{}", rb(w)),
        "frc" => write!(text, "f{}", rc(w)),
        "vrt" | "vrs" => write!(text, "v{}", rt(w)),
        "vra" => write!(text, "v{}", ra(w)),
        "vrb" => write!(text, "v{}", rb(w)),
        "vrc" => write!(text, "v{}", rc(w)),
        "xt" | "xs" => write!(text, "vs{}", xt(w)),
        "xa" => write!(text, "vs{}", xa(w)),
        "xb" => write!(text, "vs{}", xb(w)),
        "xc" => write!(text, "vs{}", xc(w)),
        "si" => write!(text, "{}", signed(si(w))),
        "ui" => write!(text, "{}", ui(w)),
        "d(ra)" => write!(text, "{}(r{})", signed(si(w)), ra(w)),
        "ds(ra)" => write!(text, "{}(r{})", signed(ds_displacement(w)), ra(w)),
        "dq(ra)" => write!(text, "{}(r{})", signed(dq_displacement(w)), ra(w)),
        "bd" => write!(text, ".{:+}", signed(si(w) & !3)),
        "target" => write!(text, ".{:+}", ((w & 0x03ff_fffc) << 6) as i32 >> 6),
        "bf" => write!(text, "cr{}", bf(w)),
        "bfa" => write!(text, "cr{}", bfa(w)),
        "spr" => write!(text, "{}", spr(w)),
        "sh6" => write!(text, "{}", sh6(w)),
        "mb6" => write!(text, "{}", mb6(w)),
        "mb" => write!(text, "{}", rc(w)),
        "bc" => write!(text, "{}", rc(w)),
        "me" => write!(text, "{}", me(w)),
        "sh" | "nb" | "fc" | "bb" => write!(text, "{}", rb(w)),
        "bo" | "to" | "bt" => write!(text, "{}", rt(w)),
        "bi" | "ba" | "uim" => write!(text, "{}", ra(w)),
        "l" => write!(text, "{}", l10(w)),
        "r" => write!(text, "{}", ra(w) & 1),
        "rmc" => write!(text, "{}", w >> 9 & 3),
        "ps" => write!(text, "{}", w >> 9 & 1),
        "dcmx" => write!(text, "{}", w >> 16 & 0x7f),
        "dcmxv" => write!(text, "{}", (w & 4) << 3 | w & 1 << 6 | ra(w)),
        "fxm" => write!(text, "{}", w >> 12 & 0xff),
        "lev" => write!(text, "{}", w >> 5 & 0x7f),
        other => write!(text, "<{other}>"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_names() {
        for (word, text) in [
            (0x7c63_2a15, "add. r3,r3,r5"),
            (0x7c63_2e14, "addo r3,r3,r5"),
            (0x3860_ffff, "addi r3,0,-1"),
            (0xe8a3_0010, "ld r5,16(r3)"),
            (0x4e80_0020, "bclr 20,0"),
            (0xfc22_1809, "xsaddqpo v1,v2,v3"),
            (0xfc21_1e0b, "xsrqpix 1,v1,v3,3"),
            (0x1022_1e01, "bcdadd. v1,v2,v3,1"),
            (0x0000_0000, "(illegal)"),
        ] {
            assert_eq!(disassemble(word), text);
        }
    }
}
