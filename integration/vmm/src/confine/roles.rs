//! Which thread does what: the one table.
//!
//! A filter holds for all threads that are started from then on, and a thread can only make its own
//! narrower. So a role has what it does itself and what those do that it starts; the main thread, from
//! which all come, has everything.

use arch_ppc64::threads;
use pseries_devices::ioctls;

use super::calls::{self, Group};

/// What a thread of this program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The thread that the process begins with. It gets machines ready, and waits for their ends.
    Main,
    /// A virtual CPU: what the guest does, it does.
    Cpu,
    /// Plugs CPUs, memory and devices.
    Resize,
    /// Waits for signals.
    Signals,
    /// Listens to standard input, and to a console that is elsewhere.
    Events,
    /// Writes to a file that may be stuck.
    Outlet,
    /// Fills memory while the machine is made ready.
    Memory,
    /// Takes requests of other programs.
    Api,
    /// Does what requests ask for.
    Verb,
    /// Talks to the other side of a migration, beside the one that moves the machine.
    Migration,
    /// Slows the guest down.
    Pace,
    /// Of the libraries.
    Library(threads::Role),
}

/// All of them.
pub const ROLES: &[Role] = &[
    Role::Main,
    Role::Cpu,
    Role::Resize,
    Role::Signals,
    Role::Events,
    Role::Outlet,
    Role::Memory,
    Role::Api,
    Role::Verb,
    Role::Migration,
    Role::Pace,
    DISK,
    NETWORK,
    CONSOLE,
    RANDOMNESS,
    SOCKETS,
    FOLDERS,
    Role::Library(threads::Role::ClientDisk),
    Role::Library(threads::Role::Nvram),
    Role::Library(threads::Role::Patience),
];

// Numbers of virtio (Virtio 1.2 §5).
const NETWORK: Role = device(1);
const DISK: Role = device(2);
const CONSOLE: Role = device(3);
const RANDOMNESS: Role = device(4);
const SOCKETS: Role = device(19);
const FOLDERS: Role = device(26);

const fn device(number: u16) -> Role {
    Role::Library(threads::Role::Device(number))
}

impl Role {
    /// Whom it is started by; a device's further threads and those of disks, by the first that can be.
    pub fn starter(self) -> Option<Self> {
        match self {
            Self::Main => None,
            Self::Cpu
            | Self::Resize
            | Self::Signals
            | Self::Events
            | Self::Outlet
            | Self::Memory
            | Self::Api
            | Self::Verb
            | Self::Library(threads::Role::Nvram) => Some(Self::Main),
            Self::Migration | Self::Pace => Some(Self::Verb),
            Self::Library(_) => Some(Self::Cpu),
        }
    }

    /// Whether it is there only where requests may come.
    pub(super) fn is_for_requests(self) -> bool {
        matches!(self, Self::Api | Self::Verb | Self::Migration | Self::Pace)
    }

    /// Whom it starts.
    pub(super) fn starts(self) -> &'static [Self] {
        match self {
            Self::Main => ROLES,
            Self::Resize => &[Self::Cpu],
            Self::Verb => &[Self::Migration, Self::Pace],
            Self::Cpu => &[
                DISK,
                NETWORK,
                CONSOLE,
                RANDOMNESS,
                SOCKETS,
                FOLDERS,
                Self::Library(threads::Role::ClientDisk),
                Self::Library(threads::Role::Patience),
            ],
            _ => &[],
        }
    }

    /// What it does itself, besides [what every thread does](EVERY_THREAD).
    pub(super) fn does(self) -> &'static [&'static Group] {
        match self {
            Self::Main => MAIN,
            Self::Cpu => CPU,
            Self::Resize => RESIZE,
            Self::Signals => &[&calls::STOP, &calls::UNLINK],
            Self::Events => EVENTS,
            Self::Outlet | Self::Pace => &[],
            Self::Memory => &[&calls::OPEN_FILES, &calls::READ_FILES],
            Self::Api => API,
            Self::Verb => VERB,
            Self::Migration => MIGRATION,
            Self::Library(threads::Role::ClientDisk) => &[&calls::OPEN_FILES, &DISK_IOCTLS],
            Self::Library(threads::Role::Nvram) => &[&calls::OPEN_FILES],
            Self::Library(threads::Role::Patience) => &[&calls::SOCKETS],
            DISK => DISKS,
            NETWORK => NETWORKS,
            Self::Library(_) => DEVICES,
        }
    }
}

