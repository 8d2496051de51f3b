//! Debian's Rust 1.85: the oldest compiler that the workspace supports, and a cross compiler for
//! POWER where the machine's own toolchain is none. It is unpacked into the cache; the machine's
//! own toolchain stays, and its Cargo drives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::apt::{self, Apt, POWER, Release};
use crate::cache::{self, PackageSet, Part};
use crate::deb;
use crate::failure::{Attempt, Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::program::{cargo, progress};

/// The minor version of Rust: the `rust-version` of the workspace.
const MINOR: &str = "1.85.";

/// The libraries of rustc that not every machine has in the version that bookworm has.
const LIBRARIES: [&str; 8] =
    ["libllvm19", "libbsd0", "libedit2", "libffi8", "libicu72", "libmd0", "libxml2", "libz3-4"];

/// An unpacked toolchain.
#[derive(Debug)]
pub(crate) struct Toolchain {
    folder: PathBuf,
}

impl Toolchain {
    /// Fetches and unpacks what is missing.
    pub(crate) fn make() -> Result<Self> {
        let cache = folders::cache()?;
        let toolchain = Self { folder: cache.join("rust-1.85") };
        if toolchain.is_there() {
            return Ok(toolchain);
        }
        let fetched = cache::fetch(&rust_packages()?, false)?;
        progress!("unpacking Rust 1.85 into {} (600 MB)", toolchain.folder.display());
        let unpacked = TemporaryFolder::make(&cache, "rust-1.85")?;
        for package in fetched.all() {
            deb::unpack(package, unpacked.path(), &[])?;
        }
        let wrapper = unpacked.path().join("rustc");
        folders::write(&wrapper, WRAPPER.as_bytes())?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
            .attempt(|| format!("make {} a program", wrapper.display()))?;
        // The folder appears whole, or not at all.
        match fs::rename(unpacked.path(), &toolchain.folder) {
            // Somebody else was faster; theirs is as good.
            Err(_) if toolchain.is_there() => {}
            result => result.attempt(|| format!("make {}", toolchain.folder.display()))?,
        }
        Ok(toolchain)
    }

    fn is_there(&self) -> bool {
        self.folder.join("rustc").is_file()
    }

    /// Cargo with this compiler, for this machine, with a target folder of its own.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command
            .env("RUSTC", self.folder.join("rustc"))
            .env("CARGO_TARGET_DIR", folders::target().join("rust-1.85"))
            .current_dir(folders::workspace());
        // What was chosen for another compiler is not for this one.
        for variable in
            ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"]
        {
            command.env_remove(variable);
        }
        command
    }
}

/// Programs find the standard library beside themselves, but not their shared libraries. In bash,
/// as other shells drop Cargo's variables that have a dash in their names.
const WRAPPER: &str = "#!/bin/bash
here=${0%/*}
for libraries in \"$here\"/usr/lib/*-linux-gnu*/librustc_driver-*.so; do
    LD_LIBRARY_PATH=${libraries%/*}
done
export LD_LIBRARY_PATH
exec \"$here/usr/bin/${0##*/}\" \"$@\"
";

/// Compiler and libraries for this machine, and the standard library for POWER.
fn rust_packages() -> Result<PackageSet> {
    let native = apt::native()?;
    let mut packages = vec![
        ("rustc-web", native),
        ("libstd-rust-web-1.85", native),
        ("libstd-rust-web-dev", native),
    ];
    if native != POWER {
        packages.push(("libstd-rust-web-dev", POWER));
    }
    let of_rust = packages.into_iter().map(|(name, architecture)| Part {
        file: format!("{name}_{MINOR}*_{architecture}.deb"),
        choose: Box::new(move |apt| {
            let name = format!("{name}:{architecture}");
            Ok(versions(apt)?.iter().map(|version| format!("{name}={version}")).collect())
        }),
    });
    let libraries = LIBRARIES.map(|name| Part::any(name, native));
    Ok(PackageSet {
        name: "rust-1.85",
        releases: &[Release::Bookworm],
        what: "Rust 1.85 with POWER as a target",
        parts: of_rust.chain(libraries).collect(),
        is_one_build: true,
    })
}

/// The versions that compiler and libraries both have: one build made them, or they do not fit each
/// other.
fn versions(apt: &Apt) -> Result<Vec<String>> {
    let native = apt::native()?;
    let libraries = apt.versions(&format!("libstd-rust-web-dev:{POWER}"))?;
    let mut versions = apt.versions(&format!("rustc-web:{native}"))?;
    versions.retain(|version| version.starts_with(MINOR) && libraries.contains(version));
    if versions.is_empty() {
        return Err(Failure::new(
            "the machine's package sources offer no rustc-web 1.85; they have to be Debian's",
        ));
    }
    Ok(versions)
}
