//! Guests on an emulated POWER10 host: of its own generation, of an older one, and with a kernel
//! that does not know it.

use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest::{self, NO_WATCHDOGS};
use crate::host::base_name;

use super::boots::{VOF_LINES, on_power_host, shows, shows_times};
use super::log::Log;

/// A kernel that is made of the guest's own.
const OLDER_KERNEL: &str = "vmlinux-of-power9";

/// What a kernel's list of processors has of POWER10 (prom_init.c, `ibm_architecture_vec`): mask and
/// value of its PVR, and of its architecture level; and what takes their place where it is to know
/// POWER9 at most.
const POWER10_KNOWN: [u32; 4] = [0xffff_0000, 0x0080_0000, 0xffff_ffff, 0x0f00_0006];
const POWER9_TWICE: [u32; 4] = [0xffff_0000, 0x004e_0000, 0xffff_ffff, 0x0f00_0005];

/// Each model and kernel, and what the guest then says of its processor.
const GUESTS: [(&str, Option<&str>, &str); 3] = [
    ("POWER10", None, "POWER10 (raw)"),
    ("POWER9", None, "POWER9 (architected)"),
    ("POWER10", Some(OLDER_KERNEL), "POWER9 (architected)"),
];

pub(super) fn levels(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let older = folders::target().join("test").join(OLDER_KERNEL);
    folders::write(&older, &of_power9(&folders::read(&guest.kernel)?)?)?;
    for (model, kernel, processor) in GUESTS {
        let mut command = on_power_host("powernv10", &[&older], &["pseries-vmm"])?;
        let kernel = kernel.unwrap_or(base_name(&guest.kernel)?);
        command.args(["--backend", "kvm", "--kernel", kernel]);
        command.args(["--initramfs", "initramfs.cpio.gz", "--memory", "size=512M"]);
        command.args(["--cpus", "boot=2", "--machine", &format!("cpu={model}")]);
        command.args(["--cmdline", &format!("console=hvc0 {NO_WATCHDOGS} autotest")]);
        let console = log.run_with_input(&mut command, "")?;
        shows(&console, &VOF_LINES)?;
        shows(&console, &["GUEST-READY", &format!("rust-vmm pseries ({model})")])?;
        shows_times(&console, &format!("cpu\t\t: {processor}"), 2)?;
    }
    Ok(())
}

/// The kernel, knowing POWER9 at most.
fn of_power9(kernel: &[u8]) -> Result<Vec<u8>> {
    let known = POWER10_KNOWN.map(u32::to_be_bytes).concat();
    let mut places = kernel.windows(known.len()).enumerate().filter(|(_, bytes)| *bytes == known);
    let (Some((at, _)), None) = (places.next(), places.next()) else {
        return Err(Failure::new("the kernel's list of processors is not where it is expected"));
    };
    let mut older = kernel.to_vec();
    older[at..at + known.len()].copy_from_slice(&POWER9_TWICE.map(u32::to_be_bytes).concat());
    Ok(older)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_that_knows_power9_only_is_made_of_one_that_knows_more() {
        let bytes = |cells: [u32; 4]| cells.map(u32::to_be_bytes).concat();
        let kernel = [b"ab", &bytes(POWER10_KNOWN)[..], b"c"].concat();
        let older = [b"ab", &bytes(POWER9_TWICE)[..], b"c"].concat();
        assert_eq!(of_power9(&kernel).unwrap(), older);
        assert!(of_power9(&older).is_err());
        assert!(of_power9(&[&kernel[..], &kernel[..]].concat()).is_err());
    }
}
