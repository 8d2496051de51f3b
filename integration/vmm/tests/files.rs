//! Files that are not what they should be, have no end, or change: a message and status 2, for no
//! more memory than a small program takes.
#![cfg(all(feature = "vof", target_os = "linux"))]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use run::folder::Folder;
use run::{Run, program};

mod run;

/// What the VMM may take besides its guest's RAM, in bytes.
const OWN_MEMORY: u64 = 32 << 20;

const TERABYTE: u64 = 1 << 40;

impl Folder {
    /// A file of zeros that takes no room on the disk.
    fn sparse(&self, name: &str, bytes: u64) -> String {
        File::create(self.0.join(name)).unwrap().set_len(bytes).unwrap();
        self.path(name)
    }

    /// A copy of a guest program.
    fn copy(&self, name: &str) -> String {
        std::fs::copy(program(name), self.0.join(name)).unwrap();
        self.path(name)
    }
}

fn vmm(arguments: &[&str]) -> Command {
    let mut vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    vmm.args(["--backend", "interp", "--memory", "size=64M"]).args(arguments);
    vmm.stdin(Stdio::null());
    vmm
}

/// Asserts that the arguments are refused with status 2 and one line that has all of `words`, by a
/// VMM with a limit of its own memory.
fn refused(arguments: &[&str], words: &[&str]) {
    let mut vmm = vmm(arguments);
    // SAFETY: between fork and exec, this makes a system call only.
    unsafe {
        vmm.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: OWN_MEMORY, rlim_max: OWN_MEMORY };
            libc::setrlimit(libc::RLIMIT_DATA, &raw const limit);
            Ok(())
        });
    }
    let output = vmm.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: no {word:?} in {message}");
    }
}

/// Asserts that a file is refused in each part that a file can have.
fn refused_everywhere(path: &str, kernel: &str, initramfs: &str, config: &str) {
    let good = program("client64.elf");
    refused(&["--kernel", path], &[path, kernel]);
    refused(&["--kernel", good.to_str().unwrap(), "--initramfs", path], &[path, initramfs]);
    refused(&["--config", path], &[path, config]);
}

#[test]
fn sizes_are_not_believed() {
    let folder = Folder::new("sizes_are_not_believed");
    let huge = folder.sparse("huge", TERABYTE);
    refused_everywhere(&huge, "not an ELF file", "no room", "more than 1048576 bytes");
    // One whose begin is right.
    let kernel = folder.copy("client64.elf");
    OpenOptions::new().append(true).open(&kernel).unwrap().set_len(TERABYTE).unwrap();
    let mut run = Run::start(&kernel, "power off", &[]);
    run.expect("client interface works\n");
    assert_eq!(run.end().0.code(), Some(0));
    // What the kernel leaves no room for is not read.
    let large = folder.sparse("large", 80 << 20);
    refused(&["--kernel", &kernel, "--initramfs", &large], &[&large, "no room", "83886080"]);
}

