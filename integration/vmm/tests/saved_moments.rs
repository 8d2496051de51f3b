//! Machines that are saved at every moment, each time to go on in another process.
#![cfg(feature = "vof")]

use std::path::{Path, PathBuf};

use images::{DISK, Image, small_disk};
use paused::{Moment, Paused};
use run::folder::Folder;
use run::{Run, place};

mod images;
mod paused;
mod run;

/// Not a test, but the VMM of the others.
#[test]
#[ignore = "it is a program"]
fn vmm() {
    paused::vmm::run();
}

/// A machine that goes from process to process.
struct Moving {
    /// None between two processes.
    machine: Option<Paused>,
    folder: Folder,
    /// On the consoles of the processes before.
    shown: String,
    saves: usize,
}

impl Moving {
    fn new(machine: Paused) -> Self {
        Self {
            machine: Some(machine),
            folder: Folder::new("moments"),
            shown: String::new(),
            saves: 0,
        }
    }

    fn machine(&mut self) -> &mut Paused {
        self.machine.as_mut().unwrap()
    }

    /// Saves it, ends its process, and has it go on in another one, to this moment: whether it is there.
    fn go_on_to(&mut self, moment: Moment) -> bool {
        // That of the time before is its memory.
        let saved = PathBuf::from(self.folder.path(&format!("saved-{}", self.saves % 2)));
        let _ = std::fs::remove_dir_all(&saved);
        self.machine().save(&saved);
        self.saves += 1;
        self.shown += &shown(&self.machine.take().unwrap().kill());
        self.machine.insert(Paused::restore(&saved, moment)).first()
    }

    /// It has ended: what it has shown in all.
    fn end(self, what: &str) -> (String, usize) {
        let (status, last, complaint) = self.machine.unwrap().run.end();
        let shown = self.shown + &shown(&last);
        assert_eq!(status.code(), Some(0), "{what}, {} saves: {shown:?} {complaint}", self.saves);
        (shown, self.saves)
    }
}

/// What is the guest's of what a test's program shows.
fn shown(console: &str) -> String {
    console.replace("\nrunning 1 test\n", "")
}

fn bytes_of(disk: &Image) -> Vec<u8> {
    disk.read(0, disk.bytes() as usize)
}

/// A hypercall that has its answer.
const ANSWERED: Moment = Moment::Line(" = H_SUCCESS");

/// Saves a guest at each so many hypercalls. It shows, and leaves on its disk, what one does that is
/// left alone.
fn saved_at_each(calls: u64, guest: &str, task: &str, saves_min: usize) {
    let (disk, untouched) = (small_disk("saved"), small_disk("never-saved"));
    let option = untouched.option();
    let (status, expected, complaint) = Run::start(guest, task, &["--disk", &option]).end();
    assert_eq!(status.code(), Some(0), "{task}: {expected:?} {complaint}");

    let mut moving = Moving::new(Paused::start_still(guest, task, &["--disk", &disk.option()]));
    assert!(moving.machine().first());
    // A call without an answer is made again by the guest, and is a moment, too. Who is saved at each try
    // of it never gets further: every other time, it gets its answer.
    let moments = [Moment::Calls(calls), ANSWERED].into_iter().cycle();
    for moment in moments {
        if !moving.go_on_to(moment) {
            break;
        }
    }
    let (shown, saves) = moving.end(task);
    assert!(shown == expected, "{task}: {shown:?}, not {expected:?}");
    assert!(saves >= saves_min, "{task}: {saves} saves");
    assert!(bytes_of(&disk) == bytes_of(&untouched), "{task}: another disk");
}

/// "With open instances and claims", properties, and in the middle of what is read and written.
#[test]
fn a_client_is_saved_at_each_of_its_calls() {
    saved_at_each(1, "moments.elf", &format!("state 2 {DISK}"), 60);
}

/// Before, in and behind the call that the guest and the machine agree by.
#[test]
fn a_client_is_saved_while_it_negotiates() {
    saved_at_each(1, "moments.elf", &format!("agree {DISK}"), 60);
}

/// The last start is not the one that was saved first.
#[test]
fn a_client_is_saved_while_it_restarts_the_machine() {
    saved_at_each(1, "services.elf", "boot", 20);
}

#[test]
fn a_client_is_saved_among_the_services_that_no_loader_calls() {
    saved_at_each(7, "services.elf", "others", 14);
}

