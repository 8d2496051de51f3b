//! Outputs that nobody reads, or that cannot be written: they hold nobody up, and are told.
//!
//! With `--nocapture`, the tests of all states tell the longest time from SIGTERM to the end.
#![cfg(all(feature = "vof", target_os = "linux"))]

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

mod run;

use run::program;
use run::pty::{Pty, wait_until};

/// Whoever is to read an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Does not read, at the end of a pipe.
    Asleep,
    /// Does not read, at the end of a pipe that is full already.
    AsleepFull,
    /// Closed its end of the pipe.
    Gone,
    /// There never was an output.
    Nobody,
    /// Looks at another window: the terminal is hung.
    Elsewhere,
    /// A device that takes nothing.
    FullDevice,
    /// A file: all is well.
    File,
}

const READERS: [Reader; 7] = [
    Reader::Asleep,
    Reader::AsleepFull,
    Reader::Gone,
    Reader::Nobody,
    Reader::Elsewhere,
    Reader::FullDevice,
    Reader::File,
];

/// What a guest does all the time, and the arguments with which that is told.
const FLOODS: [(&str, &str); 4] =
    [("console", "warn"), ("calls", "warn"), ("calls", "trace"), ("restarts", "info")];

/// The program's end of an output, and what has to stay open meanwhile.
struct Sink {
    /// `None` for what is closed.
    file: Option<File>,
    _reader: Option<File>,
}

impl Sink {
    fn new(reader: Reader, terminal: &Pty, name: &str) -> Self {
        let (file, other) = match reader {
            Reader::Asleep | Reader::AsleepFull | Reader::Gone => {
                let (read_end, write_end) = pipe();
                if reader == Reader::AsleepFull {
                    fill(&write_end);
                }
                (Some(write_end), (reader != Reader::Gone).then_some(read_end))
            }
            Reader::Nobody => (None, None),
            Reader::Elsewhere => (Some(terminal.file()), None),
            Reader::FullDevice => (Some(full_device()), None),
            Reader::File => {
                let path = scratch(name);
                let file = File::create(&path).unwrap();
                std::fs::remove_file(path).unwrap();
                (Some(file), None)
            }
        };
        Self { file, _reader: other }
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outputs");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn full_device() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// The reading and the writing end of a pipe.
fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: fills both numbers.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: the call succeeded, so both are open, and nobody else has them.
    let [read_end, write_end] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    (read_end.into(), write_end.into())
}

fn set_blocking(file: &File, blocking: bool) {
    let flags = if blocking { 0 } else { libc::O_NONBLOCK };
    // SAFETY: sets flags of an open descriptor.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }, 0);
}

fn is_blocking(file: &File) -> bool {
    // SAFETY: asks for flags of an open descriptor.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK == 0 }
}

fn fill(mut pipe: &File) {
    set_blocking(pipe, false);
    while pipe.write(&[b'.'; 4096]).is_ok() {}
    set_blocking(pipe, true);
}

fn vmm(cmdline: &str) -> Command {
    let mut vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    vmm.args(["--backend", "interp", "--memory", "size=64M", "--cmdline", cmdline, "--kernel"])
        .arg(program("outputs.elf"))
        .stdin(Stdio::null());
    run::with_default_signals(&mut vmm);
    vmm
}

fn end(vmm: &mut Child) -> ExitStatus {
    wait_until("the VMM has ended", || vmm.try_wait().unwrap().is_some());
    vmm.wait().unwrap()
}

/// A machine whose guest says all that it can, to such readers; then a signal. Gives how long it
/// took to end it.
fn flood(flood: (&str, &str), [output, messages, trace]: [Reader; 3]) -> Duration {
    let what = format!("{flood:?} to {output:?}, {messages:?}, trace {trace:?}");
    let terminal = Pty::hung();
    let sink = |reader, name: &str| Sink::new(reader, &terminal, name);
    let output = sink(output, &format!("{what} output"));
    let messages = sink(messages, &format!("{what} messages"));
    let trace = sink(trace, &format!("{what} trace"));
    let mut vmm = vmm(flood.0);
    vmm.args(["--log", flood.1]);
    if let Some(file) = &trace.file {
        // SAFETY: clears a flag of an open descriptor: the program finds it by its number.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }, 0);
        vmm.arg(format!("--trace=/dev/fd/{}", file.as_raw_fd()));
    }
    for (sink, number) in [(&output, 1), (&messages, 2)] {
        match (&sink.file, number) {
            (Some(file), 1) => drop(vmm.stdout(file.try_clone().unwrap())),
            (Some(file), _) => drop(vmm.stderr(file.try_clone().unwrap())),
            // SAFETY: between fork and exec, this makes a system call only.
            (None, _) => unsafe {
                vmm.pre_exec(move || {
                    libc::close(number);
                    Ok(())
                });
            },
        }
    }
    let mut child = terminal.start(&mut vmm);
    terminal.wait_until_raw(true);
    // What can be full is full by then.
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "{what}: ended by itself");
    let start = Instant::now();
    // SAFETY: names our own child, which nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    let status = end(&mut child);
    let time = start.elapsed();
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{what}: {status}");
    assert!(terminal.is_as_before(), "{what}: the terminal is changed");
    time
}

