//! `cargo xtask bench io`: a guest that uses its disk and its network, on KVM in the emulated host,
//! beside QEMU there.

mod figures;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::ValueEnum;

use self::figures::{OURS, PEER, print, rates};
use crate::cpio::Archive;
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::guest::{self, Guest, NO_WATCHDOGS};
use crate::iperf;
use crate::modules;
use crate::packages::{self, Tool};
use crate::peer;
use crate::processor_time;
use crate::program::{cargo, ended, line, progress};
use crate::user_programs::{self, UserProgram};

/// What uses the disk, and what runs it in each way.
const PROGRAM: UserProgram = UserProgram { name: "io", options: &[] };
const SCRIPT: &str = include_str!("../guest/io");

/// What the guest's kernel needs besides.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_net"];

/// What the guest uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Its disk and TCP.
    #[default]
    All,
    /// Its disk.
    Disk,
    /// TCP.
    Tcp,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Disk => "disk",
            Self::Tcp => "tcp",
        }
    }
}

/// Runs all in turns, `runs` times, and prints the figures beside the target: on bare metal, or on a
/// partition whose clock goes by the instructions that it executes.
pub(crate) fn run(runs: u32, what: What, is_counted: bool) -> Result<u8> {
    packages::ensure(&Tool::FOR_HOST)?;
    let guest = guest::make(false)?;
    let iperf = iperf::make()?;
    let initramfs = initramfs(&guest, &iperf)?;
    let peer = peer::make()?;
    let script = folders::workspace().join("integration/xtask/host/io");
    let mut xtask = cargo();
    xtask.current_dir(folders::workspace()).args(["xtask", "on-power", "--disk"]).arg(&peer);
    if is_counted {
        xtask.args(["--host", "pseries9", "--counted"]);
    }
    for file in [&guest.kernel, &initramfs, &iperf, &script] {
        xtask.arg("--file").arg(file);
    }
    let cmdline = format!("console=hvc0 cryptomgr.notests {NO_WATCHDOGS} quiet autorun=/bin/ways");
    xtask.args(["--", "sh", "io", &runs.to_string(), &cmdline, what.name()]);
    progress!("running each {runs} times, which takes some minutes");
    xtask.stdin(Stdio::null()).stderr(Stdio::inherit());
    let mut child = xtask.stdout(Stdio::piped()).spawn().attempt(|| "run cargo".into())?;
    let output = child.stdout.take().expect("asked for above");
    let console = record(output, child.id())?;
    let status = child.wait().attempt(|| "wait for cargo".into())?;
    if !status.success() {
        let words = line(&xtask);
        return Err(Failure::new(format!("{words} {}; it said\n{console}", ended(status))));
    }
    let rates = rates(&console);
    let of = |by| rates.iter().filter(|rate| rate.by == by).count();
    if rates.is_empty() || of(OURS) != of(PEER) || of(OURS) % runs as usize != 0 {
        return Err(Failure::new(format!("a guest did not end as it should; it said\n{console}")));
    }
    print(&rates, runs, is_counted);
    Ok(0)
}

/// All that comes from a process. Behind each line `exits:` there is one `processor:` with how long
/// those below the process have worked so far: the emulator, that is.
fn record(output: impl Read, process: u32) -> Result<String> {
    let mut console = String::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.attempt(|| "read what a guest says".into())?;
        let line = String::from_utf8_lossy(&line);
        console.push_str(&line);
        console.push('\n');
        if line.starts_with("exits: ") {
            console.push_str(&format!("processor: {}\n", processor_time::below(process)?));
        }
    }
    Ok(console)
}

/// The usual guest with the programs, and the modules for a disk and a network.
fn initramfs(guest: &Guest, iperf: &Path) -> Result<PathBuf> {
    let mut disk = folders::read(&user_programs::initramfs(&[PROGRAM])?)?;
    let mut archive = Archive::default();
    archive.program("bin/ways", SCRIPT.as_bytes());
    disk.extend_from_slice(&archive.finish());
    for archive in [&modules::archive(guest, "io-modules", &MODULES)?, iperf] {
        disk.extend_from_slice(&folders::read(archive)?);
    }
    let file = guest::folder().join("io.cpio.gz");
    folders::write(&file, &disk)?;
    Ok(file)
}
