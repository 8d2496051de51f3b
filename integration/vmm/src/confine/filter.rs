//! From a role to the filter that the kernel runs at each system call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::calls::{Call, ELSEWHERE, Group, When};
use super::roles::{EVERY_THREAD, ROLES, Role};

/// What becomes of a system call that a thread has no business with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// The process ends by SIGSYS.
    Ends,
    /// It is made, and the kernel's log has it.
    IsLogged,
}

/// A filter for each role, and one more for all.
#[derive(Debug)]
pub(super) struct Filters {
    by_role: BTreeMap<Role, BpfProgram>,
    without_clone3: BpfProgram,
    without_new_sockets: BpfProgram,
}

impl Filters {
    /// Those of this host; `None` where there are none for its architecture.
    pub(super) fn new(
        otherwise: Otherwise,
        has_requests: bool,
    ) -> Result<Option<Self>, BackendError> {
        let Some(arch) = Arch::HOST else { return Ok(None) };
        let mut by_role = BTreeMap::new();
        for &role in ROLES {
            by_role.insert(role, compile(role, has_requests, otherwise, arch)?);
        }
        let without_new_sockets = without_new_sockets(otherwise, arch)?;
        let without_clone3 = without_clone3(arch)?;
        Ok(Some(Self { by_role, without_clone3, without_new_sockets }))
    }

    /// From here on the calling thread, and those that it starts, make no sockets, nor connect any.
    pub(super) fn make_no_sockets(&self) -> io::Result<()> {
        install(&self.without_new_sockets)
    }

    /// From here on the calling thread, and those that it starts, can only do what is in their roles.
    /// A device that nobody knows has what all have.
    pub(super) fn confine(&self, role: Role) -> io::Result<()> {
        if role == Role::Main {
            install(&self.without_clone3)?;
        }
        self.by_role.get(&role).map_or(Ok(()), install)
    }
}

fn install(filter: &BpfProgram) -> io::Result<()> {
    apply_filter(filter).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        other => io::Error::other(other),
    })
}

/// What this is for the kernel's filters, and what seccompiler has to be told.
#[derive(Debug, Clone, Copy)]
struct Arch {
    target: TargetArch,
    /// How the kernel calls it (`linux/audit.h`), where seccompiler does not know it: then `target` is
    /// one that it knows, of the same byte order.
    audit: Option<u32>,
}

/// `AUDIT_ARCH_PPC64LE`: `EM_PPC64`, of 64 bits, little-endian.
#[cfg(any(test, target_arch = "powerpc64"))]
const PPC64LE: Arch =
    Arch { target: TargetArch::aarch64, audit: Some(21 | 0x8000_0000 | 0x4000_0000) };

impl Arch {
    #[cfg(target_arch = "x86_64")]
    const HOST: Option<Self> = Some(Self { target: TargetArch::x86_64, audit: None });
    #[cfg(target_arch = "aarch64")]
    const HOST: Option<Self> = Some(Self { target: TargetArch::aarch64, audit: None });
    #[cfg(target_arch = "riscv64")]
    const HOST: Option<Self> = Some(Self { target: TargetArch::riscv64, audit: None });
    #[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
    const HOST: Option<Self> = Some(PPC64LE);
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        all(target_arch = "powerpc64", target_endian = "little")
    )))]
    const HOST: Option<Self> = None;
}

/// The second instruction of a filter compares the caller's architecture, and that is the only one
/// that knows of it: numbers of system calls and values are this crate's, and where an argument is
/// depends on the byte order alone.
const COMPARES_ARCH: usize = 1;

fn program(filter: SeccompFilter, arch: Arch) -> Result<BpfProgram, BackendError> {
    let mut program = BpfProgram::try_from(filter)?;
    if let (Some(audit), Some(compare)) = (arch.audit, program.get_mut(COMPARES_ARCH)) {
        *compare = sock_filter { k: audit, ..compare.clone() };
    }
    Ok(program)
}

fn refused(otherwise: Otherwise) -> SeccompAction {
    match otherwise {
        Otherwise::Ends => SeccompAction::Trap,
        Otherwise::IsLogged => SeccompAction::Log,
    }
}

fn compile(
    role: Role,
    has_requests: bool,
    otherwise: Otherwise,
    arch: Arch,
) -> Result<BpfProgram, BackendError> {
    let (rules, otherwise) = (rules(role, has_requests)?, refused(otherwise));
    program(SeccompFilter::new(rules, otherwise, SeccompAction::Allow, arch.target)?, arch)
}

/// A kernel that has no clone3 has the C library start threads by clone, whose flags a filter sees.
fn without_clone3(arch: Arch) -> Result<BpfProgram, BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    program(SeccompFilter::new(rules, SeccompAction::Allow, absent, arch.target)?, arch)
}

/// For machines that connect to nobody when they run.
fn without_new_sockets(otherwise: Otherwise, arch: Arch) -> Result<BpfProgram, BackendError> {
    let numbers = [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];
    let rules = numbers.map(|number| (number, Vec::new())).into();
    let refused = refused(otherwise);
    program(SeccompFilter::new(rules, SeccompAction::Allow, refused, arch.target)?, arch)
}