/// Runs floods to readers, and tells which end took the longest.
fn longest(all: impl Iterator<Item = ((&'static str, &'static str), [Reader; 3])>) {
    let times = all.map(|(what, readers)| (flood(what, readers), what, readers));
    let all: Vec<_> = times.collect();
    let longest = all.iter().max_by_key(|(time, ..)| *time).unwrap();
    let (time, what, readers) = longest;
    let seconds = time.as_secs_f64();
    eprintln!("{} ends; the longest took {seconds:.3} s: {what:?} to {readers:?}", all.len());
}

/// Each state of each output meets each state of each other.
#[test]
fn a_signal_ends_it_whatever_is_not_read_in_pairs() {
    let count = READERS.len();
    longest((0..count * count).map(|n| {
        let (one, other) = (n / count, n % count);
        // The third differs for each pair with the first, and with the second.
        let readers = [one, other, (one + other) % count].map(|n| READERS[n]);
        (FLOODS[(one + 2 * other) % FLOODS.len()], readers)
    }));
}

#[test]
#[ignore = "takes minutes; `cargo xtask test --all` runs it"]
fn wide_a_signal_ends_it_whatever_is_not_read() {
    let count = READERS.len();
    longest(FLOODS.into_iter().flat_map(|what| {
        (0..count * count * count).map(move |n| {
            let readers = [n / count / count, n / count % count, n % count];
            (what, readers.map(|n| READERS[n]))
        })
    }));
}

/// On the terminal, which hangs, as on a connection that was lost.
fn on_a_hung_terminal(
    cmdline: &str,
    arguments: &[&str],
    leave: impl Fn(&mut Pty, &Child),
) -> ExitStatus {
    let mut terminal = Pty::hung();
    let mut vmm = vmm(cmdline);
    vmm.args(arguments).stdout(terminal.file()).stderr(terminal.file());
    let mut child = terminal.start(&mut vmm);
    terminal.wait_until_raw(true);
    std::thread::sleep(Duration::from_millis(200));
    leave(&mut terminal, &child);
    let status = end(&mut child);
    assert!(terminal.is_as_before());
    status
}

#[test]
fn ctrl_a_x_leaves_a_hung_terminal() {
    for (cmdline, level) in FLOODS {
        let status = on_a_hung_terminal(cmdline, &["--log", level], |terminal, _| {
            terminal.type_in("\x01x");
        });
        assert_eq!(status.code(), Some(0), "{cmdline}");
    }
}

#[test]
fn each_signal_leaves_a_hung_terminal() {
    for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGTERM] {
        let status = on_a_hung_terminal("console", &[], |_, vmm| {
            // SAFETY: names our own child, which nobody has waited for.
            assert_eq!(unsafe { libc::kill(vmm.id() as i32, signal) }, 0);
        });
        assert_eq!(status.signal(), Some(signal));
    }
}

/// The guest that waits for its text to be read is let go.
#[test]
fn counted_instructions_do_not_wait_for_a_reader_at_the_end() {
    let status = on_a_hung_terminal("console", &["--icount"], |_, vmm| {
        // SAFETY: names our own child, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(vmm.id() as i32, libc::SIGTERM) }, 0);
    });
    assert_eq!(status.signal(), Some(libc::SIGTERM));
}

/// It cannot wait for a reader for ever, nor does it say that all went well.
#[test]
fn a_guest_switches_itself_off_on_a_hung_terminal() {
    let status = on_a_hung_terminal("burst 20000", &["--stats"], |_, _| {});
    assert_eq!(status.code(), Some(0));
}

fn lines(count: u32) -> String {
    (0..count).map(|n| format!("{n} was said\n")).collect()
}

#[test]
fn a_slow_reader_gets_all() {
    // What a reader who asks not to wait leaves to others who share the pipe is theirs.
    for (blocking, arguments) in [(true, &[][..]), (false, &[]), (true, &["--icount"])] {
        let (mut read_end, write_end) = pipe();
        set_blocking(&write_end, blocking);
        let mut child = vmm("lines 3000")
            .args(arguments)
            .stdout(write_end.try_clone().unwrap())
            .spawn()
            .unwrap();
        let mut shown = Vec::new();
        let mut buffer = [0; 1024];
        assert_eq!(is_blocking(&write_end), blocking);
        drop(write_end);
        while let count @ 1.. = read_end.read(&mut buffer).unwrap() {
            shown.extend_from_slice(&buffer[..count]);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(end(&mut child).code(), Some(0));
        assert!(String::from_utf8(shown).unwrap() == lines(3000), "something is missing");
    }
}

#[test]
fn text_and_messages_keep_their_order_in_one_pipe() {
    let (mut read_end, write_end) = pipe();
    let mut command = vmm("between");
    command.stdout(write_end.try_clone().unwrap()).stderr(write_end);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut shown = String::new();
    read_end.read_to_string(&mut shown).unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text:?} in {shown:?}"));
    assert!(at("before\n") < at("no-such-service") && at("no-such-service") < at("after\n"));
    assert!(!shown.contains('\r'), "{shown:?}");
}

