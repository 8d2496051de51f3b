//! Small guest programs on the processor in software: the whole machine, on any host, without a
//! download. Their source is in `guests/`.
#![cfg(feature = "vof")]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

mod run;

use run::{Run, program, rebuild, run, state};

const WORKS: &str = "client interface works\n";

const BOTH: [&str; 2] = ["client32.elf", "client64.elf"];

#[test]
fn client_interface_and_rtas_answer_programs_of_both_widths() {
    for guest in BOTH {
        let (status, shown, complaint) = run(guest, "power off", &[]);
        assert_eq!(status.code(), Some(0), "{guest}: {shown:?} {complaint}");
        assert_eq!(shown, WORKS, "{guest}");
    }
}

/// RAM with holes, one of them up to 4 GiB, is loaded, run in, cleared and run in again.
#[test]
fn ram_may_have_holes() {
    let zones = ["id=a,size=64M", "id=b,size=64M,start=1G", "id=c,size=1M,start=4G"];
    let ranges = [&["--memory", "size=0", "--memory-zone"], &zones[..]].concat();
    for guest in BOTH {
        let (status, shown, complaint) = run(guest, "restart", &ranges);
        assert_eq!(status.code(), Some(0), "{guest}: {shown:?} {complaint}");
        assert_eq!(shown, format!("{WORKS}restarting\n").repeat(3) + WORKS, "{guest}");
    }
}

#[test]
fn restarts_make_a_new_machine_each_time() {
    for guest in BOTH {
        let (status, shown, complaint) = run(guest, "restart", &[]);
        assert_eq!(status.code(), Some(0), "{guest}: {shown:?} {complaint}");
        assert_eq!(shown, format!("{WORKS}restarting\n").repeat(3) + WORKS, "{guest}");
    }
    let (status, shown, _) = run(BOTH[0], "restart", &["--no-reboot"]);
    assert_eq!((status.code(), shown), (Some(0), format!("{WORKS}restarting\n")));
}

/// Whatever a client leaves in RAM, code that ran included: the next one finds zeros.
#[test]
fn nothing_of_one_client_is_left_for_the_next() {
    let (status, shown, complaint) = run("leftover.elf", "", &[]);
    assert_eq!(status.code(), Some(0), "{shown:?} {complaint}");
    assert_eq!(shown, "start 1\nstart 2\nnothing was left\n");
}

#[test]
fn a_client_that_gives_up_is_told_by_the_status() {
    let (status, shown, complaint) = run("client32.elf", "exit", &[]);
    assert_eq!((status.code(), shown.as_str()), (Some(3), WORKS));
    assert!(complaint.contains("gave up"), "{complaint}");
}

/// For those who debug, an instruction that the processor does not have ends the run, with all
/// that is known.
#[test]
fn what_is_not_implemented_is_shown() {
    for guest in BOTH {
        let (status, _, complaint) = run(guest, "illegal", &["--debug-unimplemented"]);
        assert_eq!(status.code(), Some(3), "{complaint}");
        for words in ["00000abc", "crashed", "r28"] {
            assert!(complaint.to_lowercase().contains(words), "{words}: {complaint}");
        }
    }
}

/// Otherwise it is an interrupt, which this client has no vector for: nothing can come any more.
#[test]
fn what_is_no_instruction_is_an_interrupt() {
    for guest in BOTH {
        let (status, _, complaint) = run(guest, "illegal", &[]);
        assert_eq!(status.code(), Some(3), "{complaint}");
        for words in ["no instruction at the interrupt vector 0x700", "crashed", "r28"] {
            assert!(complaint.contains(words), "{words}: {complaint}");
        }
    }
}

#[test]
fn typed_text_reaches_the_client() {
    let mut vmm = Run::start("client64.elf", "console", &[]);
    vmm.expect("echo\n");
    let mut stdin = vmm.child.stdin.take().unwrap();
    stdin.write_all(b"hello ").unwrap();
    vmm.expect("hello ");
    stdin.write_all(b"quit").unwrap();
    let (status, shown, _) = vmm.end();
    assert_eq!(status.code(), Some(0));
    assert!(shown.ends_with("echo\nhello quit"), "{shown}");
}

#[test]
fn signals_end_a_busy_guest() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut vmm = Run::start("client32.elf", "spin", &[]);
        vmm.expect("spinning\n");
        vmm.send(signal);
        let (status, _, complaint) = vmm.end();
        assert_eq!(status.signal(), Some(signal), "{complaint}");
    }
}

