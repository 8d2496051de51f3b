//! The steps that start the emulated host: guests that boot in it, in all their variety.

use std::path::PathBuf;

use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest::{self, NO_WATCHDOGS};
use crate::host::base_name;
use crate::power::Compiler;
use crate::vmms;

use super::log::Log;
use super::on_host::{OneHost, on_power_with, xtask};
use super::pty::Pty;
use super::ranges;

/// The shell's prompt, as the guest's init sets it.
pub(super) const PROMPT: &str = "guest:/root# ";

/// The kernel says it when it finds an Open Firmware client interface (prom_init.c).
pub(super) const VOF_LINES: [&str; 2] = ["Preparing to boot Linux", "Booting Linux via __start()"];

/// What a guest shows that is up.
const UP_LINES: [&str; 3] = ["Linux version 6.1.", "GUEST-READY", "cpu\t\t: POWER9"];

/// The examples of configuration files that are booted: by Open Firmware and two CPUs, and from a
/// flat tree.
const EXAMPLES: [&str; 2] = ["machine.json", "flat-tree.json"];

/// How often the guest of [`ten_reboots`] restarts.
const REBOOTS: usize = 10;

/// How much more memory of its own the VMM may have in the last start than in the second: some pages
/// are the allocator's business.
const GROWTH_LIMIT_KIB: u64 = 512;

/// Runs the VMM, and whenever the guest waits for an answer, says what is the VMM's own, before it
/// answers: memory in KiB, RAM of the guest not counted, file descriptors, threads.
const WATCH: &str = r#"
mkfifo keys shown
"$@" <keys >shown &
vmm=$!
exec 3>keys
while IFS= read -r line; do
    echo "$line"
    case $line in
    GUEST-ASKS*)
        memory=$(awk '/^RssAnon:/ { print $2 }' /proc/$vmm/status)
        threads=$(awk '/^Threads:/ { print $2 }' /proc/$vmm/status)
        echo "watched: $memory $(ls /proc/$vmm/fd | wc -l) $threads"
        echo >&3
        ;;
    esac
done <shown
wait $vmm
"#;

/// What only a host that runs guests can be asked: each line is a case, its status and what it has
/// to say.
const REFUSALS: &str = r#"
refused() { # STATUS WORDS COMMAND...
    wanted=$1 words=$2
    shift 2
    said=$("$@" 2>&1)
    status=$?
    echo "case: $* -> $status: $said"
    [ $status = "$wanted" ] || { echo "the status is not $wanted"; exit 1; }
    case $said in
    *panicked*) echo "it panicked"; exit 1 ;;
    *"$words"*) ;;
    *) echo "it does not say: $words"; exit 1 ;;
    esac
}
vmm="pseries-vmm --backend kvm --kernel vmlinux-6.1"
refused 2 "memory that ends at 109951162777600 is too large" $vmm --memory size=100T
refused 1 "cannot have 2G of memory" \
    sh -c "ulimit -v 1000000; exec $vmm --memory size=2G"
refused 2 "POWER10 guest needs a POWER10 or a later processor; this one is a POWER9" $vmm --machine cpu=POWER10
refused 2 "POWER11 guest needs a POWER11 or a later processor; this one is a POWER9" $vmm --machine cpu=POWER11
mkdir -p /etc
echo "nobody:x:65534:65534::/:/bin/sh" >/etc/passwd
chmod 600 /dev/kvm
refused 1 "cannot open /dev/kvm: Permission denied" \
    start-stop-daemon -S -c nobody -x "$(which pseries-vmm)" -- --backend kvm --kernel vmlinux-6.1
rm /dev/kvm
refused 1 "cannot open /dev/kvm: No such file or directory" $vmm
echo "all cases refused"
"#;

/// RAM of each size, in one piece and in several, and a flat tree.
pub(super) fn each_size(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let files = [&guest.kernel, &guest.initramfs];
    let mut host = OneHost::new("powernv9", files);
    let machines: [(&str, &[&str], usize); 5] = [
        ("autotest", &["--memory", "size=512M"], 1),
        ("autotest", &["--memory", "size=512M", "--machine", "x-vof=off"], 0),
        ("autotest", &["--memory", "size=256M"], 1),
        ("autotest", &["--memory", "size=2G"], 1),
        (ranges::TASK, &ranges::MEMORY, 1),
    ];
    for (task, arguments, _) in machines {
        host.add(files, &format!("console=hvc0 {NO_WATCHDOGS} {task}"), arguments)?;
    }
    let consoles = host.run(log)?;
    for (console, (task, _, starts_by_vof)) in consoles.iter().zip(machines) {
        shows(console, &UP_LINES)?;
        for line in VOF_LINES {
            shows_times(console, line, starts_by_vof)?;
        }
        if task == ranges::TASK {
            ranges::shown(console)?;
        }
    }
    Ok(())
}

