//! dpkg's database of packages whose files are in place and which are not configured yet: what it
//! would have written itself when it unpacked them (dpkg(1), deb-triggers(5)).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::program::output_of;
use crate::tar::{Entry, Kind};

use super::tree::Tree;

const FOLDER: &str = "var/lib/dpkg";

/// What dpkg is to know.
#[derive(Debug, Default)]
pub(super) struct Database {
    packages: Vec<Package>,
    /// Who has to be told of what: lines for each file of `triggers`.
    triggers: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Package {
    /// As the archive has it.
    control: String,
    /// Settings of the administrator's, by path.
    settings: Vec<String>,
}

impl Database {
    /// Notes an unpacked package: the files of its control archive, and what it has. Scripts and
    /// lists go into the tree.
    pub(super) fn add(
        &mut self,
        tree: &mut Tree,
        control: &[Entry<'_>],
        files: &[Entry<'_>],
    ) -> Result<()> {
        let text = |wanted: &str| {
            let mut found = control.iter().filter(|entry| entry.path == wanted);
            found.find_map(|entry| match entry.kind {
                Kind::File(content) => Some(String::from_utf8_lossy(content).into_owned()),
                _ => None,
            })
        };
        let record = text("control").unwrap_or_default();
        let Some(name) = name(&record) else {
            return Err(Failure::new(format!("a package says no name for itself:\n{record}")));
        };
        for entry in control {
            if let (Kind::File(content), false) = (&entry.kind, entry.path == "control") {
                tree.add_file(&info(&name, &entry.path), content)?;
                tree.allow(&info(&name, &entry.path), entry.access);
            }
        }
        let paths = files.iter().map(|entry| match entry.path.as_str() {
            "" => "/.\n".to_owned(),
            path => format!("/{path}\n"),
        });
        tree.add_file(&info(&name, "list"), paths.collect::<String>().as_bytes())?;
        for line in text("triggers").unwrap_or_default().lines() {
            self.add_trigger(&name, line);
        }
        let settings = text("conffiles").unwrap_or_default();
        let settings = settings.lines().filter_map(|line| line.trim().strip_prefix('/'));
        let settings = settings.map(str::to_owned).collect();
        self.packages.push(Package { control: record, settings });
        Ok(())
    }

    /// Writes the database, once all packages are unpacked.
    pub(super) fn write(&self, tree: &mut Tree) -> Result<()> {
        let settings = self.packages.iter().flat_map(|package| &package.settings);
        let sums = sums(tree.folder(), settings)?;
        let status: String =
            self.packages.iter().map(|package| package.status(&sums) + "\n").collect();
        tree.add_file(&format!("{FOLDER}/status"), status.as_bytes())?;
        tree.add_file(&format!("{FOLDER}/info/format"), b"1\n")?;
        for empty in ["available", "diversions", "statoverride"] {
            tree.add_file(&format!("{FOLDER}/{empty}"), b"")?;
        }
        for (file, lines) in &self.triggers {
            tree.add_file(&format!("{FOLDER}/triggers/{file}"), lines.as_bytes())?;
        }
        for folder in ["alternatives", "parts", "updates"] {
            tree.add_folder(&format!("{FOLDER}/{folder}"))?;
        }
        Ok(())
    }

    /// `interest-noawait /usr/lib/x`: files are in one list, other triggers have a file each.
    fn add_trigger(&mut self, name: &str, line: &str) {
        let mut words = line.split_whitespace();
        let waits = match words.next() {
            Some("interest" | "interest-await") => "",
            Some("interest-noawait") => "/noawait",
            _ => return,
        };
        let Some(trigger) = words.next() else { return };
        if trigger.starts_with('/') {
            let lines = self.triggers.entry("File".into()).or_default();
            lines.push_str(&format!("{trigger} {name}{waits}\n"));
        } else {
            let lines = self.triggers.entry(trigger.into()).or_default();
            lines.push_str(&format!("{name}{waits}\n"));
        }
    }
}

impl Package {
    /// Its paragraph in the list of all.
    fn status(&self, sums: &BTreeMap<String, String>) -> String {
        let (first, rest) = self.control.split_once('\n').unwrap_or((&self.control, ""));
        let mut status = format!("{first}\nStatus: install ok unpacked\n{}\n", rest.trim_end());
        if !self.settings.is_empty() {
            status.push_str("Conffiles:\n");
        }
        for path in &self.settings {
            let sum = sums.get(path).map_or("newconffile", String::as_str);
            status.push_str(&format!(" /{path} {sum}\n"));
        }
        status
    }
}

/// A package's name in file names: several architectures of some can be there at once.
fn name(control: &str) -> Option<String> {
    let field = |name: &str| {
        control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let (name, architecture) = (field("Package")?, field("Architecture")?);
    match field("Multi-Arch") {
        Some("same") => Some(format!("{name}:{architecture}")),
        _ => Some(name.to_owned()),
    }
}

fn info(name: &str, file: &str) -> String {
    format!("{FOLDER}/info/{name}.{file}")
}

/// The MD5 sums of files in a folder.
fn sums<'a>(
    folder: &Path,
    files: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, String>> {
    let mut command = Command::new("md5sum");
    command.arg("--").args(files).current_dir(folder);
    let lines = output_of(&mut command)?;
    let lines = lines.lines().filter_map(|line| line.split_once("  "));
    Ok(lines.map(|(sum, file)| (file.to_owned(), sum.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::folders::{self, TemporaryFolder};

    fn file<'a>(path: &str, content: &'a str) -> Entry<'a> {
        let kind = Kind::File(content.as_bytes());
        Entry { path: path.into(), access: Access::of_root(0o755), kind }
    }

    #[test]
    fn dpkg_is_told_what_is_unpacked() {
        let temporary = TemporaryFolder::make(&std::env::temp_dir(), "xtask-dpkg-test").unwrap();
        let mut tree = Tree::new(temporary.path().join("root")).unwrap();
        let mut database = Database::default();
        let folder =
            Entry { path: String::new(), access: Access::of_root(0o755), kind: Kind::Folder };
        let control = [
            file("control", "Package: liba\nArchitecture: ppc64el\nMulti-Arch: same\nVersion: 1\n"),
            file("postinst", "#!/bin/sh\n"),
            file("conffiles", "/etc/a\n"),
            file("triggers", "# none\ninterest-noawait /usr/a\ninterest b\nactivate-noawait c\n"),
        ];
        tree.add_file("etc/a", b"setting\n").unwrap();
        database.add(&mut tree, &control, &[folder, file("etc/a", "setting\n")]).unwrap();
        database.write(&mut tree).unwrap();
        let read = |path: &str| {
            let place = temporary.path().join("root/var/lib/dpkg").join(path);
            String::from_utf8(folders::read(&place).unwrap()).unwrap()
        };
        assert_eq!(
            read("status"),
            "Package: liba\nStatus: install ok unpacked\nArchitecture: ppc64el\nMulti-Arch: same\n\
             Version: 1\nConffiles:\n /etc/a 2c1d4f59f062ce424618f4d25961fb76\n\n"
        );
        assert_eq!(read("info/liba:ppc64el.list"), "/.\n/etc/a\n");
        assert_eq!(read("info/liba:ppc64el.postinst"), "#!/bin/sh\n");
        assert_eq!(read("triggers/File"), "/usr/a liba:ppc64el/noawait\n");
        assert_eq!(read("triggers/b"), "liba:ppc64el\n");
    }

    #[test]
    fn a_package_that_says_no_name_is_refused() {
        let temporary = TemporaryFolder::make(&std::env::temp_dir(), "xtask-name-test").unwrap();
        let mut tree = Tree::new(temporary.path().join("root")).unwrap();
        let control = [file("control", "Version: 1\n")];
        assert!(Database::default().add(&mut tree, &control, &[]).is_err());
    }
}
