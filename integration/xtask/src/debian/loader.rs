//! GRUB on the disk, as grub-install(8) puts it there: an image in the PReP partition, which the
//! firmware starts, and all else in `/boot/grub`.

use std::fs;
use std::path::Path;

use crate::failure::{Attempt, Result};
use crate::folders;
use crate::grub::{FORMAT, Image, Mkimage, modules_folder};

use super::disk::{ROOT_UUID, Table};
use super::tree::Tree;

/// Its folder.
const FOLDER: &str = "boot/grub";

/// The font that menus are drawn with on screens.
const FONT: &str = "unicode.pf2";

/// What images have in them: tables of partitions and the file system, for all else is read from
/// there.
const PARTS: [&str; 4] = ["ext2", "part_gpt", "part_msdos", "search_fs_uuid"];

/// The file of variables (grub-editenv(1)), how long it is, and how it begins.
pub(super) const VARIABLES: &str = "grubenv";
const BLOCK_BYTES: usize = 1024;
const BLOCK_START: &[u8] = b"# GRUB Environment Block\n";

/// How an image finds its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finds {
    /// By a partition's number on the disk that it is started from, which grub-install writes where
    /// both are on one disk.
    Number,
    /// By the file system, which it searches for on all disks, as grub-install has it do elsewhere.
    FileSystem,
}

/// Adds what GRUB reads, but for its menu. Its modules are the tree's.
pub(super) fn add(tree: &mut Tree) -> Result<()> {
    let modules = modules_folder();
    let from = tree.folder().join(&modules);
    for name in modules_in(&from)? {
        let module = folders::read(&from.join(&name))?;
        tree.add_file(&format!("{FOLDER}/{FORMAT}/{name}"), &module)?;
    }
    let font = folders::read(&tree.folder().join("usr/share/grub").join(FONT))?;
    tree.add_file(&format!("{FOLDER}/fonts/{FONT}"), &font)?;
    tree.add_file(&format!("{FOLDER}/{VARIABLES}"), &variables(&[]))
}

/// Puts an image together of modules that are in a folder.
pub(super) fn make(
    mkimage: &Mkimage,
    modules: &Path,
    table: Table,
    finds: Finds,
    scratch: &Path,
) -> Result<Vec<u8>> {
    let partition = match table {
        Table::Gpt => "gpt2",
        Table::Mbr => "msdos2",
    };
    let prefix = format!("(,{partition})/{FOLDER}");
    let commands = scratch.join("load.cfg");
    if finds == Finds::FileSystem {
        let text = format!("search.fs_uuid {ROOT_UUID} root\nset prefix=($root)/{FOLDER}\n");
        folders::write(&commands, text.as_bytes())?;
    }
    let wanted = Image {
        prefix: &prefix,
        commands: (finds == Finds::FileSystem).then_some(commands.as_path()),
        disk: None,
    };
    let image = scratch.join("core.elf");
    mkimage.run(modules, &PARTS, &wanted, &image)?;
    folders::read(&image)
}

/// The names of the modules in a folder, and of the lists of what they have.
pub(super) fn modules_in(folder: &Path) -> Result<Vec<String>> {
    let what = || format!("list {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).attempt(what)? {
        let name = entry.attempt(what)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".mod") || name.ends_with(".lst") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Its folder on the disk, and that of its modules.
pub(super) fn folder() -> String {
    format!("/{FOLDER}")
}

/// See [`folder`].
pub(super) fn modules_at() -> String {
    format!("/{FOLDER}/{FORMAT}")
}

/// A file of variables (`NAME=VALUE`), a few at most.
pub(super) fn variables(lines: &[&str]) -> Vec<u8> {
    let mut block = BLOCK_START.to_vec();
    for line in lines {
        block.extend_from_slice(line.as_bytes());
        block.push(b'\n');
    }
    block.resize(BLOCK_BYTES, b'#');
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_reads_and_writes_variables_of_a_block_of_the_right_length() {
        let block = variables(&["timeout=-1"]);
        assert!(block.starts_with(b"# GRUB Environment Block\ntimeout=-1\n####"));
        assert!(block.len() == 1024 && block.ends_with(b"##"));
        let menu = include_str!("../../guest/debian/grub.cfg");
        assert!(menu.contains("$prefix/grubenv") && menu.contains("save_env next_entry"));
    }
}
