//! System calls, in groups that go together, with what their arguments have to be.
//!
//! One list serves all hosts: numbers are those of the host that this is built for, and calls that only
//! older architectures have are marked so.

use libc::c_long;

/// A system call that is allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: c_long,
    pub(super) name: &'static str,
    pub(super) when: When,
}

/// What the arguments have to be. The kernel sees the low 32 bits of those that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// This one is that number.
    Is(u8, u32),
    /// Of these bits of this one, those are set, and no others.
    Bits(u8, u32, u32),
    /// This one is the number of this process.
    OwnProcess(u8),
}

/// Calls that go together.
#[derive(Debug, Clone, Copy)]
pub(super) enum Group {
    Calls(&'static [Call]),
    /// Numbers that ioctl(2) takes.
    Ioctls(&'static [libc::Ioctl]),
    /// Those of KVM, as POWER numbers them.
    KvmIoctls(&'static [u64]),
}

/// Those behind `old` are there where an architecture is old enough to have them.
macro_rules! calls {
    ($($(#[$cfg:meta])? $number:ident $(if $when:expr)?),* $(,)? $(; old: $($old:ident),* $(,)?)?) => {
        Group::Calls(&[
            $($(#[$cfg])? Call {
                number: libc::$number,
                name: stringify!($number),
                when: calls!(@ $($when)?),
            },)*
            $($(#[cfg(any(target_arch = "x86_64", target_arch = "powerpc64"))] Call {
                number: libc::$old,
                name: stringify!($old),
                when: When::Always,
            },)*)?
        ])
    };
    (@) => { When::Always };
    (@ $when:expr) => { $when };
}

const NOT_EXECUTABLE: u32 = libc::PROT_EXEC as u32;
const ONE_ADDRESS_SPACE: u32 =
    (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FILES) as u32;
/// Nothing is written, made or cut.
const ONLY_READ: When =
    When::Bits(2, (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32, libc::O_RDONLY as u32);
const UNIX: u32 = libc::AF_UNIX as u32;
const EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;

/// What every thread does: it uses memory and time, waits, uses the files that it has, and ends, by a
/// signal too, before which it gives the terminal back. No memory becomes code.
pub(super) const EVERY_THREAD: Group = calls![
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_close,
    SYS_fcntl if When::Is(1, libc::F_GETFD as u32),
    SYS_fcntl if When::Is(1, libc::F_SETFD as u32),
    SYS_fcntl if When::Is(1, libc::F_GETFL as u32),
    SYS_fcntl if When::Is(1, libc::F_SETFL as u32),
    SYS_fcntl if When::Is(1, libc::F_DUPFD_CLOEXEC as u32),
    SYS_mmap if When::Bits(2, NOT_EXECUTABLE, 0),
    SYS_mprotect if When::Bits(2, NOT_EXECUTABLE, 0),
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_futex,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_getpid,
    SYS_gettid,
    SYS_getpgid,
    SYS_getrandom,
    SYS_ppoll,
    SYS_restart_syscall,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_tgkill if When::OwnProcess(0),
    SYS_exit,
    SYS_exit_group,
    SYS_rseq,
    SYS_set_robust_list,
    SYS_prctl if When::Is(0, libc::PR_SET_NAME as u32),
    SYS_prctl if When::Is(0, libc::PR_GET_NAME as u32),
    SYS_prctl if When::Is(0, libc::PR_SET_VMA as u32),
    SYS_prctl if When::Is(0, libc::PR_SET_NO_NEW_PRIVS as u32),
    SYS_seccomp if When::Is(0, libc::SECCOMP_SET_MODE_FILTER);
    old: SYS_poll, SYS_getpgrp,
];

/// The terminal is looked at and given back.
pub(super) const TERMINAL: Group = Group::Ioctls(&[
    TCGETS,
    TCSETS,
    libc::TIOCGPGRP,
    #[cfg(not(target_arch = "powerpc64"))]
    libc::TCGETS2,
    #[cfg(not(target_arch = "powerpc64"))]
    libc::TCSETS2,
]);

#[cfg(not(target_arch = "powerpc64"))]
use libc::{TCGETS, TCSETS};

// The kernel's structure has 44 bytes on POWER (`asm/termbits.h`). That of the C library, whose numbers
// libc has, is longer: it never gets to the kernel.
#[cfg(target_arch = "powerpc64")]
const TCGETS: libc::Ioctl = libc::_IOR::<[u8; 44]>(b't' as u32, 19);
#[cfg(target_arch = "powerpc64")]
const TCSETS: libc::Ioctl = libc::_IOW::<[u8; 44]>(b't' as u32, 20);

/// Threads are started: of this process, and nothing else is. `clone3` has its flags in memory,
/// where no filter sees them: the kernel is made to say that it has none.
pub(super) const START_THREADS: Group =
    calls![SYS_clone if When::Bits(0, ONE_ADDRESS_SPACE, ONE_ADDRESS_SPACE), SYS_clone3];

/// Files that are open are read and written at places.
pub(super) const OPEN_FILES: Group = calls![
    SYS_lseek,
    // As the C library seeks, and looks at file systems, there.
    #[cfg(target_arch = "powerpc64")]
    SYS__llseek,
    #[cfg(target_arch = "powerpc64")]
    SYS_fstatfs64,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_fdatasync,
    SYS_fsync,
    SYS_fallocate,
    SYS_ftruncate,
    SYS_fstat,
    SYS_fstatfs,
    SYS_newfstatat if When::Bits(3, EMPTY_PATH, EMPTY_PATH),
    SYS_statx if When::Bits(2, EMPTY_PATH, EMPTY_PATH),
];

/// What the host keeps of files in memory is let go.
pub(super) const LET_GO: Group =
    Group::Calls(&[Call { number: FADVISE64, name: "SYS_fadvise64", when: When::Always }]);

#[cfg(not(target_arch = "powerpc64"))]
const FADVISE64: c_long = libc::SYS_fadvise64;
/// `asm/unistd.h`; libc does not have it.
#[cfg(target_arch = "powerpc64")]
const FADVISE64: c_long = 233;

/// Events are made and waited for.
pub(super) const EVENTS: Group = calls![
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime;
    old: SYS_epoll_wait,
];

/// Sockets that are there are used.
pub(super) const SOCKETS: Group = calls![
    SYS_sendto,
    SYS_sendmsg,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_accept4,
    SYS_shutdown,
    SYS_getsockopt,
    SYS_setsockopt if When::Is(1, libc::SOL_SOCKET as u32),
    SYS_getsockname,
    SYS_getpeername,
    // As the C library does those two without an address, there.
    #[cfg(target_arch = "powerpc64")]
    SYS_send,
    #[cfg(target_arch = "powerpc64")]
    SYS_recv,
];

/// Whether they wait.
pub(super) const SOCKET_IOCTLS: Group = Group::Ioctls(&[libc::FIONBIO, libc::FIOCLEX]);

/// Sockets of this host are connected to. Which, landlock decides, or nobody.
pub(super) const CONNECT: Group = calls![
    SYS_socket if When::Is(0, UNIX),
    SYS_socketpair if When::Is(0, UNIX),
    SYS_connect,
];

/// Sockets are there for others.
pub(super) const LISTEN: Group = calls![SYS_bind, SYS_listen];

/// A socket's file goes away with it.
pub(super) const UNLINK: Group = calls![SYS_unlinkat; old: SYS_unlink, SYS_lstat];

/// What files say of themselves.
pub(super) const LOOK_AT_FILES: Group = calls![SYS_statx, SYS_newfstatat];

/// Files are opened and read. Which, landlock decides.
pub(super) const READ_FILES: Group = calls![SYS_openat if ONLY_READ, SYS_getdents64];

/// Files are opened, made and removed. Which, landlock decides.
pub(super) const FILES: Group = calls![
    SYS_openat,
    SYS_getdents64,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_readlinkat,
    SYS_getcwd,
    SYS_fchmod,
    SYS_fcntl if When::Is(1, libc::F_OFD_SETLK as u32),
    SYS_flock;
    old: SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink,
];

/// Folders are made, and files get other names, so that what was there stays whole until then.
pub(super) const FOLDERS: Group = calls![
    SYS_mkdirat,
    SYS_renameat2,
    SYS_linkat,
    #[cfg(target_arch = "aarch64")]
    SYS_renameat;
    old: SYS_mkdir, SYS_rmdir, SYS_rename, SYS_renameat, SYS_link,
];

/// Others are connected to by TCP, to move a machine to them, or from there.
pub(super) const INTERNET: Group = calls![
    SYS_socket if When::Is(0, libc::AF_INET as u32),
    SYS_socket if When::Is(0, libc::AF_INET6 as u32),
];

/// How TCP is done.
pub(super) const TCP_OPTIONS: Group = calls![
    SYS_setsockopt if When::Is(1, libc::IPPROTO_TCP as u32),
    SYS_setsockopt if When::Is(1, libc::IPPROTO_IPV6 as u32),
];

/// Memory is had when it is used.
pub(super) const LAZY_MEMORY: Group = calls![SYS_userfaultfd];

/// Memory that others can have is made.
pub(super) const MEMORY: Group =
    calls![SYS_memfd_create, SYS_fallocate, SYS_ftruncate, SYS_mincore];

/// Terminals are made.
pub(super) const MAKE_TERMINALS: Group =
    Group::Ioctls(&[libc::TIOCGPTN, libc::TIOCSPTLCK, libc::TIOCGWINSZ]);

/// The process stops when its job does.
pub(super) const STOP: Group = calls![SYS_kill if When::OwnProcess(0)];

/// What only the main thread does, while it gets the machine ready.
pub(super) const PREPARE: Group = calls![
    SYS_signalfd4,
    SYS_sysinfo,
    SYS_uname,
    SYS_prlimit64,
    SYS_pipe2,
    SYS_geteuid,
    SYS_getuid,
    SYS_landlock_create_ruleset,
    SYS_landlock_add_rule,
];

/// A thread confines itself to fewer files.
pub(super) const LANDLOCK: Group = calls![SYS_landlock_restrict_self];

/// A thread lets others go first.
pub(super) const SCHEDULE: Group = calls![
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_sched_setscheduler if When::Is(1, libc::SCHED_OTHER as u32),
    SYS_sched_setscheduler if When::Is(1, libc::SCHED_BATCH as u32),
];

/// What would be of use to nobody but an intruder, for messages that name it.
pub(super) const ELSEWHERE: &[(c_long, &str)] = &[
    (libc::SYS_execve, "SYS_execve"),
    (libc::SYS_execveat, "SYS_execveat"),
    (libc::SYS_ptrace, "SYS_ptrace"),
    (libc::SYS_mount, "SYS_mount"),
    (libc::SYS_unshare, "SYS_unshare"),
    (libc::SYS_setns, "SYS_setns"),
    (libc::SYS_bpf, "SYS_bpf"),
    (libc::SYS_io_uring_setup, "SYS_io_uring_setup"),
    (libc::SYS_userfaultfd, "SYS_userfaultfd"),
    (libc::SYS_perf_event_open, "SYS_perf_event_open"),
    (libc::SYS_process_vm_readv, "SYS_process_vm_readv"),
    (libc::SYS_process_vm_writev, "SYS_process_vm_writev"),
    (libc::SYS_pidfd_open, "SYS_pidfd_open"),
    (libc::SYS_keyctl, "SYS_keyctl"),
    (libc::SYS_setuid, "SYS_setuid"),
];
