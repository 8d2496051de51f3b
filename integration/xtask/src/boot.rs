//! `cargo xtask boot`: the main job, from a fresh machine to a guest's shell in this terminal.

use std::ffi::OsString;

use clap::Args;

use crate::failure::Result;
use crate::guest;
use crate::host::base_name;
use crate::on_power::OnPower;
use crate::packages::{self, Tool};
use crate::program::progress;

/// Boot a guest to a shell in this terminal
///
/// Fetches Debian's kernel, builds pseries-vmm for POWER, starts an emulated POWER host with
/// real KVM, and boots a guest in it, through Open Firmware. Everything that is missing is
/// fetched or built first; after the first time it takes half a minute.
#[derive(Debug, Args)]
#[command(after_help = "Leave with `poweroff -f` in the guest, or with Ctrl-A X.\n\n\
    Example: a guest of two CPUs that is started with a flat device tree\n  \
    cargo xtask boot -- --cpus boot=2 --machine x-vof=off\n\n\
    Exit status: that of pseries-vmm; 125 when it could not be run.")]
pub(crate) struct Boot {
    /// Further arguments for pseries-vmm; `cargo xtask on-power -- pseries-vmm --help` lists them
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl Boot {
    pub(crate) fn run(self) -> Result<u8> {
        packages::ensure(&Tool::FOR_HOST)?;
        let guest = guest::make(false)?;
        let mut command: Vec<OsString> = ["pseries-vmm", "--kernel", base_name(&guest.kernel)?]
            .iter()
            .chain(&["--initramfs", base_name(&guest.initramfs)?])
            .map(OsString::from)
            .collect();
        // What is given takes the place of what is usual: options may be said only once.
        let usual = [("--cmdline", "console=hvc0 cryptomgr.notests"), ("--memory", "size=1G")];
        for (option, value) in usual {
            let with_value = format!("{option}=");
            let is_given = self.arguments.iter().any(|argument| {
                argument == option || argument.to_string_lossy().starts_with(&with_value)
            });
            if !is_given {
                command.extend([option, value].map(OsString::from));
            }
        }
        command.extend(self.arguments);
        progress!("leave the guest with `poweroff -f`, or with Ctrl-A X");
        let files = vec![guest.kernel, guest.initramfs];
        OnPower { files, memory: "4G".into(), timeout: Some(0), command }.run()
    }
}
