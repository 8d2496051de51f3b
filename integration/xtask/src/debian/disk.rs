//! A disk with a file system on it, made by an ordinary user: nothing is mounted.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::program::{filter, output_of, tool};

use super::tree::Tree;

/// The whole disk. What is not written is a hole in the file.
const DISK_BYTES: u64 = 2 << 30;

const SECTOR_BYTES: u64 = 512;
const MIB: u64 = 1 << 20;

/// For the boot loader, which the firmware loads: 8 MiB.
const PREP_AT: u64 = MIB;
const PREP_BYTES: u64 = 8 * MIB;

/// The root file system, up to the second partition table, for which a MiB is left.
const ROOT_AT: u64 = PREP_AT + PREP_BYTES;
const ROOT_BYTES: u64 = DISK_BYTES - MIB - ROOT_AT;

/// What partitions are for: "PReP boot", and "Linux root (ppc64le)" of the UAPI Group's
/// Discoverable Partitions Specification.
const PREP_TYPE: &str = "9E1A2D38-C612-4316-AA26-8B49521E5A8B";
const ROOT_TYPE: &str = "C31C45E6-3F39-412E-80FB-4809C4980599";

/// The file system's UUID, the same in each disk that is made. `guest/debian` has it as well.
pub(super) const ROOT_UUID: &str = "2b6ba5b4-2b05-4e0b-8c5f-9a1d3c7be264";

/// What says where partitions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// The one of UEFI.
    Gpt,
    /// That of a master boot record.
    Mbr,
}

/// Makes a disk with a boot loader in its PReP partition, and a tree of files.
pub(super) fn make(tree: &Tree, loader: &[u8], scratch: &Path, to: &Path) -> Result<()> {
    let file = File::create(to).attempt(|| format!("write {}", to.display()))?;
    file.set_len(DISK_BYTES).attempt(|| format!("write {}", to.display()))?;
    partition(to, Table::Gpt)?;
    put_loader(to, loader)?;
    let mut mke2fs = tool("mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-L", "root", "-U", ROOT_UUID, "-m", "1", "-b", "4096"]);
    // Nobody waits for tables to be written: what is not is a hole, which reads as zeros.
    mke2fs.args(["-E", &format!("offset={ROOT_AT},root_owner=0:0,lazy_itable_init=1,nodiscard")]);
    mke2fs.arg("-d").arg(tree.folder()).arg(to).arg(format!("{}k", ROOT_BYTES / 1024));
    output_of(&mut mke2fs)?;
    change(to, &tree.owners()?, scratch)
}

/// Writes a table of partitions, in the place of the one that is there.
pub(super) fn partition(disk: &Path, table: Table) -> Result<()> {
    let mut sfdisk = tool("sfdisk");
    // What is on the partitions stays; that there is something is not worth a word.
    sfdisk.args(["--quiet", "--wipe", "always", "--wipe-partitions", "never"]).arg(disk);
    sfdisk.stderr(Stdio::piped());
    filter(&mut sfdisk, script(table).as_bytes()).map(drop)
}

/// Puts a boot loader where the firmware looks for it.
pub(super) fn put_loader(disk: &Path, loader: &[u8]) -> Result<()> {
    if loader.len() as u64 > PREP_BYTES {
        let bytes = loader.len();
        return Err(Failure::new(format!("{bytes} bytes are too many for the PReP partition")));
    }
    let file = OpenOptions::new().write(true).open(disk);
    let written = file.and_then(|file| file.write_all_at(loader, PREP_AT));
    written.attempt(|| format!("write {}", disk.display()))
}

/// Takes the kernel and its initial RAM disk off a disk that was made here, into a folder.
pub(crate) fn kernel(disk: &Path, folder: &Path) -> Result<[PathBuf; 2]> {
    let names = debugfs(&at_root(disk), "ls -p /boot")?;
    let take = |start: &str| {
        let name = names.split('/').find(|name| name.starts_with(start));
        let name = name.ok_or_else(|| Failure::new(format!("the disk has no /boot/{start}…")))?;
        let file = folder.join(name);
        debugfs(&at_root(disk), &format!("dump /boot/{name} {}", file.display()))?;
        Ok(file)
    };
    Ok([take("vmlinux-")?, take("initrd.img-")?])
}

/// Takes the root file system off a disk that was made here and whose machine was killed: its journal
/// is replayed, and then it has to be in order. Gives it as a file in a folder.
pub(crate) fn recovered(disk: &Path, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root.img");
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", disk.display())).arg(format!("of={}", root.display()));
    dd.args(["bs=1M", "conv=sparse", "status=none"]);
    dd.arg(format!("skip={}", ROOT_AT / MIB)).arg(format!("count={}", ROOT_BYTES / MIB));
    output_of(&mut dd)?;
    // Not where it is: e2fsck forgets the offset when it has replayed a journal.
    output_of(tool("e2fsck").args(["-y", "-E", "journal_only"]).arg(&root))?;
    check_at(&root.display().to_string())?;
    Ok(root)
}

