//! Disks for tests, made by code. What is on them, word for word, is what `guests/disk.h` and the
//! programs beside it know.
#![allow(dead_code)] // No test needs all of it.

mod fat;
mod gpt;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::run::place;

/// The first disk, as the machine's tree has it.
pub(crate) const DISK: &str = "/pci@800000020000000/scsi@0";

const SECTOR: u64 = 512;

/// Whose words they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Disk = 0x1000_0000,
    Kernel = 0x2000_0000,
    Module = 0x3000_0000,
    Guest = 0x4000_0000,
}

/// The words of something, from an offset on, both in bytes and multiples of 4.
pub(crate) fn words(mark: Mark, offset: u64, bytes: usize) -> Vec<u8> {
    let word = |at: u64| {
        let low = ((at >> 2) as u32).wrapping_add(mark as u32).wrapping_mul(0x9e37_79b1);
        low ^ ((at >> 34) as u32).wrapping_mul(0x85eb_ca6b)
    };
    (offset..offset + bytes as u64).step_by(4).flat_map(|at| word(at).to_be_bytes()).collect()
}

/// A disk image in the folder for such things. It is there for as long as this.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
    file: File,
}

impl Image {
    /// One without anything in it.
    pub(crate) fn new(name: &str, sectors: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{count}.img", std::process::id());
        let path = place::temporary().join(name);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(sectors * SECTOR).unwrap();
        Self { path, file }
    }

    /// The option that makes it a machine's disk.
    pub(crate) fn option(&self) -> String {
        format!("path={}", self.path.display())
    }

    /// What the host sees of it.
    pub(crate) fn read(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.file.read_exact_at(&mut read, offset).unwrap();
        read
    }