/// As `timeout` sends it: to the process, and to its group.
#[test]
fn a_signal_that_comes_twice_ends_it_in_order() {
    // A machine that takes long to stop, as where much else runs, is left without a word.
    let in_order = (0..10).any(|_| {
        let mut vmm = Run::start("client32.elf", "spin", &["--stats"]);
        vmm.expect("spinning\n");
        vmm.send(libc::SIGINT);
        std::thread::sleep(Duration::from_micros(200));
        vmm.send(libc::SIGINT);
        let (status, _, complaint) = vmm.end();
        assert_eq!(status.signal(), Some(libc::SIGINT), "{complaint}");
        complaint.contains("wall time")
    });
    assert!(in_order);
}

/// A stopped job goes on where it was.
#[test]
fn a_job_can_be_stopped_and_continued() {
    let mut vmm = Run::start("client32.elf", "console", &[]);
    vmm.expect("echo\n");
    vmm.send(libc::SIGTSTP);
    vmm.wait_for_state("State:\tT");
    vmm.send(libc::SIGCONT);
    vmm.child.stdin.take().unwrap().write_all(b"q").unwrap();
    let (status, shown, _) = vmm.end();
    assert_eq!(status.code(), Some(0));
    assert!(shown.ends_with("echo\nq"), "{shown}");
}

/// A signal that is ignored from the start stays ignored, as `nohup` wants it.
#[test]
fn ignored_signals_stay_ignored() {
    let mut vmm = Command::new("sh");
    vmm.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pseries-vmm")])
        .args(["--backend", "interp", "--memory", "size=64M", "--cmdline", "spin", "--kernel"])
        .arg(program("client32.elf"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = vmm.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut shown = vec![0; WORKS.len() + "spinning\n".len()];
    stdout.read_exact(&mut shown).unwrap();
    let pid = child.id() as i32;
    // SAFETY: names our own child, which nobody has waited for.
    let kill = |signal| assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    let ignored = state(&child)
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    assert!(ignored.unwrap() & 1 << (libc::SIGHUP - 1) != 0, "SIGHUP is not ignored");
    kill(libc::SIGHUP);
    kill(libc::SIGTERM);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn counted_instructions_make_two_runs_the_same() {
    let run = || run("client64.elf", "restart", &["--icount", "--stats"]);
    let (first, second) = (run(), run());
    assert_eq!(first.1, second.1);
    let counts = |stats: &str| {
        let times = ["wall", "MIPS", "all of it", "the longest"];
        // What comes from there on is times only.
        let (counts, _) = stats.split_once("\nmoments").unwrap();
        let lines = counts.lines().filter(|line| !times.iter().any(|time| line.contains(time)));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(counts(&first.2), counts(&second.2));
    for words in ["instructions", "H_OF_CLIENT", "H_RTAS", "getprop"] {
        assert!(first.2.contains(words), "{words}: {}", first.2);
    }
}

#[test]
fn the_trace_tells_each_call() {
    let trace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace");
    let option = format!("--trace={}", trace.display());
    let (status, ..) = run("client32.elf", "power off", &[&option]);
    assert_eq!(status.code(), Some(0));
    let trace = std::fs::read_to_string(trace).unwrap();
    for words in [
        "finddevice(\"/chosen\")",
        "H_OF_CLIENT(",
        "RTAS power-off(",
        "call-method(\"instantiate-rtas\"",
    ] {
        assert!(trace.contains(words), "{words}: {trace}");
    }
}
#[test]
fn a_processor_that_the_back_end_is_not_is_refused() {
    let refused = |arguments: &[&str], words: &str| {
        let (status, _, complaint) = run("client64.elf", "", arguments);
        assert_eq!(status.code(), Some(2), "{complaint}");
        assert!(complaint.contains(words), "{complaint}");
    };
    refused(&["--machine", "cpu=POWER10"], "POWER9");
    refused(&["--machine", "cpu=POWER11"], "POWER9");
}

#[test]
#[ignore = "needs GNU binutils and C for powerpc64; `cargo xtask test` installs and uses them"]
fn tools_programs_rebuild_to_the_same_bytes() {
    rebuild::check(&program(""), &Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests"));
}

/// What can be read but once is there for every start.
#[test]
fn a_program_from_a_pipe_restarts_too() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"))
        .args(["--backend", "interp", "--memory", "size=64M", "--cmdline", "restart"])
        .args(["--kernel", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let program = std::fs::read(program(BOTH[1])).unwrap();
    child.stdin.take().unwrap().write_all(&program).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(shown, format!("{WORKS}restarting\n").repeat(3) + WORKS);
}
