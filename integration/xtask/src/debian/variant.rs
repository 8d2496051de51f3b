//! The disk in other forms: with another table of partitions, and another GRUB. They are copies that
//! a step or a bench makes for itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Result;
use crate::folders;
use crate::grub::{self, Mkimage, Series};
use crate::program::output_of;

use super::disk::{self, Table};
use super::loader::{self, Finds};

/// A form of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) table: Table,
    pub(crate) grub: Series,
}

impl Variant {
    /// The disk as it is made.
    pub(crate) const USUAL: Self = Self { table: Table::Gpt, grub: Series::Older };

    /// The one that has nothing in common with it.
    pub(crate) const UNUSUAL: Self = Self { table: Table::Mbr, grub: Series::Newer };

    /// All of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::USUAL,
        Self { table: Table::Mbr, grub: Series::Older },
        Self { table: Table::Gpt, grub: Series::Newer },
        Self::UNUSUAL,
    ];

    /// Makes a copy of a disk, in this form and to be written to, in a folder.
    pub(crate) fn copy(self, made: &Path, folder: &Path) -> Result<PathBuf> {
        let to = folder.join("disk.img");
        let mut cp = Command::new("cp");
        output_of(cp.args(["--reflink=auto", "--sparse=always"]).arg(made).arg(&to))?;
        if self != Self::USUAL {
            let scratch = folders::TemporaryFolder::make(folder, "grub")?;
            self.install(&to, scratch.path())?;
        }
        Ok(to)
    }

    fn install(self, to: &Path, scratch: &Path) -> Result<()> {
        if self.table != Self::USUAL.table {
            disk::partition(to, self.table)?;
        }
        let (modules, finds) = match self.grub {
            Series::Older => {
                disk::take_off(to, &format!("/{}", grub::modules_folder()), scratch)?;
                (scratch.join(grub::FORMAT), Finds::Number)
            }
            Series::Newer => {
                let modules = grub::unpack_modules(&Series::Newer.modules(false)?, scratch)?;
                let names = loader::modules_in(&modules)?;
                let files: Vec<PathBuf> = names.iter().map(|name| modules.join(name)).collect();
                disk::replace_all(to, &loader::modules_at(), &files, scratch)?;
                (modules, Finds::FileSystem)
            }
        };
        let mkimage = Mkimage::unpack(&grub::tools(false)?, &scratch.join("tools"))?;
        disk::put_loader(to, &loader::make(&mkimage, &modules, self.table, finds, scratch)?)
    }
}

/// Sets variables of GRUB's (`NAME=VALUE`) on a disk, and no others: what it loads when it starts.
/// `folder` is for what is not kept.
pub(crate) fn set_variables(disk: &Path, variables: &[&str], folder: &Path) -> Result<()> {
    let scratch = folders::TemporaryFolder::make(folder, "variables")?;
    let block = scratch.path().join(loader::VARIABLES);
    folders::write(&block, &loader::variables(variables))?;
    disk::replace(disk, &loader::folder(), &block, scratch.path())
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = match self.table {
            Table::Gpt => "GPT",
            Table::Mbr => "MBR",
        };
        write!(f, "{table}, GRUB {}", self.grub.version())
    }
}
