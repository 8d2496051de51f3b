//! Debian packages that have to be installed on the machine itself.

use std::path::Path;
use std::process::Command;

use crate::again::{self, PAUSES};
use crate::failure::{Failure, Result};
use crate::program::{is_present, progress, run};

/// Where virtiofsd is.
pub(crate) const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";

/// A tool from a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The emulator of the POWER host.
    Qemu,
    /// A compiler and linker of POWER programs; its test rebuilds the guest programs in C.
    PowerCompiler,
    /// A C library for POWER programs.
    PowerLibrary,
    /// An assembler for the firmware: the test that rebuilds it wants it.
    PowerBinutils,
    /// What `bench tree` compares with.
    Libfdt,
    /// What device trees are checked with.
    DeviceTreeCompiler,
    /// What libFuzzer is built with.
    CppCompiler,
    /// What makes file systems.
    Ext4,
    /// What partitions disks.
    PartitionTables,
    /// What makes CDs.
    Xorriso,
    /// A network for guests, without root.
    Passt,
    /// Folders of the host for guests.
    Virtiofsd,
    /// A compiler of big-endian POWER programs.
    BigEndianCompiler,
    /// A C library for them.
    BigEndianLibrary,
    /// What Linux is built with.
    Make,
    Flex,
    Bison,
    Calculator,
}

impl Tool {
    /// What a command on the emulated host needs, building for it included.
    pub(crate) const FOR_HOST: [Self; 3] = [Self::Qemu, Self::PowerCompiler, Self::PowerLibrary];

    /// What the tests need, but for the long ones.
    pub(crate) const ALL: [Self; 12] = [
        Self::Qemu,
        Self::PowerCompiler,
        Self::PowerLibrary,
        Self::PowerBinutils,
        Self::Libfdt,
        Self::DeviceTreeCompiler,
        Self::CppCompiler,
        Self::Ext4,
        Self::PartitionTables,
        Self::Xorriso,
        Self::Passt,
        Self::Virtiofsd,
    ];

    /// What shows that the tool is there, and the package that brings it.
    fn table(self) -> (Sign, &'static str) {
        match self {
            Self::Qemu => (Sign::Program("qemu-system-ppc64"), "qemu-system-ppc"),
            Self::PowerCompiler => {
                (Sign::Program("powerpc64le-linux-gnu-gcc"), "gcc-powerpc64le-linux-gnu")
            }
            Self::PowerLibrary => {
                (Sign::File("/usr/powerpc64le-linux-gnu/lib/libc.a"), "libc6-dev-ppc64el-cross")
            }
            Self::PowerBinutils => {
                (Sign::Program("powerpc64-linux-gnu-as"), "binutils-powerpc64-linux-gnu")
            }
            Self::DeviceTreeCompiler => (Sign::Program("dtc"), "device-tree-compiler"),
            Self::CppCompiler => (Sign::Program("c++"), "g++"),
            Self::Ext4 => (Sign::Program("mke2fs"), "e2fsprogs"),
            Self::PartitionTables => (Sign::Program("sfdisk"), "fdisk"),
            Self::Xorriso => (Sign::Program("xorriso"), "xorriso"),
            Self::Passt => (Sign::Program("passt"), "passt"),
            Self::Virtiofsd => (Sign::File(VIRTIOFSD), "qemu-system-common"),
            Self::Libfdt => (Sign::File("/usr/include/libfdt.h"), "libfdt-dev"),
            Self::BigEndianCompiler => {
                (Sign::Program("powerpc64-linux-gnu-gcc"), "gcc-powerpc64-linux-gnu")
            }
            Self::BigEndianLibrary => {
                (Sign::File("/usr/powerpc64-linux-gnu/lib/libc.a"), "libc6-dev-ppc64-cross")
            }
            Self::Make => (Sign::Program("make"), "make"),
            Self::Flex => (Sign::Program("flex"), "flex"),
            Self::Bison => (Sign::Program("bison"), "bison"),
            Self::Calculator => (Sign::Program("bc"), "bc"),
        }
    }

    fn package(self) -> &'static str {
        self.table().1
    }

    fn is_present(self) -> bool {
        match self.table().0 {
            Sign::Program(name) => is_present(name),
            Sign::File(path) => Path::new(path).is_file(),
        }
    }
}

/// What a package leaves on a machine.
enum Sign {
    Program(&'static str),
    File(&'static str),
}

/// Makes sure that tools are there. Root gets them installed; others are told how.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let missing = || tools.iter().copied().filter(|tool| !tool.is_present());
    let packages: Vec<&str> = missing().map(Tool::package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !is_present("apt-get") {
        return Err(Failure::new(format!(
            "these Debian packages, or what your system has for them, are not installed: {list}\n\
             Their programs have to be in PATH: {}",
            missing().map(|tool| tool.table().0.name()).collect::<Vec<_>>().join(", ")
        )));
    }
    // SAFETY: has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Err(Failure::new(format!(
            "Debian packages are missing. Install them with\n  sudo apt-get install {list}"
        )));
    }
    progress!("installing {list}");
    again::with_pauses(&PAUSES, || {
        let packages: Vec<&str> = missing().map(Tool::package).collect();
        // A machine that was never updated has no lists; one with a broken source has enough of them.
        let lists = run(Command::new("apt-get").arg("update"));
        let mut failed = install(&packages);
        if failed.is_err() && packages.len() > 1 {
            // One that cannot be had does not keep the others from coming.
            failed = packages.iter().map(|package| install(&[package])).fold(Ok(()), Result::and);
        }
        let failure = match (missing().next(), failed, lists) {
            (None, ..) => return Ok(()),
            (_, Err(failure), Ok(())) => failure,
            (_, Err(failure), Err(lists)) => {
                Failure::new(format!("{failure}\nBefore that, {lists}"))
            }
            (Some(tool), Ok(()), _) => {
                let (package, sign) = (tool.package(), tool.table().0.name());
                let said = format!("the package {package} was installed, but {sign} is not there");
                return Err((Failure::new(said), false));
            }
        };
        Err((failure, true))
    })
}

fn install(packages: &[&str]) -> Result<()> {
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "--yes"]);
    // The machine may be installing something itself.
    install.args(["--no-install-recommends", "--option", "DPkg::Lock::Timeout=600"]);
    run(install.args(packages))
}

impl Sign {
    fn name(&self) -> &'static str {
        match self {
            Self::Program(name) | Self::File(name) => name,
        }
    }
}
