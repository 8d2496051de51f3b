//! Guests that mean harm, on real virtual CPUs: the VMM answers to the end, and its own memory and
//! log stay within bounds. The guests' source is in `guests/`.
//!
//! With optimisation (`cargo test --release`, or `cargo xtask test hostile`) the floods are of a
//! million calls, else of as many as take a second. With `--nocapture`, each test tells its time
//! and the VMM's memory.
#![cfg(all(feature = "vof", target_os = "linux"))]

use std::fmt;
use std::time::Instant;

use images::{DISK, SMALL_PART_FIRST, SMALL_PART_SECTORS, small_disk};
use run::Run;

mod images;
mod run;

/// As much more memory of its own as the VMM may have because of what a guest does.
const GROWTH_LIMIT_KIB: u64 = (vof_device::limits::MAX_GUEST_DRIVEN_BYTES >> 10) as u64;

/// A guest that takes nothing that it keeps: what the allocator and the stacks may take.
const SMALL_GROWTH_KIB: u64 = 4 << 10;

/// How many messages about a guest are shown in a period of so many seconds, and the counts of
/// those that were left out (see `pseries_vmm::logger`).
const MESSAGES: u64 = 2 * 33;
const PERIOD_SECONDS: u64 = 10;

/// How often to do something: with optimisation, and without.
const fn times(optimised: u32, otherwise: u32) -> u32 {
    if cfg!(debug_assertions) { otherwise } else { optimised }
}

/// Memory of the VMM without that of its guest.
#[derive(Debug, Clone, Copy)]
struct OwnMemory {
    now_kib: u64,
    peak_kib: u64,
}

impl OwnMemory {
    fn of(vmm: &Run) -> Self {
        let file = |name: &str| {
            std::fs::read_to_string(format!("/proc/{}/{name}", vmm.child.id())).unwrap()
        };
        let value = |line: &str, name: &str| {
            let value = line.strip_prefix(name)?.trim().strip_suffix(" kB")?;
            Some(value.parse::<u64>().unwrap())
        };
        // The guest's RAM is the mapping of its size.
        let (mut guest, mut size) = (None, 0);
        for line in file("smaps").lines() {
            size = value(line, "Size:").unwrap_or(size);
            if let Some(resident) = value(line, "Rss:").filter(|_| size >= 64 << 10) {
                guest = guest.max(Some(resident));
            }
        }
        let guest = guest.expect("no mapping is the guest's RAM");
        let status = file("status");
        let of_status = |name| status.lines().find_map(|line| value(line, name)).unwrap() - guest;
        Self { now_kib: of_status("VmRSS:"), peak_kib: of_status("VmHWM:") }
    }
}

impl fmt::Display for OwnMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB (peak {})", self.now_kib, self.peak_kib)
    }
}

/// Runs a guest to its end, and checks what the VMM became meanwhile. Gives what it showed.
fn endure(guest: &str, task: &str, arguments: &[&str], growth_limit_kib: u64) -> String {
    let mut vmm = Run::start(guest, task, arguments);
    vmm.expect("ready\n");
    let before = OwnMemory::of(&vmm);
    let start = Instant::now();
    vmm.type_in("g");
    vmm.expect("done\n");
    let time = start.elapsed();
    let after = OwnMemory::of(&vmm);
    eprintln!("{guest} {task}: {:.2} s, own memory {before} -> {after}", time.as_secs_f64());
    vmm.type_in("g");
    let (status, shown, complaint) = vmm.end();
    let time = start.elapsed();
    assert_eq!(status.code(), Some(0), "{task}: {shown:?} {complaint}");
    let growth = after.peak_kib.saturating_sub(before.now_kib);
    assert!(growth <= growth_limit_kib, "{task}: memory grew by {growth} KiB");
    let messages = complaint.lines().count() as u64;
    let most = MESSAGES * (1 + time.as_secs() / PERIOD_SECONDS);
    assert!(messages <= most, "{task}: {messages} messages: {complaint}");
    assert!(!complaint.contains("panicked"), "{task}: {complaint}");
    shown
}

