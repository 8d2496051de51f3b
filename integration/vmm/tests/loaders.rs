//! What boot loaders other than GRUB ask of a client interface, asked as they do it, and what no
//! loader asks: programs in C, each of which says what it did not get. Their source is in `guests/`.
#![cfg(feature = "vof")]

use run::{Run, program, run};

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
