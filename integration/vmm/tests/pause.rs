//! Machines that stand still at any moment, and go on.
#![cfg(feature = "vof")]

use std::time::{Duration, Instant};

use images::{DISK, Image, SMALL_PART_FIRST, small_disk};
use paused::{Moment, Paused};
use run::Run;

mod images;
mod paused;
mod run;

/// Not a test, but the VMM of the others.
#[test]
#[ignore = "it is a program"]
fn vmm() {
    paused::vmm::run();
}

/// What is on a disk when what a client had begun to write is written.
fn bytes_of(disk: &Image) -> Vec<u8> {
    disk.read(0, disk.bytes() as usize)
}

/// Does the host's part of what the guest wants to see.
fn finish(run: &mut Run, disk: &Image) {
    run.expect("written\n");
    disk.write(SMALL_PART_FIRST * 512 + 0x20000, &[0x77; 512]);
    run.type_in("g");
}

/// In the middle of calls, of requests to a disk, and between them: what is read and written is the
/// same, and nothing moves meanwhile.
#[test]
fn a_guest_at_its_disk_stands_still_and_goes_on() {
    let disk = small_disk("pause");
    let untouched = small_disk("never-paused");
    let mut plain =
        Run::start("disks.elf", &format!("writes {DISK}"), &["--disk", &untouched.option()]);
    finish(&mut plain, &untouched);
    assert_eq!(plain.end().0.code(), Some(0));

    let mut paused =
        Paused::start("disks.elf", &format!("writes {DISK}"), &["--disk", &disk.option()]);
    assert_eq!(paused.order("pause"), "Ok(())");
    for pause in 0..60 {
        let before = bytes_of(&disk);
        std::thread::sleep(Duration::from_millis(10));
        let same = bytes_of(&disk) == before;
        assert!(same, "somebody writes to the disk of a machine that stands still");
        assert_eq!(paused.order("resume"), "Ok(())");
        std::thread::sleep(Duration::from_millis(pause % 7));
        assert_eq!(paused.order("pause"), "Ok(())");
    }
    assert_eq!(paused.order("resume"), "Ok(())");
    let mut run = paused.run;
    finish(&mut run, &disk);
    let (status, shown, _) = run.end();
    assert_eq!(status.code(), Some(0), "{shown:?}");
    assert!(shown.ends_with("disks got what it asked for\n"), "{shown:?}");
    assert!(bytes_of(&disk) == bytes_of(&untouched), "another machine wrote something else");
}

/// Within packages that are open, claims, a disk that is read and written, negotiation, and restarts that
/// the client asks for: between each two hypercalls.
#[test]
fn a_guest_that_stands_still_at_every_hypercall_sees_nothing_of_it() {
    for (guest, task, pauses) in [
        ("moments.elf", format!("state 3 {DISK}"), 80),
        ("moments.elf", format!("agree {DISK}"), 60),
        ("services.elf", "others".to_owned(), 100),
        ("services.elf", "boot".to_owned(), 20),
        ("services.elf", "cpu".to_owned(), 10),
    ] {
        let (disk, untouched) = (small_disk("every-call"), small_disk("no-call"));
        let with = |disk: &Image| {
            ["--cpus".to_owned(), "boot=2".to_owned(), "--disk".to_owned(), disk.option()]
        };
        let options = with(&untouched);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let (status, expected, complaint) = Run::start(guest, &task, &options).end();
        assert_eq!(status.code(), Some(0), "{task}: {expected:?} {complaint}");

        let options = with(&disk);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut paused = Paused::start_still(guest, &task, &options);
        assert!(paused.first());
        let mut count = 1;
        while paused.step(Moment::Calls(1)) {
            count += 1;
        }
        let (status, shown, complaint) = paused.run.end();
        assert_eq!(status.code(), Some(0), "{task}: {shown:?} {complaint}");
        assert!(shown.ends_with(&expected), "{task}: {shown:?}, not {expected:?}");
        assert!(count >= pauses, "{task}: {count} pauses");
        assert!(bytes_of(&disk) == bytes_of(&untouched), "{task}: another disk");
    }
}

/// "The guest's time stands still, and goes on where it stood."
#[test]
fn time_does_not_pass_for_a_machine_that_stands_still() {
    const PAUSED: Duration = Duration::from_secs(4);
    let start = Instant::now();
    let mut paused = Paused::start("moments.elf", "time", &[]);
    paused.run.expect("begun\n");
    assert_eq!(paused.order("pause"), "Ok(())");
    std::thread::sleep(PAUSED);
    assert_eq!(paused.order("resume"), "Ok(())");
    paused.run.type_in("g");
    let (status, shown, _) = paused.run.end();
    let most = start.elapsed() - PAUSED;
    assert_eq!(status.code(), Some(0), "{shown:?}");
    let told = |name: &str| {
        let rest = shown.split_once(name).unwrap_or_else(|| panic!("no {name} in {shown:?}")).1;
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let ticks = u64::from_str_radix(told("ticks ").strip_prefix("0x").unwrap(), 16).unwrap();
    let by_ticks = Duration::from_nanos((u128::from(ticks) * 1000 / 512) as u64);
    let by_calls = Duration::from_millis(told("milliseconds ").parse().unwrap());
    for passed in [by_ticks, by_calls] {
        assert!(passed <= most, "{passed:?} have passed, of at most {most:?}");
    }
}

/// "Resizing takes place all the same: the guest hears of it when it goes on", and it is restarted with it.
#[test]
fn a_machine_that_stands_still_can_be_made_larger() {
    let options = ["--cpus", "boot=1,max=2"];
    let mut paused = Paused::start_still("services.elf", "boot", &options);
    assert!(paused.first());
    assert_eq!(paused.order("cpus 2"), "Ok(1)");
    assert_eq!(paused.order("cpus 1"), "Ok(0)");
    assert_eq!(paused.order("cpus 2"), "Ok(1)");
    while paused.step(Moment::Calls(5)) {}
    let (status, shown, complaint) = paused.run.end();
    assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
}

/// Whoever is asked to leave does so.
#[test]
fn a_machine_that_stands_still_can_be_ended() {
    let disk = small_disk("pause-end");
    let mut paused =
        Paused::start("disks.elf", &format!("writes {DISK}"), &["--disk", &disk.option()]);
    assert_eq!(paused.order("pause"), "Ok(())");
    assert_eq!(paused.order("pause"), "Ok(())", "again is no change");
    paused.run.send(libc::SIGTERM);
    let (status, _, _) = paused.run.end();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGTERM));
}
