//! The command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{ArgGroup, Parser, ValueEnum};

use crate::api::ApiSocket;
use crate::config::flags::{CpusFlag, MachineFlag, MemoryFlag};
use crate::config::{
    BootConfig, ConsoleConfig, DiskConfig, FileError, FsConfig, LandlockRule, NetConfig,
    NumaConfig, NvramConfig, PayloadConfig, RestoreConfig, RngConfig, VmConfig, VsockConfig,
    ZoneConfig,
};
use crate::confine::{Confinement, Seccomp};
use crate::moments::Moment;
use crate::monitor::EventsTo;
use crate::name::VmName;
use crate::quoted;

/// Runs a POWER (pseries) guest
///
/// The guest's console is this terminal. Ctrl-A X switches the machine off, Ctrl-A P asks the guest
/// to shut down, Ctrl-A H shows the keys.
#[derive(Debug, Parser)]
#[command(
    name = "pseries-vmm",
    version,
    group = ArgGroup::new("what")
        .args([
            "kernel",
            "disk",
            "net",
            "config",
            "restore",
            "api_socket",
            "dump_fdt",
            "config_schema",
            "api_document",
        ])
        .required(true).multiple(true),
    after_help = "Examples:\n  \
        pseries-vmm --kernel vmlinux --initramfs initramfs.cpio.gz --cmdline console=hvc0\n  \
        pseries-vmm --kernel vmlinux --memory size=4G --cpus boot=2 --machine x-vof=off\n  \
        pseries-vmm --config machine.json --memory size=2G\n  \
        pseries-vmm --kernel vmlinux --cmdline 'console=hvc0 root=/dev/vda' \
        --disk path=root.raw\n  \
        pseries-vmm --disk path=installed.raw\n  \
        pseries-vmm --disk path=target.raw path=install.iso,readonly=on --boot device=disk1\n  \
        pseries-vmm --disk path=a.raw --boot 'device=disk0:2,file=\\boot\\grub.elf'\n  \
        pseries-vmm --kernel vmlinux --disk path=a.raw path=b.raw,readonly=on \
        --net socket=/tmp/passt\n  \
        pseries-vmm --kernel vmlinux --cpus boot=8,topology=4:2:1:1 --memory size=0 \
        --memory-zone id=a,size=1G id=b,size=2G \
        --numa guest_numa_id=0,cpus=[0-3],memory_zones=[a] \
        guest_numa_id=1,cpus=[4-7],memory_zones=[b],distances=[0@40]\n  \
        pseries-vmm --restore source_url=file:///var/lib/vm/saved\n  \
        pseries-vmm --api-socket path=/run/vm1.sock\n  \
        pseries-vmm --dump-fdt machine.dtb --cpus boot=4 --memory size=8G\n\n\
        Exit status:\n  \
        0  the guest switched itself off or has moved to another VMM, somebody left with Ctrl-A X,\n     \
        or vmm.shutdown\n  \
        1  the host could not do it; instead of 0 also: output could not be written\n  \
        2  wrong arguments or configuration, or a file that is not what it should be\n  \
        3  the guest's client program gave up, the guest crashed, or no device has anything to\n     \
        start: the console shows what was tried\n  \
        A signal that ends it ends it as a signal: shells show 128 and its number"
)]
pub struct Cli {
    /// The machine, in JSON; the other options win over what it says, and devices of a kind on the
    /// command line are in place of all of that kind in it. Paths in it are relative to the working
    /// directory
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A machine that was saved, as source_url=file:///FOLDER, goes on: what it is is in the folder's
    /// config.json, and its disks have to be what they were. resume=off has it stand still until
    /// somebody resumes it, prefault=on reads all of its memory first, in place of each page when it is
    /// used; the folder is not to be changed meanwhile [default: prefault=off, and resume=on unless
    /// there is a socket to resume it by]
    #[arg(
        long,
        value_name = "source_url=URL,...",
        value_parser = RestoreConfig::parse,
        conflicts_with_all = [
            "config", "kernel", "boot", "initramfs", "cmdline", "memory", "memory_zone", "numa", "cpus",
            "machine", "disk", "net", "rng", "vsock", "fs", "nvram", "dump_fdt",
        ]
    )]
    pub restore: Option<RestoreConfig>,

    /// What to start: an uncompressed Linux kernel (vmlinux), or another ELF client program. Without
    /// it, the machine starts from its devices, as --boot says
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// What a machine without --kernel starts from.
    #[arg(
        long,
        value_name = "device=DEVICE[,file=FILE]",
        value_parser = BootConfig::parse,
        conflicts_with_all = ["kernel", "initramfs"],
        help = "What a machine without --kernel starts from, and from nothing else: device=DEVICE is \
                disk0, disk1 and so on, in the order of --disk; disk, the first that is no CD; cdrom, \
                the first with readonly=on and an ISO 9660 file system; net0 and so on, or net; the \
                id of a disk or network interface; or a path in the device tree. disk0:2 is a \
                partition. Without file=\\PATH, which names a program on a FAT or ISO 9660 file \
                system, or on the network's server, a disk is started from its \
                \\ppc\\bootinfo.txt (installation media), or from its PReP partition, of which an \
                active one comes first. What a guest names in its call of \"boot\" comes before, \
                once. What a --config file has as \"payload\" does not count then. [default: what \
                the guest's variable boot-device says, then each disk in order, then each network \
                interface]"
    )]
    pub boot: Option<BootConfig>,

    /// The kernel's initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub initramfs: Option<PathBuf>,

    /// The kernel command line [default: console=hvc0; without --kernel, what comes with the
    /// program]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub cmdline: Option<String>,

    /// RAM, as size=512M or size=2G, in bytes or with K, M, G or T; a multiple of 64K.
    /// hotplug_size=S is how much more may be plugged while the machine runs, a multiple of 256M. The
    /// rest is how it is had from the host: with shared=on other programs can have it, as those of --fs
    /// have to, and do where it is not said; hugepages=on takes huge pages, of hugepage_size=S; prefault=on takes all of it
    /// before the machine starts, in place of each page when it is used [default:
    /// size=1G,hugepages=off,prefault=off; shared=on with --fs, else off]
    #[arg(long, value_name = "OPTIONS", value_parser = MemoryFlag::parse)]
    pub memory: Option<MemoryFlag>,

    /// RAM in parts, in place of --memory size=S: with these it has to be --memory size=0. A zone is
    /// behind the one before, or at start=ADDRESS, so that there is a hole. It has keys as --memory
    /// has, and from there what it does not say itself, but for sizes
    #[arg(long, value_name = "id=ID,size=S,...", num_args = 1.., value_parser = ZoneConfig::parse)]
    pub memory_zone: Vec<ZoneConfig>,

    /// NUMA nodes, and how far they are from each other.
    #[arg(
        long,
        value_name = "guest_numa_id=N,...",
        num_args = 1..,
        value_parser = NumaConfig::parse,
        help = "NUMA nodes, as guest_numa_id=0,cpus=[0-3,8],memory_zones=[ID,ID],distances=[1@20,2@40]. \
                All CPUs and zones are in one then, CPUs by their numbers, from 0 on and below max, and \
                no two threads of a core are in different ones; the zone of a machine without \
                --memory-zone is called mem0. A distance is 11 to 254, the same both ways, and 20 where \
                it is not said"
    )]
    pub numa: Vec<NumaConfig>,

    /// Virtual CPUs, as boot=N,max=M,topology=T:C:D:P. max=M is how many there may be when some are
    /// plugged while the machine runs. T threads of a core (1, 2, 4 or 8), C cores of a die, D dies of
    /// a package, P packages: their product is max; guests count cores [default: boot=1]
    #[arg(long, value_name = "OPTIONS", value_parser = CpusFlag::parse)]
    pub cpus: Option<CpusFlag>,

    /// The machine, as x-vof=on|off,cpu=POWER8|POWER9|POWER10|POWER11,interrupts=auto|xics|xive,
    /// mmu=auto|radix|hash. With x-vof (the default) the guest finds an Open Firmware client interface;
    /// without, it is started with a flat device tree. With interrupts=auto the guest has XICS or, if it
    /// wants and the host has it, XIVE. With mmu=auto it translates addresses by radix trees
    /// or, where it chooses that and the back end has it, by a hashed page table.
    /// A POWER8 has the latter and XICS only.
    /// [default: cpu=POWER9,interrupts=auto,mmu=auto]
    #[arg(long, value_name = "OPTIONS", value_parser = MachineFlag::parse)]
    pub machine: Option<MachineFlag>,

    /// Disks, /dev/vda and so on: files or block devices. A disk is locked while the machine runs:
    /// nobody else can have it, or nobody can write to it where all have readonly=on. It is a raw
    /// image; others are refused, and "qemu-img convert -O raw" makes one of them. With
    /// image_type=raw it is one whatever it begins with. direct=on leaves out the host's page cache;
    /// num_queues=N gives it N queues of queue_size=N requests; id=ID is its
    /// name, else disk0 and so on
    #[arg(long, value_name = "path=FILE,...", num_args = 1.., value_parser = DiskConfig::parse)]
    pub disk: Vec<DiskConfig>,

    /// Network interfaces. tap=NAME is a TAP interface that the host has already, with vhost=on for the
    /// host's kernel to carry its frames (/dev/vhost-net); socket=PATH is the Unix socket of passt or a
    /// program like it, which needs no rights and is started before, as in
    /// "passt --socket PATH". mac=52:54:00:12:34:56 is the guest's address, else a random one;
    /// id=ID its name
    #[arg(long, value_name = "tap=NAME|socket=PATH,...", num_args = 1..)]
    #[arg(value_parser = NetConfig::parse)]
    pub net: Vec<NetConfig>,

    /// Randomness for the guest out of a file, as src=/dev/urandom[,id=ID]
    #[arg(long, value_name = "src=FILE,...", num_args = 1.., value_parser = RngConfig::parse)]
    pub rng: Vec<RngConfig>,

    /// Sockets between guest and host (AF_VSOCK); cid=N, from 3 on, is the guest's address. With
    /// socket=PATH the host's sockets are Unix sockets: a program that connects to PATH and writes
    /// the line "CONNECT PORT" has that port of the guest; what the guest connects to at PORT of the
    /// host (cid 2) is PATH_PORT. Without, the host's kernel has them (/dev/vhost-vsock)
    #[arg(long, value_name = "cid=N,...", num_args = 1..)]
    #[arg(value_parser = VsockConfig::parse)]
    pub vsock: Vec<VsockConfig>,

    /// Folders of the host, each by a program (vhost-user) that listens at socket=PATH already, as
    /// "virtiofsd --socket-path PATH --shared-dir DIR" does. In the guest,
    /// "mount -t virtiofs TAG /mnt"; num_queues, queue_size and id are as of disks
    #[arg(long, value_name = "tag=TAG,socket=PATH,...", num_args = 1..)]
    #[arg(value_parser = FsConfig::parse)]
    pub fs: Vec<FsConfig>,

    /// The file, as path=FILE, that the machine's non-volatile memory is kept in: 64 KiB with the
    /// firmware's settings and the last words of kernels. It is made where it is not there, and
    /// locked while the machine runs; what is no such content is put aside, to FILE.damaged-1 and so
    /// on. Without this, it is forgotten at the end
    #[arg(long, value_name = "path=FILE", value_parser = NvramConfig::parse)]
    pub nvram: Option<NvramConfig>,

    /// Where the machine's console (hvc0) is: tty, this terminal; pty, a new pseudo-terminal whose
    /// name is told on standard error; file=PATH, which is written anew; socket=PATH, a Unix socket
    /// that a program connects to; null or off, nowhere [default: tty]
    #[arg(long, value_name = "END")]
    pub serial: Option<ConsoleConfig>,

    /// Where a second console, by virtio, is; as --serial, but off is no console. Only one of the
    /// two can be tty [default: off]
    #[arg(long, value_name = "END")]
    pub console: Option<ConsoleConfig>,

    /// What runs the guest's instructions
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto)]
    pub backend: BackendChoice,

    /// Tell on standard error at the end what the machine did: instructions, exits, calls, and when it
    /// got how far
    #[arg(long)]
    pub stats: bool,

    /// Let the guest's time be the number of instructions that it executed: two runs are the same,
    /// word for word (interp only; CPUs execute in turns), as long as its disks and what --nvram keeps are the
    /// same. When the guest sleeps, its time goes to where it wakes at once; this program sleeps for
    /// as long as that is ahead of the host's clock
    #[arg(long)]
    pub icount: bool,

    /// Stop at an instruction that the processor in software does not have, and at what is no
    /// instruction in a kernel; show it with all registers and end with status 3. Without this,
    /// the guest gets the interrupt that the architecture names, as from a real processor
    /// (interp only)
    #[arg(long)]
    pub debug_unimplemented: bool,

    /// End when the guest asks for a restart, with status 0
    #[arg(long)]
    pub no_reboot: bool,

    /// Write the machine's flattened device tree to a file (- for standard output) and end; runs
    /// nothing, on any host. A kernel that is named is looked at, to tell where it goes; disks and
    /// the NVRAM's file are not, so that no disk is called cdrom, and no variables are in /options
    #[arg(long, value_name = "FILE")]
    pub dump_fdt: Option<PathBuf>,

    /// Print the OpenAPI document of the API and end
    #[arg(long, exclusive = true)]
    pub api_document: bool,

    /// Print the JSON Schema of configuration files and end
    #[arg(long, exclusive = true)]
    pub config_schema: bool,

    /// Be controlled by programs: Cloud Hypervisor's API, HTTP at a Unix socket, which is made and removed
    /// at the end (path=PATH, or PATH), or is open and listens already (fd=N). With --kernel, --disk,
    /// --net or --config the machine runs at once; without any, it is made by vm.create. /api/v1/vmm.openapi
    /// describes it; pseries-remote is a client of it
    #[arg(long, value_name = "path=PATH|fd=N")]
    pub api_socket: Option<ApiSocket>,

    /// Where to tell what happens to the machine, for programs: JSON objects, as Cloud Hypervisor writes
    /// them, behind what is in a file or to a named pipe (path=FILE), or to an open descriptor (fd=N)
    #[arg(long, value_name = "path=FILE|fd=N")]
    pub event_monitor: Option<EventsTo>,

    /// What the VM is called: messages have it in brackets then, and counters are of vm="NAME".
    /// 1 to 64 letters, digits, -, _, ., :, @ and + [default: with --api-socket path=/DIR/NAME.sock, the
    /// NAME there]
    #[arg(long, value_name = "NAME")]
    pub name: Option<VmName>,

    /// What becomes of system calls that the VMM's threads have no business with, such as those of a
    /// guest that has broken into one. Each thread has a list of those that it needs: none runs programs
    /// or makes processes, and none connects to networks, but to move machines where there is
    /// --api-socket [default: true, where the host can]
    #[arg(long, value_enum, value_name = "true|false|log")]
    pub seccomp: Option<Seccomp>,

    /// Whether the VMM can only have the files that its arguments and --config name, and a few that
    /// it reads of the host. With true, a kernel that has no landlock is an error [default: where the
    /// host can; with --api-socket false, as requests may name any file]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    pub landlock: Option<bool>,

    /// Files, or folders with all that is in them, that the VMM may have besides, as those that
    /// requests name when it runs, and those of a machine that they restore or receive: access is r to
    /// read, w to write, make and remove, or rw
    #[arg(long, value_name = "path=PATH,access=rw", num_args = 1.., value_parser = LandlockRule::parse)]
    pub landlock_rules: Vec<LandlockRule>,

    /// How much to tell on standard error
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = LogLevel::Warn)]
    pub log: LogLevel,

    /// Write every client call, RTAS call and hypercall with its arguments and results, one a
    /// line, to a file (--trace=FILE), or to standard error where no file is given
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub trace: Option<Option<PathBuf>>,

    /// When the command line was looked at, which is when the program began.
    #[arg(skip)]
    pub started: Option<Moment>,
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// KVM where it can run these guests, else interp
    Auto,
    /// KVM of a POWER host
    Kvm,
    /// A POWER9 in software, on any host
    Interp,
}

