//! Debian's Rust 1.85: the oldest compiler that the workspace supports, and a cross compiler for
//! POWER. It is unpacked into the cache; the machine's own toolchain stays, and its Cargo drives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::apt::{self, Apt, POWER, Release};
use crate::cache::{self, PackageSet};
use crate::deb;
use crate::failure::{Attempt, Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::packages::{self, Tool};
use crate::program::{cargo, progress};

/// The minor version of Rust: the `rust-version` of the workspace.
const MINOR: &str = "1.85.";

/// The target triple of the emulated host.
const TARGET: &str = "powerpc64le-unknown-linux-gnu";

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
        for program in PROGRAMS {
            let wrapper = unpacked.path().join(program);
            folders::write(&wrapper, WRAPPER.as_bytes())?;
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
                .attempt(|| format!("make {} a program", wrapper.display()))?;
        }
        // The folder appears whole, or not at all.
        match fs::rename(unpacked.path(), &toolchain.folder) {
            // Somebody else was faster; theirs is as good.
            Err(_) if toolchain.is_there() => {}
            result => result.attempt(|| format!("make {}", toolchain.folder.display()))?,
        }
        Ok(toolchain)
    }

    fn is_there(&self) -> bool {
        PROGRAMS.iter().all(|program| self.folder.join(program).is_file())
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

    /// Cargo that builds for POWER; `subcommand` must know `--target`.
    pub(crate) fn cargo_for_power(&self, subcommand: &str) -> Result<Command> {
        packages::ensure(&[Tool::PowerCompiler, Tool::PowerLibrary])?;
        let mut command = self.cargo();
        command
            .env("CARGO_TARGET_DIR", folders::target().join("power"))
            .env("CARGO_TARGET_POWERPC64LE_UNKNOWN_LINUX_GNU_LINKER", "powerpc64le-linux-gnu-gcc")
            .args([subcommand, "--target", TARGET]);
        // The emulated host has no shared libraries.
        set_power_flags(&mut command, "-C target-feature=+crt-static");
        Ok(command)
    }

    /// Cargo that checks the workspace's packages for POWER, with every lint an error.
    pub(crate) fn clippy_for_power(&self) -> Result<Command> {
        let mut command = self.cargo_for_power("check")?;
        command
            // `cargo clippy` does no more than this, but it finds the driver of its own toolchain.
            .env("RUSTC_WORKSPACE_WRAPPER", self.folder.join("clippy-driver"))
            // Not to build anew what is built with other flags.
            .env("CARGO_TARGET_DIR", folders::target().join("power-clippy"));
        set_power_flags(&mut command, &format!("--deny warnings {CHANGED_LINTS}"));
        Ok(command)
    }
}

fn set_power_flags(cargo: &mut Command, flags: &str) {
    cargo.env("CARGO_TARGET_POWERPC64LE_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
}

/// Lints that today's clippy understands in a narrower way, or no longer warns of.
const CHANGED_LINTS: &str = "--allow clippy::precedence --allow clippy::format_collect";

/// What is run of the toolchain.
const PROGRAMS: [&str; 2] = ["rustc", "clippy-driver"];

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

/// Builds the program of a package for the emulated host.
pub(crate) fn build_for_power(package: &str) -> Result<PathBuf> {
    let toolchain = Toolchain::make()?;
    progress!("building {package} for POWER");
    let mut cargo = toolchain.cargo_for_power("build")?;
    crate::program::run(cargo.args(["--release", "--package", package]))?;
    Ok(folders::target().join("power").join(TARGET).join("release").join(package))
}

/// Compiler and libraries for this machine, and the standard library for POWER.
fn rust_packages() -> Result<PackageSet> {
    let native = apt::native()?;
    let mut files = vec![
        format!("rustc-web_{MINOR}*_{native}.deb"),
        format!("rust-web-clippy_{MINOR}*_{native}.deb"),
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
    let of_rust = ["rustc-web", "rust-web-clippy", "libstd-rust-web-1.85", "libstd-rust-web-dev"];
    let mut names: Vec<String> =
        of_rust.iter().map(|package| format!("{package}:{native}={version}")).collect();
    if native != POWER {
        names.push(format!("libstd-rust-web-dev:{POWER}={version}"));
    }
    names.extend(LIBRARIES.map(|library| format!("{library}:{native}")));
    Ok(names)
}
