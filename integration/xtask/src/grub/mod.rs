//! GRUB for POWER machines with an Open Firmware: Debian's, as one ELF file with a menu, a disk in
//! memory, and the guest's kernel on that; and what other images of it are made with.

mod kit;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Fetched;
use crate::failure::Result;
use crate::folders;
use crate::guest::{self, Guest};
use crate::program::output_of;

pub(crate) use self::kit::{FORMAT, Image, Mkimage, Series, modules_folder, tools, unpack_modules};

/// What GRUB reads when it starts: `/grub.cfg` of its disk.
const MENU: &str = include_str!("../../grub/grub.cfg");

/// A text to be shown.
const HELLO: &str = include_str!("../../grub/hello.txt");

/// What GRUB is put together from, besides its kernel and what these need.
const PARTS: [&str; 19] = [
    "normal",
    "minicmd",
    "configfile",
    "help",
    "echo",
    "test",
    "true",
    "sleep",
    "ls",
    "cat",
    "lsmmap",
    "terminal",
    "serial",
    "halt",
    "reboot",
    "linux",
    "gzio",
    "memdisk",
    "tar",
];

/// What GRUB reads when it starts that goes on by the network.
const NETWORK_MENU: &str = include_str!("../../grub/network.cfg");

/// What that one has besides.
const NETWORK_PARTS: [&str; 4] = ["net", "ofnet", "tftp", "http"];

/// Where that one looks: in a folder, else it would look in the one of its own file on the server.
const NETWORK_PREFIX: &str = "(memdisk)/network";

/// Its file name.
const NETWORK_IMAGE: &str = "grub-2.12-network.elf";

/// Where it looks for `grub.cfg`.
const PREFIX: &str = "(memdisk)";

/// The images.
#[derive(Debug)]
pub(crate) struct Images {
    /// GRUB 2.06.
    pub(crate) older: PathBuf,
    /// GRUB 2.12.
    pub(crate) newer: PathBuf,
}

/// Fetches what is missing and puts together what is out of date.
pub(crate) fn make(refresh: bool) -> Result<Images> {
    let guest = guest::make(refresh)?;
    let tools = tools(refresh)?;
    let disk = make_disk(&guest)?;
    let make = |series: Series| make_image(series, &tools, &series.modules(refresh)?, &disk);
    Ok(Images { older: make(Series::Older)?, newer: make(Series::Newer)? })
}

/// GRUB 2.12 without a guest in it: it takes an address from the network, and what to do from
/// `grub.cfg` of the server there.
///
/// Not 2.06: its driver for networks of an Open Firmware was seen to find no card, here and
/// elsewhere.
pub(crate) fn make_for_network(refresh: bool) -> Result<PathBuf> {
    make_network_image(&tools(refresh)?, &Series::Newer.modules(refresh)?)
}

/// Whether a path is that of a file that [`make`] makes.
pub(crate) fn is_made(path: &Path) -> bool {
    let name = path.file_name();
    let is_image = |series: Series| name == Some(OsStr::new(&image(series)));
    guest::is_made(path) && (is_image(Series::Older) || is_image(Series::Newer))
}

/// The file name of a series' image, in the guest's folder.
fn image(series: Series) -> String {
    format!("{}.elf", series.name())
}

/// The disk in memory.
struct Disk {
    file: PathBuf,
    /// What it was made of.
    source: String,
}

fn make_disk(guest: &Guest) -> Result<Disk> {
    let file = guest::folder().join("grub-disk.tar");
    let source = [&guest.source, MENU, HELLO].concat();
    guest::build("grub-disk", &source, &[&file], |unpacked| {
        let files = unpacked.join("files");
        folders::make(&files)?;
        folders::write(&files.join("grub.cfg"), MENU.as_bytes())?;
        folders::write(&files.join("hello.txt"), HELLO.as_bytes())?;
        // GRUB keeps the whole disk in its heap, which is small in the older one.
        let kernel = guest::gzip(&folders::read(&guest.kernel)?)?;
        folders::write(&files.join("vmlinux.gz"), &kernel)?;
        folders::write(&files.join("initramfs.cpio.gz"), &folders::read(&guest.initramfs)?)?;
        let made = unpacked.join("disk.tar");
        tar(&files, &made, &["grub.cfg", "hello.txt", "initramfs.cpio.gz", "vmlinux.gz"])?;
        guest::take(&made, &file)
    })?;
    Ok(Disk { file, source })
}

fn make_image(series: Series, tools: &Fetched, modules: &Fetched, disk: &Disk) -> Result<PathBuf> {
    let name = image(series);
    let image = guest::folder().join(&name);
    let [tools_made_of, modules_made_of] = [tools, modules].map(|set| set.manifest.as_str());
    let source = [tools_made_of, modules_made_of, &disk.source, PREFIX, &PARTS.join(" ")].concat();
    guest::build(series.name(), &source, &[&image], |unpacked| {
        let mkimage = Mkimage::unpack(tools, unpacked)?;
        let folder = unpack_modules(modules, unpacked)?;
        let made = unpacked.join(&name);
        let wanted = Image { prefix: PREFIX, commands: None, disk: Some(&disk.file) };
        mkimage.run(&folder, &PARTS, &wanted, &made)?;
        guest::take(&made, &image)
    })?;
    Ok(image)
}

fn make_network_image(tools: &Fetched, modules: &Fetched) -> Result<PathBuf> {
    let image = guest::folder().join(NETWORK_IMAGE);
    let [tools_made_of, modules_made_of] = [tools, modules].map(|set| set.manifest.as_str());
    let parts: Vec<&str> = PARTS.iter().chain(&NETWORK_PARTS).copied().collect();
    let source =
        [tools_made_of, modules_made_of, NETWORK_MENU, NETWORK_PREFIX, &parts.join(" ")].concat();
    guest::build("grub-network", &source, &[&image], |unpacked| {
        let mkimage = Mkimage::unpack(tools, unpacked)?;
        let folder = unpack_modules(modules, unpacked)?;
        let (disk, made) = (unpacked.join("disk.tar"), unpacked.join(NETWORK_IMAGE));
        folders::make(&unpacked.join("network"))?;
        folders::write(&unpacked.join("network/grub.cfg"), NETWORK_MENU.as_bytes())?;
        tar(unpacked, &disk, &["network/grub.cfg"])?;
        let wanted = Image { prefix: NETWORK_PREFIX, commands: None, disk: Some(&disk) };
        mkimage.run(&folder, &parts, &wanted, &made)?;
        guest::take(&made, &image)
    })?;
    Ok(image)
}

/// Puts these files of a folder into a disk.
fn tar(folder: &Path, disk: &Path, names: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--mtime=@0"])
        .args(["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rw,go=r"])
        .arg("--file")
        .arg(disk)
        .arg("--directory")
        .arg(folder)
        .args(names);
    output_of(&mut tar).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_are_told_from_other_files() {
        let file = |name: &str| guest::folder().join(name);
        assert!(is_made(&file("grub-2.06.elf")) && is_made(&file("grub-2.12.elf")));
        assert!(!is_made(&file("vmlinux-6.1")));
        assert!(!is_made(Path::new("/somewhere/grub-2.06.elf")));
    }

    #[test]
    fn the_menu_names_what_is_on_the_disk() {
        for name in ["hello.txt", "vmlinux.gz", "initramfs.cpio.gz"] {
            assert!(MENU.contains(&format!("(memdisk)/{name}")), "{name}");
        }
    }
}
