//! Guests on an emulated POWER10 host: of its own generation, of an older one, and with a kernel
//! that does not know it.

use crate::failure::Result;
use crate::guest::{self, NO_WATCHDOGS};

use super::boots::{VOF_LINES, shows, shows_times};
use super::log::Log;
use super::on_host::OneHost;
use super::patched;

/// A kernel that is made of the guest's own.
const OLDER_KERNEL: &str = "vmlinux-of-power9";

/// What a kernel's list of processors has of POWER10 (prom_init.c, `ibm_architecture_vec`): mask and
/// value of its PVR, and of its architecture level; and what takes their place where it is to know
/// POWER9 at most.
const POWER10_KNOWN: [u32; 4] = [0xffff_0000, 0x0080_0000, 0xffff_ffff, 0x0f00_0006];
const POWER9_TWICE: [u32; 4] = [0xffff_0000, 0x004e_0000, 0xffff_ffff, 0x0f00_0005];

/// Each model, whether the kernel is the older one, and what the guest then says of its processor.
const GUESTS: [(&str, bool, &str); 3] = [
    ("POWER10", false, "POWER10 (raw)"),
    ("POWER9", false, "POWER9 (architected)"),
    ("POWER10", true, "POWER9 (architected)"),
];

pub(super) fn levels(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let [known, of_power9] =
        [POWER10_KNOWN, POWER9_TWICE].map(|pairs| pairs.map(u32::to_be_bytes).concat());
    let older = patched::kernel(&guest.kernel, OLDER_KERNEL, &known, &of_power9)?;
    let mut host = OneHost::new("powernv10", [&guest.kernel, &older, &guest.initramfs]);
    for (model, is_older, _) in GUESTS {
        let kernel = if is_older { &older } else { &guest.kernel };
        let arguments =
            ["--memory", "size=512M", "--cpus", "boot=2", "--machine", &format!("cpu={model}")];
        let cmdline = format!("console=hvc0 {NO_WATCHDOGS} autotest");
        host.add([kernel, &guest.initramfs], &cmdline, &arguments)?;
    }
    for (console, (model, _, processor)) in host.run(log)?.iter().zip(GUESTS) {
        shows(console, &VOF_LINES)?;
        shows(console, &["GUEST-READY", &format!("rust-vmm pseries ({model})")])?;
        shows_times(console, &format!("cpu\t\t: {processor}"), 2)?;
    }
    Ok(())
}
