//! `cargo xtask`: fetches, builds, boots and tests. `cargo xtask --help` says how.

mod access;
mod again;
mod apt;
mod bench;
mod big_endian;
mod boot;
mod boot_bench;
mod bootdisk_bench;
mod cache;
mod cd;
mod console;
mod cpio;
mod deb;
mod debian;
mod failure;
mod folders;
mod fuzz;
mod group;
mod grub;
mod guest;
mod host;
mod io_bench;
mod iperf;
mod kexec;
mod largest;
mod largest_bench;
mod locked;
mod marker;
mod modules;
mod moving_bench;
mod on_power;
mod package_files;
mod packages;
mod patience;
mod peer;
mod petitboot;
mod power;
mod processor_time;
mod program;
mod signals;
mod start_bench;
mod tar;
mod terminal;
mod test;
mod toolchain;
mod tools;
mod user_programs;
mod vmms;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::{Ending, Result};

/// The status of `on-power` and `boot` for failures of their own, as env(1) and timeout(1) have
/// it: a command's own status is hardly ever that.
const NOT_THE_COMMANDS: u8 = 125;

/// Fetches, builds, boots and tests
///
/// A POWER guest in this terminal: `cargo xtask boot`. Everything that CI checks:
/// `cargo xtask test`. Both fetch and build what they need, on a machine that has Rust, a C
/// compiler and Debian's apt-get; root gets missing Debian packages installed, others are told
/// which.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Downloads are kept in $XDG_CACHE_HOME/pseries-vof (~/.cache/pseries-vof), what \
                  is built goes to target/. Both may be removed at any time."
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Boot(boot::Boot),
    /// Fetch Debian for POWER, and make kernels, initial RAM disks and a disk of it
    ///
    /// Makes vmlinux-6.1 (Debian 12's), vmlinux-6.12 (its backports') and initramfs.cpio.gz in
    /// target/guest. The init prints GUEST-READY, the kernel's name and the CPUs, then gives a
    /// shell; with `autotest` on the kernel command line it powers off instead, with `autoreboot`
    /// it restarts once before, with `autoreboot=N` N times, and with `autorun=FILE` it runs that
    /// program before. With `showram` it says where its RAM is, before any of that.
    ///
    /// tools.cpio.gz is that initramfs with more programs: numactl, ppc64_cpu, lscpu, lsprop and
    /// nvram; and with tasks for `autorun` that tests run, such as /bin/nodes.
    ///
    /// petitboot.cpio is an initramfs for vmlinux-6.1 that finds systems on disks (GRUB's menus and
    /// loader entries), shows a menu on the console, and starts what is chosen by kexec; with
    /// `menu.timeout=N` on the kernel command line, the first entry after N seconds (10), and with 0
    /// none by itself.
    ///
    /// debian.img is a disk with an installed Debian 12: GPT, a PReP partition with GRUB, ext4. Its
    /// packages are unpacked here and configured in a guest of pseries-vmm, which is built for that.
    /// Log in as root, without a password. rescue-cd.iso is a CD: GRUB, vmlinux-6.1 and
    /// initramfs.cpio.gz. `pseries-vmm --disk path=FILE` starts either.
    ///
    /// With --big-endian, vmlinux-6.1-big-endian and big-endian.cpio are made, and nothing else: no
    /// release of Debian has such a kernel, so it is built here from Debian's source. Its init checks
    /// what depends on the byte order, on each CPU, and powers off; with `autoreboot` it restarts
    /// once before.
    ///
    /// Packages come by apt-get with a private root, from the package sources of this machine:
    /// nothing on it is changed. When the cache has what is needed, the network is left alone.
    Guest {
        /// Look for newer packages, even if the cache has what is needed
        #[arg(long)]
        refresh: bool,

        /// Build the big-endian kernel instead: some minutes, once
        #[arg(long)]
        big_endian: bool,
    },
    /// Fetch Debian's GRUB for POWER, and put it together with a menu and the guest's kernel
    ///
    /// Makes grub-2.06.elf (Debian 12's) and grub-2.12.elf (Debian 13's) in target/guest. They are
    /// for Open Firmware machines: `pseries-vmm --kernel target/guest/grub-2.12.elf` shows a menu
    /// that boots the guest's Linux, restarts or switches off; `c` gives GRUB's command line.
    Grub {
        /// Look for newer packages, even if the cache has what is needed
        #[arg(long)]
        refresh: bool,
    },
    /// Run a command on an emulated POWER host that has real KVM
    ///
    /// Builds pseries-vmm for POWER, boots a POWER host that QEMU emulates, and runs CMD there, in
    /// a folder with the files. pseries-vmm is in its PATH, and so is busybox. The terminal, or
    /// standard input, is CMD's; its output comes as it is printed; its exit status is the
    /// result.
    #[command(after_help = "Examples:\n  \
        cargo xtask on-power -- sh -c 'uname -a; ls -l /dev/kvm'\n  \
        cargo xtask on-power --file target/guest/vmlinux-6.1 \\\n    \
            --file target/guest/initramfs.cpio.gz -- \\\n    \
            pseries-vmm --kernel vmlinux-6.1 --initramfs initramfs.cpio.gz \\\n    \
            --cmdline \"console=hvc0 autotest\" --memory size=512M\n  \
        cargo xtask on-power --host pseries10 -- cat /proc/cpuinfo\n\n\
        Exit status: CMD's own; 124 when its time was up; 125 when it could not be run; 2 for \
        wrong arguments.")]
    OnPower(on_power::OnPower),
    Test(test::Test),
    Bench(bench::Bench),
    Fuzz(fuzz::Fuzz),
}

fn main() -> ExitCode {
    let (result, own) = match Cli::parse().task {
        Task::Boot(boot) => (boot.run(), NOT_THE_COMMANDS),
        Task::Guest { refresh, big_endian: false } => (make_guest(refresh), 1),
        Task::Guest { refresh, big_endian: true } => (make_big_endian(refresh), 1),
        Task::Grub { refresh } => (make_grub(refresh), 1),
        Task::OnPower(on_power) => (on_power.run(), NOT_THE_COMMANDS),
        Task::Test(test) => (test.run(), 1),
        Task::Bench(bench) => (bench.run(), 1),
        Task::Fuzz(fuzz) => (fuzz.run(), 1),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("xtask: {failure}");
            match failure.how() {
                Ending::Usual => ExitCode::from(own),
                Ending::Status(status) => ExitCode::from(status),
                Ending::Signal(signal) => {
                    signals::die_of(signal);
                    ExitCode::from(own)
                }
            }
        }
    }
}

fn make_guest(refresh: bool) -> Result<u8> {
    let guest = guest::make(refresh)?;
    let newer = guest::newer_kernel(refresh)?;
    let petitboot = petitboot::make(&guest, refresh)?;
    let cd = cd::make(&guest, refresh)?;
    let tools = tools::initramfs(&guest, refresh)?;
    let debian = debian::make(&guest, refresh)?;
    for file in [&guest.kernel, &newer, &guest.initramfs, &tools, &petitboot, &cd, &debian] {
        println!("{}", file.display());
    }
    Ok(0)
}

fn make_big_endian(refresh: bool) -> Result<u8> {
    let guest = big_endian::make(refresh)?;
    for file in [&guest.kernel, &guest.initramfs] {
        println!("{}", file.display());
    }
    Ok(0)
}

fn make_grub(refresh: bool) -> Result<u8> {
    let grub::Images { older, newer } = grub::make(refresh)?;
    for image in [older, newer] {
        println!("{}", image.display());
    }
    Ok(0)
}
