//! The side of the VMM: orders from a pipe, and a count of hypercalls.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use arch_ppc64::TRACE_TARGET;
use log::{LevelFilter, Log, Metadata, Record};
use pseries_vmm::pause::PauseError;
use pseries_vmm::program::command_line;
use pseries_vmm::resize::Control;

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
        left: AtomicU64::new(0),
        reached: Mutex::new(reached),
    });
    log::set_logger(counter).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let first = std::env::var(FIRST).ok().map(|first| first.parse().unwrap());
    if let Some(first) = first {
        counter.left.store(first, SeqCst);
    }
    let machine = control.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        if first.is_some() {
            eprintln!("first: {:?}", pause_at(&machine, &moments));
        }
        for line in BufReader::new(File::open(orders).unwrap()).lines().map_while(Result::ok) {
            let done = match line.split_once(' ') {
                Some(("step", count)) => {
                    counter.left.store(count.parse().unwrap(), SeqCst);
                    machine.resume().and_then(|()| pause_at(&machine, &moments))
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

/// Counts the lines of the trace that tell of hypercalls, in the threads of the CPUs that make them.
struct Counter {
    control: Control,
    /// How many there are till the machine is to stand still; 0 for no end.
    left: AtomicU64,
    reached: Mutex<Sender<()>>,
}

impl Log for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TRACE_TARGET
    }

    /// The CPU of the hypercall waits here until somebody wants the machine to stand still, which is then
    /// the next thing that it does.
    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        let what = line.split_once(' ').map_or("", |(_cpu, what)| what);
        if what.starts_with("client ") || what.starts_with("RTAS ") {
            return;
        }
        let one_less = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(SeqCst, SeqCst, one_less) != Ok(1) {
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