/// Every start is a new machine, and nothing of the old ones stays.
pub(super) fn ten_reboots(log: &mut Log) -> Result<()> {
    let task =
        format!("console=hvc0 cryptomgr.notests {NO_WATCHDOGS} quiet asks autoreboot={REBOOTS}");
    let mut command = on_power_with(&[], &["sh", "-c", WATCH, "sh", "pseries-vmm"])?;
    command.args(["--kernel", "vmlinux-6.1", "--initramfs", "initramfs.cpio.gz"]);
    command.args(["--memory", "size=256M", "--cmdline", &task]);
    let console = log.run_with_input(&mut command, "")?;
    shows_times(&console, "GUEST-REBOOTS", REBOOTS)?;
    shows_times(&console, "GUEST-READY", REBOOTS + 1)?;
    shows_times(&console, VOF_LINES[0], REBOOTS + 1)?;
    let watched = watched(&console);
    let [_, second, .., last] = watched[..] else {
        return Err(Failure::new("the VMM was not seen before and after restarts"));
    };
    if watched.len() != REBOOTS + 1 {
        return Err(Failure::new(format!("the VMM was seen in {} starts", watched.len())));
    }
    // The first start is another: what is allocated once comes with it.
    let [memory, things @ ..] = last;
    if memory > second[0] + GROWTH_LIMIT_KIB || things != second[1..] {
        return Err(Failure::new(format!(
            "memory in KiB, descriptors and threads were {second:?} in the second start and are \
             {last:?} after {REBOOTS} restarts"
        )));
    }
    Ok(())
}

/// What was seen in each start.
fn watched(console: &str) -> Vec<[u64; 3]> {
    let lines = console.lines().filter_map(|line| line.strip_prefix("watched: "));
    let numbers = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(0));
        std::array::from_fn(|_| numbers.next().unwrap_or(0))
    };
    lines.map(numbers).collect()
}

/// Each example of a configuration file with each kernel.
pub(super) fn examples(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let newer = guest::newer_kernel(false)?;
    let examples = EXAMPLES.map(example_file);
    for (kernel, version) in [(&guest.kernel, "6.1."), (&newer, "6.12.")] {
        // One kernel at a time: both are more than the host takes.
        let files = [kernel, &guest.initramfs];
        let mut host = OneHost::new("powernv9", files.into_iter().chain(&examples));
        for example in EXAMPLES {
            let cmdline = format!("console=hvc0 {NO_WATCHDOGS} autotest");
            host.add(files, &cmdline, &["--config", example])?;
        }
        for (console, example) in host.run(log)?.iter().zip(EXAMPLES) {
            let version = format!("Linux version {version}");
            shows(console, &[&version, "GUEST-READY"])?;
            shows_times(console, VOF_LINES[1], usize::from(example == EXAMPLES[0]))?;
        }
    }
    Ok(())
}

fn example_file(name: &str) -> PathBuf {
    folders::workspace().join("integration/vmm/examples").join(name)
}

/// What is wrong is said, with the right status, also where only the host knows that it is wrong.
pub(super) fn refusals(log: &mut Log) -> Result<()> {
    let console = log.run_with_input(&mut on_power_with(&[], &["sh", "-c", REFUSALS])?, "")?;
    shows(&console, &["all cases refused"])
}

pub(super) fn pipe(log: &mut Log) -> Result<()> {
    let mut xtask =
        on_power_with(&[], &["pseries-vmm", "--backend", "kvm", "--kernel", "vmlinux-6.1"])?;
    xtask.args(["--initramfs", "initramfs.cpio.gz"]);
    xtask.args(["--cmdline", "console=hvc0 cryptomgr.notests"]);
    let typed = "echo answer-$((6*7))\npoweroff -f\n";
    let console = log.run_with_input(&mut xtask, typed)?;
    shows(&console, &["answer-42"])
}