/// What every thread does.
pub(super) const EVERY_THREAD: &[&Group] = &[&calls::EVERY_THREAD, &calls::TERMINAL];

const MAIN: &[&Group] = &[
    &calls::START_THREADS,
    &calls::FILES,
    &calls::READ_FILES,
    &calls::LOOK_AT_FILES,
    &calls::UNLINK,
    &calls::LISTEN,
    &calls::MAKE_TERMINALS,
    &calls::PREPARE,
    &calls::LET_GO,
    &calls::LANDLOCK,
    &TAP_IOCTLS,
    &DISK_OPEN_IOCTLS,
];

/// It answers the guest's calls, also those of a boot loader to its disks and networks. It starts and
/// stops devices as their drivers say, and what works for them.
const CPU: &[&Group] = &[
    &calls::START_THREADS,
    &calls::OPEN_FILES,
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::SOCKET_IOCTLS,
    &calls::CONNECT,
    &calls::MEMORY,
    &KVM,
    &VHOST_IOCTLS,
    &TAP_IOCTLS,
    &DISK_IOCTLS,
];

/// CPUs, memory and devices are made on it, and what is behind devices is opened; the kernel's devices
/// and other programs are told of memory.
const RESIZE: &[&Group] = &[
    &calls::START_THREADS,
    &calls::FILES,
    &calls::LOOK_AT_FILES,
    &calls::UNLINK,
    &calls::LISTEN,
    &calls::MEMORY,
    &KVM,
    &DISK_OPEN_IOCTLS,
];

const EVENTS: &[&Group] = &[
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::SOCKET_IOCTLS,
    &calls::UNLINK,
    &calls::LOOK_AT_FILES,
    &KVM_INTERRUPTS,
];

const API: &[&Group] = &[&calls::EVENTS, &calls::SOCKETS, &calls::SOCKET_IOCTLS];

/// Machines are saved and moved, and devices come to them.
const VERB: &[&Group] = &[
    &calls::LET_GO,
    &calls::LANDLOCK,
    &calls::START_THREADS,
    &calls::FILES,
    &calls::FOLDERS,
    &calls::LOOK_AT_FILES,
    &calls::UNLINK,
    &calls::OPEN_FILES,
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::SOCKET_IOCTLS,
    &calls::CONNECT,
    &calls::LISTEN,
    &calls::INTERNET,
    &calls::TCP_OPTIONS,
    &calls::MEMORY,
    &calls::LAZY_MEMORY,
    &KVM,
    &VHOST_IOCTLS,
    &TAP_IOCTLS,
    &DISK_IOCTLS,
    &DISK_OPEN_IOCTLS,
];

const MIGRATION: &[&Group] = &[
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::SOCKET_IOCTLS,
    &calls::TCP_OPTIONS,
    &calls::LOOK_AT_FILES,
    &calls::UNLINK,
];

/// Any device: its queues are worked on, and its driver is told by an interrupt.
const DEVICES: &[&Group] = &[
    &calls::START_THREADS,
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::SOCKET_IOCTLS,
    &calls::CONNECT,
    &KVM_INTERRUPTS,
];

const DISKS: &[&Group] =
    &[&calls::START_THREADS, &calls::EVENTS, &calls::OPEN_FILES, &DISK_IOCTLS, &KVM_INTERRUPTS];

/// It may have to connect again, and gives way to the guest where both want one processor.
const NETWORKS: &[&Group] = &[
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::SOCKET_IOCTLS,
    &calls::CONNECT,
    &calls::SCHEDULE,
    &KVM_INTERRUPTS,
];

const KVM: Group = Group::KvmIoctls(kvm_ppc64::IOCTLS);
const KVM_INTERRUPTS: Group = Group::KvmIoctls(kvm_ppc64::INTERRUPT_IOCTLS);
const VHOST_IOCTLS: Group = Group::Ioctls(ioctls::VHOST);
const TAP_IOCTLS: Group = Group::Ioctls(ioctls::TAP);
const DISK_IOCTLS: Group = Group::Ioctls(ioctls::DISK);
const DISK_OPEN_IOCTLS: Group = Group::Ioctls(ioctls::DISK_OPEN);
