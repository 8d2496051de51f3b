//! Machines that are saved at any moment, and go on in other processes.
#![cfg(feature = "vof")]

use images::{DISK, Image, SMALL_PART_FIRST, small_disk};
use run::Run;
use run::folder::Folder;
use run::told::{self, Told};

mod images;
mod run;

/// Not a test, but the VMM of the others.
#[test]
#[ignore = "it is a program"]
fn vmm() {
    told::vmm();
}

/// Does the host's part of what the guest wants to see.
fn finish(run: &mut Run, disk: &Image) {
    run.expect("written\n");
    disk.write(SMALL_PART_FIRST * 512 + 0x20000, &[0x77; 512]);
    run.type_in("g");
}

/// In the middle of calls and of requests to a disk, each time in another process: what is read and
/// written is the same as if nothing had happened.
#[test]
fn a_guest_at_its_disk_goes_on_in_other_processes() {
    let disk = small_disk("saved");
    let untouched = small_disk("never-saved");
    let mut plain =
        Run::start("disks.elf", &format!("writes {DISK}"), &["--disk", &untouched.option()]);
    finish(&mut plain, &untouched);
    assert_eq!(plain.end().0.code(), Some(0));

    let folder = Folder::new("saved");
    let saved = folder.0.join("machine");
    let mut vmm =
        Told::start("first", "disks.elf", &format!("writes {DISK}"), &["--disk", &disk.option()]);
    let mut shown = String::new();
    for round in 0..12 {
        vmm.tell("pause");
        vmm.save(&saved);
        shown += &vmm.kill();
        vmm = Told::restore("next", &saved, &[]);
        std::thread::sleep(std::time::Duration::from_millis(round % 7));
    }
    let mut run = vmm.run;
    if !shown.contains("written\n") {
        run.expect("written\n");
    }
    disk.write(SMALL_PART_FIRST * 512 + 0x20000, &[0x77; 512]);
    run.type_in("g");
    let (status, last, _) = run.end();
    assert_eq!(status.code(), Some(0), "{shown:?} {last:?}");
    assert!(last.ends_with("disks got what it asked for\n"), "{shown:?} {last:?}");
    let same = disk.read(0, disk.bytes() as usize) == untouched.read(0, disk.bytes() as usize);
    assert!(same, "another machine wrote something else");
}
