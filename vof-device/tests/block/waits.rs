//! What waits for the host: no CPU does, and nothing is lost or made twice by it.

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::Next;
use vof_device::block::BlockPackage;
use vof_device::limits::{IN_FLIGHT_LAPSE, MAX_INSTANCES};
use vof_device::test_utils::{CALL_AGAIN, TestDisk, TestMachine, UNTOUCHED, sample_tree};

use super::{BUFFER, NODE, RAM_BYTES, client_of, machine, method, open, read, seek, write};

#[test]
fn a_read_that_is_not_at_hand_is_made_again() {
    let disk = Arc::new(TestDisk::numbered(100));
    let machine = machine(&disk);
    let (first, second) = (client_of(&machine, 0), client_of(&machine, 1));
    let ihandle = open(&first, "");
    let arguments = [ihandle.into(), BUFFER.into(), 700.into()];
    disk.set_at_hand(false);
    disk.hold();
    for _ in 0..3 {
        let outcome = first.try_call("read", &arguments, 1);
        assert_eq!((outcome.status, outcome.next), (CALL_AGAIN, Next::Resume));
        assert_eq!(outcome.results, [UNTOUCHED]);
        disk.wait_for_somebody();
        // Others go on meanwhile, and whoever wants what is at hand gets it.
        assert_eq!(second.finddevice("/cpus"), Some(second.phandle("/cpus")));
        disk.set_at_hand(true);
        let other = open(&second, "");
        let read = [other.into(), (BUFFER + 0x1000).into(), 100.into()];
        assert_eq!(second.one("read", &read), 100);
        disk.set_at_hand(false);
        second.call("close", &[other.into()], 0);
    }
    disk.release();
    assert_eq!(first.one("read", &arguments), 700);
    assert!(first.peek(BUFFER, 700) == disk.bytes()[..700]);
    assert!(read(&first, ihandle, 9).unwrap() == disk.bytes()[700..709]);
}

