//! A VMM that a test tells what to do with its machine, by a pipe. The test's program is the VMM as well.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStderr, Command, ExitCode};
use std::time::Duration;

use pseries_vmm::pause::PauseError;
use pseries_vmm::program::command_line;
use pseries_vmm::resize::{Control, ResizeError};

use super::folder::Folder;
use super::{LIMIT, Run, program};

/// Where the VMM finds its orders, and what its command line is.
const ORDERS: &str = "TEST_ORDERS";
const ARGUMENTS: &str = "TEST_ARGUMENTS";

/// A VMM, and who tells it what to do.
pub(crate) struct Told {
    pub(crate) run: Run,
    orders: File,
    said: BufReader<ChildStderr>,
    _folder: Folder,
}

impl Told {
    /// One that runs a guest program with 64 MiB of RAM.
    pub(crate) fn start(name: &str, guest: &str, cmdline: &str, options: &[&str]) -> Self {
        let kernel = program(guest);
        let kernel = ["--kernel", kernel.to_str().unwrap(), "--cmdline", cmdline];
        let memory: &[_] =
            if options.contains(&"--memory") { &[] } else { &["--memory", "size=64M"] };
        Self::of_arguments(name, &[&kernel[..], memory, options].concat())
    }

    /// One that has a saved machine go on, as `how` says: nothing, or such as `,resume=off`.
    pub(crate) fn restore(name: &str, folder: &Path, how: &str) -> Self {
        let source = format!("source_url=file://{}{how}", folder.display());
        Self::of_arguments(name, &["--restore", &source])
    }

    pub(crate) fn of_arguments(name: &str, arguments: &[&str]) -> Self {
        let folder = Folder::new(&format!("told-{name}"));
        let pipe = folder.pipe("orders");
        let mut vmm = Command::new(std::env::current_exe().unwrap());
        // With one thread, as where there is one processor, the name of the test is on the console.
        vmm.args(["--exact", "vmm", "--nocapture", "--include-ignored", "--test-threads", "2"])
            .env(ORDERS, &pipe)
            .env(ARGUMENTS, [&["--backend", "interp"], arguments].concat().join("\n"));
        let mut run = Run::of(vmm);
        let said = BufReader::new(run.take_stderr());
        // Nobody has to be there yet, with a writer that reads as well.
        let orders = File::options().read(true).write(true).open(&pipe).unwrap();
        Self { run, orders, said, _folder: folder }
    }

    /// Gives an order, and waits for the answer to it.
    pub(crate) fn order(&mut self, order: &str) -> String {
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

    /// The same, of what is done.
    pub(crate) fn tell(&mut self, order: &str) {
        assert_eq!(self.order(order), "done");
    }

    /// Saves the machine, which stands still.
    pub(crate) fn save(&mut self, folder: &Path) {
        self.tell(&format!("save {}", folder.display()));
    }

    /// Waits for the end: what the status is, what the console and standard error had.
    pub(crate) fn end(self) -> (Option<i32>, String, String) {
        let Self { run, mut said, .. } = self;
        let (status, shown, _) = run.end();
        let mut complaint = String::new();
        std::io::Read::read_to_string(&mut said, &mut complaint).unwrap();
        (status.code(), shown, complaint)
    }

    /// The process is gone from one moment to the next.
    pub(crate) fn kill(mut self) -> String {
        self.run.child.kill().unwrap();
        self.run.end().1
    }
}

/// The VMM of a test, in a test of that name that is ignored.
pub(crate) fn vmm() {
    let (Some(orders), Ok(arguments)) = (std::env::var_os(ORDERS), std::env::var(ARGUMENTS)) else {
        return;
    };
    let arguments = std::iter::once("vmm").chain(arguments.split('\n')).map(Into::into);
    let cli = command_line(arguments).unwrap();
    let config = match &cli.restore {
        Some(restore) => {
            let saved = pseries_vmm::saved::SavedMachine::open(restore.source_url.path());
            saved.map(|saved| saved.config().clone()).unwrap_or_default()
        }
        None => cli.vm_config().unwrap(),
    };
    pseries_vmm::take_limits_as_errors();
    let control = Control::new();
    let machine = control.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        for line in BufReader::new(File::open(orders).unwrap()).lines().map_while(Result::ok) {
            let is_early = |error: &PauseError| matches!(error, PauseError::NotRunning);
            let answer = match line.split_once(' ') {
                None if line == "pause" => {
                    once_there(|| machine.pause(LIMIT), is_early).map_err(|error| error.to_string())
                }
                None if line == "resume" => {
                    once_there(|| machine.resume(), is_early).map_err(|error| error.to_string())
                }
                Some(("save", folder)) => {
                    machine.snapshot(&config, Path::new(folder)).map_err(|error| chain(&error))
                }
                // No file becomes longer than so many bytes.
                Some(("limit", bytes)) => {
                    limit_files(bytes.parse().unwrap());
                    Ok(())
                }
                Some(("memory", bytes)) => {
                    let resize = || machine.resize(None, Some(bytes.parse().unwrap()));
                    let is_early = |error: &ResizeError| matches!(error, ResizeError::NotRunning);
                    once_there(resize, is_early).map(drop).map_err(|error| chain(&error))
                }
                _ => Err("there is no such order".to_owned()),
            };
            match answer {
                Ok(()) => eprintln!("{line}: done"),
                Err(error) => eprintln!("{line}: {error}"),
            }
        }
    });
    let status = format!("{:?}", pseries_vmm::program::run(&cli, &control));
    let is = |code: u8| status == format!("{:?}", ExitCode::from(code));
    std::process::exit((0..3).find(|&code| is(code)).unwrap_or(3).into());
}

/// Does it as soon as the machine is there.
fn once_there<T, E>(act: impl Fn() -> Result<T, E>, is_early: impl Fn(&E) -> bool) -> Result<T, E> {
    loop {
        match act() {
            Err(error) if is_early(&error) => std::thread::sleep(Duration::from_millis(1)),
            done => return done,
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map_or_else(String::new, |source| format!(": {}", chain(source)));
    format!("{error}{source}")
}

fn limit_files(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads the structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
}
