//! The VMM on a terminal: raw while the guest has it, as before afterwards, whatever ends or stops
//! it; and a job among others.
#![cfg(all(feature = "vof", target_os = "linux"))]

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

mod run;

use run::program;
use run::pty::{Pty, wait_until};

/// Starts a guest in a VMM that leads the session of a terminal.
fn start(pty: &Pty, guest: &str, cmdline: &str) -> Child {
    let mut vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    vmm.args(["--backend", "interp", "--memory", "size=64M", "--cmdline", cmdline, "--kernel"])
        .arg(program(guest))
        .stdout(pty.file())
        .stderr(pty.file());
    run::with_default_signals(&mut vmm);
    pty.start(&mut vmm)
}

fn send(vmm: &Child, signal: i32) {
    // SAFETY: names our own child, which nobody has waited for.
    assert_eq!(unsafe { libc::kill(vmm.id() as i32, signal) }, 0);
}

fn end(mut vmm: Child) -> ExitStatus {
    wait_until("the VMM has ended", || vmm.try_wait().unwrap().is_some());
    vmm.wait().unwrap()
}

fn is_stopped(vmm: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", vmm.id())).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('T')
}

/// Every signal that ends a process and that can be caught.
fn deadly() -> Vec<i32> {
    let named = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGIO,
        libc::SIGPWR,
        libc::SIGSTKFLT,
        libc::SIGXCPU,
        libc::SIGSYS,
        libc::SIGABRT,
        libc::SIGTRAP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
    ];
    let real_time = [libc::SIGRTMIN(), libc::SIGRTMIN() + 1, libc::SIGRTMAX()];
    named.into_iter().chain(real_time).collect()
}

#[test]
fn each_signal_that_ends_it_gives_the_terminal_back() {
    for signal in deadly() {
        let mut pty = Pty::new();
        let vmm = start(&pty, "client32.elf", "spin");
        pty.expect("spinning");
        assert!(pty.is_raw());
        send(&vmm, signal);
        let status = end(vmm);
        assert_eq!(status.signal(), Some(signal));
        assert!(pty.is_as_before(), "signal {signal} left the terminal raw");
    }
}

#[test]
fn signals_that_say_nothing_end_nothing() {
    let mut pty = Pty::new();
    let vmm = start(&pty, "client32.elf", "console");
    pty.expect("echo");
    for signal in [libc::SIGPIPE, libc::SIGWINCH, libc::SIGCHLD, libc::SIGURG, libc::SIGXFSZ] {
        send(&vmm, signal);
    }
    send(&vmm, libc::SIGTTIN);
    pty.type_in("here");
    pty.expect("here");
    assert!(pty.is_raw());
    pty.type_in("\x01x");
    assert_eq!(end(vmm).code(), Some(0));
    assert!(pty.is_as_before());
}

/// Where no shell told it that it stops, it takes the terminal again when it goes on.
#[test]
fn a_job_that_was_stopped_without_a_word_goes_on_raw() {
    let mut pty = Pty::new();
    let vmm = start(&pty, "client32.elf", "console");
    pty.expect("echo");
    for signal in [libc::SIGSTOP, libc::SIGTSTP] {
        send(&vmm, signal);
        wait_until("it is stopped", || is_stopped(&vmm));
        if signal == libc::SIGTSTP {
            assert!(pty.is_as_before());
        }
        pty.make_as_before();
        send(&vmm, libc::SIGCONT);
        pty.wait_until_raw(true);
        pty.type_in("again");
        pty.expect("again");
    }
    pty.type_in("\x01x");
    assert_eq!(end(vmm).code(), Some(0));
    assert!(pty.is_as_before());
}

/// Keeps the thread that starts and ends machines from going on, as a disk does that hangs.
fn freeze_main_thread(vmm: &Child) {
    let (id, none) = (vmm.id() as libc::pid_t, std::ptr::null_mut::<libc::c_void>());
    let mut status = 0;
    // SAFETY: about our own child; nothing of ours is written to but the number.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, id, none, none), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, id, none, none), 0);
        assert_eq!(libc::waitpid(id, &raw mut status, 0), id);
    }
    assert!(libc::WIFSTOPPED(status));
}

