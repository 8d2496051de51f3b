//! How the content is divided (LoPAPR §8.2 and §8.3).

use std::ops::Range;

use super::error::Damage;

/// The unit of lengths.
const BLOCK_BYTES: usize = 16;

/// Signature, checksum, length, name.
const HEADER_BYTES: usize = 16;
const NAME_BYTES: usize = 12;

/// Signature of the partition for configuration variables.
pub const SYSTEM: u8 = 0x70;
/// Signature of what is free.
pub const FREE_SPACE: u8 = 0x7f;
/// Signature of what belongs to an operating system.
pub const OS: u8 = 0xa0;

/// The name of the partition for configuration variables.
const COMMON: &[u8] = b"common";

/// "All Free Space NVRAM partitions must have the name field set to 0x7...77" (R1-8.4.2-2).
const FREE_NAME: [u8; NAME_BYTES] = [0x77; NAME_BYTES];

/// The sizes of `common`: a sixteenth of the NVRAM, within these bounds.
const COMMON_BYTES: [usize; 2] = [1 << 10, 4 << 10];

/// A partition of an NVRAM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// What it is for: [`SYSTEM`], [`FREE_SPACE`], [`OS`] and others.
    pub signature: u8,
    /// Its name, without the zeros behind it; bytes that are no text are replaced.
    pub name: String,
    /// Where its data is in the NVRAM, in bytes.
    pub data: Range<usize>,
}

/// A partition as it stands in the NVRAM.
struct Found<'c> {
    signature: u8,
    /// Its name, without the zeros behind it.
    name: &'c [u8],
    data: Range<usize>,
}

impl Found<'_> {
    /// Whether it is the one for configuration variables.
    fn is_common(&self) -> bool {
        self.signature == SYSTEM && self.name == COMMON
    }

    fn into_partition(self) -> Partition {
        let name = String::from_utf8_lossy(self.name).into_owned();
        Partition { signature: self.signature, name, data: self.data }
    }
}

/// All partitions, in their order: each byte belongs to one (R1-8.2-2).
pub(super) fn all(content: &[u8]) -> Result<Vec<Partition>, Damage> {
    let mut partitions = Vec::new();
    let (mut at, mut has_common) = (0, false);
    while at < content.len() {
        let partition = one(content, at)?;
        at = partition.data.end;
        has_common |= partition.is_common();
        partitions.push(partition.into_partition());
    }
    if has_common { Ok(partitions) } else { Err(Damage::NoCommon) }
}

/// Where the data of the partition for configuration variables is.
pub(super) fn common(content: &[u8]) -> Result<Range<usize>, Damage> {
    let mut at = 0;
    while at < content.len() {
        let partition = one(content, at)?;
        if partition.is_common() {
            return Ok(partition.data);
        }
        at = partition.data.end;
    }
    Err(Damage::NoCommon)
}

/// An NVRAM of so many bytes without a variable: `common`, and the rest is free.
pub(super) fn fresh(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let common_bytes = (bytes / 16).clamp(COMMON_BYTES[0], COMMON_BYTES[1]);
    let mut name = [0; NAME_BYTES];
    for (place, byte) in name.iter_mut().zip(COMMON) {
        *place = *byte;
    }
    let (common, free) = content.split_at_mut(common_bytes.min(bytes));
    put_header(common, SYSTEM, name);
    put_header(free, FREE_SPACE, FREE_NAME);
    content
}

/// The partition that begins at `at`, which is within the content.
fn one(content: &[u8], at: usize) -> Result<Found<'_>, Damage> {
    let rest = content.get(at..).unwrap_or_default();
    let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
        return Err(Damage::Length { at, blocks: 0 });
    };
    let [signature, found, high, low, name @ ..] = header;
    let (signature, found) = (*signature, *found);
    let blocks = u16::from_be_bytes([*high, *low]);
    let expected = checksum(header);
    if found != expected {
        return Err(Damage::Checksum { at, found, expected });
    }
    let bytes = usize::from(blocks) * BLOCK_BYTES;
    if bytes == 0 || bytes > rest.len() {
        return Err(Damage::Length { at, blocks });
    }
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Found { signature, name, data: at + HEADER_BYTES..at + bytes })
}

/// Makes `partition` one, with all the bytes that it has; none where they are none.
fn put_header(partition: &mut [u8], signature: u8, name: [u8; NAME_BYTES]) {
    let blocks = u16::try_from(partition.len() / BLOCK_BYTES).unwrap_or(u16::MAX);
    let Some(header) = partition.first_chunk_mut::<HEADER_BYTES>() else { return };
    let [high, low] = blocks.to_be_bytes();
    let [sign, _, length_high, length_low, text @ ..] = header;
    (*sign, *length_high, *length_low, *text) = (signature, high, low, name);
    header[1] = checksum(header);
}