/// The role's own, and those of all that it starts.
fn groups(role: Role, has_requests: bool) -> Vec<Group> {
    let mut roles = BTreeSet::from([role]);
    let mut found: Vec<_> = roles.iter().copied().collect();
    while let Some(role) = found.pop() {
        let started = role.starts().iter().filter(|one| has_requests || !one.is_for_requests());
        found.extend(started.copied().filter(|one| roles.insert(*one)));
    }
    let own = roles.into_iter().flat_map(Role::does);
    EVERY_THREAD.iter().chain(own).map(|group| **group).collect()
}

fn rules(role: Role, has_requests: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    // By what the argument is: each once.
    let mut all: BTreeMap<i64, Vec<When>> = BTreeMap::new();
    for group in groups(role, has_requests) {
        match group {
            Group::Calls(calls) => {
                for Call { number, when, .. } in calls {
                    add(all.entry(*number).or_default(), *when);
                }
            }
            Group::Ioctls(numbers) => {
                let ioctl = all.entry(libc::SYS_ioctl).or_default();
                numbers.iter().for_each(|number| add(ioctl, When::Is(1, *number as u32)));
            }
            Group::KvmIoctls(numbers) => {
                let ioctl = all.entry(libc::SYS_ioctl).or_default();
                numbers.iter().for_each(|number| add(ioctl, When::Is(1, *number as u32)));
            }
        }
    }
    let rules = |all: Vec<When>| {
        // No rule at all is what allows a call whatever its arguments are.
        let is_free = all.contains(&When::Always);
        all.into_iter().filter(|_| !is_free).filter_map(rule).collect::<Result<_, _>>()
    };
    all.into_iter().map(|(number, all)| Ok((number, rules(all)?))).collect()
}

fn add(all: &mut Vec<When>, when: When) {
    if !all.contains(&when) {
        all.push(when);
    }
}

fn rule(when: When) -> Option<Result<SeccompRule, BackendError>> {
    let (argument, operator, value) = match when {
        When::Always => return None,
        When::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
        When::Bits(argument, mask, value) => (argument, SeccompCmpOp::MaskedEq(mask.into()), value),
        When::OwnProcess(argument) => (argument, SeccompCmpOp::Eq, std::process::id()),
    };
    let length = SeccompCmpArgLen::Dword;
    let condition = SeccompCondition::new(argument, length, operator, value.into());
    Some(condition.and_then(|condition| SeccompRule::new(vec![condition])))
}

