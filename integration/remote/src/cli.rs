//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pseries_vmm::config::{DeviceId, DiskConfig, FsConfig, MAX_CPUS, NetConfig, Size, VsockConfig};

use crate::arguments::{MILLISECONDS, ReceiveFrom, RestoreFrom, SendTo};

/// Controls a running pseries-vmm by its API socket
///
/// The VMM is one that was started with --api-socket PATH. One verb is one request; what the VMM
/// answers is on standard output, as JSON.
#[derive(Debug, Parser)]
#[command(
    name = "pseries-remote",
    version,
    after_help = "Examples:\n  \
        pseries-vmm --api-socket path=/run/vm1.sock &\n  \
        pseries-remote --api-socket /run/vm1.sock create machine.json\n  \
        pseries-remote --api-socket /run/vm1.sock boot\n  \
        pseries-remote --api-socket /run/vm1.sock add-disk path=data.raw,id=data\n  \
        pseries-remote --api-socket /run/vm1.sock resize --cpus 4 --memory 4G\n  \
        pseries-remote --api-socket /run/vm1.sock pause\n  \
        pseries-remote --api-socket /run/vm1.sock snapshot /var/lib/vm1/saved\n  \
        pseries-remote --api-socket /run/vm1.sock shutdown-vmm\n\n\
        Exit status:\n  \
        0  the VMM has done it\n  \
        1  the VMM refused it or failed, does not answer, or is not there; or output could not be\n     \
        written\n  \
        2  wrong arguments, or a file that cannot be read\n  \
        Ctrl-C ends this program as a signal does; the VMM goes on with what it was asked for"
)]
pub(crate) struct Cli {
    /// The VMM's socket, as it was given to it with --api-socket; path=PATH is the same
    #[arg(long, value_name = "PATH", value_parser = socket)]
    pub(crate) api_socket: PathBuf,

    /// How long the VMM may take to answer. To start, save, restore and move a machine may take any
    /// time, as long as the VMM shows in such a time that it is there
    #[arg(long, value_name = "SECONDS", default_value_t = 60, global = true, value_parser = timeout)]
    timeout: u32,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// How long nothing may come from the VMM.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

fn socket(text: &str) -> Result<PathBuf, &'static str> {
    let path = text.strip_prefix("path=").unwrap_or(text);
    if path.is_empty() { Err("the path is empty") } else { Ok(path.into()) }
}

fn timeout(text: &str) -> Result<u32, String> {
    number(text, 1..=86400)
}

/// As many as any machine can have; the VMM knows how many this one can.
fn cpus(text: &str) -> Result<u32, String> {
    number(text, 1..=MAX_CPUS)
}

fn milliseconds(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| MILLISECONDS)
}

fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("a number from {} to {} is needed", range.start(), range.end()))
}

fn folder(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the path of the folder is empty") } else { Ok(text.to_owned()) }
}

/// What the VMM is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Ask whether the VMM is there: its version and process
    Ping,
    /// End the VM, and the VMM
    ShutdownVmm,
    /// Make a VM of a configuration in JSON; it does not run yet
    Create {
        /// The configuration, as --config of pseries-vmm takes it; - is standard input. Paths in it
        /// are relative to the folder where the VMM runs
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
    /// Start the VM that was made
    Boot,
    /// Show the VM's configuration and state
    Info,
    /// Show what the VM and its devices have done
    Counters {
        /// In the text form that Prometheus reads
        #[arg(long)]
        prometheus: bool,
    },
    /// Have the VM stand still: CPUs, devices, and its clock
    Pause,
    /// Have a paused or restored VM go on
    Resume,
    /// Start the VM again, as its reset button does
    Reboot,
    /// Switch the VM off at once; it can be started again
    Shutdown,
    /// Forget the VM, which is switched off before; the VMM stays
    Delete,
    /// Press the power button: ask the guest to shut down
    PowerButton,
    /// Give the VM more or fewer CPUs, or memory
    Resize(Resize),
    /// Add a disk
    AddDisk {
        /// As --disk of pseries-vmm
        #[arg(value_name = "path=FILE,...", value_parser = DiskConfig::parse)]
        disk: DiskConfig,
    },
    /// Add a network interface
    AddNet {
        /// As --net of pseries-vmm
        #[arg(value_name = "tap=NAME|socket=PATH,...", value_parser = NetConfig::parse)]
        net: NetConfig,
    },
    /// Add a folder of the host
    AddFs {
        /// As --fs of pseries-vmm
        #[arg(value_name = "tag=TAG,socket=PATH,...", value_parser = FsConfig::parse)]
        fs: FsConfig,
    },
    /// Add sockets between guest and host
    AddVsock {
        /// As --vsock of pseries-vmm
        #[arg(value_name = "cid=N,...", value_parser = VsockConfig::parse)]
        vsock: VsockConfig,
    },
    /// Take a device away that was added, or was there
    RemoveDevice {
        /// Its id, as "info" shows it
        id: DeviceId,
    },
    /// Save the VM, which is paused, in a folder
    Snapshot {
        /// The folder, or file:///FOLDER
        #[arg(value_name = "FOLDER", value_parser = folder)]
        folder: String,
    },
    /// Make a VM of one that was saved; it is paused, unless resume=on is said
    Restore {
        /// The folder that it was saved in, or file:///FOLDER
        #[arg(value_name = "source_url=FOLDER[,resume=on|off][,prefault=on|off]")]
        #[arg(value_parser = RestoreFrom::parse)]
        from: RestoreFrom,
    },
    /// Move the VM to another VMM, which waits for it by receive-migration
    SendMigration(SendMigration),
    /// Wait for a VM from another VMM, and run it
    ReceiveMigration {
        /// Where: unix:PATH, or tcp:ADDRESS:PORT
        #[arg(value_name = "[receiver_url=]URL", value_parser = ReceiveFrom::parse)]
        from: ReceiveFrom,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Resize {
    /// How many CPUs it is to have in all
    #[arg(long, value_name = "N", value_parser = cpus)]
    pub(crate) cpus: Option<u32>,
    /// How much memory it is to have in all, as 512M or 2G
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
}

#[derive(Debug, Args)]
pub(crate) struct SendMigration {
    /// Where the other VMM waits: unix:PATH, or tcp:ADDRESS:PORT. timeout_s=N is how long all of it may
    /// take, in seconds (3600); when that is over, it is given up (timeout_strategy=cancel, the default),
    /// or the guest stands still for as long as the rest takes (ignore). downtime_ms=N is --downtime
    #[arg(value_name = "[destination_url=]URL[,timeout_s=N][,...]")]
    #[arg(value_parser = SendTo::parse)]
    pub(crate) to: SendTo,
    /// As with ch-remote, to hand over memory without a copy; pseries-vmm refuses it
    #[arg(long)]
    pub(crate) local: bool,
    /// How long the guest may stand still, in milliseconds [default: 100]
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) downtime: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn sockets_are_paths() {
        assert_eq!(socket("path=/a"), Ok("/a".into()));
        assert_eq!(socket("a b"), Ok("a b".into()));
        assert!(socket("").is_err() && socket("path=").is_err());
    }
}
