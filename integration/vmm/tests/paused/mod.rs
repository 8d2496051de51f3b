//! A VMM that stands still at the moments that a test chooses: the test's program once more, which is
//! told what to do by a pipe, and says on standard error that it is done.
#![allow(dead_code)] // No test needs all of it.

pub(crate) mod vmm;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStderr, Command};

use crate::run::folder::Folder;
use crate::run::{Run, place, program};

/// Where the VMM finds its orders, what its command line is, and at which [moment](Moment) it stands
/// still first, if at any.
const ORDERS: &str = "TEST_ORDERS";
const ARGUMENTS: &str = "TEST_ARGUMENTS";
const FIRST: &str = "TEST_FIRST";

/// When a machine is to stand still.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// When it has made so many more hypercalls.
    Calls(u64),
    /// In the next one whose line of the trace has this.
    Line(&'static str),
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Calls(calls) => write!(f, "{calls}"),
            Self::Line(text) => f.write_str(text),
        }
    }
}

/// A machine, and who tells it to stand still.
pub(crate) struct Paused {
    pub(crate) run: Run,
    orders: File,
    said: BufReader<ChildStderr>,
    _folder: Folder,
}

impl Paused {
    /// Starts a guest program.
    pub(crate) fn start(guest: &str, cmdline: &str, options: &[&str]) -> Self {
        Self::of(&Self::arguments(guest, cmdline, options), None)
    }

    /// The same, which stands still when it has made its first hypercall: see [`Self::first`].
    pub(crate) fn start_still(guest: &str, cmdline: &str, options: &[&str]) -> Self {
        Self::of(&Self::arguments(guest, cmdline, options), Some(Moment::Calls(1)))
    }

    /// One that goes on from what was saved in a folder.
    pub(crate) fn restore(folder: &Path, first: Moment) -> Self {
        let source = format!("source_url=file://{}", folder.display());
        let arguments = ["--backend", &place::backend(), "--restore", &source];
        Self::of(&arguments.map(str::to_owned), Some(first))
    }

    fn arguments(guest: &str, cmdline: &str, options: &[&str]) -> Vec<String> {
        let kernel = program(guest);
        let kernel = ["--kernel", kernel.to_str().unwrap(), "--cmdline", cmdline];
        let memory: &[_] =
            if options.contains(&"--memory") { &[] } else { &["--memory", "size=64M"] };
        let backend = ["--backend", &place::backend()];
        let all = [&kernel[..], memory, &backend, options].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// Starts a VMM with these arguments, which stands still first at this moment.
    pub(crate) fn of(arguments: &[String], first: Option<Moment>) -> Self {
        let folder = Folder::new("pause");
        let pipe = folder.pipe("orders");
        let mut vmm = Command::new(std::env::current_exe().unwrap());
        // With one thread, as where there is one processor, the name of the test is on the console.
        vmm.args(["--exact", "vmm", "--nocapture", "--include-ignored", "--test-threads", "2"])
            .env(ORDERS, &pipe)
            .env(ARGUMENTS, arguments.join("\n"));
        if let Some(first) = first {
            vmm.env(FIRST, first.to_string());
        }
        let mut run = Run::of(vmm);
        let said = BufReader::new(run.take_stderr());
        // Nobody has to be there yet, with a writer that reads as well.
        let orders = File::options().read(true).write(true).open(&pipe).unwrap();
        Self { run, orders, said, _folder: folder }
    }

    /// Gives an order, and waits for the answer to it.
    pub(crate) fn order(&mut self, order: &str) -> String {
        let answer = self.try_order(order);
        answer.unwrap_or_else(|| panic!("no answer to {order}"))
    }

    /// The same; `None` where the machine ends instead.
    pub(crate) fn try_order(&mut self, order: &str) -> Option<String> {
        writeln!(self.orders, "{order}").unwrap();
        self.answer(order)
    }

    /// Has it go on to this moment: whether it stands still then, and has not ended.
    pub(crate) fn step(&mut self, to: Moment) -> bool {
        let answer = self.try_order(&format!("step {to}"));
        answer.is_some_and(|answer| answer == "Ok(())")
    }

    /// Saves the machine, which stands still.
    pub(crate) fn save(&mut self, folder: &Path) {
        assert_eq!(self.order(&format!("save {}", folder.display())), "Ok(())");
    }

    /// The process is gone from one moment to the next. Gives what was on the console.
    pub(crate) fn kill(mut self) -> String {
        self.run.child.kill().unwrap();
        self.run.end().1
    }

    /// Whether it stands still at its first moment, of one that was started with such.
    pub(crate) fn first(&mut self) -> bool {
        self.answer("first").is_some_and(|answer| answer == "Ok(())")
    }

    fn answer(&mut self, order: &str) -> Option<String> {
        let start = format!("{order}: ");
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.strip_prefix(&start) {
                Some(answer) => return Some(answer.trim_end().to_owned()),
                None => eprint!("{line}"),
            }
        }
    }
}
