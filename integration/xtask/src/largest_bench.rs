//! `cargo xtask bench largest`: the largest machine's tree, and a kernel's way through it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::boot;
use crate::failure::{Attempt, Failure, Result};
use crate::folders::TemporaryFolder;
use crate::guest;
use crate::largest::{self, CPUS, ClientCalls, NODES};
use crate::program::{line, output_of};

/// The kernel's last words before it is on its own (prom_init.c).
const LAST_WORDS: &str = "Booting Linux via __start()";

/// How often what is quick is done; the quickest counts.
const RUNS: usize = 20;

pub(crate) fn run() -> Result<u8> {
    let guest = guest::make(false)?;
    let vmm = boot::build()?;
    let folder = TemporaryFolder::make(&guest::folder(), "largest-bench")?;
    let machine = largest::machine(folder.path())?;
    let blob = folder.path().join("largest.dtb");
    println!("{CPUS} CPUs and 16 TiB on {NODES} NUMA nodes");

    let start = quickest(Command::new(&vmm).arg("--version"))?;
    let dump =
        quickest(Command::new(&vmm).arg("--config").arg(&machine).arg("--dump-fdt").arg(&blob))?;
    let bytes = blob.metadata().attempt(|| format!("read {}", blob.display()))?.len();
    let (dump, start) = (dump * 1e3, start * 1e3);
    println!(
        "  --dump-fdt, quickest of {RUNS}: {dump:.1} ms, of which {start:.1} ms start the program"
    );
    println!("  the tree: {bytes} bytes");
    println!("  to {LAST_WORDS:?}: {}", prom_init(&vmm, &machine, &guest.kernel)?);
    Ok(0)
}

/// How long a program takes, in seconds.
fn quickest(command: &mut Command) -> Result<f64> {
    let mut quickest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        output_of(command)?;
        quickest = quickest.min(start.elapsed().as_secs_f64());
    }
    Ok(quickest)
}

/// Lets a kernel start until it is on its own.
fn prom_init(vmm: &Path, machine: &Path, kernel: &Path) -> Result<ClientCalls> {
    let mut command = Command::new(vmm);
    command.args(largest::arguments(machine, kernel)).stdin(Stdio::null());
    let name = line(&command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .attempt(|| format!("run {name}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut console = BufReader::new(stdout.expect("asked for above"));
    let mut said = String::new();
    let mut text = Vec::new();
    while console.read_until(b'\n', &mut text).is_ok_and(|count| count > 0) {
        if String::from_utf8_lossy(&text).contains(LAST_WORDS) {
            // SAFETY: a signal to a child that is not waited for yet.
            unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
            break;
        }
        text.clear();
    }
    // It must not wait for somebody to take what its guest goes on to say.
    let rest = std::thread::spawn(move || console.read_to_end(&mut Vec::new()));
    let read = stderr.expect("asked for above").read_to_string(&mut said);
    read.attempt(|| format!("read what {name} says"))?;
    child.wait().attempt(|| format!("wait for {name}"))?;
    drop(rest.join());
    ClientCalls::read(&said)
        .ok_or_else(|| Failure::new(format!("{name} does not say what client calls took: {said}")))
}