/// What is read is each byte once, whoever reads, and whatever comes between.
#[test]
fn cpus_that_share_an_instance_get_each_byte_once() {
    const CPUS: u32 = 4;
    const BYTES: u32 = 1000;
    let disk = Arc::new(TestDisk::numbered(500));
    let machine = machine(&disk);
    let ihandle = open(&machine.client(), "");
    let mut pieces: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let (machine, disk) = (&machine, &disk);
                scope.spawn(move || {
                    let client = client_of(machine, cpu);
                    let buffer = BUFFER + cpu * 0x1_0000;
                    let mut all = Vec::new();
                    loop {
                        disk.set_at_hand(all.len() % 2 == 0);
                        let read = [ihandle.into(), buffer.into(), BYTES.into()];
                        match client.one("read", &read) {
                            0 => return all,
                            got => all.push(client.peek(buffer, got as usize)),
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let bytes = disk.bytes();
    let mut expected: Vec<Vec<u8>> = bytes.chunks(BYTES as usize).map(<[u8]>::to_vec).collect();
    pieces.sort();
    expected.sort();
    assert!(pieces == expected);
}

/// Each has an instance of its own, and there is one thread for all.
#[test]
fn cpus_that_read_at_once_get_what_they_asked_for() {
    const CPUS: u32 = 6;
    let disk = Arc::new(TestDisk::numbered(2000));
    disk.set_at_hand(false);
    let machine = machine(&disk);
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let (machine, disk) = (&machine, &disk);
            scope.spawn(move || {
                let client = client_of(machine, cpu);
                let ihandle = open(&client, "");
                let buffer = BUFFER + cpu * 0x1_0000;
                for turn in 0..30_u64 {
                    let position = (turn * 7919 + u64::from(cpu) * 104_729) % 1_000_000;
                    assert_eq!(seek(&client, ihandle, position), 0);
                    let read = [ihandle.into(), buffer.into(), 3000.into()];
                    assert_eq!(client.one("read", &read), 3000);
                    let start = position as usize;
                    assert!(client.peek(buffer, 3000) == disk.bytes()[start..start + 3000]);
                }
            });
        }
    });
}

/// "What was taken for it by then is written once, and the instance stays where it was."
#[test]
fn a_write_that_is_given_up_is_written_once() {
    let disk = Arc::new(TestDisk::numbered(100));
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    seek(&client, ihandle, 512);
    disk.hold();
    client.poke(BUFFER, &[1; 512]);
    let arguments = [ihandle.into(), BUFFER.into(), 512.into()];
    assert_eq!(client.try_call("write", &arguments, 1).status, CALL_AGAIN);
    // What is in the buffer now comes too late.
    client.poke(BUFFER, &[2; 512]);
    assert_eq!(client.try_call("write", &arguments, 1).status, CALL_AGAIN);
    let other = [ihandle.into(), (BUFFER + 0x1000).into(), 3.into()];
    assert_eq!(client.try_call("read", &other, 1).results, [3]);
    let numbered = TestDisk::numbered(100).bytes();
    assert!(client.peek(BUFFER + 0x1000, 3) == numbered[512..515]);
    disk.release();
    // The next write comes after it.
    seek(&client, ihandle, 2048);
    assert_eq!(write(&client, ihandle, &[3; 512]), 512);
    assert_eq!(disk.counts().writes, 2);
    let bytes = disk.bytes();
    assert_eq!((&bytes[512..1024], &bytes[2048..2560]), (&[1; 512][..], &[3; 512][..]));
    // Even one of an instance that is closed, of a machine that is gone.
    disk.hold();
    client.poke(BUFFER, &[4; 512]);
    let arguments = [ihandle.into(), BUFFER.into(), 512.into()];
    assert_eq!(client.try_call("write", &arguments, 1).status, CALL_AGAIN);
    client.call("close", &[ihandle.into()], 0);
    disk.release();
    drop(machine);
    assert_eq!(disk.bytes()[2560..3072], [4; 512]);
    assert_eq!(disk.counts().writes, 3);
    // Nobody has the disk any more, and no thread is there.
    assert_eq!(Arc::strong_count(&disk), 1);
}

/// A write is answered by what came of it, however late its CPU asks.
#[test]
fn a_write_is_not_made_again_by_its_next_try() {
    let disk = Arc::new(TestDisk::numbered(100));
    let machine = machine(&disk);
    let (first, second) = (client_of(&machine, 0), client_of(&machine, 1));
    let (one, two) = (open(&first, ""), open(&second, ""));
    disk.hold();
    first.poke(BUFFER, &[1; 1024]);
    let arguments = [one.into(), BUFFER.into(), 1024.into()];
    assert_eq!(first.try_call("write", &arguments, 1).status, CALL_AGAIN);
    disk.release();
    disk.set_at_hand(false);
    // Somebody else has had the thread since.
    assert_eq!(read(&second, two, 100).unwrap(), [1; 100]);
    std::thread::sleep(IN_FLIGHT_LAPSE + Duration::from_millis(10));
    assert_eq!(read(&second, two, 100).unwrap(), [1; 100]);
    assert_eq!(first.one("write", &arguments), 1024);
    assert_eq!(disk.counts().writes, 1);
}

/// "One call of an instance is in flight", and one buffer for all of them.
#[test]
fn reads_that_nobody_comes_back_for_take_nothing_for_long() {
    let disk = Arc::new(TestDisk::numbered(100));
    let machine = machine(&disk);
    let (first, second) = (client_of(&machine, 0), client_of(&machine, 1));
    disk.set_at_hand(false);
    // All but those of `/chosen`.
    let handles: Vec<u32> = (4..MAX_INSTANCES).map(|_| open(&first, "")).collect();
    assert!(!handles.contains(&0));
    for &ihandle in &handles {
        let arguments = [ihandle.into(), BUFFER.into(), 100.into()];
        let _ = first.try_call("read", &arguments, 1);
    }
    assert!(threads() <= 1 + 12, "{} threads for disks", threads());
    // It is not found out at once that nobody wants what was read.
    let last = handles[handles.len() - 1];
    assert!(read(&second, last, 512).unwrap() == disk.bytes()[..512]);
    for ihandle in handles {
        second.call("close", &[ihandle.into()], 0);
    }
}

/// The threads of all disks of all tests that run at the moment.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is a Linux");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "vof-disk").count()
}

