//! Whether a kernel has enough memory to start in: one that has not says nothing at all, as it ends
//! before it has a console.

use arch_ppc64::loader::{Client, ClientKind};

const MIB: u64 = 1 << 20;

/// What Linux takes at its start besides itself: tables of pages and of its own, its log, areas of
/// the processors, and what its first programs need.
const TABLES_BYTES: u64 = 32 * MIB;

/// An initial RAM disk is there as it comes, and unpacked, which is some twice as large.
const INITRD_COPIES: u64 = 3;

/// Linux uses memory in pieces of this size, and leaves what is less.
const PIECE_BYTES: u64 = 16 * MIB;

/// What to tell whoever gives less: `None` where it is enough.
pub(super) fn hint(client: &Client<'_>, initrd_bytes: u64, memory_bytes: u64) -> Option<String> {
    let wanted = wanted_bytes(client, initrd_bytes).filter(|wanted| memory_bytes < *wanted)?;
    let mib = |bytes: u64| bytes.div_ceil(MIB);
    let initrd = match initrd_bytes {
        0 => String::new(),
        bytes => format!(" and an initrd of {} MiB", mib(bytes)),
    };
    Some(format!(
        "{} MiB of memory are little for a kernel of {} MiB{initrd}: Linux may stop before it says \
         anything; give it --memory size={}M",
        memory_bytes / MIB,
        mib(client.bytes()),
        mib(wanted),
    ))
}

/// How much memory Linux wants in order to start as this client, in bytes; `None` for what is no
/// kernel.
///
/// Nothing in a kernel's file says it. This is what Debian's kernels do, whose image takes 40.5
/// MiB. With an initial RAM disk of 4 MiB, the sum is 84.2 MiB and so 96 MiB are enough: at 64, 72
/// and 80 MiB, 6.1 and 6.12 are mute; at 84 and 88 MiB, 6.1 tells that it has no memory left, and
/// at 92 MiB it starts; 6.12 is mute up to 92 MiB and starts with 96; all of it with the client
/// interface and without. With an initial RAM disk of 24 MiB that cannot be packed, the sum is
/// 144.5 MiB: both are mute with 96 MiB, have no memory left with 112 and 128 MiB, and start with
/// 144.
fn wanted_bytes(client: &Client<'_>, initrd_bytes: u64) -> Option<u64> {
    let ClientKind::Kernel { .. } = client.kind() else { return None };
    let initrd = initrd_bytes.saturating_mul(INITRD_COPIES);
    let sum = client.bytes().saturating_add(initrd).saturating_add(TABLES_BYTES);
    Some(sum.checked_next_multiple_of(PIECE_BYTES).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of one segment of zeros: a little-endian kernel, or else a 32-bit program.
    fn file(is_64bit: bool, bytes: u64) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        file.resize(64 + 56, 0);
        let mut put = |at: usize, value: u64, len| {
            file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        };
        for (at, value, len) in [
            (16, 2, 2),
            (18, 21, 2),
            (32, 64, 8),
            (54, 56, 2),
            (56, 1, 2),
            (64, 1, 4),
            (64 + 40, bytes, 8),
        ] {
            put(at, value, len);
        }
        if is_64bit {
            return file;
        }
        let mut file = vec![0x7f, b'E', b'L', b'F', 1, 2, 1];
        file.resize(52 + 32, 0);
        for (at, value) in [(16, 2), (18, 20), (42, 32), (44, 1)] {
            file[at..at + 2].copy_from_slice(&u16::to_be_bytes(value));
        }
        for (at, value) in [(28, 52), (24, 0x20_0000), (52, 1), (60, 0x20_0000), (64, 0x20_0000)] {
            file[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        }
        file[72..76].copy_from_slice(&(bytes as u32).to_be_bytes());
        file
    }

    /// Debian's kernels, as they were seen to start and not to start.
    #[test]
    fn little_memory_is_told() {
        let kernel = file(true, 0x287_c918);
        let client = Client::parse(&kernel).unwrap();
        let hint = |initrd, mib| hint(&client, initrd, mib * MIB);
        for mib in [64, 72, 80, 84, 88] {
            let said = hint(4_096_500, mib).unwrap();
            assert!(said.starts_with(&format!("{mib} MiB of memory")), "{said}");
            assert!(said.contains("41 MiB and an initrd of 4 MiB"), "{said}");
            assert!(said.ends_with("give it --memory size=96M"), "{said}");
        }
        assert_eq!(hint(4_096_500, 96), None);
        for mib in [96, 112, 128] {
            assert!(hint(24 * MIB, mib).is_some(), "{mib}");
        }
        assert_eq!(hint(24 * MIB, 160), None);
        assert!(hint(u64::MAX, 1 << 40).is_some());
    }

    #[test]
    fn other_programs_want_nothing() {
        let small = file(true, 0x1_0000);
        assert_eq!(hint(&Client::parse(&small).unwrap(), 0, 64 * MIB), None);
        let program = file(false, 60 << 20);
        assert_eq!(hint(&Client::parse(&program).unwrap(), 0, 64 * MIB), None);
    }
}
