//! What boot loaders other than GRUB ask of a client interface, asked as they do it, and what no
//! loader asks: programs in C, each of which says what it did not get. Their source is in `guests/`.
#![cfg(feature = "vof")]

use images::{DISK, Image};
use run::{Run, program, run};

mod images;
mod run;

/// Runs the program of a loader, and types at its prompt. It leaves as the loader does.
fn loader(name: &str, prompt: &str, typed: &str) -> String {
    let mut vmm = Run::start(&format!("{name}.elf"), name, &["--no-reboot"]);
    vmm.expect(prompt);
    vmm.type_in(typed);
    let (status, shown, complaint) = vmm.end();
    assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
    assert!(shown.contains(&format!("{name} got what it asked for")), "{shown:?} {complaint}");
    complaint
}

#[test]
fn yaboot() {
    let complaint = loader("yaboot", "boot: ", "linux single\r");
    assert!(complaint.contains("nobody here knows \"10 ms\""), "{complaint}");
}

#[test]
fn netbsd_and_openbsd_ofwboot() {
    loader("ofwboot", "Boot: ", "reboot\r");
}

#[test]
fn freebsd_loader() {
    loader("freebsd", "OK ", "b");
}

/// Runs the program of a loader that reads a disk, to its end.
fn reads(guest: &str, path: &str, disk: &Image, options: &str) {
    let option = format!("{}{options}", disk.option());
    let arguments = ["--no-reboot", "--disk", &option];
    let (status, shown, complaint) = run(&format!("{guest}_disk.elf"), path, &arguments);
    assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
    assert_eq!(shown, format!("{guest} got what it asked for\n"), "{complaint}");
}

/// The configuration and a kernel, from a FAT that Open Firmware knows and yaboot does not.
#[test]
fn yaboot_reads_files_of_a_disk() {
    let disk = images::yaboot_disk(&program("yaboot_disk.elf"));
    let conf = format!("conf={DISK}:2,/etc/yaboot.conf");
    reads("yaboot", &conf, &disk, "");
    reads("yaboot", &conf, &disk, ",readonly=on");
}

/// From the PReP partition, as the firmware of such machines does it.
#[test]
fn yaboot_is_started_from_its_disk() {
    let disk = images::yaboot_disk(&program("yaboot_disk.elf"));
    let conf = format!("conf={DISK}:2,/etc/yaboot.conf");
    let disk = disk.option();
    let machine = ["--no-reboot", "--memory", "size=64M", "--disk", &disk, "--cmdline", &conf];
    let vmm = Run::of_arguments(&machine);
    let (status, shown, complaint) = vmm.end();
    assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
    let said = "started from its disk\nyaboot got what it asked for\n";
    assert!(shown.ends_with(said), "{shown:?} {complaint}");
}

/// Partitions of BSD's own label, beyond 4 GiB, too.
#[test]
fn netbsd_and_openbsd_ofwboot_read_a_disk() {
    let disk = images::bsd_disk();
    for path in [":a/netbsd", ":e/netbsd", ":/bsd"] {
        reads("ofwboot", &format!("{DISK}{path}"), &disk, ",readonly=on");
    }
}

#[test]
fn freebsd_loader_reads_a_disk_and_its_partition() {
    let disk = images::gpt_disk();
    reads("freebsd", &format!("{DISK}/boot/kernel/kernel"), &disk, "");
}

/// Runs a part of what no loader asks for.
fn services(part: &str, arguments: &[&str]) -> String {
    let (status, shown, complaint) = run("services.elf", part, arguments);
    assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
    shown
}

#[test]
fn services_and_methods_that_no_loader_calls() {
    let shown = services("others", &[]);
    assert_eq!(shown, "method\n\x07\x07!\nothers got what it asked for\n");
    services("others", &["--memory", "size=256M"]);
}

#[test]
fn memory_up_to_the_last_address_of_a_cell() {
    services("high", &["--memory", "size=5G"]);
}

/// "Causes the system to be reset, then boots": once with the arguments of the client, then with
/// those of the machine again.
#[test]
fn boot_has_its_arguments_for_one_start() {
    let shown = services("boot", &[]);
    assert_eq!(shown, "boot got what it asked for\n");
}

#[test]
fn start_cpu_starts_a_second_processor() {
    services("cpu", &["--cpus", "boot=2"]);
}

/// The second program gets what the binding promises, and the first one's memory.
#[test]
fn chain_enters_another_program() {
    let second = program("chained.elf");
    let shown = services("chain", &["--initramfs", second.to_str().unwrap()]);
    assert_eq!(shown, "chained got what it asked for\n");
}
