//! The hashed page table that KVM keeps for a guest: made, resized, read and filled.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use arch_ppc64::hpt::Order;

use crate::sys;

/// Why a host refuses that has none.
pub(crate) const NO_HASH: &str =
    "KVM of this host has no hashed page tables for guests: those translate by radix trees";

/// For writing, the flag of [`sys::HtabFd`].
const WRITE: u64 = 2;

/// The bytes of an entry.
pub(crate) const ENTRY_BYTES: usize = 16;
/// How many bytes of a table a group has: eight entries (Power ISA 2.07, Book III §5.7.7.3).
const GROUP_BYTES: u64 = 128;

/// What precedes entries in the stream of a table: the number of the first (4 bytes), how many valid
/// ones follow (2), and how many behind those are invalid (2), in the host's byte order.
const HEAD_BYTES: usize = 8;
/// How many entries can follow it.
const RUN_MAX: usize = 0xffff;

/// How much is read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Valid entries of consecutive numbers, each of [`ENTRY_BYTES`], most significant byte first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The number of the first.
    pub(crate) first: u32,
    pub(crate) entries: Vec<u8>,
}

/// Gives the guest an empty table in place of whatever translates its addresses. No CPU runs.
pub(crate) fn allocate(vm: &OwnedFd, order: Order) -> io::Result<()> {
    sys::with_struct(vm, sys::PPC_ALLOCATE_HTAB, &mut order.get()).map(drop)
}

/// The smallest table with which a guest can use so much memory in real mode: KVM translates addresses
/// there too, by one page of the host in each group.
pub(crate) fn least_for_real_mode(bytes: u64, page_bytes: u64) -> Order {
    let groups = bytes.div_ceil(page_bytes).max(1).next_power_of_two();
    let order = u64::from((groups * GROUP_BYTES).ilog2());
    Order::new(order.max(Order::MIN.get().into())).unwrap_or(Order::MAX)
}

/// What became of a request to prepare another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepared {
    Ready,
    /// It takes about so long.
    Milliseconds(u32),
}

/// Has another table prepared; 0 gives up what is.
pub(crate) fn prepare(vm: &OwnedFd, flags: u64, order: u32) -> io::Result<Prepared> {
    let mut request = sys::ResizeHpt::new(flags, order);
    match sys::with_struct(vm, sys::PPC_RESIZE_HPT_PREPARE, &mut request)? {
        0 => Ok(Prepared::Ready),
        time => Ok(Prepared::Milliseconds(time.unsigned_abs())),
    }
}

/// Puts a table that is prepared in the place of the other.
pub(crate) fn commit(vm: &OwnedFd, flags: u64, order: u32) -> io::Result<()> {
    let mut request = sys::ResizeHpt::new(flags, order);
    sys::with_struct(vm, sys::PPC_RESIZE_HPT_COMMIT, &mut request).map(drop)
}

/// The valid entries of the table. No CPU runs.
pub(crate) fn read(vm: &OwnedFd) -> io::Result<Vec<Run>> {
    let mut file = open(vm, 0)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut runs = Vec::new();
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(runs);
        }
        runs.extend(decode(&buffer[..count])?);
    }
}

/// Fills an empty table. No CPU runs.
pub(crate) fn write(vm: &OwnedFd, runs: &[Run]) -> io::Result<()> {
    let mut file = open(vm, WRITE)?;
    for Run { first, entries } in runs {
        for (nth, piece) in entries.chunks(RUN_MAX * ENTRY_BYTES).enumerate() {
            let first = first.wrapping_add((nth * RUN_MAX) as u32);
            let count = (piece.len() / ENTRY_BYTES) as u16;
            let mut record = Vec::with_capacity(HEAD_BYTES + piece.len());
            record.extend(first.to_ne_bytes());
            record.extend(count.to_ne_bytes());
            record.extend(0_u16.to_ne_bytes());
            record.extend(piece);
            file.write_all(&record)?;
        }
    }
    Ok(())
}

fn open(vm: &OwnedFd, flags: u64) -> io::Result<File> {
    let mut request = sys::HtabFd::new(flags);
    let fd = sys::with_struct(vm, sys::PPC_GET_HTAB_FD, &mut request)?;
    Ok(sys::owned(fd).into())
}

/// The valid entries of a piece of the stream, which is made of whole records.
fn decode(mut stream: &[u8]) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    while let Some((head, rest)) = stream.split_first_chunk::<HEAD_BYTES>() {
        let &[a, b, c, d, e, f, _, _] = head;
        let first = u32::from_ne_bytes([a, b, c, d]);
        let bytes = usize::from(u16::from_ne_bytes([e, f])) * ENTRY_BYTES;
        let Some((entries, rest)) = rest.split_at_checked(bytes) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if !entries.is_empty() {
            runs.push(Run { first, entries: entries.to_vec() });
        }
        stream = rest;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order: u64) -> Order {
        Order::new(order).unwrap()
    }

    /// A group of 128 bytes has one entry for real mode.
    #[test]
    fn real_mode_takes_a_group_a_page() {
        for (bytes, page_bytes, least) in [
            (128 << 20, 64 << 10, 18),
            (129 << 20, 64 << 10, 19),
            (1 << 30, 64 << 10, 21),
            (1 << 30, 4 << 10, 25),
            (512 << 20, 4 << 10, 24),
            (0, 4 << 10, 18),
        ] {
            assert_eq!(least_for_real_mode(bytes, page_bytes), order(least), "{bytes:#x}");
        }
    }

    #[test]
    fn records_are_taken_apart() {
        let record = |first: u32, valid: u16, invalid: u16| {
            let head = [&first.to_ne_bytes()[..], &valid.to_ne_bytes(), &invalid.to_ne_bytes()];
            [head.concat(), vec![valid as u8; usize::from(valid) * ENTRY_BYTES]].concat()
        };
        let stream = [record(7, 2, 0), record(16, 0, 0xffff), record(0x2_0000, 1, 3)].concat();
        let runs = decode(&stream).unwrap();
        assert_eq!(
            runs,
            [Run { first: 7, entries: vec![2; 32] }, Run { first: 0x2_0000, entries: vec![1; 16] }]
        );
        assert_eq!(decode(&[]).unwrap(), []);
        assert!(decode(&stream[..20]).is_err());
    }
}
