//! Machines that stand still at any moment, and go on. This program is the VMM as well, and is told
//! to by a pipe.
#![cfg(feature = "vof")]

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitCode};
use std::time::Duration;

use pseries_vmm::pause::PauseError;
use pseries_vmm::program::command_line;
use pseries_vmm::resize::Control;

use images::{DISK, Image, SMALL_PART_FIRST, small_disk};
use run::folder::Folder;
use run::{Run, program};

mod images;
mod run;

/// Where the VMM finds its orders, and what its command line is.
const ORDERS: &str = "TEST_ORDERS";
const ARGUMENTS: &str = "TEST_ARGUMENTS";

/// A machine, and who tells it to stand still.
struct Paused {
    run: Run,
    orders: File,
    said: BufReader<ChildStderr>,
    _folder: Folder,
}

impl Paused {
    fn start(guest: &str, cmdline: &str, options: &[&str]) -> Self {
        let folder = Folder::new("pause");
        let pipe = PathBuf::from(folder.path("orders"));
        make_pipe(&pipe);
        let kernel = program(guest);
        let kernel = ["--kernel", kernel.to_str().unwrap(), "--cmdline", cmdline];
        let memory = ["--memory", "size=64M", "--backend", "interp"];
        let mut vmm = Command::new(std::env::current_exe().unwrap());
        vmm.args(["--exact", "vmm", "--nocapture", "--include-ignored"])
            .env(ORDERS, &pipe)
            .env(ARGUMENTS, [&kernel[..], &memory[..], options].concat().join("\n"));
        let mut run = Run::of(vmm);
        let said = BufReader::new(run.take_stderr());
        // Nobody has to be there yet, with a writer that reads as well.
        let orders = File::options().read(true).write(true).open(&pipe).unwrap();
        Self { run, orders, said, _folder: folder }
    }

    /// Gives an order, and waits for the answer to it.
    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        let start = format!("{order}: ");
        loop {
            let mut line = String::new();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "no answer to {order}");
            if let Some(answer) = line.strip_prefix(&start) {
                return answer.trim_end().to_owned();
            }
        }
    }
}

/// Not a test, but the VMM of the others.
#[test]
#[ignore = "it is a program"]
fn vmm() {
    let (Some(orders), Ok(arguments)) = (std::env::var_os(ORDERS), std::env::var(ARGUMENTS)) else {
        return;
    };
    let arguments = std::iter::once("vmm").chain(arguments.split('\n')).map(Into::into);
    let cli = command_line(arguments).unwrap();
    let control = Control::new();
    let machine = control.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        for line in BufReader::new(File::open(orders).unwrap()).lines().map_while(Result::ok) {
            let obey = || match &*line {
                "pause" => machine.pause(Duration::from_secs(600)),
                _ => machine.resume(),
            };
            let mut done = obey();
            // It has not begun yet.
            while matches!(done, Err(PauseError::NotRunning)) {
                std::thread::sleep(Duration::from_millis(1));
                done = obey();
            }
            eprintln!("{line}: {done:?}");
        }
    });
    let status = format!("{:?}", pseries_vmm::program::run(&cli, &control));
    std::process::exit(i32::from(status != format!("{:?}", ExitCode::SUCCESS)));
}

fn make_pipe(path: &Path) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a string that ends.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// What is on a disk when what a client had begun to write is written, which is done all the same.
fn settled(disk: &Image) -> Vec<u8> {
    let read = || disk.read(0, disk.bytes() as usize);
    let mut before = read();
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let now = read();
        if now == before {
            return now;
        }
        before = now;
    }
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
        let before = settled(&disk);
        std::thread::sleep(Duration::from_millis(10));
        let now = disk.read(0, disk.bytes() as usize);
        assert!(now == before, "somebody writes to the disk of a machine that stands still");
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
    let same = disk.read(0, disk.bytes() as usize) == untouched.read(0, disk.bytes() as usize);
    assert!(same, "another machine wrote something else");
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
