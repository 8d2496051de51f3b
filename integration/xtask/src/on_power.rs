//! `cargo xtask on-power`: a command on an emulated POWER host.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::console::{Console, Input, Limit};
use crate::failure::{Attempt, Ending, Failure, Result};
use crate::grub;
use crate::guest;
use crate::host::{DISKS, Host, HostMachine, Job, base_name};
use crate::packages::{self, Tool};
use crate::patience::HANG;
use crate::power;
use crate::program::{progress, quoted};
use crate::signals::Signals;
use crate::terminal;

/// The program that is built for the host.
const VMM: &str = "pseries-vmm";

/// The arguments of `on-power`.
#[derive(Debug, Args)]
pub(crate) struct OnPower {
    /// A file for the folder that CMD runs in, under its base name; may be repeated. A file named
    /// pseries-vmm takes the place of the one that is built
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// A disk image for the host, its /dev/vda; may be repeated: /dev/vdb and so on. What is written
    /// to it there stays in FILE
    #[arg(long = "disk", value_name = "FILE")]
    pub(crate) disks: Vec<PathBuf>,

    /// The host that is emulated
    #[arg(long, value_name = "MACHINE", value_enum, default_value_t)]
    pub(crate) host: HostMachine,

    /// Have the host's clock go by the instructions that it executes: what is measured there is the
    /// same whatever else this machine does. For pseries9 and pseries10
    #[arg(long)]
    pub(crate) counted: bool,

    /// RAM of the emulated host, such as 4G or 1536M
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = memory)]
    pub(crate) memory: String,

    /// End CMD after this many seconds, with status 124; 0 is never [default: never at a terminal,
    /// else when nothing was printed for ten minutes]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,

    /// What to run: pseries-vmm, or a command of busybox
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

impl OnPower {
    /// Runs the command; its status is the result.
    pub(crate) fn run(&self) -> Result<u8> {
        // The guest's own files may be still to be made.
        let (made, given): (Vec<_>, Vec<_>) =
            self.files.iter().cloned().partition(|file| guest::is_made(file));
        check_files(&given)?;
        check_disks(&self.disks)?;
        if self.counted && !self.host.is_partition() {
            return Err(Failure::new("--counted needs --host pseries9 or pseries10"));
        }
        // Before the long downloads: not everybody can install packages.
        packages::ensure(&Tool::FOR_HOST)?;
        let guest = guest::make(false)?;
        if made.iter().any(|file| guest::is_newer_kernel(file)) {
            guest::newer_kernel(false)?;
        }
        if made.iter().any(|file| grub::is_made(file)) {
            grub::make(false)?;
        }
        check_files(&self.files)?;
        let (vmm, files) = self.vmm()?;
        let input = input();
        let token = random_token()?;
        let job = Job {
            machine: self.host,
            memory: self.memory.clone(),
            settings: settings(&token, input),
            command: command_script(&self.command),
            files,
            disks: self.disks.clone(),
            vmm,
            is_counted: self.counted,
        };
        // From here on there is something to be put back.
        let mut signals = Signals::take().attempt(|| "handle signals".into())?;
        progress!("starting the emulated {}", self.host.description());
        let mut host = Host::start(&guest, &job)?;
        let console = Console {
            to_host: host.qemu.stdin.take().expect("Host::start asks for it"),
            from_host: host.qemu.stdout.take().expect("Host::start asks for it"),
            token,
            input,
            limit: self.limit(input),
        };
        let status = console.relay(&mut signals);
        status.map_err(|failure| match host.complaints() {
            said if said.is_empty() || failure.how() != Ending::Usual => failure,
            said => Failure::new(format!("{failure}\nqemu-system-ppc64 says: {said}")),
        })
    }

    /// The program under test and the other files.
    fn vmm(&self) -> Result<(PathBuf, Vec<PathBuf>)> {
        let is_vmm = |file: &&PathBuf| file.file_name().is_some_and(|name| name == VMM);
        let (given, files): (Vec<_>, Vec<_>) = self.files.iter().partition(is_vmm);
        let vmm = match given.first() {
            Some(vmm) => PathBuf::from(vmm),
            None => power::build(VMM)?,
        };
        Ok((vmm, files.into_iter().cloned().collect()))
    }

