//! The machine that is saved and moved, and what it is connected to.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::account;
use crate::failure::{Attempt, Failure, Result};
use crate::network::Network;
use crate::process::Process;

/// So many lines the guest counts before it is left alone no more.
const SETTLED: &str = "GUEST-COUNTS 20 ";

/// What guests are started with.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// pseries-vmm
    #[arg(long, value_name = "FILE")]
    vmm: PathBuf,

    /// Its back end
    #[arg(long, value_name = "NAME")]
    backend: String,

    /// The guest's kernel
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,

    /// The guest's initial RAM disk, with the program that notices things
    #[arg(long, value_name = "FILE")]
    initramfs: PathBuf,

    /// The guest's disk, with a file system
    #[arg(long, value_name = "FILE")]
    disk: PathBuf,

    /// A folder for what is made
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,

    /// The guest's kernel's command line
    #[arg(long, value_name = "TEXT")]
    cmdline: String,

    /// The guest's memory
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    memory: String,

    /// The guest's CPUs
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    cpus: u32,

    /// Options of pseries-vmm besides
    #[arg(last = true, value_name = "OPTION")]
    more: Vec<String>,
}

/// The guest, in one process after the other.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    options: &'a Options,
    folder: PathBuf,
    pub(crate) network: Network,
    /// What it has shown in processes that are gone.
    shown: String,
    pub(crate) process: Process,
    processes: usize,
}

impl<'a> Machine<'a> {
    /// Starts it, and waits until the guest counts.
    pub(crate) fn start(options: &'a Options) -> Result<Self> {
        let folder = &options.folder;
        fs::create_dir_all(folder).attempt(|| format!("make {}", folder.display()))?;
        let folder = folder.canonicalize().attempt(|| format!("find {}", folder.display()))?;
        let network = Network::start(&folder.join("network"))?;
        let text = |path: &Path| path.display().to_string();
        let mut arguments: Vec<String> = [
            ("--backend", options.backend.clone()),
            ("--kernel", text(&options.kernel)),
            ("--initramfs", text(&options.initramfs)),
            ("--cmdline", options.cmdline.clone()),
            ("--memory", format!("size={}", options.memory)),
            ("--cpus", format!("boot={}", options.cpus)),
            ("--disk", format!("path={}", text(&options.disk))),
            ("--net", format!("socket={}", text(network.socket()))),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect();
        arguments.extend(options.more.iter().cloned());
        let mut process = Process::start(&options.vmm, &folder, "process-0", &arguments)?;
        process.shows(SETTLED)?;
        Ok(Self { options, folder, network, shown: String::new(), process, processes: 1 })
    }

    /// Starts a process that has no guest yet, or one that is saved.
    pub(crate) fn another(&mut self, arguments: &[String]) -> Result<Process> {
        let name = format!("process-{}", self.processes);
        self.processes += 1;
        let backend = ["--backend".to_owned(), self.options.backend.clone()];
        Process::start(&self.options.vmm, &self.folder, &name, &[&backend, arguments].concat())
    }

    /// The guest is in another process from now on. Gives the one that it was in.
    pub(crate) fn goes_on_in(&mut self, process: Process) -> Result<Process> {
        let before = std::mem::replace(&mut self.process, process);
        self.shown += &before.console()?;
        Ok(before)
    }

    /// Saves it, paused as it is, in a folder of that name.
    pub(crate) fn save(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).attempt(|| format!("make {}", folder.display()))?;
        let url = json!({"destination_url": format!("file://{}", folder.display())});
        self.process.api.put("vm.snapshot", Some(&url))?;
        Ok(folder)
    }

    /// All that the guest has shown so far.
    pub(crate) fn console(&self) -> Result<String> {
        Ok(format!("{}{}", self.shown, self.process.console()?))
    }

    /// Nothing was wrong so far. A failure says where the guest is.
    pub(crate) fn check(&self) -> Result<()> {
        let check = || account::check(&self.console()?);
        check()
            .and_then(|()| self.network.messages())
            .map(drop)
            .map_err(|failure| self.process.failed(&failure.to_string()))
    }

    /// Has the guest count a line more.
    pub(crate) fn counts(&mut self) -> Result<()> {
        let lines = |machine: &Self| Ok(account::counts(&machine.console()?).count());
        let before = lines(self)?;
        let shown = self.shown.clone();
        self.process.until("count", |process| {
            Ok(account::counts(&format!("{shown}{}", process.console()?)).count() > before)
        })
    }

    /// Has the guest finish, look at everything, and end. Gives what it says of it.
    pub(crate) fn finish(mut self) -> Result<String> {
        self.network.finish();
        self.process.ends_well()?;
        let messages = self.network.messages()?;
        let console = self.console()?;
        let witnessed = account::witnessed(&console)
            .map_err(|failure| self.process.failed(&failure.to_string()))?;
        match account::figure(witnessed, "messages") {
            same if same == messages => Ok(witnessed.to_owned()),
            other => Err(Failure::new(format!(
                "the guest had answers to {other} messages, and its peer answered {messages}"
            ))),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
