//! An installed Debian 12 on a disk, made without root and without a POWER machine: its packages are
//! unpacked here, configured in a guest, and become a disk again here.

mod configure;
mod database;
mod disk;
mod loader;
mod tree;
mod variant;

use std::path::{Path, PathBuf};

use crate::apt::{POWER, Release};
use crate::boot;
use crate::cache::{Closure, Fetched};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::grub::{self, Mkimage};
use crate::guest::{self, Guest};
use crate::modules::Modules;
use crate::packages::{self, Tool};
use crate::program::progress;
use crate::tar::{self, Kind};

pub(crate) use self::disk::{check, kernel, recovered, take_folder};
pub(crate) use self::variant::{Variant, set_variables};

use self::database::Database;
use self::disk::Table;
use self::loader::Finds;
use self::tree::Tree;

/// The packages. Debian's essential ones are named, as apt takes nothing for installed here.
const PACKAGES: &[&str] = &[
    // Essential: yes.
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "init-system-helpers",
    "libc-bin",
    "login",
    "ncurses-base",
    "ncurses-bin",
    "perl-base",
    "sed",
    "sysvinit-utils",
    "tar",
    "util-linux",
    // Instead of what moves files into /usr: there is nothing to be moved.
    "usr-is-merged",
    // A system that starts, has a network, and gets further packages.
    "apt",
    "dbus",
    "debian-archive-keyring",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-powerpc64le",
    "mount",
    "netbase",
    "passwd",
    "procps",
    "systemd",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
    // To look at devices, and to try them.
    "busybox",
    "pciutils",
    "socat",
    "wget",
    // What starts it, with what chooses from its menu and makes another one.
    "grub-ieee1275-bin",
    "grub2-common",
];

/// What Debian's kernel needs to mount the root file system.
const ROOT_MODULES: [&str; 6] =
    ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ext4", "crc32c_generic"];

/// The first program of its initial RAM disk.
const INITRD: &str = include_str!("../../guest/debian/initrd");

/// The first program of the guest that configures it, and what that sets.
const CONFIGURE: &str = include_str!("../../guest/debian/configure");
const SETTINGS: &str = include_str!("../../guest/debian/settings");

/// Files of the administrator's, by path.
const FILES: [(&str, &str); 12] = [
    ("etc/apt/sources.list", include_str!("../../guest/debian/sources.list")),
    ("etc/default/grub", include_str!("../../guest/debian/default-grub")),
    ("etc/default/locale", "LANG=C.UTF-8\n"),
    ("etc/dpkg/dpkg.cfg.d/slim", include_str!("../../guest/debian/slim")),
    ("etc/fstab", include_str!("../../guest/debian/fstab")),
    ("etc/hostname", "debian\n"),
    ("etc/hosts", "127.0.0.1 localhost debian\n::1 localhost ip6-localhost\n"),
    ("etc/modprobe.d/no-wireless.conf", include_str!("../../guest/debian/no-wireless.conf")),
    ("etc/systemd/network/80-dhcp.network", include_str!("../../guest/debian/80-dhcp.network")),
    ("etc/systemd/system.conf.d/patience.conf", include_str!("../../guest/debian/patience.conf")),
    ("boot/grub/grub.cfg", include_str!("../../guest/debian/grub.cfg")),
    ("boot/loader/entries/debian.conf", include_str!("../../guest/debian/entry.conf")),
];

/// In [`FILES`], the kernel's version.
const VERSION: &str = "@VERSION@";

