//! The kernel's modules for an initial RAM disk: by name, with what they need, as modprobe(8) finds
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::deb;
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::guest::{self, Guest};

/// Modules of the guest's kernel, as the archive `NAME.cpio` that may follow an initial RAM disk: the
/// kernel takes archives one behind the other.
pub(crate) fn archive(guest: &Guest, name: &str, modules: &[&str]) -> Result<PathBuf> {
    let path = guest::folder().join(format!("{name}.cpio"));
    let source = format!("{}{}", guest.packages.manifest, modules.join(" "));
    guest::build(name, &source, &[&path], |unpacked| {
        let kernel = guest.packages.package("linux-image-")?;
        deb::unpack(kernel, unpacked, &["./lib/modules/*"])?;
        let folder = guest::only_entry(&unpacked.join("lib/modules"))?;
        let mut archive = Archive::default();
        Modules::find(&folder, modules)?.add_to(&mut archive);
        folders::write(&path, &archive.finish())
    })?;
    Ok(path)
}

/// Modules, and those that they need.
#[derive(Debug)]
pub(crate) struct Modules {
    /// The kernel's version, as `uname -r` has it.
    version: String,
    /// By name.
    modules: BTreeMap<String, Module>,
}

#[derive(Debug)]
struct Module {
    content: Vec<u8>,
    /// What it needs itself.
    needs: Vec<String>,
}

impl Modules {
    /// Finds modules by name in `lib/modules/VERSION`.
    pub(crate) fn find(folder: &Path, names: &[&str]) -> Result<Self> {
        let mut files = BTreeMap::new();
        list(&folder.join("kernel"), &mut files)?;
        let version = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut found = Self { version: version.into(), modules: BTreeMap::new() };
        let mut wanted: Vec<String> = names.iter().map(|&name| name.into()).collect();
        while let Some(name) = wanted.pop() {
            if found.modules.contains_key(&name) {
                continue;
            }
            let Some(file) = files.get(&name) else {
                return Err(Failure::new(format!(
                    "there is no module {name} in {}",
                    folder.display()
                )));
            };
            let content = folders::read(file)?;
            let needs = info(&content, "depends");
            let needs = needs.iter().flat_map(|names| names.split(','));
            let needs: Vec<String> = needs.filter(|name| !name.is_empty()).map(name_of).collect();
            wanted.extend(needs.iter().cloned());
            found.modules.insert(name, Module { content, needs });
        }
        Ok(found)
    }

    /// Adds them to a disk, with the tables that modprobe reads (modules.dep(5)).
    pub(crate) fn add_to(&self, archive: &mut Archive) {
        let folder = format!("lib/modules/{}", self.version);
        for folder in ["lib", "lib/modules", &folder] {
            archive.folder(folder);
        }
        for (name, module) in &self.modules {
            archive.file(&format!("{folder}/{name}.ko"), &module.content);
        }
        archive.file(&format!("{folder}/modules.dep"), self.dependencies().as_bytes());
        archive.file(&format!("{folder}/modules.alias"), self.aliases().as_bytes());
    }

    /// A line for each: what it needs, the first to be loaded last.
    fn dependencies(&self) -> String {
        let line = |name: &String| {
            let mut order = Vec::new();
            self.push_in_order(name, &mut order, &mut BTreeSet::new());
            let line: Vec<String> = order.iter().rev().map(|name| format!("{name}.ko")).collect();
            format!(
                "{}:{}\n",
                line[0],
                line[1..].iter().map(|file| format!(" {file}")).collect::<String>()
            )
        };
        self.modules.keys().map(line).collect()
    }

    /// Those that a module needs, and then itself.
    fn push_in_order(&self, name: &str, order: &mut Vec<String>, seen: &mut BTreeSet<String>) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        for need in self.modules.get(name).iter().flat_map(|module| &module.needs) {
            self.push_in_order(need, order, seen);
        }
        order.push(name.to_owned());
    }

    /// What the kernel asks for, and which module that is.
    fn aliases(&self) -> String {
        let lines = self.modules.iter().flat_map(|(name, module)| {
            let aliases = info(&module.content, "alias");
            aliases.into_iter().map(move |alias| format!("alias {alias} {name}\n"))
        });
        lines.collect()
    }
}

/// The modules in a folder and below, by name.
fn list(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let what = || format!("list {}", folder.display());
    for entry in fs::read_dir(folder).attempt(what)? {
        let path = entry.attempt(what)?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "ko") {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            files.insert(name_of(stem), path);
        }
    }
    Ok(())
}

/// A module's own name: the kernel takes a dash in a file's name for an underscore.
fn name_of(stem: &str) -> String {
    stem.replace('-', "_")
}

/// The values that a module's information has for a key: texts `key=value` that end at a zero
/// (Linux, include/linux/moduleparam.h), wherever in the file they are.
fn info(module: &[u8], key: &str) -> Vec<String> {
    let start = format!("{key}=").into_bytes();
    let texts = module.split(|&byte| byte == 0);
    let values = texts.filter_map(|text| std::str::from_utf8(text.strip_prefix(&start[..])?).ok());
    values.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::TemporaryFolder;

    #[test]
    fn modules_come_with_what_they_need_in_order() {
        let folder = TemporaryFolder::make(&std::env::temp_dir(), "xtask-modules-test").unwrap();
        let kernel = folder.path().join("6.1/kernel/deep");
        folders::make(&kernel).unwrap();
        for (name, info) in [
            ("top-blk", "\0alias=virtio:2\0depends=ring,base\0name=top_blk\0"),
            ("ring", "\0depends=base\0"),
            ("base", "\0depends=\0alias=b\0alias=c\0"),
            ("other", "\0depends=\0"),
        ] {
            folders::write(&kernel.join(format!("{name}.ko")), info.as_bytes()).unwrap();
        }
        let modules = Modules::find(&folder.path().join("6.1"), &["top_blk"]).unwrap();
        assert_eq!(
            modules.dependencies(),
            "base.ko:\nring.ko: base.ko\ntop_blk.ko: ring.ko base.ko\n"
        );
        assert_eq!(modules.aliases(), "alias b base\nalias c base\nalias virtio:2 top_blk\n");
        let failure = Modules::find(&folder.path().join("6.1"), &["none"]).unwrap_err();
        assert!(failure.to_string().starts_with("there is no module none in "), "{failure}");
    }
}