/// An `open` that waits, and all else that happens to it.
#[test]
fn parts_are_looked_for_without_a_cpu() {
    let disk = Arc::new(TestDisk::new(super::parts::partitioned()));
    let machine = machine(&disk);
    let (first, second) = (client_of(&machine, 0), client_of(&machine, 1));
    let path = format!("{NODE}:2");
    let arguments = [path.as_str().into()];
    disk.hold();
    let opened =
        |client: &vof_device::test_utils::Client<'_>| client.try_call("open", &arguments, 1);
    assert_eq!(opened(&first).status, CALL_AGAIN);
    disk.wait_for_somebody();
    assert_eq!(opened(&second).status, CALL_AGAIN);
    // The whole disk is open at once.
    let whole = open(&client_of(&machine, 2), "0");
    assert_eq!(read(&client_of(&machine, 2), whole, 16).unwrap(), disk.bytes()[..16]);
    // The first gives up, and the second need not wait for ever.
    first.call("peer", &[0.into()], 1);
    disk.release();
    let ihandle = second.one("open", &arguments);
    assert_ne!(ihandle, 0);
    assert_ne!(open(&first, "1"), 0);
    assert_eq!(method(&second, ihandle, "offset", &[0, 0]), [0, 40 * 512, 0]);
}

/// Whatever the host's time is, each call is made as often as each time before.
#[test]
fn a_disk_that_works_in_calls_is_the_same_each_time() {
    let disk = Arc::new(TestDisk::new(super::parts::partitioned()).in_calls());
    disk.set_at_hand(false);
    let machine = machine(&disk);
    let client = machine.client();
    let path = format!("{NODE}:2");
    let again = |service, arguments: &[_]| {
        assert_eq!(client.try_call(service, arguments, 1).status, CALL_AGAIN);
        let outcome = client.try_call(service, arguments, 1);
        assert_ne!(outcome.status, CALL_AGAIN, "{service}");
        outcome.results[0]
    };
    for _ in 0..20 {
        let ihandle = again("open", &[path.as_str().into()]);
        assert_ne!(ihandle, 0);
        let transfer = [ihandle.into(), BUFFER.into(), 700.into()];
        assert_eq!(again("read", &transfer), 700);
        assert!(client.peek(BUFFER, 700) == disk.bytes()[40 * 512..][..700]);
        assert_eq!(again("write", &transfer), 700);
        client.call("close", &[ihandle.into()], 0);
    }
    assert_eq!(disk.counts().flushes, 20);
}

/// When it goes away, it waits for its thread.
#[test]
fn a_machine_that_ends_takes_its_threads_with_it() {
    for is_held in [false, true] {
        let disk = Arc::new(TestDisk::numbered(100));
        disk.set_at_hand(false);
        let package = Arc::new(BlockPackage::new(disk.clone()));
        let kept = package.clone();
        let machine =
            TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, package));
        let client = machine.client();
        let ihandle = open(&client, "");
        let arguments = [ihandle.into(), BUFFER.into(), 100.into()];
        if is_held {
            disk.hold();
            assert_eq!(client.try_call("read", &arguments, 1).status, CALL_AGAIN);
            disk.wait_for_somebody();
        } else {
            assert_eq!(client.one("read", &arguments), 100);
        }
        drop(machine);
        disk.release();
        // The VMM may keep the package for the next machine.
        let machine =
            TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, kept));
        let client = machine.client();
        let ihandle = open(&client, "");
        assert_eq!(read(&client, ihandle, 100).unwrap(), disk.bytes()[..100]);
        drop(machine);
        assert_eq!(Arc::strong_count(&disk), 1);
    }
}