    /// The host writes to it.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).unwrap();
    }

    /// The host makes it shorter or longer.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.file.set_len(bytes).unwrap();
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    /// Words of the disk in these sectors.
    fn fill(&self, first: u64, sectors: u64) {
        const PIECE: u64 = 2048;
        for at in (first..first + sectors).step_by(PIECE as usize) {
            let piece = PIECE.min(first + sectors - at) * SECTOR;
            self.write(at * SECTOR, &words(Mark::Disk, at * SECTOR, piece as usize));
        }
    }

    /// A partition of the master boot record.
    fn partition(&self, number: u64, kind: u8, is_active: bool, first: u32, sectors: u32) {
        let mut entry = [0; 16];
        entry[0] = if is_active { 0x80 } else { 0 };
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
        self.write(0x1be + 16 * (number - 1), &entry);
        self.write(510, &[0x55, 0xaa]);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// As a Debian of its time has it: a PReP partition with `loader`, and one of a Linux. yaboot knows
/// file systems of Linux itself; in this one, Open Firmware has to find the files.
pub(crate) fn yaboot_disk(loader: &Path) -> Image {
    const CONFIG: &str = "# The words of a real one.\nboot=/dev/sda1\npartition=2\ntimeout=50\n\
        image=/boot/vmlinux-6.1.0-powerpc64le\n\tlabel=linux\n\tread-only\n";
    const FIRST: u32 = 0x2000;
    const SECTORS: u32 = 0x10000;
    let image = Image::new("yaboot", u64::from(FIRST + SECTORS));
    image.partition(1, 0x41, true, 2048, FIRST - 2048);
    image.fill(2048, u64::from(FIRST - 2048));
    image.write(2048 * SECTOR, &std::fs::read(loader).unwrap());
    image.partition(2, 0x83, false, FIRST, SECTORS);
    let volume = fat::volume(
        SECTORS as usize * SECTOR as usize,
        &[
            ("etc/yaboot.conf", CONFIG.into()),
            ("boot/vmlinux-6.1.0-powerpc64le", kernel()),
            ("boot/initrd.img", words(Mark::Module, 0, 1 << 20)),
        ],
    );
    image.write(u64::from(FIRST) * SECTOR, &volume);
    image
}

/// A kernel of ELF64, big-endian, of one segment.
fn kernel() -> Vec<u8> {
    const SEGMENT_AT: usize = 0x10000;
    const BYTES: u64 = 3 << 20 | 0x1234;
    let mut kernel = Vec::new();
    kernel.extend([0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for half in [2_u16, 21] {
        kernel.extend(half.to_be_bytes());
    }
    kernel.extend(1_u32.to_be_bytes());
    for address in [0xc000_0000_0000_0000_u64, 64, 0] {
        kernel.extend(address.to_be_bytes());
    }
    kernel.extend(0_u32.to_be_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        kernel.extend(half.to_be_bytes());
    }
    for half in [1_u32, 7] {
        kernel.extend(half.to_be_bytes());
    }
    let virtual_address = 0xc000_0000_0000_0000;
    for number in [SEGMENT_AT as u64, virtual_address, virtual_address, BYTES, BYTES, 0x10000] {
        kernel.extend(number.to_be_bytes());
    }
    kernel.resize(SEGMENT_AT, 0);
    kernel.extend(words(Mark::Kernel, 0, BYTES as usize));
    kernel
}

/// A disk of 6 GiB with a partition of NetBSD and one of OpenBSD, each with a label, and words in
/// the blocks that their loaders read. Partition `e` of NetBSD's label is beyond 4 GiB.
pub(crate) fn bsd_disk() -> Image {
    const SECTORS: u64 = 0xc0_0000;
    const WORDS: u64 = 4096;
    let (netbsd, openbsd, far): (u32, u32, u32) = (0x8000, 0x2_0000, 0x90_0000);
    let image = Image::new("bsd", SECTORS);
    image.partition(1, 0x41, true, 2048, 2048);
    image.partition(2, 0xa9, false, netbsd, 0x1_0000);
    image.partition(4, 0xa6, false, openbsd, 0x1_0000);
    for first in [netbsd, openbsd, far] {
        image.fill(first.into(), WORDS);
    }
    image.fill(SECTORS - WORDS, WORDS);
    let whole = (0, SECTORS as u32);
    let label = bsd_label(&[(netbsd, 0x1_0000), whole, whole, (0, 0), (far, 0x10_0000)]);
    image.write(u64::from(netbsd + 1) * SECTOR, &label);
    let label = bsd_label(&[(openbsd, 0x1_0000), whole, whole]);
    image.write(u64::from(openbsd + 1) * SECTOR, &label);
    image
}

/// The label of a BSD, big-endian: first sector and sectors of each partition.
fn bsd_label(partitions: &[(u32, u32)]) -> [u8; SECTOR as usize] {
    const MAGIC: u32 = 0x8256_4557;
    let mut label = [0; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| label[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC.to_be_bytes());
    put(132, &MAGIC.to_be_bytes());
    put(138, &(partitions.len() as u16).to_be_bytes());
    for (number, &(first, sectors)) in partitions.iter().enumerate() {
        put(148 + 16 * number, &sectors.to_be_bytes());
        put(152 + 16 * number, &first.to_be_bytes());
    }
    let sum =
        label.chunks_exact(2).fold(0, |sum, half| sum ^ u16::from_be_bytes([half[0], half[1]]));
    label[136..138].copy_from_slice(&sum.to_be_bytes());
    label
}

/// A disk of 64 MiB with a GUID partition table: a PReP partition, and one of FreeBSD full of words.
pub(crate) fn gpt_disk() -> Image {
    const SECTORS: u64 = 0x2_0000;
    let (first, behind) = (0x2000, 0x1_8000);
    let image = Image::new("gpt", SECTORS);
    image.fill(first, behind - first);
    gpt::write(&image, SECTORS, &[(gpt::PREP, 2048..first), (gpt::FREEBSD_UFS, first..behind)]);
    image
}

/// A disk of 8 MiB for `guests/disks.c`: its partition 2 and all in front of it full of words, and
/// nothing behind it.
pub(crate) fn small_disk(name: &str) -> Image {
    let image = Image::new(name, 0x4800);
    image.fill(1, SMALL_PART_FIRST + SMALL_PART_SECTORS - 1);
    image.partition(1, 0x41, true, 2048, SMALL_PART_FIRST as u32 - 2048);
    image.partition(2, 0x83, false, SMALL_PART_FIRST as u32, SMALL_PART_SECTORS as u32);
    image
}

pub(crate) const SMALL_PART_FIRST: u64 = 0x2000;
pub(crate) const SMALL_PART_SECTORS: u64 = 0x2000;

/// A disk without a table, full of words.
pub(crate) fn plain_disk(name: &str, bytes: u64) -> Image {
    let image = Image::new(name, bytes / SECTOR);
    image.fill(0, bytes / SECTOR);
    image
}