/// Keeps the thread that signals come to from going on when it comes to its next `ioctl`. Gives its
/// number.
fn freeze_signals_thread_at_ioctl(vmm: &Child, cause: impl FnOnce()) -> libc::pid_t {
    let tasks = format!("/proc/{}/task", vmm.id());
    let is_it = |id: &str| {
        let name = std::fs::read_to_string(format!("{tasks}/{id}/comm"));
        name.is_ok_and(|name| name == "signals\n")
    };
    let find = || {
        let threads = std::fs::read_dir(&tasks).unwrap();
        let mut ids = threads.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        ids.find(|id| is_it(id))
    };
    // A thread gives itself its name, when it first runs.
    let id: libc::pid_t = loop {
        match find() {
            Some(id) => break id.parse().unwrap(),
            None => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    };
    let none = std::ptr::null_mut::<libc::c_void>();
    let mut status = 0;
    // SAFETY: about a thread of our own child; nothing of ours is written to but the number and the
    // structure, of which the kernel is told the size.
    unsafe {
        let options = libc::PTRACE_O_TRACESYSGOOD as usize as *mut libc::c_void;
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, id, none, options), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, id, none, none), 0);
        assert_eq!(libc::waitpid(id, &raw mut status, libc::__WALL), id);
        cause();
        loop {
            assert_eq!(libc::ptrace(libc::PTRACE_SYSCALL, id, none, none), 0);
            assert_eq!(libc::waitpid(id, &raw mut status, libc::__WALL), id);
            assert!(libc::WIFSTOPPED(status));
            let mut call = std::mem::zeroed::<libc::ptrace_syscall_info>();
            let bytes = size_of_val(&call) as *mut libc::c_void;
            libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, id, bytes, &raw mut call);
            let is_entry = call.op == libc::PTRACE_SYSCALL_INFO_ENTRY;
            if is_entry && call.u.entry.nr == libc::SYS_ioctl as u64 {
                return id;
            }
        }
    }
}

/// Another thread gives the terminal back at that moment, and never comes to the end of it.
#[test]
fn a_signal_while_the_terminal_is_given_back_leaves_it_as_before() {
    let mut pty = Pty::new();
    let vmm = start(&pty, "client32.elf", "spin");
    pty.expect("spinning");
    let thread = freeze_signals_thread_at_ioctl(&vmm, || send(&vmm, libc::SIGTSTP));
    assert!(pty.is_raw());
    send(&vmm, libc::SIGUSR1);
    // It is there until its end was seen.
    // SAFETY: about a thread of our own child.
    while unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) } > 0 {}
    assert_eq!(end(vmm).signal(), Some(libc::SIGUSR1));
    assert!(pty.is_as_before(), "left raw");
}

/// In the middle of a start, say, or of a restart.
#[test]
fn a_machine_that_does_not_stop_is_left_as_it_is() {
    for leave in [None, Some(libc::SIGTERM), Some(libc::SIGHUP)] {
        let mut pty = Pty::new();
        let vmm = start(&pty, "client32.elf", "spin");
        pty.expect("spinning");
        freeze_main_thread(&vmm);
        match leave {
            Some(signal) => send(&vmm, signal),
            None => pty.type_in("\x01x"),
        }
        let status = end(vmm);
        assert_eq!((status.signal(), status.code()), (leave, leave.map_or(Some(0), |_| None)));
        assert!(pty.is_as_before());
    }
}

/// That somebody had to wait for it does not make good what could not be written.
#[test]
fn a_machine_that_does_not_stop_still_tells_of_lost_output() {
    let mut pty = Pty::new();
    let mut vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    vmm.args(["--backend", "interp", "--memory", "size=64M", "--cmdline", "spin", "--kernel"])
        .arg(program("client32.elf"))
        .arg("--trace=/dev/full")
        .stdout(pty.file())
        .stderr(pty.file());
    let vmm = pty.start(&mut vmm);
    pty.expect("cannot write to /dev/full");
    // Raw: Ctrl-A would go nowhere before.
    pty.wait_until_raw(true);
    freeze_main_thread(&vmm);
    pty.type_in("\x01x");
    assert_eq!(end(vmm).code(), Some(1));
    assert!(pty.is_as_before());
}

/// A shell at a terminal that can start the VMM by a word.
struct Shell {
    pty: Pty,
    shell: Child,
}

impl Shell {
    fn start(name: &str) -> Option<Self> {
        let found = Command::new(name).args(["-c", ":"]).stdin(Stdio::null()).status();
        found.ok().filter(ExitStatus::success)?;
        let mut pty = Pty::new();
        let mut shell = Command::new(name);
        if name == "bash" {
            shell.args(["--norc", "--noprofile"]);
        }
        shell.arg("-i").stdout(pty.file()).stderr(pty.file());
        shell.env("PS1", "$ ").env("ENV", "").env("HISTFILE", "").env("TERM", "dumb");
        run::with_default_signals(&mut shell);
        let shell = pty.start(&mut shell);
        pty.expect("$ ");
        Some(Self { pty, shell })
    }

    /// How the VMM is called, with a guest that shows what is typed.
    fn vmm() -> String {
        let (vmm, guest) = (env!("CARGO_BIN_EXE_pseries-vmm"), program("client32.elf"));
        let guest = guest.display();
        format!("'{vmm}' --backend interp --memory size=64M --cmdline console --kernel '{guest}'")
    }

