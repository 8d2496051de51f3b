//! Debian's Rust 1.85: the oldest compiler that the workspace supports, and a cross compiler for
//! POWER where the machine's own toolchain is none. It is unpacked into the cache; the machine's
//! own toolchain stays, and its Cargo drives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::apt::{self, Apt, POWER, Release};
use crate::cache::{self, PackageSet};
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
    let mut files = vec![
        format!("rustc-web_{MINOR}*_{native}.deb"),
        format!("libstd-rust-web-1.85_{MINOR}*_{native}.deb"),
        format!("libstd-rust-web-dev_{MINOR}*_{native}.deb"),
        format!("libstd-rust-web-dev_{MINOR}*_{POWER}.deb"),
    ];
    files.extend(LIBRARIES.map(|library| format!("{library}_*_{native}.deb")));
    Ok(PackageSet {
        name: "rust-1.85",
        releases: &[Release::Bookworm],
        what: "Rust 1.85 with POWER as a target",
        files,
        choose,
    })
}

fn choose(apt: &Apt) -> Result<Vec<String>> {
    let native = apt::native()?;
    let compilers = apt.versions(&format!("rustc-web:{native}"))?;
    // One build made compiler and libraries, or they do not fit each other.
    let libraries = apt.versions(&format!("libstd-rust-web-dev:{POWER}"))?;
    let version = compilers
        .iter()
        .find(|version| version.starts_with(MINOR) && libraries.contains(version))
        .ok_or_else(|| {
            Failure::new(
                "the machine's package sources offer no rustc-web 1.85; they have to be Debian's",
            )
        })?;
    let of_rust = ["rustc-web", "libstd-rust-web-1.85", "libstd-rust-web-dev"];
    let mut names: Vec<String> =
        of_rust.iter().map(|package| format!("{package}:{native}={version}")).collect();
    if native != POWER {
        names.push(format!("libstd-rust-web-dev:{POWER}={version}"));
    }
    names.extend(LIBRARIES.map(|library| format!("{library}:{native}")));
    Ok(names)
}
