//! Control transfer and the user interface as a client sees them (IEEE 1275-1994 §6.3.2.5 and
//! §6.3.2.6).

use std::sync::{Arc, Mutex};

use arch_ppc64::hypercall::token;
use arch_ppc64::topology::CpuTopology;
use arch_ppc64::{
    CpuIndex, CpuState, EntryRegisters, Hypercall, Next, StartError, Status, StopReason, VcpuHost,
};
use vof_device::limits;
use vof_device::test_utils::{
    Client, TestMachine, UNTOUCHED, WORKSPACE, WORKSPACE_BYTES, phrases, sample_tree,
};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;
const CHOSEN: &str = "/chosen";

fn machine() -> TestMachine {
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder)
}

fn bootargs(client: &Client<'_>) -> String {
    let value = client.getprop(client.phandle(CHOSEN), "bootargs").unwrap();
    String::from_utf8(value).unwrap()
}

/// "Causes … the system to be reset, then boots" with what `bootspec` says.
#[test]
fn boot_restarts_with_the_arguments_of_the_bootspec() {
    for (bootspec, device, arguments) in [
        ("root=/dev/vda console=hvc0", None, "root=/dev/vda console=hvc0"),
        ("/vdevice/v-scsi@2000:1 quiet splash", Some("/vdevice/v-scsi@2000:1"), "quiet splash"),
        ("disk quiet", Some("disk"), "quiet"),
        ("disk:2,boot  quiet ", Some("disk:2,boot"), "quiet"),
        ("disk:2,/boot/a quiet", Some("disk:2,/boot/a"), "quiet"),
        ("  single", None, "single"),
    ] {
        let machine = machine();
        let client = machine.client();
        let outcome = client.call("boot", &[bootspec.into()], 0);
        assert_eq!(outcome.next, Next::Stop(StopReason::Reset), "{bootspec}");
        assert_eq!(machine.vof().boot_arguments().as_deref(), Some(arguments), "{bootspec}");
        assert_eq!(machine.vof().boot_device().as_deref(), device, "{bootspec}");
        let passed = machine.vof().boot_arguments();
        let next =
            TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.boot_arguments(passed));
        assert_eq!(bootargs(&next.client()), format!("{arguments}\0"));
        // For one start only.
        assert_eq!(next.vof().boot_arguments(), None);
    }
}

#[test]
fn boot_without_arguments_restarts_with_those_of_the_machine() {
    for bootspec in ["", " ", "/vdevice/v-scsi@2000", "disk", "hvterm "] {
        let machine = machine();
        let client = machine.client();
        let outcome = client.call("boot", &[bootspec.into()], 0);
        assert_eq!(outcome.next, Next::Stop(StopReason::Reset), "{bootspec}");
        assert_eq!(machine.vof().boot_arguments(), None, "{bootspec}");
    }
}

#[test]
fn a_bootspec_that_is_none_does_not_restart() {
    let machine = machine();
    let client = machine.client();
    let long = "x".repeat(limits::MAX_PATH_BYTES + 1);
    for bootspec in [long.as_str().into(), (RAM_BYTES as u32).into()] {
        assert_eq!(client.call("boot", &[bootspec], 0).next, Next::Resume);
    }
    assert_eq!(machine.vof().boot_arguments(), None);
}

/// A VMM that makes a new interface for each start hands the arguments on.
#[test]
fn a_new_interface_can_be_given_the_arguments() {
    let arguments = Some("again".to_owned());
    let machine =
        TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.boot_arguments(arguments));
    assert_eq!(bootargs(&machine.client()), "again\0");
}

#[test]
fn enter_says_so_and_goes_on() {
    let machine = machine();
    let outcome = machine.client().call("enter", &[], 0);
    assert_eq!((outcome.status, outcome.next), (Status::SUCCESS, Next::Resume));
    assert!(machine.console.shown().contains("no user interface"));
}

#[test]
fn exit_stops_the_machine() {
    let outcome = machine().client().call("exit", &[], 0);
    assert_eq!(outcome.next, Next::Stop(StopReason::ClientExit));
}

/// Makes a call of `chain` and gives the registers after it.
fn chain(machine: &TestMachine, arguments: [u32; 5]) -> Hypercall {
    let at = WORKSPACE;
    machine.client().poke(at, b"chain\0");
    let mut array = vec![at, 5, 0];
    array.extend(arguments);
    let bytes: Vec<u8> = array.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    machine.client().poke(at + 16, &bytes);
    let mut call = Hypercall::new(token::VOF_CLIENT, &[u64::from(at + 16)]);
    assert_eq!(machine.bus.dispatch(CpuIndex(0), &machine.ram, &mut call), Next::Resume);
    call
}

/// "Frees the `size` bytes of memory starting at `virt`, then executes another client program":
/// entry, r6 and r7 are as the firmware image hands them on.
#[test]
fn chain_frees_memory_and_enters_the_program() {
    let machine = machine();
    let client = machine.client();
    let call = chain(&machine, [WORKSPACE + 0x2_0000, 0x2_0000, 0x20_0000, 0x30_0000, 12]);
    assert_eq!(call.status(), Status(vof_firmware::ENTER_PROGRAM));
    assert_eq!((call.args[8], call.args[2], call.args[3]), (0x20_0000, 0x30_0000, 12));
    let again = [(WORKSPACE + 0x2_0000).into(), 0x2_0000.into(), 0.into()];
    assert_eq!(client.one("claim", &again), WORKSPACE + 0x2_0000);
    // Nothing to free is no mistake.
    let call = chain(&machine, [0, 0, 0x20_0000, 0, 0]);
    assert_eq!(call.status(), Status(vof_firmware::ENTER_PROGRAM));
}