/// What `cargo xtask test soft-moments moments` gives.
fn given(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn arguments(kernel: &str, initramfs: Option<&str>, cmdline: &str) -> Vec<String> {
    let backend = place::backend();
    let mut arguments = vec!["--backend", &backend, "--memory", "size=512M", "--kernel", kernel];
    arguments.extend(["--cmdline", cmdline]);
    arguments.extend(initramfs.map(|initramfs| ["--initramfs", initramfs]).into_iter().flatten());
    arguments.into_iter().map(str::to_owned).collect()
}

/// Among the calls of its first part, which asks for memory, negotiates, starts RTAS and copies the
/// tree: saved in each of them, it boots, and gets to its end.
#[test]
#[ignore = "it takes a Linux: cargo xtask test soft-moments moments"]
fn a_linux_is_saved_within_prom_init() {
    let (Some(kernel), Some(initramfs)) = (given("MOMENTS_KERNEL"), given("MOMENTS_INITRAMFS"))
    else {
        panic!("MOMENTS_KERNEL and MOMENTS_INITRAMFS say what is booted");
    };
    let cmdline = given("MOMENTS_CMDLINE").unwrap_or_default();
    let arguments = arguments(&kernel, Some(&initramfs), &cmdline);
    let mut moving = Moving::new(Paused::of(&arguments, Some(Moment::Calls(1))));
    assert!(moving.machine().first());
    const AGREES: &str = "client call-method(\"ibm,client-architecture-support\"";
    for moment in [
        Moment::Calls(1),
        Moment::Calls(5),
        Moment::Calls(20),
        Moment::Line(AGREES),
        Moment::Calls(1),
        Moment::Calls(1),
        Moment::Line("client claim("),
        Moment::Line("instantiate-rtas"),
        Moment::Calls(1),
        Moment::Line("client nextprop("),
        Moment::Calls(100),
        Moment::Calls(200),
        Moment::Calls(300),
        Moment::Line("client quiesce"),
        Moment::Calls(1),
        // What was a client is a kernel.
        Moment::Calls(100),
    ] {
        assert!(moving.go_on_to(moment), "it ended before {moment}: {}", moving.shown);
    }
    let saved = moving.saves;
    assert!(!moving.go_on_to(Moment::Line("no such line")));
    let (shown, saves) = moving.end("a Linux");
    assert_eq!(saves, saved + 1);
    let told = given("MOMENTS_SHOWS").unwrap_or_default();
    assert!(shown.contains(&told), "no {told:?} in {shown:?}");
}

/// In its menu, where it asks for keys over and over: each save later, the menu is there and does what is
/// typed.
#[test]
#[ignore = "it takes a GRUB: cargo xtask test soft-moments moments"]
fn a_grub_is_saved_in_its_menu() {
    let grub = given("MOMENTS_GRUB").expect("MOMENTS_GRUB says which");
    let mut moving = Moving::new(Paused::of(&arguments(&grub, None, ""), None));
    moving.machine().run.expect("Switch off");
    assert_eq!(moving.machine().order("pause"), "Ok(())");
    for saves in 1..=8 {
        assert!(moving.go_on_to(Moment::Calls(20 * saves)), "it ended: {}", moving.shown);
    }
    // The command line of GRUB.
    moving.machine().run.type_in("c");
    assert_eq!(moving.machine().order("resume"), "Ok(())");
    moving.machine().run.expect("grub>");
    assert_eq!(moving.machine().order("pause"), "Ok(())");
    assert!(moving.go_on_to(Moment::Calls(20)));
    moving.machine().run.type_in("cat (memdisk)/hello.txt\r");
    assert_eq!(moving.machine().order("resume"), "Ok(())");
    moving.machine().run.expect("Hello from the disk in memory.");
    // Keys that come sooner are for the pager.
    moving.machine().run.expect_again("grub>");
    moving.machine().run.type_in("halt\r");
    let (_, saves) = moving.end("a GRUB");
    assert_eq!(saves, 9);
}

/// A folder that is none is refused, and the machine that was to be saved is as before.
#[test]
fn a_machine_that_cannot_be_saved_goes_on() {
    let disk = small_disk("cannot-save");
    let task = format!("state 2 {DISK}");
    let mut machine = Paused::start_still("moments.elf", &task, &["--disk", &disk.option()]);
    assert!(machine.first());
    let answer = machine.order(&format!("save {}", Path::new("/dev/null/no").display()));
    assert!(answer.starts_with("Err("), "{answer}");
    while machine.step(Moment::Calls(20)) {}
    let (status, shown, _) = machine.run.end();
    assert_eq!(status.code(), Some(0), "{shown:?}");
}
