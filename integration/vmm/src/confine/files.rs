//! Which files the program may have (landlock): those of its configuration, and what it reads of the
//! host.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, AddRuleError, AddRulesError, BitFlags, CompatLevel,
    Compatible, Erratum, LandlockStatus, PathBeneath, PathFd, PathFdError, RestrictSelfError,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

use super::Confinement;
use crate::config::{ConsoleConfig, LandlockRule, NetBackend, VmConfig};

/// What is known of landlock here: newer kernels have more, which is not used.
const NEWEST: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile});
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate});
const DEVICE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
const LIST: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// Sockets come to be there, and go.
const LISTEN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeSock | RemoveFile});

/// Files cannot be confined to what the configuration names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LandlockError {
    /// The kernel has no landlock, and it was asked for.
    #[error("{0}; without --landlock true, the VMM runs without")]
    Absent(&'static str),
    /// A file or folder that the user names is not there.
    #[error("{rule}")]
    Rule {
        /// As on the command line.
        rule: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// Each machine of another configuration confines the process once more, which has a limit.
    #[error(
        "this process has had as many machines as landlock can confine it to: start another one"
    )]
    Layers,
    /// The kernel does not do it.
    #[error("landlock: the kernel does not confine this program to its files: {0}")]
    Kernel(String),
}

impl LandlockError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        !matches!(self, Self::Kernel(_) | Self::Layers)
    }
}

/// A file or folder, and what may be done with it.
type Place = (PathBuf, BitFlags<AccessFs>);

/// What besides the machine's configuration decides about files.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Beside {
    /// Whether KVM may run the guest.
    pub kvm: bool,
}

/// What a process may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    places: Vec<Place>,
    rules: Vec<LandlockRule>,
    tcp: bool,
}

impl Files {
    /// Of a process with a machine of this configuration.
    pub(super) fn of(config: &VmConfig, beside: &Beside, wanted: &Confinement) -> Self {
        let mut places = usual();
        places.extend(of_machine(config));
        // It is removed at the end.
        places.extend(wanted.api_socket.iter().map(|path| (folder_of(path), LISTEN)));
        places.extend(beside.kvm.then(|| ("/dev/kvm".into(), DEVICE)));
        let rules = wanted.landlock_rules.iter().chain(&config.landlock_rules).cloned().collect();
        Self { places, rules, tcp: wanted.has_requests }
    }

    /// Confines the calling thread, and those that it starts, to them. Gives what others can be
    /// confined by, or what is not so on this kernel; what is `required` has to be.
    pub(super) fn restrict(
        &self,
        required: bool,
    ) -> Result<Result<RulesetCreated, &'static str>, LandlockError> {
        let failed = |error: RulesetError| LandlockError::Kernel(error.to_string());
        let rules = self.rules.iter().map(of_rule).collect::<Result<Vec<_>, _>>()?;
        let ruleset = ruleset(self.places.clone(), rules, self.tcp).map_err(failed)?;
        let again =
            ruleset.try_clone().map_err(|error| LandlockError::Kernel(error.to_string()))?;
        let status = ruleset.restrict_self().map_err(|error| match is_of_layers(&error) {
            true => LandlockError::Layers,
            false => failed(error),
        })?;
        let absent = match status.landlock {
            LandlockStatus::NotImplemented => "this kernel has no landlock",
            LandlockStatus::NotEnabled => {
                "this kernel has landlock, but does not use it (see its parameter lsm=)"
            }
            LandlockStatus::Available { .. } if status.ruleset == RulesetStatus::NotEnforced => {
                "this kernel's landlock does not do what is needed"
            }
            LandlockStatus::Available { .. } => return Ok(Ok(again)),
        };
        if required { Err(LandlockError::Absent(absent)) } else { Ok(Err(absent)) }
    }
}

fn ruleset(
    places: Vec<Place>,
    rules: Vec<(PathFd, BitFlags<AccessFs>)>,
    tcp: bool,
) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::AbstractUnixSocket)?;
    // Before it was mended, threads of one process could not signal each other.
    if Erratum::current().contains(Erratum::ScopedSignalHandling) {
        ruleset = ruleset.scope(Scope::Signal)?;
    }
    if !tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut ruleset = ruleset.create()?;
    let opened = places.into_iter().filter_map(|(path, access)| {
        // What is not there is told by who opens it, and so is what may not be opened.
        PathFd::new(path).ok().map(|file| (file, access))
    });
    for (file, access) in opened.chain(rules) {
        let access = fitting(&file, access);
        if access.is_empty() {
            continue;
        }
        match (&mut ruleset).add_rule(PathBeneath::new(file, access)) {
            Err(error) if is_without_a_place(&error) => {}
            added => drop(added?),
        }
    }
    Ok(ruleset)
}