#[test]
fn chain_returns_where_there_is_no_program_or_no_such_memory() {
    let machine = machine();
    let ram = RAM_BYTES as u32;
    for arguments in [
        [0, 0, 0x20_0002, 0, 0],
        [0, 0, ram, 0, 0],
        [0, 0, NONE - 3, 0, 0],
        [0, 0x1000, 0x20_0000, 0, 0],
        [0x50_0000, 0x1000, 0x20_0000, 0, 0],
        [WORKSPACE, WORKSPACE_BYTES + 1, 0x20_0000, 0, 0],
    ] {
        assert_eq!(chain(&machine, arguments).status(), Status::SUCCESS, "{arguments:x?}");
    }
}

/// Remembers who was started how.
#[derive(Debug, Default)]
struct Cpus(Mutex<Vec<(u32, u64, u64)>>);

impl VcpuHost for Cpus {
    fn state(&self, _target: CpuIndex) -> Option<CpuState> {
        Some(CpuState::Stopped)
    }

    fn start(&self, target: CpuIndex, registers: EntryRegisters) -> Result<(), StartError> {
        let EntryRegisters { pc: entry, r3, .. } = registers;
        let mut started = self.0.lock().unwrap();
        if started.iter().any(|(number, ..)| *number == target.0) {
            return Err(StartError::NotStopped);
        }
        started.push((target.0, entry.0, r3));
        Ok(())
    }
}

#[test]
fn start_cpu_starts_the_processor_of_the_node() {
    let cpus = Arc::new(Cpus::default());
    let given = cpus.clone();
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder.cpus(given, &CpuTopology::new(2))
    });
    let client = machine.client();
    let second = client.phandle("/cpus/PowerPC,POWER9@1");
    let start = |phandle: u32| {
        let arguments = [phandle.into(), 0x60.into(), 0xffff_fff1.into()];
        client.call("start-cpu", &arguments, 0).status
    };
    assert_eq!(start(second), Status::SUCCESS);
    let once = vec![(1, 0x60, 0xffff_fff1)];
    assert_eq!(*cpus.0.lock().unwrap(), once);
    // One that runs, what is no processor, and what is nothing.
    for wrong in [second, client.phandle("/memory@0"), client.phandle("/cpus"), 0, NONE] {
        assert_eq!(start(wrong), Status::SUCCESS);
    }
    assert_eq!(*cpus.0.lock().unwrap(), once);
}

#[test]
fn start_cpu_without_anybody_to_start_them_does_nothing() {
    let machine = machine();
    let cpu = machine.client().phandle("/cpus/PowerPC,POWER9@1");
    let outcome = machine.client().call("start-cpu", &[cpu.into(), 0x60.into(), 0.into()], 0);
    assert_eq!((outcome.status, outcome.next), (Status::SUCCESS, Next::Resume));
}

#[test]
fn interpret_knows_the_phrases_of_known_clients() {
    for (phrase, next) in [
        ("output-device output", Next::Resume),
        ("reset-all", Next::Stop(StopReason::Reset)),
        ("boot", Next::Stop(StopReason::Reset)),
        ("power-off", Next::Stop(StopReason::PowerOff)),
        (" poweroff ", Next::Stop(StopReason::PowerOff)),
        ("shut-down", Next::Stop(StopReason::PowerOff)),
    ] {
        let machine = machine();
        let outcome = machine.client().call("interpret", &[phrase.into()], 2);
        assert_eq!((outcome.next, outcome.results), (next, vec![0, UNTOUCHED]), "{phrase}");
        assert!(phrases().any(|known| known == phrase.trim()));
    }
    assert_eq!(phrases().count(), 6, "each has its line above");
}

/// "The catch-result is the value that `catch` returned": −13 of ANS Forth for an unknown word.
#[test]
fn interpret_knows_no_other_word() {
    let machine = machine();
    let client = machine.client();
    for phrase in ["", "reset-all reset-all", "RESET-ALL", "1 2 +", "\" /\" open-dev", "reset"] {
        let outcome = client.call("interpret", &[phrase.into(), 7.into()], 3);
        assert_eq!(outcome.next, Next::Resume, "{phrase}");
        assert_eq!(outcome.results, [-13_i32 as u32, UNTOUCHED, UNTOUCHED], "{phrase}");
    }
    let long = "x".repeat(limits::MAX_PATH_BYTES + 1);
    assert_eq!(client.one("interpret", &[long.as_str().into()]), NONE);
}

#[test]
fn callbacks_are_kept_and_given_back() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(client.one("set-callback", &[0x20_0100.into()]), 0);
    assert_eq!(client.one("set-callback", &[0x20_0200.into()]), 0x20_0100);
    assert_eq!(client.one("set-callback", &[0.into()]), 0x20_0200);
    assert_eq!(client.one("set-callback", &[0x20_0300.into()]), 0);
    assert_eq!(client.one("set-callback", &[0.into()]), 0x20_0300);
    assert_eq!(self::machine().client().one("set-callback", &[0.into()]), 0);
}

/// It serves a debugger in the user interface, which there is not.
#[test]
fn symbol_lookup_is_absent_as_services_are() {
    let machine = machine();
    let client = machine.client();
    assert_eq!(client.one("test", &["set-symbol-lookup".into()]), NONE);
    let outcome = client.call("set-symbol-lookup", &[0.into(), 0.into()], 0);
    assert_eq!(outcome.status, Status::FUNCTION);
}
