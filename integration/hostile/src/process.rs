//! The VMM as a process has it, on a thread of this one.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pseries_vmm::cli::Cli;
use pseries_vmm::program::command_line;
use pseries_vmm::resize::Control;
use pseries_vmm::{Ending, Failure, run_controlled};

/// How long a machine may take for anything: as long as it likes, if it does.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// A machine that goes on until it is ended: in the middle of calls of its client, with requests under
/// way. `disk` is a file for it.
pub(crate) fn endless(disk: &str) -> [[String; 2]; 7] {
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../vmm/tests/guests/outputs.elf");
    [
        ["--kernel", guest],
        ["--cmdline", "console"],
        ["--memory", "size=64M"],
        ["--cpus", "boot=2"],
        ["--serial", "null"],
        ["--disk", &format!("path={disk},readonly=on")],
        ["--rng", "src=/dev/urandom"],
    ]
    .map(|option| option.map(str::to_owned))
}

/// A folder of this process, for this.
pub(crate) fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hostile-{}", std::process::id())).join(name)
}

/// What is the matter, with its reasons.
pub(crate) fn chain(failure: &Failure) -> String {
    let mut said = failure.to_string();
    let mut source = failure.source();
    while let Some(error) = source {
        said += &format!(": {error}");
        source = error.source();
    }
    said
}

/// A machine on a thread of its own.
pub(crate) struct Machine {
    pub(crate) cli: Arc<Cli>,
    pub(crate) control: Control,
    thread: JoinHandle<Result<Ending, Failure>>,
}

impl Machine {
    pub(crate) fn start<T: AsRef<str>>(arguments: &[T]) -> Self {
        let usual = ["pseries-vmm", "--backend", "interp"];
        let arguments = usual.into_iter().chain(arguments.iter().map(AsRef::as_ref));
        let arguments = arguments.map(Into::into);
        let cli = Arc::new(command_line(arguments).expect("arguments that are understood"));
        let control = Control::new();
        let (own, machine) = (cli.clone(), control.clone());
        let thread = thread::spawn(move || run_controlled(&own, &machine));
        Self { cli, control, thread }
    }

    /// Waits until it runs; one that never does says why.
    pub(crate) fn runs(self) -> Result<Self, Failure> {
        let began = Instant::now();
        while self.control.info().is_err() {
            if self.thread.is_finished() {
                return match self.thread.join().expect("no panic") {
                    Err(failure) => Err(failure),
                    // It was quicker than this thread.
                    Ok(ending) => Ok(Self { thread: thread::spawn(|| Ok(ending)), ..self }),
                };
            }
            assert!(began.elapsed() < LIMIT, "it neither runs nor ends");
            thread::sleep(Duration::from_micros(200));
        }
        Ok(self)
    }

    /// Ends it. Whether it had ended by itself.
    pub(crate) fn end(self) -> bool {
        self.control.stop();
        !matches!(self.thread.join().expect("no panic"), Ok(Ending::Stopped))
    }
}