/// Only a raw terminal needs it, and what goes there by way of a pipe is not for one.
#[test]
fn messages_in_a_file_have_no_carriage_returns() {
    let path = scratch("messages");
    let terminal = Pty::new();
    let mut command = vmm("between");
    command.stdout(terminal.file()).stderr(File::create(&path).unwrap());
    let mut child = terminal.start(&mut command);
    assert_eq!(end(&mut child).code(), Some(0));
    let messages = std::fs::read_to_string(path).unwrap();
    assert!(messages.contains("no-such-service") && !messages.contains('\r'), "{messages:?}");
}

#[test]
fn what_was_left_out_is_told_when_somebody_reads_again() {
    let (read_end, write_end) = pipe();
    let mut command = vmm("calls");
    command.args(["--log", "trace", "--trace"]).stdout(Stdio::null()).stderr(write_end);
    let mut child = command.spawn().unwrap();
    drop(command);
    // Longer each time, as nobody knows how long the guest takes to say what does not fit.
    let mut lines = BufReader::new(read_end).lines().map(Result::unwrap);
    let is_told = (0..).any(|n| {
        std::thread::sleep(Duration::from_secs(1 << n));
        lines.by_ref().take(50_000).any(|line| line.contains("lines of the trace were left out"))
    });
    assert!(is_told);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Asserts that something that could not be written is told, and the status 1.
fn is_told(output: &Output, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");
}

const NO_SPACE: &str = "No space left on device";

#[test]
fn what_cannot_be_written_is_told_and_changes_the_status() {
    let full = || Stdio::from(full_device());
    is_told(&output(vmm("lines 3000").stdout(full())), &["standard output", NO_SPACE]);
    let with_trace = output(vmm("lines 3").arg("--trace=/dev/full"));
    is_told(&with_trace, &["/dev/full", NO_SPACE]);
    assert_eq!(String::from_utf8_lossy(&with_trace.stdout), lines(3));

    let program = || Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    for arguments in [&["--config-schema"][..], &["--help"], &["--version"], &["--dump-fdt", "-"]] {
        is_told(&output(program().args(arguments).stdout(full())), &[NO_SPACE]);
    }
    is_told(&output(program().args(["--dump-fdt", "/dev/full"])), &["/dev/full", NO_SPACE]);
    // There is nobody to tell, but for the status.
    let untold = output(vmm("lines 3").arg("--stats").stderr(full()));
    assert_eq!(untold.status.code(), Some(1));
}

/// As large as the guest's RAM.
const FILE_LIMIT_BYTES: u64 = 64 << 20;

/// A shell that limits the size of files means an error, and no end without a word.
#[test]
fn files_that_may_not_grow_are_told() {
    let path = scratch("limited");
    let limited = |command: &mut Command| {
        // SAFETY: between fork and exec, this makes a system call only.
        unsafe {
            command.pre_exec(|| {
                let limit = libc::rlimit { rlim_cur: FILE_LIMIT_BYTES, rlim_max: FILE_LIMIT_BYTES };
                libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
                Ok(())
            });
        }
        output(command)
    };
    // The guest's RAM is a file, too.
    let mut file = File::create(&path).unwrap();
    file.seek(SeekFrom::Start(FILE_LIMIT_BYTES - 4096)).unwrap();
    let console = limited(vmm("lines 3000").stdout(file));
    is_told(&console, &["standard output", "File too large"]);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_LIMIT_BYTES);
    let file = File::options().append(true).open(&path).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    is_told(&limited(program.arg("--config-schema").stdout(file)), &["File too large"]);
    std::fs::remove_file(path).unwrap();
}

/// Before the machine starts, signals do what they always do.
#[test]
fn who_waits_for_a_file_can_be_ended() {
    let path = scratch("fifo");
    let _ = std::fs::remove_file(&path);
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the name ends in a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let trace = format!("--trace={}", path.display());
    let kernel = ["--kernel", path.to_str().unwrap()];
    for arguments in [&[&trace, "--kernel", "/nonexistent"][..], &kernel] {
        let mut vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
        run::with_default_signals(&mut vmm);
        let mut child = vmm.args(arguments).stdin(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "{arguments:?}");
        // SAFETY: names our own child, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
        assert_eq!(end(&mut child).signal(), Some(libc::SIGTERM));
    }
}

/// Who does not read to the end has read enough.
#[test]
fn a_reader_who_left_is_no_error() {
    let gone = || Stdio::from(pipe().1);
    for command in [vmm("lines 3000").stdout(gone()), vmm("lines 3").stderr(gone()).arg("--stats")]
    {
        assert_eq!(output(command).status.code(), Some(0));
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    assert_eq!(output(program.arg("--help").stdout(gone())).status.code(), Some(0));
    let mut program = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    let tree = output(program.args(["--dump-fdt", "-"]).stdout(gone()));
    assert_eq!((tree.status.code(), &tree.stderr[..]), (Some(0), &b""[..]));
}
