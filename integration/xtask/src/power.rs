//! Who builds for POWER: this machine's own toolchain where it has, or can get, the target's
//! standard library, else Debian's Rust 1.85. Which of them it is is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::failure::{Failure, Result};
use crate::folders;
use crate::packages::{self, Tool};
use crate::program::{cargo, is_present, output_of, progress, run, rustc};
use crate::toolchain::Toolchain;
use crate::vmms;

/// The target triple of POWER hosts, the emulated one among them.
const TARGET: &str = "powerpc64le-unknown-linux-gnu";

/// Where Cargo finds flags for that target's code only, and not for what runs while it builds.
const FLAGS: &str = "CARGO_TARGET_POWERPC64LE_UNKNOWN_LINUX_GNU_RUSTFLAGS";

/// For how long rustup is not asked again after it failed: without a network it may take its time,
/// and the boots of a test are processes of their own.
const NOT_AGAIN: Duration = Duration::from_secs(3600);

/// What compiles for POWER.
#[derive(Debug)]
pub(crate) enum Compiler {
    /// This machine's toolchain.
    Own,
    /// Debian's Rust 1.85.
    Debian(Toolchain),
}

impl Compiler {
    /// Finds the one, or fetches the other.
    pub(crate) fn find() -> Result<Self> {
        packages::ensure(&[Tool::PowerCompiler, Tool::PowerLibrary])?;
        let version = output_of(rustc().arg("-vV"))?;
        let failed = folders::target().join("power/rustup-failed");
        let rustup = |add: &mut dyn FnMut() -> Result<()>| match lately_failed(&failed, &version) {
            Some(why) => Err(Failure::new(why)),
            None => add().inspect_err(|failure| {
                // That it is asked again is no harm.
                let _ = folders::make(&folders::target().join("power"));
                let _ = folders::write(&failed, format!("{version}{failure}").as_bytes());
            }),
        };
        match own(has_library, || rustup(&mut add_target)) {
            Ok(()) => {
                progress!("for POWER: this machine's {}", first_line(&version));
                Ok(Self::Own)
            }
            Err(why) => {
                progress!("for POWER: Debian's Rust 1.85, as {why}");
                Toolchain::make().map(Self::Debian)
            }
        }
    }

    /// Cargo that builds for POWER; `subcommand` must know `--target`.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            // Beside what it builds for this machine, so that build scripts are built once.
            Self::Own => {
                let mut command = cargo();
                command.current_dir(folders::workspace());
                command
            }
            Self::Debian(toolchain) => toolchain.cargo(),
        };
        command
            .env("CARGO_TARGET_DIR", self.target_folder())
            .env("CARGO_TARGET_POWERPC64LE_UNKNOWN_LINUX_GNU_LINKER", "powerpc64le-linux-gnu-gcc")
            // The emulated host has no shared libraries.
            .env(FLAGS, "-C target-feature=+crt-static")
            // The host has its programs in RAM, where this would make four times as much of them.
            .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
            // These would take the place of the flags.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .args([subcommand, "--target", TARGET]);
        command
    }

    /// Cargo that checks what is of POWER hosts' KVM, with every warning an error: today's clippy, or,
    /// where there is only an older compiler, whose other lints are not today's, rustc's own lints.
    pub(crate) fn check(&self) -> Command {
        let what = [
            "--package",
            "kvm-ppc64",
            "--package",
            "pseries-vmm",
            "--all-targets",
            "--all-features",
        ];
        match self {
            Self::Own => {
                let mut command = self.cargo("clippy");
                command.args(what).args(["--", "--deny", "warnings"]);
                command
            }
            Self::Debian(_) => {
                let mut command = self.cargo("check");
                // Not to build anew what is built with other flags.
                command.env("CARGO_TARGET_DIR", folders::target().join("power-check"));
                command.env(FLAGS, "--deny warnings").args(what);
                command
            }
        }
    }

    fn target_folder(&self) -> PathBuf {
        match self {
            Self::Own => folders::target(),
            Self::Debian(_) => folders::target().join("power"),
        }
    }
}

/// Builds one of the VMMs for POWER. Gives its path.
pub(crate) fn build(name: &str) -> Result<PathBuf> {
    Ok(build_with(&[])?.join(name))
}