/// Folders in `/` that are links to those in `/usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Fetches what is missing and builds the disk if it is out of date. Gives its path.
pub(crate) fn make(guest: &Guest, refresh: bool) -> Result<PathBuf> {
    let disk = guest::folder().join("debian.img");
    let fetched = packages().fetch(refresh)?;
    let changes = configured(&fetched)?;
    let own: String = FILES.iter().map(|(path, content)| format!("{path}\n{content}")).collect();
    let busybox = &guest.packages.manifest;
    let modules = ROOT_MODULES.join(" ");
    let tools = grub::tools(refresh)?;
    let source =
        [busybox, &source(&fetched), INITRD, &modules, &own, disk::ROOT_UUID, &tools.manifest];
    guest::build("debian", &source.concat(), &[&disk], |scratch| {
        packages::ensure(&[Tool::Ext4, Tool::PartitionTables])?;
        let mut tree = unpack(&fetched, scratch)?;
        apply(&mut tree, &folders::read(&changes)?)?;
        add_own(&mut tree, guest)?;
        progress!("making the disk");
        loader::add(&mut tree)?;
        let mkimage = Mkimage::unpack(&tools, &scratch.join("tools"))?;
        let modules = tree.folder().join(grub::modules_folder());
        let loader = loader::make(&mkimage, &modules, Table::Gpt, Finds::Number, scratch)?;
        let made = scratch.join("debian.img");
        disk::make(&tree, &loader, scratch, &made)?;
        guest::take(&made, &disk)
    })?;
    Ok(disk)
}

fn packages() -> Closure {
    Closure {
        name: "debian",
        release: Release::Bookworm,
        architecture: POWER,
        what: "a Debian 12 for POWER",
        wanted: PACKAGES,
    }
}

/// What the packages' scripts change: an archive that is by itself, as it takes longest to make.
fn configured(fetched: &Fetched) -> Result<PathBuf> {
    let changes = guest::folder().join("debian-packages.tar");
    guest::build("debian-packages", &source(fetched), &[&changes], |scratch| {
        let vmm = boot::build()?;
        let tree = unpack(fetched, scratch)?;
        let initramfs = scratch.join("configure.cpio");
        folders::write(&initramfs, &configuring(&tree)?)?;
        let kernel = tree.folder().join(format!("boot/vmlinux-{}", version(&tree)?));
        progress!("configuring the packages, in a guest of this machine");
        folders::write(&changes, &configure::run(&vmm, &kernel, &initramfs)?)
    })?;
    Ok(changes)
}

/// What the configured packages are made of.
fn source(fetched: &Fetched) -> String {
    [&fetched.manifest, CONFIGURE, SETTINGS].concat()
}

/// Adds what is not of a package.
fn add_own(tree: &mut Tree, guest: &Guest) -> Result<()> {
    let version = version(tree)?;
    for (path, content) in FILES {
        tree.add_file(path, content.replace(VERSION, &version).as_bytes())?;
    }
    let modules = tree.folder().join("usr/lib/modules").join(&version);
    let initrd = initrd(&Modules::find(&modules, &ROOT_MODULES)?, &guest.busybox)?;
    tree.add_file(&format!("boot/initrd.img-{version}"), &initrd)?;
    // For systemd, which else would do at the first start what packages' scripts did already: /usr is
    // older than these (systemd-update-done.service(8)).
    for folder in ["etc", "var"] {
        tree.add_file(&format!("{folder}/.updated"), b"")?;
    }
    Ok(())
}

