//! The members of the workspace, as `cargo metadata` tells of them.

use std::path::PathBuf;

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::folders;
use crate::program::{cargo, output_of};

/// A package of the workspace.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) is_published: bool,
    /// The packages that it names, those for its tests and its building included.
    pub(super) dependencies: Vec<String>,
    /// The files that its library and its programs start with.
    pub(super) roots: Vec<PathBuf>,
}

impl Member {
    /// Name and version, as files of packages are named.
    pub(super) fn package(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

/// Every member, by name.
pub(super) fn all() -> Result<Vec<Member>> {
    let mut cargo = cargo();
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = output_of(cargo.current_dir(folders::workspace()))?;
    let unexpected = || Failure::new("what `cargo metadata` prints has another form");
    let metadata: Value = serde_json::from_str(&text).map_err(|_| unexpected())?;
    let packages = metadata["packages"].as_array().ok_or_else(unexpected)?;
    let mut members: Vec<Member> =
        packages.iter().map(member).collect::<Option<_>>().ok_or_else(unexpected)?;
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
}

fn member(package: &Value) -> Option<Member> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let dependencies = package["dependencies"].as_array()?.iter();
    let targets = package["targets"].as_array()?.iter().filter(|target| {
        let kinds = target["kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib" || kind == "bin"))
    });
    Some(Member {
        name: text(&package["name"])?,
        version: text(&package["version"])?,
        // None at all is a registry that may be any; an empty list is `publish = false`.
        is_published: package["publish"].as_array().is_none_or(|list| !list.is_empty()),
        dependencies: dependencies.map(|one| text(&one["name"])).collect::<Option<_>>()?,
        roots: targets
            .map(|target| target["src_path"].as_str().map(Into::into))
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_has_what_it_is_known_to_have() {
        let members = all().unwrap();
        let member = |name: &str| members.iter().find(|member| member.name == name).unwrap();
        let library = member("arch-ppc64");
        assert!(library.is_published);
        assert!(library.roots[0].ends_with("arch-ppc64/src/lib.rs"));
        assert!(library.dependencies.iter().any(|name| name == "vof-firmware"));
        let vmm = member("pseries-vmm");
        assert!(!vmm.is_published && vmm.roots.len() == 2);
    }
}