/// "Add, and add 1 back to the sum if a carry resulted": over signature, length and name (§8.2).
fn checksum(header: &[u8; HEADER_BYTES]) -> u8 {
    let [signature, _, rest @ ..] = header;
    rest.iter().fold(*signature, |sum, &byte| {
        let (sum, carry) = sum.overflowing_add(byte);
        sum.wrapping_add(carry.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_the_specification() {
        let header = |signature: u8, blocks: u16, name: &[u8]| {
            let mut header = [0; HEADER_BYTES];
            header[0] = signature;
            header[2..4].copy_from_slice(&blocks.to_be_bytes());
            header[4..4 + name.len()].copy_from_slice(name);
            header
        };
        // Added up by hand: 0x7f + 0x10 + 12 × 0x77 = 0x623, and 0x23 + 6.
        assert_eq!(checksum(&header(FREE_SPACE, 0x10, &FREE_NAME)), 0x29);
        // 0x70 + 0x01 + "common" (0x289) = 0x2fa, and 0xfa + 2.
        assert_eq!(checksum(&header(SYSTEM, 0x100, b"common")), 0xfc);
        // No sum but that of zeros is 0.
        assert_eq!(checksum(&header(0xff, 0, b"")), 0xff);
        assert_eq!(checksum(&header(0xff, 0xff, b"")), 0xff);
        assert_eq!(checksum(&header(0, 0, b"")), 0);
    }

    /// Where the variables are in an NVRAM with a partition of this name.
    fn with_name(name: [u8; NAME_BYTES]) -> Result<Range<usize>, Damage> {
        let mut content = fresh(64 << 10);
        put_header(&mut content[..0x1000], SYSTEM, name);
        assert_eq!(all(&content).map(|_| ()), common(&content).map(|_| ()));
        common(&content)
    }

    /// R1-8.1-1 and R1-8.2-2: at least 4 KiB for the system, and all space accounted for.
    #[test]
    fn a_fresh_one_has_variables_and_free_space() {
        for bytes in [super::super::MIN_BYTES, 8208, 64 << 10, super::super::MAX_BYTES] {
            let content = fresh(bytes);
            let [common, free] = &all(&content).unwrap()[..] else { panic!("{bytes}") };
            assert_eq!((common.signature, common.name.as_str()), (SYSTEM, "common"));
            assert_eq!((free.signature, free.name.as_str()), (FREE_SPACE, "wwwwwwwwwwww"));
            assert_eq!((common.data.start, free.data.end), (16, bytes));
            assert_eq!(common.data.end + 16, free.data.start);
            assert!(free.data.len() >= 4 << 10, "{bytes}");
            assert_eq!(self::common(&content).unwrap(), common.data);
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let damaged = |at: usize, byte: u8| {
            let mut content = fresh(64 << 10);
            content[at] = byte;
            all(&content).unwrap_err()
        };
        let checksum = |at, found, expected| Damage::Checksum { at, found, expected };
        assert_eq!(damaged(1, 0), checksum(0, 0, 0xfc));
        // A letter of the name, a byte of the length.
        assert_eq!(damaged(4, b'd'), checksum(0, 0xfc, 0xfd));
        assert_eq!(damaged(0x1003, 1), checksum(0x1000, 0x28, 0x29));

        let with = |header: &dyn Fn(&mut [u8])| {
            let mut content = fresh(64 << 10);
            header(&mut content);
            all(&content).unwrap_err()
        };
        let length = |blocks| Damage::Length { at: 0x1000, blocks };
        let lengths = |blocks: u16| {
            with(&move |content| {
                content[0x1002..0x1004].copy_from_slice(&blocks.to_be_bytes());
                let header = content[0x1000..0x1010].try_into().unwrap();
                content[0x1001] = super::checksum(&header);
            })
        };
        assert_eq!(lengths(0), length(0));
        assert_eq!(lengths(0xf01), length(0xf01));
        assert_eq!(lengths(0xffff), length(0xffff));
        // Behind a shorter one, there is no header.
        assert_eq!(lengths(0xeff), Damage::Length { at: 0xfff0, blocks: 0 });
        // All of it is free.
        assert_eq!(with(&|content| put_header(content, FREE_SPACE, FREE_NAME)), Damage::NoCommon);
        // The name counts, up to its end, and the signature.
        let named = |name| with_name(name).map(|data| data.start);
        assert_eq!(named(*b"common\0other"), Ok(16));
        assert_eq!(named(*b"common2\0\0\0\0\0"), Err(Damage::NoCommon));
        assert_eq!(named(*b"common\xff\0\0\0\0\0"), Err(Damage::NoCommon));
        assert_eq!(
            with(&|content| put_header(&mut content[..0x1000], OS, *b"common\0\0\0\0\0\0")),
            Damage::NoCommon
        );
        assert_eq!(all(&[]), Err(Damage::NoCommon));
        assert_eq!(all(&[0x70; 15]), Err(Damage::Length { at: 0, blocks: 0 }));
    }
}
