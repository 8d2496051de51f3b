//! The step `package`: what goes to a registry builds by itself.
//!
//! Cargo makes the packages and does not build them: it would unpack each into the user's own
//! folder for crates and use that again for other packages of the same version, so that a change
//! of one crate that breaks another passed. Here they are unpacked anew, into one workspace in which
//! each takes the place of what a registry would have, and checked together. What they need of
//! others is built already, by the steps before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::program::cargo;

use super::log::Log;
use super::members::{self, Member};

/// The files that every package has. Those of the first two are the workspace's own.
const FILES: [&str; 4] = ["LICENSE-APACHE", "LICENSE-BSD-3-Clause", "README.md", "CHANGELOG.md"];

/// More than a package needs that has source and text in it, compressed.
const MAX_BYTES: u64 = 512 << 10;

pub(super) fn step(log: &mut Log) -> Result<()> {
    let mut members = members::all()?;
    members.retain(|member| member.is_published);
    let target = folders::target();
    let mut make = cargo();
    // What is not committed yet is packaged as well: it is what the other steps look at, too.
    make.args(["package", "--no-verify", "--allow-dirty", "--target-dir"]).arg(&target);
    for member in &members {
        make.args(["--package", &member.name]);
    }
    log.run(make.current_dir(folders::workspace()))?;

    let made = target.join("package");
    let built = made.join("together");
    if built.exists() {
        fs::remove_dir_all(&built).attempt(|| format!("remove {}", built.display()))?;
    }
    folders::make(&built)?;
    for member in &members {
        let package = made.join(format!("{}.crate", member.package()));
        // Cargo gives every file the same time: with the time of now, it sees what is new.
        let mut tar = Command::new("tar");
        log.run(tar.arg("-xzmf").arg(&package).arg("-C").arg(&built))?;
        look_at(member, &package, &built.join(member.package()))?;
    }
    folders::write(&built.join("Cargo.toml"), workspace_of(&members).as_bytes())?;
    let lock = folders::read(&folders::workspace().join("Cargo.lock"))?;
    folders::write(&built.join("Cargo.lock"), &lock)?;
    for features in [&[][..], &["--all-features"]] {
        let mut check = cargo();
        check.args(["check", "--workspace"]).args(features).arg("--target-dir").arg(&target);
        log.run(check.current_dir(&built))?;
    }
    Ok(())
}

/// A workspace of the packages, in which they find each other.
fn workspace_of(members: &[Member]) -> String {
    let mut text = String::from("[workspace]\nresolver = \"3\"\nmembers = [");
    for member in members {
        text += &format!("\"{}\", ", member.package());
    }
    text += "]\n\n[patch.crates-io]\n";
    for member in members {
        text += &format!("{} = {{ path = \"{}\" }}\n", member.name, member.package());
    }
    text
}

/// What a user of the package needs is in it, and little else.
fn look_at(member: &Member, package: &Path, unpacked: &Path) -> Result<()> {
    let name = &member.name;
    for file in FILES {
        let there = folders::read(&unpacked.join(file))
            .map_err(|_| Failure::new(format!("the package of {name} has no {file}")))?;
        let is_licence = file.starts_with("LICENSE");
        if is_licence && there != folders::read(&folders::workspace().join(file))? {
            return Err(Failure::new(format!("{file} of {name} is not that of the workspace")));
        }
    }
    let bytes = fs::metadata(package).attempt(|| format!("look at {}", package.display()))?.len();
    if bytes > MAX_BYTES {
        let text = format!("the package of {name} has {bytes} bytes; {MAX_BYTES} are allowed");
        return Err(Failure::new(text));
    }
    missing_keys(&folders::read(&unpacked.join("Cargo.toml"))?)
        .map_or(Ok(()), |key| Err(Failure::new(format!("the manifest of {name} has no {key}"))))
}

/// What registries and docs.rs show of a package, or go by.
fn missing_keys(manifest: &[u8]) -> Option<&'static str> {
    const KEYS: [&str; 7] = [
        "description",
        "license",
        "readme",
        "keywords",
        "categories",
        "rust-version",
        "all-features",
    ];
    let text = String::from_utf8_lossy(manifest);
    let keys: BTreeSet<&str> =
        text.lines().filter_map(|line| Some(line.split_once('=')?.0.trim())).collect();
    KEYS.into_iter().find(|key| !keys.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_find_each_other() {
        let member = |name: &str| Member {
            name: name.into(),
            version: "0.1.0".into(),
            is_published: true,
            dependencies: Vec::new(),
            roots: Vec::new(),
        };
        assert_eq!(
            workspace_of(&[member("a"), member("b")]),
            "[workspace]\nresolver = \"3\"\nmembers = [\"a-0.1.0\", \"b-0.1.0\", ]\n\n\
             [patch.crates-io]\na = { path = \"a-0.1.0\" }\nb = { path = \"b-0.1.0\" }\n"
        );
    }

    #[test]
    fn a_manifest_lacks_what_it_does_not_say() {
        let manifest = "[package]\ndescription = \"d\"\nlicense = \"l\"\nreadme = false\n";
        assert_eq!(missing_keys(manifest.as_bytes()), Some("keywords"));
    }
}
