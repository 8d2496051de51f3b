//! Disks through the client interface, and what the host sees of them: writes, disks that are only
//! read, files that become shorter under a machine. The guest's source is `guests/disks.c`.
#![cfg(feature = "vof")]

use images::{DISK, Image, Mark, SMALL_PART_FIRST, SMALL_PART_SECTORS, small_disk, words};
use run::Run;

mod images;
mod run;

const PART_AT: u64 = SMALL_PART_FIRST * 512;
const PART_BYTES: u64 = SMALL_PART_SECTORS * 512;

fn start(task: &str, disk: &Image, options: &str) -> Run {
    let option = format!("{}{options}", disk.option());
    Run::start("disks.elf", &format!("{task} {DISK}"), &["--disk", &option])
}

fn end(vmm: Run) -> String {
    let (status, shown, complaint) = vmm.end();
    assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
    assert!(shown.ends_with("disks got what it asked for\n"), "{shown:?} {complaint}");
    complaint
}

/// What a client has written is there at once, for whoever looks at the file; nothing around it
/// has changed.
#[test]
fn what_is_written_is_on_the_hosts_disk() {
    let disk = small_disk("writes");
    let mut expected = words(Mark::Disk, PART_AT, PART_BYTES as usize);
    let mut put = |at: usize, bytes: &[u8]| expected[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x10000, &words(Mark::Guest, 0x10000, 0x20000));
    put(0x8000 - 3, &[1, 2, 3, 4, 5, 6, 7]);
    let last = PART_BYTES - 1024;
    put(last as usize, &words(Mark::Guest, last, 1024));

    let mut vmm = start("writes", &disk, "");
    vmm.expect("written\n");
    assert!(disk.read(PART_AT, PART_BYTES as usize) == expected, "it is not what was written");
    let behind = disk.read(PART_AT + PART_BYTES, 0x10000);
    assert!(behind.iter().all(|&byte| byte == 0), "it wrote behind the partition");
    disk.write(PART_AT + 0x20000, &[0x77; 512]);
    vmm.type_in("g");
    end(vmm);
    let before = words(Mark::Disk, 512, PART_AT as usize - 512);
    let (table, read) = (446..512, disk.read(0, PART_AT as usize));
    assert_eq!(read[table.end - 2..table.end], [0x55, 0xaa]);
    assert!(read[512..] == before, "it wrote in front of the partition");
}

#[test]
fn a_disk_that_is_only_read_stays_as_it_is() {
    let disk = small_disk("read-only");
    let before = disk.read(0, disk.bytes() as usize);
    end(start("read-only", &disk, ",readonly=on"));
    assert!(disk.read(0, disk.bytes() as usize) == before, "it was written to");
}

/// What is not there any more is an error of one `read`, not the end of the machine.
#[test]
fn a_file_that_becomes_shorter_is_an_error_of_a_read() {
    let disk = small_disk("truncated");
    let bytes = disk.bytes();
    let mut vmm = start("truncated", &disk, "");
    vmm.expect("whole\n");
    disk.set_bytes(PART_AT + PART_BYTES / 2);
    vmm.type_in("g");
    vmm.expect("cut\n");
    disk.set_bytes(bytes);
    vmm.type_in("g");
    end(vmm);
}
