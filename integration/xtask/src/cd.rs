//! A CD for machines with an Open Firmware. They find GRUB on it as on Debian's own CDs: by the script
//! in `/ppc/bootinfo.txt` (CHRP, "Bootinfo Configuration Variables"; ISO 9660).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Attempt, Result};
use crate::folders;
use crate::grub::{FORMAT, Image, Mkimage, Series, tools, unpack_modules};
use crate::guest::{self, Guest};
use crate::packages::{self, Tool};
use crate::program::output_of;

/// What the firmware reads.
const BOOTINFO: &str = include_str!("../cd/bootinfo.txt");

/// What GRUB reads.
const MENU: &str = include_str!("../cd/grub.cfg");

/// Where GRUB is: in a folder of the device that it was started from.
const PREFIX: &str = "()/boot/grub";

/// What is in its image; the rest comes from the CD.
const PARTS: [&str; 1] = ["iso9660"];

/// xorriso(1): long names and permissions by Rock Ridge; for firmware that looks for a table of
/// partitions first, one that has the whole CD as a partition of type 0x96.
const OPTIONS: [&str; 6] =
    ["-quiet", "-rational-rock", "-volid", "RESCUE", "-chrp-boot-part", "-o"];

/// Fetches what is missing and makes the CD if it is out of date. Gives its image.
pub(crate) fn make(guest: &Guest, refresh: bool) -> Result<PathBuf> {
    let image = guest::folder().join("rescue-cd.iso");
    let tools = tools(refresh)?;
    let modules = Series::Older.modules(refresh)?;
    let parts = PARTS.join(" ");
    let [tools_made_of, modules_made_of] = [&tools, &modules].map(|set| set.manifest.as_str());
    let own = [BOOTINFO, MENU, PREFIX, &parts].concat();
    let source = [&guest.source, tools_made_of, modules_made_of, &own].concat();
    guest::build("rescue-cd", &source, &[&image], |scratch| {
        packages::ensure(&[Tool::Xorriso])?;
        let files = scratch.join("files");
        let grub = files.join("boot/grub");
        for folder in [&files.join("ppc"), &grub] {
            folders::make(folder)?;
        }
        folders::write(&files.join("ppc/bootinfo.txt"), BOOTINFO.as_bytes())?;
        folders::write(&grub.join("grub.cfg"), MENU.as_bytes())?;
        for (file, name) in [(&guest.kernel, "vmlinux"), (&guest.initramfs, "initramfs.cpio.gz")] {
            link(file, &files.join("boot").join(name))?;
        }
        let modules = unpack_modules(&modules, scratch)?;
        let mkimage = Mkimage::unpack(&tools, &scratch.join("tools"))?;
        let wanted = Image { prefix: PREFIX, commands: None, disk: None };
        mkimage.run(&modules, &PARTS, &wanted, &grub.join("powerpc.elf"))?;
        guest::take(&modules, &grub.join(FORMAT))?;
        let made = scratch.join("cd.iso");
        let mut xorriso = Command::new("xorriso");
        xorriso.args(["-as", "mkisofs"]).args(OPTIONS).arg(&made).arg(&files);
        output_of(&mut xorriso)?;
        guest::take(&made, &image)
    })?;
    Ok(image)
}

/// A second name of a file.
fn link(file: &Path, to: &Path) -> Result<()> {
    std::fs::hard_link(file, to).attempt(|| format!("make the link {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_image() {
        assert!(
            BOOTINFO.contains("<boot-script>boot &device;:\\boot\\grub\\powerpc.elf</boot-script>")
        );
        assert!(PREFIX.ends_with("/boot/grub"));
    }
}
