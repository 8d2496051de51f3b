//! A machine that stands still: what its disks were asked for is done or not begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_ppc64::platform::{Device, StateError};
use vof_device::block::BlockPackage;
use vof_device::limits::IN_FLIGHT_LAPSE;
use vof_device::test_utils::{CALL_AGAIN, TestDisk, TestMachine, sample_tree};

use super::{BUFFER, NODE, RAM_BYTES, client_of, machine, open, read, seek, write};

fn pause(machine: &TestMachine, limit: Duration) -> Result<(), StateError> {
    Device::pause(machine.vof(), Instant::now() + limit)
}

fn resume(machine: &TestMachine) {
    Device::resume(machine.vof()).unwrap();
}

/// No test waits for so long.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn what_the_host_does_not_end_is_told_by_name_and_goes_on() {
    let disk = Arc::new(TestDisk::numbered(100));
    disk.set_at_hand(false);
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    for (service, what) in [("write", "a write"), ("read", "a read")] {
        seek(&client, ihandle, 512);
        disk.hold();
        let arguments = [ihandle.into(), BUFFER.into(), 512.into()];
        client.poke(BUFFER, &[1; 512]);
        assert_eq!(client.try_call(service, &arguments, 1).status, CALL_AGAIN);
        disk.wait_for_somebody();
        let error = pause(&machine, Duration::from_millis(20)).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(error.to_string(), NODE);
        assert!(source.as_ref().is_some_and(|source| source.contains(what)), "{source:?}");
        disk.release();
        assert_eq!(client.one(service, &arguments), 512);
        assert_eq!(client.peek(BUFFER, 512), [1; 512]);
    }
    assert_eq!(disk.counts().writes, 1);
}

/// A pause waits for what is under way, and the call gets its answer after it.
#[test]
fn what_is_under_way_is_done_once_and_answered_later() {
    let disk = Arc::new(TestDisk::numbered(100));
    disk.set_at_hand(false);
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    let arguments = [ihandle.into(), BUFFER.into(), 700.into()];
    for service in ["read", "write"] {
        seek(&client, ihandle, 0);
        disk.hold();
        assert_eq!(client.try_call(service, &arguments, 1).status, CALL_AGAIN);
        disk.wait_for_somebody();
        std::thread::scope(|scope| {
            let pauser = scope.spawn(|| pause(&machine, LONG).unwrap());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!pauser.is_finished());
            disk.release();
        });
        let counts = disk.counts();
        // Longer than anybody keeps what nobody comes for.
        std::thread::sleep(IN_FLIGHT_LAPSE + Duration::from_millis(50));
        assert_eq!(disk.counts(), counts);
        pause(&machine, Duration::ZERO).unwrap();
        resume(&machine);
        // Nor has another CPU the instance first, or what was read.
        let ninth = [ihandle.into(), BUFFER.into(), 9.into()];
        assert_eq!(client_of(&machine, 1).try_call("read", &ninth, 1).status, CALL_AGAIN);
        if service == "read" {
            let third = client_of(&machine, 2);
            let ninth = [open(&third, "").into(), (BUFFER + 0x1000).into(), 9.into()];
            assert_eq!(third.try_call("read", &ninth, 1).status, CALL_AGAIN);
        }
        assert_eq!(client.one(service, &arguments), 700);
        let now = disk.counts();
        assert_eq!(now.reads, counts.reads);
        assert_eq!(now.writes, counts.writes);
    }
    assert!(disk.bytes() == TestDisk::numbered(100).bytes());
}

#[test]
fn what_is_asked_for_in_a_pause_is_done_after_it() {
    let disk = Arc::new(TestDisk::numbered(100));
    disk.set_at_hand(false);
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    seek(&client, ihandle, 1024);
    pause(&machine, LONG).unwrap();
    client.poke(BUFFER, &[5; 512]);
    let arguments = [ihandle.into(), BUFFER.into(), 512.into()];
    let before = disk.counts();
    let milliseconds = client.one("milliseconds", &[]);
    for _ in 0..20 {
        assert_eq!(client.try_call("write", &arguments, 1).status, CALL_AGAIN);
    }
    assert_eq!(disk.counts(), before);
    // The time that clients ask for stands still, too.
    assert_eq!(client.one("milliseconds", &[]), milliseconds);
    resume(&machine);
    assert_eq!(client.one("write", &arguments), 512);
    assert_eq!(disk.counts().writes, before.writes + 1);
    assert_eq!(disk.bytes()[1024..1536], [5; 512]);
    std::thread::sleep(Duration::from_millis(5));
    assert!(client.one("milliseconds", &[]) > milliseconds);
}

/// Looking for a part is done, and kept for the CPU that wanted it.
#[test]
fn an_open_goes_on_after_a_pause() {
    let disk = Arc::new(TestDisk::new(super::parts::partitioned()));
    let machine = machine(&disk);
    let client = machine.client();
    let path = format!("{NODE}:2");
    let arguments = [path.as_str().into()];
    disk.hold();
    assert_eq!(client.try_call("open", &arguments, 1).status, CALL_AGAIN);
    disk.wait_for_somebody();
    disk.release();
    pause(&machine, LONG).unwrap();
    let counts = disk.counts();
    resume(&machine);
    let ihandle = client.one("open", &arguments);
    assert_ne!(ihandle, 0);
    assert_eq!(disk.counts(), counts, "it was looked for again");
    assert!(read(&client, ihandle, 100).unwrap() == disk.bytes()[40 * 512..][..100]);
}

/// A package that the VMM keeps is at work in the machine that it comes to next.
#[test]
fn a_pause_that_is_over_is_over_for_the_next_machine_as_well() {
    let disk = Arc::new(TestDisk::numbered(100));
    let package = Arc::new(BlockPackage::new(disk.clone()));
    let of = |package: &Arc<BlockPackage>| {
        let package = package.clone();
        TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, package))
    };
    let first = of(&package);
    pause(&first, LONG).unwrap();
    drop(first);
    let second = of(&package);
    Device::reset(second.vof());
    let client = second.client();
    let ihandle = open(&client, "");
    assert_eq!(write(&client, ihandle, &[1; 512]), 512);
}
