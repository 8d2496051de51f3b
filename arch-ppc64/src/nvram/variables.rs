//! Configuration variables: what is in the partition `common` (LoPAPR §8.4.1.1).
//!
//! "Data in the common NVRAM partition must be stored as NULL-terminated strings of the form:
//! name=string" (R1-8.4.1-2); an empty string is the end of them.

/// Introduces a run of bytes that are zero or 0xff (§8.4.1.1.2).
const ESCAPE: u8 = 0xff;
/// Of the byte behind it: set for 0xff, clear for zero. The rest says how many.
const RUN_OF_ONES: u8 = 0x80;
const RUN_MAX: usize = 0x7f;

/// The longest name (IEEE 1275 §3.2.2.1.1).
const NAME_BYTES_MAX: usize = 31;

/// Whether a variable can have this name: "a string of 1-31 printable characters containing no
/// uppercase characters or the characters '/', '\', ':', '[', ']' or '@'" (§8.4.1.1.1). Here, what
/// ends a name cannot be in it either.
pub(super) fn is_name(name: &str) -> bool {
    let is_char =
        |c: u8| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !br"/\:[]@=".contains(&c);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_char)
}

/// The variables by name and value, as far as they have names. A value is as it was before it was
/// [encoded](encode).
pub(super) fn all(data: &[u8]) -> impl Iterator<Item = (&str, Vec<u8>)> {
    strings(data).filter_map(|string| {
        let (name, value) = parts(string)?;
        Some((name, decode(value)))
    })
}

/// The value of a variable. "All names used in the common NVRAM partition must be unique"
/// (R1-8.4.1-3): where they are not, the first counts.
pub(super) fn value(data: &[u8], name: &str) -> Option<Vec<u8>> {
    all(data).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// How many bytes there are, and how many there would have to be: there is no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom {
    pub(super) needed: usize,
    pub(super) room: usize,
}

/// The same data, as long, with this value of a variable, or without the variable. What else is
/// there stays as it is, in its order.
pub(super) fn with(data: &[u8], name: &str, value: Option<&[u8]>) -> Result<Vec<u8>, NoRoom> {
    let new = value.map(|value| [name.as_bytes(), b"=", &encode(value), &[0]].concat());
    let mut new = new.as_deref();
    let needed = new.map_or(0, <[u8]>::len);
    let mut changed = Vec::with_capacity(data.len());
    for string in strings(data) {
        match parts(string) {
            // In its place; those of the same name behind it go.
            Some((known, _)) if known == name => {
                changed.extend_from_slice(new.take().unwrap_or_default());
            }
            _ => {
                changed.extend_from_slice(string);
                changed.push(0);
            }
        }
    }
    changed.extend_from_slice(new.unwrap_or_default());
    // "The data area must be terminated with at least two NULL characters."
    if changed.len() + 1 > data.len() && value.is_some() {
        let others = changed.len() - needed + 1;
        return Err(NoRoom { needed, room: data.len().saturating_sub(others) });
    }
    changed.resize(data.len(), 0);
    Ok(changed)
}

/// The strings before the first empty one. The last need not end, where the guest wrote it so.
fn strings(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|&byte| byte == 0).take_while(|string| !string.is_empty())
}

/// Name and value of a string, if it has a name.
fn parts(string: &[u8]) -> Option<(&str, &[u8])> {
    let equals = string.iter().position(|&byte| byte == b'=')?;
    let (name, value) = string.split_at_checked(equals)?;
    let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?;
    Some((name, value.get(1..)?))
}

/// A value without zeros: "Bytes in the range 0x01 to 0xFE represent themselves", and the others
/// are counted.
fn encode(value: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(value.len());
    for run in value.chunk_by(|one, next| one == next) {
        let kind = match run.first() {
            Some(0) => 0,
            Some(&ESCAPE) => RUN_OF_ONES,
            _ => {
                encoded.extend_from_slice(run);
                continue;
            }
        };
        for part in run.chunks(RUN_MAX) {
            encoded.extend([ESCAPE, kind | part.len() as u8]);
        }
    }
    encoded
}