    /// Gives it a command, and waits until it wants the next.
    fn command(&mut self, command: &str) {
        self.pty.type_in(&format!("{command}\n"));
        self.pty.type_in("echo do''ne\n");
        self.pty.expect("done");
        self.pty.expect("$ ");
    }

    /// Gives it a command that goes on in the foreground.
    fn foreground(&mut self, command: &str) {
        self.pty.type_in(&format!("{command}\n"));
    }

    fn echo(&mut self) {
        self.pty.wait_until_raw(true);
        self.pty.type_in("hello");
        self.pty.expect("hello");
    }

    /// The VMM's process: the shell's child.
    fn vmm_process(&self) -> Option<Process> {
        let processes = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| Process::look(entry.unwrap().file_name().to_str()?.parse().ok()?));
        let parent = self.shell.id();
        // Shells do not look after those that have ended at once.
        processes.into_iter().find(|process| process.parent == parent && process.state != 'Z')
    }

    /// Sends a signal from another session, as a person at another terminal does it.
    fn send(&self, signal: i32) {
        let id = self.vmm_process().expect("no VMM").id;
        // SAFETY: a number of a process that the shell has not waited for.
        assert_eq!(unsafe { libc::kill(id as i32, signal) }, 0);
    }

    fn leave(&mut self) {
        self.pty.type_in("\x01x");
        self.pty.expect("$ ");
        wait_until("the VMM is gone", || self.vmm_process().is_none());
        assert!(!self.pty.is_raw());
        self.command("true");
    }
}

#[derive(Debug)]
struct Process {
    id: u32,
    state: char,
    parent: u32,
}

impl Process {
    fn look(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let mut fields = stat.rsplit(") ").next()?.split(' ');
        let state = fields.next()?.chars().next()?;
        Some(Self { id, state, parent: fields.next()?.parse().ok()? })
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Does something in each shell that there is.
fn in_shells(job: impl Fn(&mut Shell)) {
    for name in ["sh", "bash"] {
        if let Some(mut shell) = Shell::start(name) {
            job(&mut shell);
        }
    }
}

/// It does not touch the terminal, and takes it when it gets it, which no signal tells.
#[test]
fn a_job_in_the_background_takes_the_terminal_when_it_comes_forward() {
    in_shells(|shell| {
        shell.foreground(&format!("{} &", Shell::vmm()));
        shell.pty.expect("echo\n".trim());
        shell.command("true");
        assert!(!shell.pty.is_raw());
        shell.foreground("fg");
        shell.echo();
        shell.leave();
    });
}

#[test]
fn a_job_that_goes_on_in_the_background_leaves_the_keys_to_the_shell() {
    for signal in [libc::SIGTSTP, libc::SIGSTOP] {
        in_shells(|shell| {
            shell.foreground(&Shell::vmm());
            shell.echo();
            shell.send(signal);
            shell.pty.expect("$ ");
            wait_until("it is stopped", || shell.vmm_process().unwrap().state == 'T');
            shell.command("true");
            shell.foreground("bg");
            wait_until("it goes on", || shell.vmm_process().unwrap().state != 'T');
            for _ in 0..10 {
                shell.command("true");
            }
            assert_ne!(shell.vmm_process().unwrap().state, 'T');
            wait_until("the shell has the terminal", || !shell.pty.is_raw());
            shell.foreground("fg");
            shell.echo();
            shell.leave();
        });
    }
}

#[test]
fn a_job_that_was_stopped_comes_back_raw() {
    for signal in [libc::SIGTSTP, libc::SIGSTOP] {
        in_shells(|shell| {
            shell.foreground(&Shell::vmm());
            shell.echo();
            for _ in 0..3 {
                shell.send(signal);
                shell.pty.expect("$ ");
                if signal == libc::SIGSTOP {
                    // Some shells do it, at others people do.
                    shell.pty.make_as_before();
                }
                shell.command("true");
                shell.foreground("fg");
                shell.echo();
            }
            shell.leave();
        });
    }
}

/// Whatever ends it in the background, the shell keeps the terminal as it is.
#[test]
fn a_job_that_ends_in_the_background_does_not_touch_the_terminal() {
    for signal in [libc::SIGTERM, libc::SIGUSR1] {
        in_shells(|shell| {
            shell.foreground(&Shell::vmm());
            shell.echo();
            shell.send(libc::SIGSTOP);
            shell.pty.expect("$ ");
            shell.foreground("bg");
            wait_until("it goes on", || shell.vmm_process().unwrap().state != 'T');
            // The shell's settings of now are those that count.
            shell.command("stty -echoe");
            shell.send(signal);
            wait_until("the VMM is gone", || shell.vmm_process().is_none());
            shell.command("stty -a | grep -q -e -echoe && echo ke''pt");
            assert!(!shell.pty.is_raw());
        });
    }
}