/// Copies a folder of a file system, with all that is in it, into another one.
pub(crate) fn take_folder(root: &Path, from: &str, to: &Path) -> Result<()> {
    debugfs(&root.display().to_string(), &format!("rdump {from} {}", to.display())).map(drop)
}

/// Takes a folder off a disk that was made here, with all that is in it, into another one.
pub(super) fn take_off(disk: &Path, folder: &str, to: &Path) -> Result<()> {
    debugfs(&at_root(disk), &format!("rdump {folder} {}", to.display())).map(drop)
}

/// Puts files into a folder of a disk that was made here, in the place of all that are there.
pub(super) fn replace_all(
    disk: &Path,
    folder: &str,
    files: &[PathBuf],
    scratch: &Path,
) -> Result<()> {
    let there = debugfs(&at_root(disk), &format!("ls -p {folder}"))?;
    let there = there.lines().filter_map(|line| line.split('/').nth(5));
    let gone: String =
        there.filter(|name| !matches!(*name, "" | "." | "..")).map(removed).collect();
    let new: String = files.iter().map(|file| written(file)).collect();
    change(disk, &format!("cd {folder}\n{gone}{new}"), scratch)
}

/// Puts a file into a folder of a disk that was made here, in the place of the one of its name.
pub(super) fn replace(disk: &Path, folder: &str, file: &Path, scratch: &Path) -> Result<()> {
    let commands = format!("cd {folder}\n{}{}", removed(&name(file)), written(file));
    change(disk, &commands, scratch)
}

/// Checks the file system of a disk that was made here, without changing anything: it has to be
/// clean.
pub(crate) fn check(disk: &Path) -> Result<()> {
    check_at(&at_root(disk))
}

fn check_at(place: &str) -> Result<()> {
    output_of(tool("e2fsck").args(["-f", "-n", place])).map(drop)
}

/// Has debugfs(8) run commands that change the file system.
fn change(disk: &Path, commands: &str, scratch: &Path) -> Result<()> {
    let file = scratch.join("commands");
    folders::write(&file, commands.as_bytes())?;
    let mut debugfs = tool("debugfs");
    debugfs.args(["-w", "-f"]).arg(&file).arg(at_root(disk));
    let output = debugfs.output().attempt(|| "run debugfs".into())?;
    // It ends well whatever it cannot do, and begins with its own name.
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| !line.starts_with("debugfs ")) {
        None => Ok(()),
        Some(complaint) => {
            Err(Failure::new(format!("cannot change the files of the disk: {complaint}")))
        }
    }
}

/// Commands for debugfs(8): a file that is to go, and one that is to come.
fn removed(name: &str) -> String {
    format!("rm {name}\n")
}

fn written(file: &Path) -> String {
    format!("write {} {}\n", file.display(), name(file))
}

fn name(file: &Path) -> Cow<'_, str> {
    file.file_name().unwrap_or_default().to_string_lossy()
}

/// What debugfs(8) says to a command that reads.
fn debugfs(place: &str, command: &str) -> Result<String> {
    output_of(tool("debugfs").args(["-R", command, place]))
}

/// The root file system of a disk, as e2fsprogs are told of it.
fn at_root(disk: &Path) -> String {
    format!("{}?offset={ROOT_AT}", disk.display())
}

/// The partitions, as sfdisk(8) reads them. In a master boot record the firmware takes the one that is
/// active, if its type is 0x41 (PowerPC PReP).
fn script(table: Table) -> String {
    let partition = |at: u64, bytes: u64, kind: &str| {
        let (start, size) = (at / SECTOR_BYTES, bytes / SECTOR_BYTES);
        format!("start={start}, size={size}, {kind}\n")
    };
    let [label, loader, root] = match table {
        Table::Gpt => [
            "gpt".into(),
            format!("type={PREP_TYPE}, name=PReP"),
            format!("type={ROOT_TYPE}, name=root"),
        ],
        Table::Mbr => ["dos".into(), "type=41, bootable".into(), String::from("type=83")],
    };
    let partitions =
        partition(PREP_AT, PREP_BYTES, &loader) + &partition(ROOT_AT, ROOT_BYTES, &root);
    format!("label: {label}\n{partitions}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_one_another_and_leave_room_for_the_second_table() {
        let table = script(Table::Gpt);
        assert!(table.contains("start=2048, size=16384, type=9E1A2D38-"), "{table}");
        assert!(table.contains("start=18432, size=4173824, type=C31C45E6-"), "{table}");
        assert_eq!((18_432 + 4_173_824) * SECTOR_BYTES + MIB, DISK_BYTES);
        let table = script(Table::Mbr);
        assert!(table.contains("start=2048, size=16384, type=41, bootable\n"), "{table}");
        assert!(table.contains("start=18432, size=4173824, type=83\n"), "{table}");
    }
}