/// The value that was encoded. A count that is missing at the end stands for nothing.
fn decode(encoded: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(&byte) = rest.next() {
        if byte != ESCAPE {
            value.push(byte);
            continue;
        }
        let count = rest.next().copied().unwrap_or_default();
        let what = if count & RUN_OF_ONES == 0 { 0 } else { ESCAPE };
        value.resize(value.len() + usize::from(count & !RUN_OF_ONES), what);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &[u8]) -> Vec<u8> {
        let mut data = text.to_vec();
        data.resize(64, 0);
        data
    }

    #[test]
    fn names_are_those_of_properties() {
        for name in ["boot-device", "auto-boot?", "screen-#columns", "ibm,x", "a", &"x".repeat(31)]
        {
            assert!(is_name(name), "{name}");
        }
        let wrong = ["", "Boot", "a b", "a=b", "a/b", r"a\b", "a:b", "[a", "a]", "a@0", "ä", "a\n"];
        for name in wrong.into_iter().chain([&*"x".repeat(32)]) {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn variables_are_found_by_name() {
        let data =
            data(b"boot-device=disk\0=x\0none\0boot-file=\0boot-device=net\0\xe4=1\0\0a=b\0");
        assert_eq!(value(&data, "boot-device").unwrap(), b"disk");
        assert_eq!(value(&data, "boot-file").unwrap(), b"");
        // Behind the end, and what has no name.
        for name in ["a", "", "none", "boot"] {
            assert_eq!(value(&data, name), None, "{name}");
        }
        let names: Vec<&str> = all(&data).map(|(name, _)| name).collect();
        assert_eq!(names, ["boot-device", "boot-file", "boot-device"]);
        // To the last byte.
        assert_eq!(value(b"a=bc", "a").unwrap(), b"bc");
    }

    #[test]
    fn a_variable_is_set_in_its_place() {
        let before = data(b"a=1\0none\0b=2\0a=3\0\0old");
        let set = |name, value: Option<&[u8]>| with(&before, name, value).unwrap();
        assert_eq!(set("a", Some(b"longer")), data(b"a=longer\0none\0b=2\0"));
        assert_eq!(set("b", None), data(b"a=1\0none\0a=3\0"));
        assert_eq!(set("c", Some(b"")), data(b"a=1\0none\0b=2\0a=3\0c=\0"));
        assert_eq!(set("c", None), data(b"a=1\0none\0b=2\0a=3\0"));
    }

    /// R1-8.4.1-2: "the data area must be terminated with at least two NULL characters".
    #[test]
    fn there_is_an_end_behind_the_last_variable() {
        let before = data(b"a=1\0");
        // 64 − 4 − 1, of which "b=" and a zero are three.
        let longest = [b'x'; 56];
        let full = with(&before, "b", Some(&longest)).unwrap();
        assert_eq!(full[61..], [b'x', 0, 0]);
        let no_room = NoRoom { needed: 60, room: 59 };
        assert_eq!(with(&before, "b", Some(&[b'x'; 57])), Err(no_room));
        // That of the value before counts.
        assert_eq!(with(&full, "b", Some(&[b'y'; 56])).unwrap()[61..], [b'y', 0, 0]);
        assert_eq!(with(&full, "b", Some(&[b'y'; 57])), Err(NoRoom { needed: 60, room: 59 }));
        assert_eq!(with(&full, "c", Some(b"")), Err(NoRoom { needed: 3, room: 0 }));
        // What a guest has filled to the last byte can still get shorter.
        assert_eq!(with(b"a=1\0b=2", "b", None).unwrap(), b"a=1\0\0\0\0");
        assert_eq!(with(&[], "b", None).unwrap(), b"");
        assert_eq!(with(&[], "b", Some(b"")), Err(NoRoom { needed: 3, room: 0 }));
    }

    /// "bnnnnnnn", where b "is 0 to represent a sequence of 0x00 bytes or 1 to represent a sequence
    /// of 0xFF bytes".
    #[test]
    fn any_bytes_can_be_a_value() {
        assert_eq!(encode(b"plain"), b"plain");
        assert_eq!(encode(&[0, 0, 1, 0xff, 0xfe]), [0xff, 2, 1, 0xff, 0x81, 0xfe]);
        assert_eq!(encode(&[0; 130]), [0xff, 0x7f, 0xff, 3]);
        for value in [&b""[..], b"a", &[0], &[0xff; 300], &[0, 0xff, 0, 0xff, 0x7f, 0x80]] {
            let encoded = encode(value);
            assert!(!encoded.contains(&0));
            assert_eq!(decode(&encoded), value);
        }
        // What nobody encodes: a run of none, and one whose count is missing.
        assert_eq!(decode(&[b'a', 0xff, 0x80, b'b']), b"ab");
        assert_eq!(decode(&[b'a', 0xff]), b"a");
    }
}
