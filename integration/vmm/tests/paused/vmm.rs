//! The side of the VMM: orders from a pipe, and a count of hypercalls.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use arch_ppc64::TRACE_TARGET;
use log::{LevelFilter, Log, Metadata, Record};
use pseries_vmm::pause::PauseError;
use pseries_vmm::program::command_line;
use pseries_vmm::resize::Control;
use pseries_vmm::saved::SavedMachine;

use super::{ARGUMENTS, FIRST, ORDERS};

/// More than any pause takes.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs the VMM that the environment asks for, if it does, and ends the process with it.
pub(crate) fn run() {
    let (Some(orders), Ok(arguments)) = (std::env::var_os(ORDERS), std::env::var(ARGUMENTS)) else {
        return;
    };
    let arguments = std::iter::once("vmm").chain(arguments.split('\n')).map(Into::into);
    let cli = command_line(arguments).unwrap();
    let control = Control::new();
    let (reached, moments) = channel();
    let counter = COUNTER.get_or_init(|| Counter {
        control: control.clone(),
        wanted: Mutex::default(),
        reached: Mutex::new(reached),
    });
    log::set_logger(counter).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let first = std::env::var(FIRST).ok();
    if let Some(first) = &first {
        counter.want(first);
    }
    let config = match &cli.restore {
        Some(restore) => {
            let saved = SavedMachine::open(restore.source_url.path());
            saved.map(|saved| saved.config().clone()).unwrap_or_default()
        }
        None => cli.vm_config().unwrap(),
    };
    let machine = control.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        if first.is_some() {
            eprintln!("first: {:?}", pause_at(&machine, &moments));
        }
        for line in BufReader::new(File::open(orders).unwrap()).lines().map_while(Result::ok) {
            let done = match line.split_once(' ') {
                Some(("step", moment)) => {
                    counter.want(moment);
                    machine.resume().and_then(|()| pause_at(&machine, &moments))
                }
                Some(("save", folder)) => {
                    eprintln!("{line}: {:?}", machine.snapshot(&config, Path::new(folder)));
                    continue;
                }
                Some(("cpus", count)) => {
                    let resized = machine.resize(Some(count.parse().unwrap()), None);
                    eprintln!("{line}: {:?}", resized.map(|info| info.cpus.coming));
                    continue;
                }
                _ => obey(&machine, &line),
            };
            eprintln!("{line}: {done:?}");
        }
    });
    let status = format!("{:?}", pseries_vmm::program::run(&cli, &control));
    std::process::exit(i32::from(status != format!("{:?}", ExitCode::SUCCESS)));
}

/// Pauses the machine or has it go on, as soon as it is there.
fn obey(machine: &Control, order: &str) -> Result<(), PauseError> {
    loop {
        let done = match order {
            "pause" => machine.pause(LIMIT),
            "resume" => machine.resume(),
            other => panic!("no order: {other:?}"),
        };
        if !matches!(done, Err(PauseError::NotRunning)) {
            return done;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Pauses the machine when the moment has come.
fn pause_at(machine: &Control, moments: &Receiver<()>) -> Result<(), PauseError> {
    moments.recv().unwrap();
    machine.pause(LIMIT)
}

static COUNTER: OnceLock<Counter> = OnceLock::new();

/// Looks at the lines of the trace, in the threads of the CPUs whose hypercalls they tell of.
struct Counter {
    control: Control,
    /// When the machine is to stand still.
    wanted: Mutex<Option<Wanted>>,
    reached: Mutex<Sender<()>>,
}

enum Wanted {
    /// After so many hypercalls.
    Calls(u64),
    /// In one whose line has this.
    Line(String),
}

impl Counter {
    fn want(&self, moment: &str) {
        let wanted = moment.parse().map_or_else(|_| Wanted::Line(moment.to_owned()), Wanted::Calls);
        *self.wanted.lock().unwrap() = Some(wanted);
    }

    /// Whether this line is the moment.
    fn is_moment(&self, line: &str) -> bool {
        let mut wanted = self.wanted.lock().unwrap();
        let is_it = match &mut *wanted {
            None => false,
            Some(Wanted::Line(text)) => line.contains(text.as_str()),
            Some(Wanted::Calls(left)) => {
                let what = line.split_once(' ').map_or("", |(_cpu, what)| what);
                // These have one of their own besides.
                let is_inner = what.starts_with("client ") || what.starts_with("RTAS ");
                *left -= u64::from(!is_inner);
                *left == 0
            }
        };
        if is_it {
            *wanted = None;
        }
        is_it
    }
}

impl Log for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TRACE_TARGET
    }

    /// The CPU of the hypercall waits here until somebody wants the machine to stand still, which is then
    /// the next thing that it does.
    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) || !self.is_moment(&record.args().to_string()) {
            return;
        }
        self.reached.lock().unwrap().send(()).unwrap();
        while !self.control.is_paused() {
            std::thread::sleep(Duration::from_micros(100));
        }
        // It is said a moment before the CPUs are told.
        std::thread::sleep(Duration::from_millis(1));
    }

    fn flush(&self) {}
}