/// Builds an example program that is made of the VMM, for POWER. Gives its path.
pub(crate) fn build_example(name: &str) -> Result<PathBuf> {
    Ok(build_with(&["--example", name])?.join("examples").join(name))
}

/// Builds the program of a package beside the VMMs, for POWER. Gives its path.
pub(crate) fn build_package(name: &str) -> Result<PathBuf> {
    let compiler = Compiler::find()?;
    progress!("building {name} for POWER");
    run(compiler.cargo("build").args(["--release", "--package", name]))?;
    Ok(compiler.target_folder().join(TARGET).join("release").join(name))
}

/// Builds what is asked for. Gives the folder with the programs.
fn build_with(what: &[&str]) -> Result<PathBuf> {
    let compiler = Compiler::find()?;
    progress!("building the VMMs for POWER");
    run(vmms::name(compiler.cargo("build").arg("--release").args(what)))?;
    Ok(compiler.target_folder().join(TARGET).join("release"))
}

/// Whether this machine's toolchain can build for POWER, and if not, why.
fn own(
    has_library: impl Fn() -> bool,
    add: impl FnOnce() -> Result<()>,
) -> std::result::Result<(), String> {
    if has_library() {
        return Ok(());
    }
    match add() {
        Ok(()) if has_library() => Ok(()),
        Ok(()) => Err(format!("rustup added {TARGET}, but this machine's rustc does not find it")),
        Err(failure) => Err(failure.to_string()),
    }
}

/// Whether the compiler finds a standard library for POWER.
fn has_library() -> bool {
    let folder = output_of(rustc().args(["--print", "target-libdir", "--target", TARGET]));
    let Ok(entries) = folder.map(|folder| fs::read_dir(folder.trim())) else { return false };
    entries.is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

fn add_target() -> Result<()> {
    // rustup says so to what it runs.
    let toolchain = std::env::var_os("RUSTUP_TOOLCHAIN").filter(|_| is_present("rustup"));
    let Some(toolchain) = toolchain else {
        return Err(Failure::new(format!(
            "this machine's rustc has no standard library for {TARGET}, and no rustup to add it"
        )));
    };
    progress!("adding {TARGET} by rustup");
    let mut rustup = Command::new("rustup");
    run(rustup.args(["target", "add", TARGET, "--toolchain"]).arg(toolchain))
}

/// Why rustup failed, if that was with this compiler and a short time ago.
fn lately_failed(file: &Path, version: &str) -> Option<String> {
    let written = fs::metadata(file).and_then(|metadata| metadata.modified()).ok()?;
    let age = SystemTime::now().duration_since(written).ok()?;
    let text = fs::read_to_string(file).ok()?;
    text.strip_prefix(version).filter(|_| age < NOT_AGAIN).map(str::to_owned)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::folders::TemporaryFolder;

    #[test]
    fn rustup_is_asked_where_the_library_is_not_there_only() {
        assert_eq!(own(|| true, || panic!("asked")), Ok(()));
        let added = Cell::new(false);
        let add = || {
            added.set(true);
            Ok(())
        };
        assert_eq!(own(|| added.get(), add), Ok(()));
        let offline = || Err(Failure::new("`rustup target add` ended with status 1"));
        let why = own(|| false, offline).unwrap_err();
        assert_eq!(why, "`rustup target add` ended with status 1");
        assert!(own(|| false, || Ok(())).unwrap_err().contains("does not find it"));
    }

    #[test]
    fn what_failed_for_another_compiler_or_long_ago_is_tried_again() {
        let folder = TemporaryFolder::make(&std::env::temp_dir(), "xtask-power-test").unwrap();
        let file = folder.path().join("rustup-failed");
        assert_eq!(lately_failed(&file, "rustc 1.95\n"), None);
        folders::write(&file, b"rustc 1.95\nno network").unwrap();
        assert_eq!(lately_failed(&file, "rustc 1.95\n").as_deref(), Some("no network"));
        assert_eq!(lately_failed(&file, "rustc 1.96\n"), None);
        let long_ago = SystemTime::now() - 2 * NOT_AGAIN;
        fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(lately_failed(&file, "rustc 1.95\n"), None);
    }
}