/// The kernel's version, as `uname -r` has it.
fn version(tree: &Tree) -> Result<String> {
    let modules = guest::only_entry(&tree.folder().join("usr/lib/modules"))?;
    Ok(modules.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// All packages' files, and dpkg's database of them.
fn unpack(fetched: &Fetched, scratch: &Path) -> Result<Tree> {
    let mut tree = Tree::new(scratch.join("root"))?;
    tree.add_folder("")?;
    for folder in MERGED {
        tree.add_folder(&format!("usr/{folder}"))?;
        tree.add_symlink(folder, &format!("usr/{folder}"))?;
    }
    let mut database = Database::default();
    // The folders of these have permissions that are not the usual ones.
    let first = fetched.package("base-files_")?;
    let others = fetched.all().filter(|package| *package != first);
    for package in std::iter::once(first).chain(others) {
        let archive = deb::files(package)?;
        let control = deb::control(package)?;
        let (mut files, control) = (tar::entries(&archive)?, tar::entries(&control)?);
        database.add(&mut tree, &control, &files)?;
        files.retain(|entry| entry.kind == Kind::Folder || is_kept(&entry.path));
        for entry in files {
            tree.unpack(entry)?;
        }
    }
    database.write(&mut tree)?;
    Ok(tree)
}

/// Whether a file is unpacked: what `guest/debian/slim` tells dpkg.
fn is_kept(path: &str) -> bool {
    let Some(path) = path.strip_prefix("usr/share/") else { return true };
    let is_in = |folder: &str| path.starts_with(folder);
    (is_in("doc/") && path.ends_with("/copyright"))
        || !["doc/", "info/", "locale/", "man/"].into_iter().any(is_in)
}

/// The initial RAM disk of Debian's kernel. Not compressed: that would take a processor in software
/// longer than it takes to load.
fn initrd(modules: &Modules, busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "root", "run", "sbin", "sys", "usr", "usr/bin", "usr/sbin"]
    {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.program("bin/busybox", &folders::read(busybox)?);
    // The kernel runs it for what a module or a file system needs.
    archive.symlink("sbin/modprobe", "../bin/busybox");
    archive.program("init", INITRD.as_bytes());
    modules.add_to(&mut archive);
    Ok(archive.finish())
}

/// The guest that configures: all files but those that no script needs. Of the names of all makers
/// of hardware (`20-*.hwdb`), udev would make a database for half a minute, and a virtual machine has
/// hardware of nobody's.
fn configuring(tree: &Tree) -> Result<Vec<u8>> {
    let left_out = ["boot/", "usr/lib/udev/hwdb.d/20-"];
    let mut archive = Archive::default();
    tree.archive(&mut archive, |path| {
        !path.is_empty() && !left_out.iter().any(|start| path.starts_with(start))
    })?;
    archive.character_device("dev/console", 5, 1);
    archive.program("init", CONFIGURE.as_bytes());
    archive.file("settings", SETTINGS.as_bytes());
    Ok(archive.finish())
}

/// Takes over what the guest changed.
fn apply(tree: &mut Tree, changes: &[u8]) -> Result<()> {
    let mut gone = None;
    for entry in tar::entries(changes)? {
        match (&entry.kind, entry.path.as_str()) {
            (Kind::File(list), "gone") => gone = Some(String::from_utf8_lossy(list).into_owned()),
            // That of the guest is in memory, and everybody may write to it.
            (Kind::Folder, "") => {}
            _ => tree.replace(entry)?,
        }
    }
    let gone = gone.ok_or_else(|| Failure::new("the guest does not say which files are gone"))?;
    for path in gone.lines().filter_map(|line| line.strip_prefix("./")) {
        tree.remove(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::folders::TemporaryFolder;

    #[test]
    fn the_root_stays_as_it_is_whatever_it_was_in_the_guest() {
        let folder = TemporaryFolder::make(&std::env::temp_dir(), "xtask-debian-test").unwrap();
        let mut tree = Tree::new(folder.path().join("root")).unwrap();
        tree.add_folder("").unwrap();
        tree.add_file("etc/old", b"").unwrap();
        let guest = folder.path().join("guest");
        folders::make(&guest.join("etc")).unwrap();
        folders::write(&guest.join("etc/new"), b"").unwrap();
        folders::write(&guest.join("gone"), b"./etc/old\n./none\n").unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--create", "--mode=1777", "--no-recursion", "--directory"]).arg(&guest);
        let changes = tar.args([".", "etc", "etc/new", "gone"]).output().unwrap().stdout;
        apply(&mut tree, &changes).unwrap();
        assert!(tree.folder().join("etc/new").exists() && !tree.folder().join("etc/old").exists());
        let owners = tree.owners().unwrap();
        assert!(owners.contains("\"/etc\" mode 041777\n"), "{owners}");
        assert!(!owners.contains("\"/\" mode"), "{owners}");
    }

    #[test]
    fn licences_are_kept_and_manuals_left_out() {
        for kept in ["usr/share/doc/a/copyright", "usr/share/a", "usr/bin/man", "etc/info/a"] {
            assert!(is_kept(kept), "{kept}");
        }
        for left in ["usr/share/doc/a/README", "usr/share/man/man1/a.1.gz", "usr/share/locale/a"] {
            assert!(!is_kept(left), "{left}");
        }
    }

    #[test]
    fn what_starts_the_disk_finds_its_file_system() {
        let naming = FILES.iter().filter(|(_, content)| content.contains(disk::ROOT_UUID));
        let paths: Vec<&str> = naming.map(|(path, _)| *path).collect();
        assert_eq!(paths, ["etc/fstab", "boot/grub/grub.cfg", "boot/loader/entries/debian.conf"]);
    }
}