/// What stands before `unit` in a line.
fn count_of(shown: &str, unit: &str) -> usize {
    let line = shown.lines().find_map(|line| line.strip_suffix(unit)).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn pointers_to_anywhere() {
    endure("hostile.elf", "pointers", &[], SMALL_GROWTH_KIB);
}

#[test]
fn upper_halves_of_registers_do_not_matter() {
    let task = format!("upper {}", times(1_000_000, 10_000));
    endure("hostile.elf", &task, &[], SMALL_GROWTH_KIB);
}

#[test]
fn rtas_buffers_that_are_none() {
    let task = format!("rtas {}", times(1_000_000, 10_000));
    endure("hostile.elf", &task, &[], SMALL_GROWTH_KIB);
}

#[test]
fn hypercalls_with_any_registers() {
    let task = format!("hypercalls {}", times(1_000_000, 10_000));
    endure("hostile.elf", &task, &[], SMALL_GROWTH_KIB);
}

#[test]
fn a_million_claims() {
    let task = format!("claims {}", times(1_000_000, 5000));
    endure("floods.elf", &task, &[], SMALL_GROWTH_KIB);
}

#[test]
fn free_memory_in_pieces() {
    let pieces = times(140_000, 10_000);
    let shown = endure("floods.elf", &format!("pieces {pieces}"), &[], GROWTH_LIMIT_KIB);
    let most = vof_device::limits::MAX_FREE_RANGES;
    let seen = count_of(&shown, " pieces");
    assert!(seen == most || most > pieces as usize, "{seen}");
}

#[test]
fn a_million_instances() {
    let task = format!("opens {}", times(1_000_000, 5000));
    let shown = endure("floods.elf", &task, &[], GROWTH_LIMIT_KIB);
    // Those of /chosen are open already.
    assert_eq!(count_of(&shown, " instances"), vof_device::limits::MAX_INSTANCES - 4);
}

#[test]
fn properties_without_an_end() {
    let task = format!("properties {}", times(100_000, 4000));
    let shown = endure("floods.elf", &task, &[], GROWTH_LIMIT_KIB);
    let made = count_of(&shown, " properties");
    assert!(made > 0 && made <= 2 * vof_device::limits::MAX_NODE_PROPERTIES, "{made}");
}

#[test]
fn a_million_complaints() {
    let task = format!("errors {}", times(1_000_000, 20_000));
    endure("floods.elf", &task, &[], SMALL_GROWTH_KIB);
}

/// Two hundred restarts leave nothing behind.
#[test]
fn restarts_without_an_end() {
    endure("floods.elf", "boots", &[], SMALL_GROWTH_KIB);
}

const TWO_CPUS: [&str; 2] = ["--cpus", "boot=2"];

/// One CPU calls, the other writes over the array, the strings and the buffers.
#[test]
fn arrays_that_change_while_they_are_read() {
    let task = format!("array {}", times(1_000_000, 20_000));
    endure("races.elf", &task, &TWO_CPUS, GROWTH_LIMIT_KIB);
}

#[test]
fn rtas_buffers_that_change_while_they_are_read() {
    let task = format!("rtas {}", times(1_000_000, 20_000));
    endure("races.elf", &task, &TWO_CPUS, SMALL_GROWTH_KIB);
}

/// Each gets memory and instances of its own.
#[test]
fn calls_of_two_cpus_at_once() {
    let task = format!("both {}", times(100_000, 2000));
    endure("races.elf", &task, &TWO_CPUS, SMALL_GROWTH_KIB);
}

/// Calls of a disk that make no sense: the disk is what it was but for the partition that they
/// write to.
fn endure_with_disk(task: &str, count: u32, others: &[&str]) {
    let disk = small_disk(task);
    let bytes = disk.bytes();
    let (first, last) = (SMALL_PART_FIRST * 512, (SMALL_PART_FIRST + SMALL_PART_SECTORS) * 512);
    let around = || {
        let behind = disk.read(last, (bytes - last) as usize);
        [disk.read(0, first as usize), behind]
    };
    let before = around();
    let option = disk.option();
    let arguments = [&["--disk", &option], others].concat();
    let task = format!("{task} {DISK} {count}");
    endure("disks.elf", &task, &arguments, SMALL_GROWTH_KIB + DISK_GROWTH_KIB);
    assert_eq!(disk.bytes(), bytes);
    assert!(around() == before, "{task}: something outside of the partition was written");
}

/// What a disk may take: a buffer of 1 MiB, a thread, and a thousand instances.
const DISK_GROWTH_KIB: u64 = 3 << 10;

#[test]
fn calls_of_a_disk_that_make_no_sense() {
    endure_with_disk("any", times(100_000, 3000), &[]);
}

#[test]
fn calls_of_a_disk_from_two_cpus_at_once() {
    endure_with_disk("both", times(100_000, 3000), &TWO_CPUS);
}