#[test]
fn what_is_no_file_is_named() {
    let folder = Folder::new("what_is_no_file_is_named");
    for (path, words) in [
        ("/", "directory"),
        ("/dev/zero", "character device"),
        ("/dev/random", "character device"),
        ("/dev/null", "character device"),
    ] {
        refused_everywhere(path, words, words, words);
    }
    let socket = folder.path("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    refused_everywhere(&socket, "socket", "socket", "socket");
    // They say that they have no bytes.
    refused_everywhere("/proc/version", "empty", "empty", "expected value");
}

#[test]
fn a_pipe_that_nobody_writes_to_is_not_waited_for() {
    let folder = Folder::new("nobody_writes");
    let pipe = folder.pipe("pipe");
    refused_everywhere(&pipe, "nobody writes", "nobody writes", "nobody writes");
}

/// A program that writes to a pipe, until the test is done with it.
struct Writer(Child);

impl Writer {
    fn start(script: &str, pipe: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", pipe]).stderr(Stdio::null());
        Self(shell.spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pipe_without_an_end_is_refused() {
    let folder = Folder::new("without_an_end");
    let pipe = folder.pipe("pipe");
    // Each reader gets a writer of his own.
    let _writer = Writer::start("while :; do yes >\"$1\"; done", &pipe);
    refused_everywhere(&pipe, "not an ELF file", "more than", "more than 1048576 bytes");
}

/// What is kept is memory of the host: as much as the machine has, and no more.
#[test]
fn of_a_pipe_no_more_is_kept_than_ram() {
    let folder = Folder::new("no_more_than_ram");
    let pipe = folder.pipe("pipe");
    let _writer = Writer::start("yes >\"$1\"", &pipe);
    let kernel = program("client64.elf");
    let arguments = ["--kernel", kernel.to_str().unwrap(), "--initramfs", &pipe];
    let mut child = vmm(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let mut most = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        most = most.max(kept_bytes(child.id()));
    };
    assert_eq!(status.code(), Some(2));
    assert!((1..=64 << 20).contains(&most), "{most} bytes are kept");
}

/// How much a program keeps in the file for what comes from a pipe.
fn kept_bytes(id: u32) -> u64 {
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let kept = descriptors.filter(|descriptor| {
        let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
        target.to_string_lossy().contains("pseries-payload")
    });
    kept.filter_map(|one| Some(std::fs::metadata(one.path()).ok()?.blocks() * 512)).sum()
}

/// Of a program from a pipe as much is kept as has to be loaded.
#[test]
fn a_program_before_what_has_no_end_runs() {
    let folder = Folder::new("runs_from_a_pipe");
    let (pipe, program) = (folder.pipe("pipe"), folder.copy("client64.elf"));
    let script = format!("{{ cat '{program}'; cat /dev/zero; }} >\"$1\"");
    let _writer = Writer::start(&script, &pipe);
    let mut run = Run::start(&pipe, "restart", &[]);
    run.expect("restarting\n");
    let (status, shown, complaint) = run.end();
    assert_eq!(status.code(), Some(0), "{shown} {complaint}");
    // Cut off within its headers, and within its segments.
    for bytes in [20, 100, 1000] {
        let _writer = Writer::start(&format!("head -c {bytes} '{program}' >\"$1\""), &pipe);
        refused(&["--kernel", &pipe], &[&pipe, "incomplete"]);
    }
}

/// Whoever writes may begin late, write in pieces, and take a rest.
#[test]
fn a_slow_pipe_is_waited_for() {
    let folder = Folder::new("slow_pipe");
    let (pipe, program) = (folder.pipe("pipe"), folder.copy("client64.elf"));
    let script =
        format!("exec >\"$1\"; sleep 1; head -c 70 '{program}'; sleep 1; tail -c +71 '{program}'");
    let _writer = Writer::start(&script, &pipe);
    let initrd = folder.pipe("initrd");
    let _other = Writer::start("exec >\"$1\"; sleep 3; echo initrd", &initrd);
    let run = Run::start(&pipe, "power off", &["--initramfs", &initrd]);
    let (status, shown, complaint) = run.end();
    assert_eq!(status.code(), Some(0), "{shown} {complaint}");
}

/// Somebody has a pipe open and writes nothing: a signal ends the wait.
#[test]
fn a_wait_for_a_pipe_can_be_ended() {
    let folder = Folder::new("wait_for_a_pipe");
    let pipe = folder.pipe("pipe");
    // Both ends, so that the opening waits for nobody.
    let _silent = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let mut vmm = vmm(&["--kernel", &pipe]);
    // Whoever runs the tests may ignore the signal, and what they start would, too.
    // SAFETY: between fork and exec, this makes a system call only.
    unsafe {
        vmm.pre_exec(|| {
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
            Ok(())
        });
    }
    let mut child = vmm.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "does not wait");
    // SAFETY: names our own child, which nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

/// A file that grows, shrinks or is written into while the guest runs ends it at its next restart.
#[test]
fn files_that_change_between_starts_are_told() {
    let folder = Folder::new("between_starts");
    let initrd = folder.path("initrd");
    let changes: [fn(&File); 5] = [
        |file| file.set_len(TERABYTE).unwrap(),
        |file| file.set_len(0).unwrap(),
        |file| file.set_len(file.metadata().unwrap().len() / 2).unwrap(),
        |mut file| file.write_all(b"other").unwrap(),
        |file| file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        for of_initrd in [false, true] {
            let kernel = folder.copy("ofwboot.elf");
            std::fs::write(&initrd, "the initrd").unwrap();
            let changed = if of_initrd { &initrd } else { &kernel };
            let mut run = Run::start(&kernel, "ofwboot", &["--initramfs", &initrd]);
            run.expect("Boot: ");
            change(&OpenOptions::new().write(true).open(changed).unwrap());
            run.type_in("reboot\r");
            let (status, shown, complaint) = run.end();
            assert_eq!(status.code(), Some(2), "{number} {of_initrd}: {shown} {complaint}");
            assert!(complaint.contains("was changed"), "{complaint}");
            assert!(complaint.contains(changed.as_str()), "{complaint}");
        }
    }
}

/// A file that comes in the place of another is not the one that was opened.
#[test]
fn files_that_are_replaced_do_not_matter() {
    let folder = Folder::new("replaced");
    let kernel = folder.copy("ofwboot.elf");
    let mut run = Run::start(&kernel, "ofwboot", &[]);
    run.expect("Boot: ");
    std::fs::write(folder.path("other"), "other").unwrap();
    std::fs::rename(folder.path("other"), &kernel).unwrap();
    run.type_in("reboot\r");
    run.expect_again("Boot: ");
    run.send(libc::SIGTERM);
    assert_eq!(run.end().0.signal(), Some(libc::SIGTERM));
}

/// Whoever sits at the terminal gets it back as it was.
#[test]
fn the_terminal_is_as_before_when_a_file_has_changed() {
    let folder = Folder::new("terminal");
    let kernel = folder.copy("ofwboot.elf");
    let (mut terminal, slave) = (0, 0);
    let mut slave = slave;
    let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: writes two descriptors.
    let made = unsafe { libc::openpty(&raw mut terminal, &raw mut slave, name, settings, size) };
    assert_eq!(made, 0);
    // SAFETY: fresh, and nobody else's.
    let (mut terminal, slave) =
        unsafe { (File::from(OwnedFd::from_raw_fd(terminal)), OwnedFd::from_raw_fd(slave)) };
    let before = flags(&slave);
    let mut vmm = vmm(&["--cmdline", "ofwboot", "--kernel", &kernel]);
    vmm.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
    vmm.stderr(Stdio::piped());
    // SAFETY: between fork and exec, this makes system calls only.
    unsafe {
        vmm.pre_exec(|| {
            libc::setsid();
            libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0);
            Ok(())
        });
    }
    let child = vmm.spawn().unwrap();
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("Boot: ") {
        let mut piece = [0; 256];
        let count = std::io::Read::read(&mut terminal, &mut piece).unwrap();
        shown.extend_from_slice(&piece[..count]);
    }
    assert_ne!(flags(&slave), before, "not raw");
    OpenOptions::new().write(true).open(&kernel).unwrap().set_len(TERABYTE).unwrap();
    terminal.write_all(b"reboot\r").unwrap();
    // What is shown has to be taken, and is not looked at.
    let mut reader = terminal.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("was changed"), "{complaint}");
    assert_eq!(flags(&slave), before);
}

/// The settings of a terminal that a raw one has others of.
fn flags(terminal: &impl AsRawFd) -> [libc::tcflag_t; 4] {
    let mut settings = std::mem::MaybeUninit::<libc::termios>::uninit();
    // SAFETY: fills the structure where it succeeds.
    let settings = unsafe {
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()), 0);
        settings.assume_init()
    };
    [settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag]
}