/// What system calls are called, as far as this program has heard of them.
pub(super) fn names() -> BTreeMap<i64, &'static str> {
    let known = groups(Role::Main, true).into_iter().flat_map(|group| match group {
        Group::Calls(calls) => calls,
        Group::Ioctls(_) | Group::KvmIoctls(_) => &[],
    });
    let known = known.map(|call| (call.number, call.name));
    let ioctl = [(libc::SYS_ioctl, "SYS_ioctl")];
    let all = known.chain(ioctl).chain(ELSEWHERE.iter().copied());
    all.map(|(number, name)| (number, name.trim_start_matches("SYS_"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const TRAP: u32 = libc::SECCOMP_RET_TRAP;

    /// What the kernel does with a filter (bpf(4), as far as seccompiler's use it).
    fn run(program: &BpfProgram, arch: u32, number: i64, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            0 => number as u32,
            4 => arch,
            16.. => (arguments[(offset - 16) as usize / 8] >> (offset % 8 * 8)) as u32,
            _ => panic!("nobody looks at {offset}"),
        };
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let jump = |is_so: bool| usize::from(if is_so { jt } else { jf });
            match code {
                0x20 => accumulator = word(k),
                0x54 => accumulator &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(accumulator == k),
                0x06 => return k,
                other => panic!("an instruction {other:#x}"),
            }
        }
    }

    fn arch_of_host() -> (Arch, u32) {
        // `EM_X86_64`, `EM_AARCH64`, `EM_RISCV`, `EM_PPC64`.
        let machine = match std::env::consts::ARCH {
            "x86_64" => 62,
            "aarch64" => 183,
            "riscv64" => 243,
            "powerpc64" => 21,
            other => panic!("there are no filters for {other}"),
        };
        (Arch::HOST.unwrap(), machine | 0xc000_0000)
    }

    fn allowed(role: Role, number: i64, arguments: [u64; 6]) -> bool {
        let (arch, audit) = arch_of_host();
        match run(&compile(role, false, Otherwise::Ends, arch).unwrap(), audit, number, arguments) {
            ALLOW => true,
            TRAP => false,
            other => panic!("{other:#x}"),
        }
    }

    const fn first(argument: i32) -> [u64; 6] {
        [argument as u64, 0, 0, 0, 0, 0]
    }

    #[test]
    fn no_thread_does_what_only_intruders_do() {
        for &role in ROLES {
            // Those that move a machine talk to others, where requests may come.
            let may_talk = role == Role::Verb;
            for &(number, name) in ELSEWHERE {
                let is_its = may_talk && number == libc::SYS_userfaultfd;
                assert_eq!(allowed(role, number, [0; 6]), is_its, "{role:?} {name}");
            }
            let executable = [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as u64, 0, 0, 0];
            let data = [0, 4096, (libc::PROT_READ | libc::PROT_WRITE) as u64, 0, 0, 0];
            for number in [libc::SYS_mmap, libc::SYS_mprotect] {
                assert!(!allowed(role, number, executable), "{role:?}");
                assert!(allowed(role, number, data), "{role:?}");
            }
            for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
                assert!(!allowed(role, libc::SYS_socket, first(family)), "{role:?}");
            }
            for family in [libc::AF_INET, libc::AF_INET6] {
                let talks = allowed(role, libc::SYS_socket, first(family));
                assert_eq!(talks, may_talk, "{role:?}");
            }
            assert!(!allowed(role, libc::SYS_clone, first(libc::SIGCHLD)), "{role:?} forks");
            let others = first(1);
            assert!(
                !allowed(role, libc::SYS_tgkill, others) && !allowed(role, libc::SYS_kill, others)
            );
            let steals_input = [0, libc::TIOCSTI, 0, 0, 0, 0];
            assert!(!allowed(role, libc::SYS_ioctl, steals_input), "{role:?}");
        }
    }

    #[test]
    fn few_threads_open_files() {
        let reads = [0, 0, (libc::O_RDONLY | libc::O_CLOEXEC) as u64, 0, 0, 0];
        let writes = [0, 0, (libc::O_WRONLY | libc::O_CREAT) as u64, 0, 0, 0];
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for &role in ROLES {
            readers.extend(allowed(role, libc::SYS_openat, reads).then_some(role));
            writers.extend(allowed(role, libc::SYS_openat, writes).then_some(role));
        }
        assert_eq!(readers, [Role::Main, Role::Resize, Role::Memory, Role::Verb]);
        assert_eq!(writers, [Role::Main, Role::Resize, Role::Verb]);
    }

    #[test]
    fn a_thread_can_do_what_those_do_that_it_starts() {
        let (arch, audit) = arch_of_host();
        let numbers: Vec<i64> = names().into_keys().collect();
        for &role in ROLES {
            let own = compile(role, true, Otherwise::Ends, arch).unwrap();
            for &started in role.starts().iter().filter(|one| **one != Role::Main) {
                assert!(started.starter().is_some());
                let its = compile(started, true, Otherwise::Ends, arch).unwrap();
                for &number in &numbers {
                    let may = |filter| run(filter, audit, number, [0; 6]) == ALLOW;
                    assert!(!may(&its) || may(&own), "{role:?} starts {started:?}: {number}");
                }
            }
        }
    }

    /// All that is the architecture's in a filter is the one number.
    #[test]
    fn powerpc64_has_the_same_filters() {
        let aarch64 = Arch { target: TargetArch::aarch64, audit: None };
        // `AUDIT_ARCH_AARCH64` and `AUDIT_ARCH_PPC64LE`, of linux/audit.h.
        let (known, wanted) = (0xc000_00b7, 0xc000_0015);
        for &role in ROLES {
            let theirs = compile(role, false, Otherwise::Ends, aarch64).unwrap();
            let ours = compile(role, false, Otherwise::Ends, PPC64LE).unwrap();
            let differ = |(one, other): &(&sock_filter, &sock_filter)| one != other;
            let different: Vec<_> = theirs.iter().zip(&ours).filter(differ).collect();
            assert_eq!(theirs.len(), ours.len());
            let [(before, after)] = different[..] else { panic!("{different:?}") };
            assert_eq!((before.k, after.k), (known, wanted));
            assert_eq!(run(&ours, wanted, libc::SYS_getpid, [0; 6]), ALLOW);
            for arch in [known, 0x8000_0015, 21] {
                let end = libc::SECCOMP_RET_KILL_PROCESS;
                assert_eq!(run(&ours, arch, libc::SYS_getpid, [0; 6]), end);
            }
        }
    }

    #[test]
    fn threads_are_started_by_clone() {
        let (arch, audit) = arch_of_host();
        let filter = without_clone3(arch).unwrap();
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(run(&filter, audit, libc::SYS_clone3, [0; 6]), absent);
        assert_eq!(run(&filter, audit, libc::SYS_execve, [0; 6]), ALLOW);
    }

    #[test]
    fn a_machine_that_connects_to_nobody_makes_no_sockets() {
        let (arch, audit) = arch_of_host();
        let filter = without_new_sockets(Otherwise::Ends, arch).unwrap();
        for number in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen] {
            assert_eq!(run(&filter, audit, number, [0; 6]), TRAP);
        }
        assert_eq!(run(&filter, audit, libc::SYS_accept4, [0; 6]), ALLOW);
    }

    #[test]
    fn what_is_only_logged_is_done() {
        let (arch, audit) = arch_of_host();
        let filter = compile(Role::Outlet, false, Otherwise::IsLogged, arch).unwrap();
        assert_eq!(run(&filter, audit, libc::SYS_execve, [0; 6]), libc::SECCOMP_RET_LOG);
        assert_eq!(run(&filter, audit, libc::SYS_write, [0; 6]), ALLOW);
    }
}