/// How much to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing
    Off,
    /// What went wrong
    Error,
    /// What may be wrong
    Warn,
    /// What happens, in large steps
    Info,
    /// What happens, in small steps
    Debug,
    /// Everything
    Trace,
}

impl LogLevel {
    /// The same for the `log` crate.
    pub fn filter(self) -> log::LevelFilter {
        match self {
            Self::Off => log::LevelFilter::Off,
            Self::Error => log::LevelFilter::Error,
            Self::Warn => log::LevelFilter::Warn,
            Self::Info => log::LevelFilter::Info,
            Self::Debug => log::LevelFilter::Debug,
            Self::Trace => log::LevelFilter::Trace,
        }
    }
}

impl Cli {
    /// The command line of this process, whose name is the first argument. One that cannot be
    /// understood ends it.
    ///
    /// # Errors
    /// The text that was asked for instead: help, or the version.
    pub fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let started = Some(Moment::now());
        let parsed = Self::try_parse_from(arguments).map_err(|error| {
            if !error.use_stderr() {
                return error.render().to_string();
            }
            // It quotes the arguments. When nobody takes it there is nobody to tell.
            let said = error.to_string();
            for line in said.trim_end().lines() {
                let _ = writeln!(io::stderr(), "{}", quoted::message(line));
            }
            std::process::exit(error.exit_code());
        })?;
        Ok(Self { started, ..parsed })
    }

    /// Whether the arguments describe a machine.
    pub fn has_machine(&self) -> bool {
        let Self { kernel, disk, net, config, .. } = self;
        kernel.is_some() || config.is_some() || !disk.is_empty() || !net.is_empty()
    }

    /// How this process is confined.
    pub fn confinement(&self) -> Confinement {
        Confinement {
            seccomp: self.seccomp,
            landlock: self.landlock,
            landlock_rules: self.landlock_rules.clone(),
            has_requests: self.api_socket.is_some(),
            api_socket: match &self.api_socket {
                Some(ApiSocket::Path(path)) => Some(path.clone()),
                _ => None,
            },
        }
    }

    /// The configuration that the arguments describe, with that of the file beneath it.
    ///
    /// # Errors
    /// [`FileError`] when there is a file and it cannot be used.
    pub fn vm_config(&self) -> Result<VmConfig, FileError> {
        let mut config = match &self.config {
            Some(path) => VmConfig::from_file(path)?,
            None => VmConfig::default(),
        };
        if let Some(flag) = self.cpus {
            flag.apply(&mut config.cpus);
        }
        if let Some(flag) = self.memory {
            flag.apply(&mut config.memory);
        }
        replace(&mut config.memory.zones, &self.memory_zone);
        replace(&mut config.numa, &self.numa);
        if let Some(flag) = self.machine {
            flag.apply(&mut config.machine);
        }
        let payload = &mut config.payload;
        if self.boot.is_some() {
            // What a file has beside is for the kernel that it has.
            *payload = PayloadConfig { boot: self.boot.clone(), ..PayloadConfig::default() };
        } else if self.kernel.is_some() {
            payload.boot = None;
        }
        payload.kernel = self.kernel.clone().or(payload.kernel.take());
        payload.initramfs = self.initramfs.clone().or(payload.initramfs.take());
        payload.cmdline = self.cmdline.clone().or(payload.cmdline.take());
        replace(&mut config.disks, &self.disk);
        replace(&mut config.net, &self.net);
        replace(&mut config.rng, &self.rng);
        replace(&mut config.vsock, &self.vsock);
        replace(&mut config.fs, &self.fs);
        config.nvram = self.nvram.clone().or(config.nvram);
        self.set_consoles(&mut config);
        Ok(config)
    }

    /// The consoles are where the command line says, if it does, whatever machine it is.
    pub(crate) fn set_consoles(&self, config: &mut VmConfig) {
        for (end, said) in
            [(&mut config.serial, &self.serial), (&mut config.console, &self.console)]
        {
            if let Some(said) = said {
                end.clone_from(said);
            }
        }
    }
}

/// What the command line has of a kind is in place of what the file has.
fn replace<T: Clone>(of_file: &mut Vec<T>, of_arguments: &[T]) {
    if !of_arguments.is_empty() {
        of_file.clear();
        of_file.extend_from_slice(of_arguments);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_are_several_devices() {
        let arguments = "pseries-vmm --kernel k --disk path=a path=b --disk path=c --console pty";
        let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
        let config = cli.vm_config().unwrap();
        let disk = |text| DiskConfig::parse(text).unwrap();
        assert_eq!(config.disks, [disk("path=a"), disk("path=b"), disk("path=c")]);
        assert_eq!((config.serial, config.console), (ConsoleConfig::Tty, ConsoleConfig::Pty));
        let mut of_file = vec![1, 2];
        replace(&mut of_file, &[]);
        assert_eq!(of_file, [1, 2]);
        replace(&mut of_file, &[3]);
        assert_eq!(of_file, [3]);
    }

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