    fn limit(&self, input: Input) -> Limit {
        match (self.timeout, input) {
            (Some(0), _) | (None, Input::Terminal) => Limit::Never,
            (Some(seconds), _) => Limit::Total(Duration::from_secs(seconds.into())),
            // Without somebody at the keyboard, nobody notices that nothing happens.
            (None, _) => Limit::Silence(HANG),
        }
    }
}

/// Says what is wrong with a file before there is a long wait.
fn check_files(files: &[PathBuf]) -> Result<()> {
    for (index, file) in files.iter().enumerate() {
        let metadata = fs::metadata(file).attempt(|| format!("read {}", file.display()))?;
        if !metadata.is_file() {
            let file = file.display();
            return Err(Failure::new(format!("{file} is not a file; --file takes files only")));
        }
        let name = base_name(file)?;
        let same = |other: &&PathBuf| other.file_name() == file.file_name();
        if let Some(other) = files[..index].iter().find(same) {
            return Err(Failure::new(format!(
                "{} and {} would both be {name} on the host; rename one",
                other.display(),
                file.display()
            )));
        }
    }
    Ok(())
}

fn check_disks(disks: &[PathBuf]) -> Result<()> {
    for disk in disks {
        fs::metadata(disk).attempt(|| format!("read {}", disk.display()))?;
    }
    if disks.len() > DISKS {
        let count = disks.len();
        return Err(Failure::new(format!("{count} disks are too many; the host takes {DISKS}")));
    }
    Ok(())
}

fn input() -> Input {
    if terminal::is_ours() {
        return Input::Terminal;
    }
    // A terminal that is not ours to read from: this runs in the background.
    // SAFETY: asks about a descriptor by its number.
    let background = unsafe { libc::isatty(libc::STDIN_FILENO) == 1 };
    if background { Input::Nothing } else { Input::Pipe }
}

/// The assignments that `host/init` reads.
fn settings(token: &str, input: Input) -> String {
    let attended = input == Input::Terminal;
    let size = terminal::size().map(|(rows, columns)| format!("rows {rows} columns {columns}"));
    let term = std::env::var_os("TERM").unwrap_or_else(|| "dumb".into());
    format!(
        "token={token}\ninput={}\ntranslate={}\nsize='{}'\nTERM={}\n",
        if attended { "terminal" } else { "pipe" },
        // The local terminal is raw then, so it does not do it.
        if attended && terminal::shows_output() { "yes" } else { "no" },
        size.unwrap_or_default(),
        quoted(&term)
    )
}

fn command_script(command: &[OsString]) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!("#!/bin/sh\nexec {}\n", words.join(" "))
}

/// Nobody can guess it: the host says it, and what runs there must not be able to.
fn random_token() -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .attempt(|| format!("read {}", source.display()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn memory(text: &str) -> std::result::Result<String, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let mebibytes = match (number.parse::<u64>(), unit) {
        (Ok(number), "M") => number,
        (Ok(number), "G") => number.saturating_mul(1024),
        _ => return Err("it is a whole number with M or G behind it, such as 4G".into()),
    };
    if !(1024..=1024 * 1024).contains(&mebibytes) {
        return Err("the emulated host takes from 1G to 1024G".into());
    }
    Ok(format!("{mebibytes}M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_checked_before_anything_is_started() {
        assert_eq!(memory("4G").unwrap(), "4096M");
        assert_eq!(memory("1536M").unwrap(), "1536M");
        for wrong in ["", "4", "G", "4g", "-1G", "512M", "99999999999999999999G", "2000000G"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_arrives_word_for_word() {
        let words = ["sh", "-c", "echo \"$HOME\" 'x'", ""].map(OsString::from);
        let script = command_script(&words);
        assert_eq!(script, "#!/bin/sh\nexec sh -c 'echo \"$HOME\" '\\''x'\\''' ''\n");
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = [here.join("guest/init"), here.join("host/init")];
        let failure = check_files(&files).unwrap_err().to_string();
        assert!(failure.ends_with("would both be init on the host; rename one"), "{failure}");
        let failure = check_files(&[here.into()]).unwrap_err().to_string();
        assert!(failure.ends_with("is not a file; --file takes files only"), "{failure}");
    }
}