pub(super) fn shell(log: &mut Log) -> Result<()> {
    let mut terminal = Pty::spawn(xtask().args(["boot", "--on-power"]), log)?;
    terminal.expect(PROMPT)?;
    terminal.type_in("echo answer-$((6*7))\r")?;
    terminal.expect("answer-42")?;
    terminal.expect(PROMPT)?;
    // Ctrl-C and Ctrl-Z are the guest's. The job itself says that it has the keyboard.
    let job = "sh -c 'echo sleeps; sleep 1000; :'\r";
    terminal.type_in(job)?;
    terminal.expect("\nsleeps")?;
    terminal.type_in("\x03")?;
    terminal.expect(PROMPT)?;
    terminal.type_in(job)?;
    terminal.expect("\nsleeps")?;
    terminal.type_in("\x1a")?;
    terminal.expect("Stopped")?;
    terminal.expect(PROMPT)?;
    terminal.type_in("poweroff -f\r")?;
    terminal.ends_well()
}

pub(super) fn ctrl_a_x(log: &mut Log) -> Result<()> {
    let mut terminal = Pty::spawn(xtask().args(["boot", "--on-power"]), log)?;
    terminal.expect(PROMPT)?;
    terminal.type_in("\x01x")?;
    terminal.ends_well()
}

/// Only a POWER host compiles the code for its KVM.
pub(super) fn unit_tests_on_power(log: &mut Log) -> Result<()> {
    // Those of the one package, and of the other.
    let programs = tests_for_power(log, &["--lib", "--test", "on_power"])?;
    let mut xtask = xtask();
    xtask.arg("on-power");
    let mut commands = Vec::new();
    for program in &programs {
        xtask.arg("--file").arg(program);
        commands.push(format!("./{}", base_name(program)?));
    }
    xtask.args(["--", "sh", "-c", &commands.join(" && ")]);
    let console = log.run_with_input(&mut xtask, "")?;
    // The unit tests of both, and the guests of one.
    shows_times(&console, "test result: ok. ", 3)
}

/// Builds tests as [`executables`] for a POWER host.
pub(super) fn tests_for_power(log: &mut Log, which: &[&str]) -> Result<Vec<PathBuf>> {
    let mut cargo = Compiler::find()?.cargo("test");
    // As they are built for the boots, so that little has to be built for this.
    vmms::name(cargo.args(["--release", "--no-run", "--package", "kvm-ppc64"]));
    Ok(executables(&log.run_with_input(cargo.args(which), "")?))
}

/// The paths in Cargo's lines `Executable unittests src/lib.rs (path)`.
fn executables(said: &str) -> Vec<PathBuf> {
    said.lines()
        .filter(|line| line.trim_start().starts_with("Executable "))
        .filter_map(|line| line.rsplit_once('(')?.1.strip_suffix(')'))
        .map(|path| folders::workspace().join(path))
        .collect()
}

pub(super) fn shows(console: &str, texts: &[&str]) -> Result<()> {
    match texts.iter().find(|text| !console.contains(**text)) {
        None => Ok(()),
        Some(text) => Err(Failure::new(format!("the console does not show {text:?}"))),
    }
}

pub(super) fn shows_times(console: &str, text: &str, wanted: usize) -> Result<()> {
    match console.matches(text).count() {
        count if count == wanted => Ok(()),
        count => Err(Failure::new(format!(
            "the console shows {text:?} {count} times instead of {wanted} times"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_tests_are() {
        let said = "   Compiling x v0.1.0 (/x)\n    Finished `test` profile in 1.2s\n  \
                    Executable unittests src/lib.rs (/t/power/debug/deps/x-0123)\n";
        assert_eq!(executables(said), [PathBuf::from("/t/power/debug/deps/x-0123")]);
        assert!(executables("    Finished `test` profile in 1.2s\n").is_empty());
    }

    #[test]
    fn what_was_seen_in_each_start_is_read() {
        let console = "GUEST-ASKS\nwatched: 1 2 3\nGUEST-REBOOTS\nGUEST-ASKS\nwatched: 40 5 6\n";
        assert_eq!(watched(console), [[1, 2, 3], [40, 5, 6]]);
    }

    #[test]
    fn a_failed_expectation_says_what_was_looked_for() {
        let console = "processor\t: 0\nGUEST-READY\n";
        shows(console, &["GUEST-READY"]).unwrap();
        let failure = shows(console, &["GUEST-READY", "Linux"]).unwrap_err().to_string();
        assert_eq!(failure, "the console does not show \"Linux\"");
        let failure = shows_times(console, "processor\t: ", 4).unwrap_err().to_string();
        assert!(failure.contains("1 times instead of 4"), "{failure}");
    }
}
