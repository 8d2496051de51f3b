//! The step `circles`: no file imports one that imports it, and crates know only those that the
//! design lets them know.
//!
//! What counts, for each crate of the workspace by itself:
//!
//! - A file imports another where it names something that the other defines: by `use`, by a path
//!   in code, or by a path within a macro. Methods need no path and do not count.
//! - The file that counts is the one that defines the name. A `pub use` is followed to it, through
//!   as many modules as it takes. Where a module makes the name by a macro or brings it from another
//!   crate, that module's file counts.
//! - `use` of a module alone imports nothing: what is named through it does. `use a::*` imports `a`,
//!   and whatever is named through it.
//! - A module and those within it, at whatever depth, may import each other.
//! - What is for tests is left out: `#[cfg(test)]`, and the folders `tests`, `benches`, `examples`.

mod circle;
mod imports;
mod modules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::folders;

use super::log::Log;
use super::members::{self, Member};

use self::imports::Imports;

/// The crates for everybody, and which of ours each may know.
const ARROWS: &[(&str, &[&str])] = &[
    ("vof-firmware", &[]),
    ("arch-ppc64", &["vof-firmware"]),
    ("vof-device", &["vof-firmware", "arch-ppc64"]),
    ("kvm-ppc64", &["arch-ppc64"]),
    ("interp", &["arch-ppc64"]),
];

/// Shows every circle; the first in a crate that is judged is a failure.
pub(super) fn step(log: &mut Log) -> Result<()> {
    let members = members::all()?;
    let known: Vec<(&str, &[String])> =
        members.iter().map(|member| (&*member.name, &*member.dependencies)).collect();
    let mut failure = against_the_arrows(&known).or_else(|| {
        let unknown = |member: &&Member| member.is_published && allowed(&member.name).is_none();
        members.iter().find(unknown).map(|Member { name, .. }| {
            format!("{name} is for everybody, and ARROWS in the step does not say what it may know")
        })
    });
    for member in &members {
        let imports = imports_of(member)?;
        let circles = circle::all(&imports);
        let files = imports.len();
        log.add(
            format!("{}: {} circles ({files} files import others)\n", member.name, circles.len())
                .as_bytes(),
        )?;
        for circle in &circles {
            log.add(format!("  {}\n", circle::told(circle, &imports)).as_bytes())?;
        }
        if let (None, Some(shortest)) = (&failure, circles.first()) {
            let told = circle::told(shortest, &imports);
            failure = Some(format!("{} has a circle of imports: {told}", member.name));
        }
    }
    failure.map_or(Ok(()), |failure| Err(Failure::new(failure)))
}

/// The imports in all that a member builds.
fn imports_of(member: &Member) -> Result<Imports> {
    let workspace = folders::workspace();
    let read = |file: &Path| fs::read_to_string(workspace.join(file)).ok();
    let mut all: Imports = BTreeMap::new();
    for root in &member.roots {
        let root: PathBuf = root.strip_prefix(&workspace).unwrap_or(root).into();
        for (file, imported) in imports::of(&modules::read(&root, &read)?) {
            all.entry(file).or_default().extend(imported);
        }
    }
    Ok(all)
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(member, _)| *member == name).map(|(_, allowed)| *allowed)
}

/// What a crate knows that it must not know.
fn against_the_arrows(members: &[(&str, &[String])]) -> Option<String> {
    let ours = |name: &str| members.iter().any(|(member, _)| *member == name);
    members.iter().find_map(|(name, dependencies)| {
        let allowed = allowed(name)?;
        let wrong = dependencies.iter().find(|one| ours(one) && !allowed.contains(&&***one))?;
        Some(format!("{name} depends on {wrong}; of this workspace it may know {allowed:?}"))
    })
}