/// A thread has 16 of them at most (landlock(7)).
fn is_of_layers(error: &RulesetError) -> bool {
    matches!(
        error,
        RulesetError::RestrictSelf(RestrictSelfError::RestrictSelfCall { source, .. })
            if source.raw_os_error() == Some(libc::E2BIG)
    )
}

/// Pipes and sockets without a name are in no folder: they can be opened anew by who has them.
fn is_without_a_place(error: &RulesetError) -> bool {
    let RulesetError::AddRules(AddRulesError::Fs(AddRuleError::AddRuleCall { source, .. })) = error
    else {
        return false;
    };
    source.raw_os_error() == Some(libc::EBADFD)
}

/// Files have fewer rights than folders.
fn fitting(file: &PathFd, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    use std::os::fd::AsFd;
    let file = file.as_fd().try_clone_to_owned().map(std::fs::File::from);
    match file.and_then(|file| file.metadata()) {
        Ok(metadata) if !metadata.is_dir() => access & AccessFs::from_file(NEWEST),
        _ => access,
    }
}

/// All that can be done with files but to run them.
fn everything() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !BitFlags::from(AccessFs::Execute)
}

/// What any machine reads of its host, and where its text goes.
fn usual() -> Vec<Place> {
    let mut places: Vec<Place> = vec![
        ("/dev/urandom".into(), READ),
        ("/dev/null".into(), READ | WRITE),
        // How much memory there is, of which pages, and how many processors.
        ("/proc/meminfo".into(), READ),
        ("/proc/self/cgroup".into(), READ),
        ("/proc/self/mountinfo".into(), READ),
        ("/proc/self/pagemap".into(), READ),
        ("/proc/device-tree/compatible".into(), READ),
        ("/sys/kernel/mm/hugepages".into(), LIST),
        ("/sys/devices/system/cpu".into(), LIST),
        ("/sys/fs/cgroup".into(), LIST),
    ];
    // What they are is opened once more, not to wait for it.
    places.extend((0..3).map(|file| (PathBuf::from(format!("/proc/self/fd/{file}")), DEVICE)));
    places
}

fn of_machine(config: &VmConfig) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let payload = [&config.payload.kernel, &config.payload.initramfs];
    places.extend(payload.into_iter().flatten().map(|path| (path.clone(), READ)));
    for disk in &config.disks {
        // What a block device is, is asked by ioctls.
        let access = if disk.readonly { READ | AccessFs::IoctlDev } else { DEVICE };
        places.push((disk.path.as_path().to_owned(), access));
    }
    for net in &config.net {
        if let NetBackend::Tap(_) = &net.backend {
            places.push(("/dev/net/tun".into(), DEVICE));
            places.extend(net.vhost.then(|| ("/dev/vhost-net".into(), DEVICE)));
        }
    }
    places.extend(config.rng.iter().map(|rng| (rng.src.as_path().to_owned(), READ)));
    for vsock in &config.vsock {
        places.push(match &vsock.socket {
            Some(path) => (folder_of(path.as_path()), LISTEN),
            None => ("/dev/vhost-vsock".into(), DEVICE),
        });
    }
    if let Some(nvram) = &config.nvram {
        let path = nvram.path.as_path();
        // What cannot be used is put aside there.
        let beside = make_bitflags!(AccessFs::{MakeReg | RemoveFile | ReadDir});
        places.push((folder_of(path), READ | WRITE | beside));
    }
    for end in [&config.serial, &config.console] {
        match end {
            ConsoleConfig::File(path) => {
                make(path.as_path());
                places.push((path.as_path().to_owned(), WRITE | AccessFs::IoctlDev));
            }
            ConsoleConfig::Socket(path) => places.push((folder_of(path.as_path()), LISTEN)),
            ConsoleConfig::Pty => {
                places.push(("/dev/ptmx".into(), DEVICE));
                places.push(("/dev/pts".into(), DEVICE));
            }
            ConsoleConfig::Off | ConsoleConfig::Null | ConsoleConfig::Tty => {}
        }
    }
    places
}

fn of_rule(rule: &LandlockRule) -> Result<(PathFd, BitFlags<AccessFs>), LandlockError> {
    let file = PathFd::new(rule.path.as_path()).map_err(|error| {
        let source = match error {
            PathFdError::OpenCall { source, .. } => source,
            other => std::io::Error::other(other),
        };
        LandlockError::Rule { rule: rule.to_string(), source }
    })?;
    let reads = if rule.access.read { LIST } else { BitFlags::EMPTY };
    let writes = if rule.access.write { everything() & !LIST } else { BitFlags::EMPTY };
    Ok((file, reads | writes | AccessFs::IoctlDev))
}

/// A console's file that is not there is made, so that it is the only one of its folder that can be
/// written. What is wrong with it is told by who opens it.
fn make(path: &Path) {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).custom_flags(libc::O_NOCTTY);
    let _ = options.open(path);
}

/// The parent of a bare name is empty.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
