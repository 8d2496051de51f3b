//! `cargo xtask bench bootdisk`: from start to GRUB's menu and to a login, from the same disk in the VMM
//! and in QEMU with its usual firmware.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::boot;
use crate::boot_bench::median;
use crate::debian::{self, Variant, set_variables};
use crate::failure::{Attempt, Failure, Result};
use crate::folders::TemporaryFolder;
use crate::guest;
use crate::packages::{self, Tool};
use crate::peer;
use crate::program::{line, progress};

/// The time to the menu that is allowed, of that of QEMU.
const TARGET: f64 = 0.5;

/// What the menu shows when it waits for a choice, and the prompt that ends a run.
const MENU: &str = "*Debian GNU/Linux ";
const LOGIN: &str = "debian login: ";

/// What one run took, from the start of the process.
#[derive(Debug, Clone, Copy)]
struct Taken {
    menu: Duration,
    login: Duration,
}

/// Runs both alternately, `runs` times each, and prints the figures beside the target.
pub(crate) fn run(runs: u32) -> Result<u8> {
    packages::ensure(&[Tool::Qemu])?;
    let made = debian::make(&guest::make(false)?, false)?;
    let vmm = boot::build()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 1..=runs {
        progress!("run {number} of {runs}");
        ours.push(taken(&made, |disk| software(&vmm, disk))?);
        theirs.push(taken(&made, |disk| peer::from_disk(disk, true))?);
    }
    println!("from start, of an installed Debian's disk: seconds, medians of {runs} runs");
    println!("  {:<32}{:>10}{:>10}{:>12}", "", "menu", "login", "menu→login");
    let figures = |name: &str, all: &[Taken]| {
        let of = |time: fn(&Taken) -> Duration| median(all.iter().map(|t| time(t).as_secs_f64()));
        let (menu, login) = (of(|taken| taken.menu), of(|taken| taken.login));
        let rest = of(|taken| taken.login.saturating_sub(taken.menu));
        println!("  {name:<32}{menu:>10.2}{login:>10.2}{rest:>12.2}");
        (menu, login)
    };
    let (our_menu, our_login) = figures("pseries-vmm --backend interp", &ours);
    let (their_menu, their_login) = figures("qemu-system-ppc64 (TCG), SLOF", &theirs);
    let ratio = our_menu / their_menu;
    let verdict = if ratio <= TARGET { "met" } else { "MISSED" };
    let of_login = our_login / their_login;
    println!("  {:<32}{ratio:>10.2}{of_login:>10.2}", "times that of QEMU");
    println!("  to the menu: target <= {TARGET}: {verdict}");
    Ok(0)
}

fn software(vmm: &Path, disk: &Path) -> Command {
    let mut command = Command::new(vmm);
    command.args(["--backend", "interp", "--memory", "size=1G", "--disk"]);
    command.arg(format!("path={}", disk.display()));
    command
}

/// One run, with a copy of the disk whose menu waits.
fn taken(made: &Path, command: impl Fn(&Path) -> Command) -> Result<Taken> {
    let folder = TemporaryFolder::make(&guest::folder(), "disk-bench")?;
    let disk = Variant::USUAL.copy(made, folder.path())?;
    set_variables(&disk, &["timeout=-1"], folder.path())?;
    let mut command = command(&disk);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let start = Instant::now();
    let machine = command.spawn().attempt(|| format!("run {}", line(&command)))?;
    let mut machine = Machine { machine, shown: String::new(), name: line(&command) };
    machine.shows(MENU)?;
    let menu = start.elapsed();
    machine.type_in("\r")?;
    machine.shows(LOGIN)?;
    Ok(Taken { menu, login: start.elapsed() })
}

/// A machine that is ended with its owner.
struct Machine {
    machine: Child,
    /// What was shown and not yet waited for.
    shown: String,
    name: String,
}

impl Machine {
    fn shows(&mut self, text: &str) -> Result<()> {
        let screen = self.machine.stdout.as_mut().expect("asked for at its start");
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return Ok(());
            }
            match screen.read(&mut buffer).attempt(|| format!("read what {} shows", self.name))? {
                0 => {
                    let Self { name, shown, .. } = self;
                    return Err(Failure::new(format!(
                        "{name} ended before it showed {text:?}; it said\n{shown}"
                    )));
                }
                count => self.shown += &String::from_utf8_lossy(&buffer[..count]),
            }
        }
    }

    fn type_in(&mut self, keys: &str) -> Result<()> {
        let keyboard = self.machine.stdin.as_mut().expect("asked for at its start");
        let typed = keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush());
        typed.attempt(|| format!("type to {}", self.name))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
    }
}
