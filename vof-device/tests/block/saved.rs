//! Disks that are open when a machine is saved, and where it goes on.

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::platform::StateValue;
use vof_device::block::BlockPackage;
use vof_device::test_utils::{CALL_AGAIN, TestDisk, TestMachine, of_size, sample_tree};
use vof_device::{RestoreError, VofState};

use super::{BUFFER, NODE, RAM_BYTES, machine, open, parts, read, seek};

fn restored(disk: &Arc<TestDisk>, state: &VofState) -> Result<TestMachine, RestoreError> {
    let package = Arc::new(BlockPackage::new(disk.clone()));
    let memory = of_size(RAM_BYTES);
    TestMachine::restored(sample_tree(), &memory, |builder| builder.package(NODE, package), state)
}

fn through_json(state: &VofState) -> VofState {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

#[test]
fn open_disks_are_where_they_were() {
    let disk = Arc::new(TestDisk::new(parts::partitioned()));
    let machine = machine(&disk);
    let client = machine.client();
    let handles = ["", "0", "1", "2", "b"].map(|arguments| open(&client, arguments));
    for (number, ihandle) in handles.into_iter().enumerate() {
        seek(&client, ihandle, number as u64 * 700);
    }
    // Behind every end, too.
    let far = open(&client, "1");
    seek(&client, far, u64::MAX);
    let state = through_json(&machine.vof().state().unwrap());
    let expected = handles.map(|ihandle| read(&client, ihandle, 600));
    let next = restored(&disk, &state).unwrap();
    assert_eq!(handles.map(|ihandle| read(&next.client(), ihandle, 600)), expected);
    assert_eq!(read(&next.client(), far, 600), Some(vec![]));
    seek(&next.client(), far, 0);
    assert_eq!(read(&next.client(), far, 600).unwrap(), disk.bytes()[5120..5720]);
}

/// Not even of an instance that nobody has any more.
#[test]
fn what_is_written_after_a_close_is_written_before_a_state_is_there() {
    let disk = Arc::new(TestDisk::numbered(100));
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    client.poke(BUFFER, &[7; 512]);
    disk.hold();
    let arguments = [ihandle.into(), BUFFER.into(), 512.into()];
    assert_eq!(client.try_call("write", &arguments, 1).status, CALL_AGAIN);
    disk.wait_for_somebody();
    client.call("close", &[ihandle.into()], 0);
    std::thread::scope(|scope| {
        let saver = scope.spawn(|| {
            machine.vof().state().unwrap();
            disk.counts().writes
        });
        // It waits for the disk. (If it did not, it would see no write.)
        std::thread::sleep(Duration::from_millis(50));
        disk.release();
        assert_eq!(saver.join().unwrap(), 1);
    });
}

/// Looking for a part may take long, and a client can have the same one open ever so often.
#[test]
fn a_part_is_looked_for_once_however_often_it_is_open() {
    let reads = |instances: usize| {
        let disk = Arc::new(TestDisk::new(parts::partitioned()));
        let machine = machine(&disk);
        let client = machine.client();
        let handles: Vec<_> = (0..instances).map(|_| open(&client, "2")).collect();
        let state = machine.vof().state().unwrap();
        let expected = read(&client, handles[0], 600).unwrap();
        let before = disk.counts().reads;
        let next = restored(&disk, &state).unwrap();
        let reads = disk.counts().reads - before;
        for ihandle in handles {
            assert_eq!(read(&next.client(), ihandle, 600).unwrap(), expected);
        }
        reads
    };
    assert!(reads(1) > 0);
    assert_eq!(reads(100), reads(1));
}

/// "The label is read anew, and has to give the same part."
#[test]
fn a_disk_that_is_another_is_refused() {
    let disk = Arc::new(TestDisk::new(parts::partitioned()));
    let machine = machine(&disk);
    open(&machine.client(), "2");
    let state = machine.vof().state().unwrap();
    assert!(restored(&disk, &state).is_ok());
    let refused = |what: &str, change: &dyn Fn(&mut [u8])| {
        let other = Arc::new(TestDisk::new(parts::partitioned()));
        other.change(change);
        let error = restored(&other, &state).unwrap_err();
        assert!(matches!(error, RestoreError::Instance { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    // Elsewhere, shorter, gone.
    refused("or elsewhere", &|bytes| bytes[446 + 16 + 8] += 1);
    refused("it was 1536000 bytes in 1 pieces", &|bytes| bytes[446 + 16 + 12] -= 1);
    refused("no partition 2", &|bytes| bytes[510] = 0);
    let shorter = Arc::new(TestDisk::numbered(30));
    assert!(restored(&shorter, &state).is_err());
    let whole = super::machine(&Arc::new(TestDisk::numbered(100)));
    seek(&whole.client(), open(&whole.client(), ""), 3);
    let whole = whole.vof().state().unwrap();
    assert!(restored(&Arc::new(TestDisk::numbered(100)), &whole).is_ok());
    assert!(restored(&Arc::new(TestDisk::numbered(101)), &whole).is_err());
    // What was tampered with.
    let mut bad = state.clone();
    let slot = bad.vof.instances.slots.last_mut().unwrap().instance.as_mut().unwrap();
    slot.arguments = "1".to_owned();
    assert!(restored(&disk, &bad).is_err());
    let mut bad = state;
    let slot = bad.vof.instances.slots.last_mut().unwrap().instance.as_mut().unwrap();
    slot.state = Some(StateValue::of(&7).unwrap());
    assert!(restored(&disk, &bad).is_err());
}

/// Nothing of the process that was saved is written later, and what was written there is not written
/// once more where the machine goes on.
#[test]
fn a_write_that_is_under_way_is_written_once() {
    const LEN: u32 = 3 << 20;
    let disk = Arc::new(TestDisk::numbered(10_000));
    let machine = machine(&disk);
    let client = machine.client();
    let ihandle = open(&client, "");
    seek(&client, ihandle, 512);
    client.poke(BUFFER, &vec![7; LEN as usize]);
    let arguments = [ihandle.into(), BUFFER.into(), LEN.into()];
    disk.hold();
    assert_eq!(client.try_call("write", &arguments, 1).status, CALL_AGAIN);
    disk.wait_for_somebody();
    let state = std::thread::scope(|scope| {
        let saver = scope.spawn(|| machine.vof().state().unwrap());
        // It waits for the disk. (If it did not, the counts below would say so.)
        std::thread::sleep(Duration::from_millis(50));
        disk.release();
        saver.join().unwrap()
    });
    // The first piece is there, and the others are still to come.
    assert_eq!(disk.counts().writes, 1);
    let next = restored(&disk, &through_json(&state)).unwrap();
    next.client().poke(BUFFER, &vec![7; LEN as usize]);
    assert_eq!(next.client().one("write", &arguments), LEN);
    assert_eq!(disk.counts().writes, 3);
    let mut expected = TestDisk::numbered(10_000).bytes();
    expected[512..512 + LEN as usize].fill(7);
    assert!(disk.bytes() == expected);
    assert!(read(&next.client(), ihandle, 9).unwrap() == expected[512 + LEN as usize..][..9]);
    // A read goes on as well.
    disk.set_at_hand(false);
    disk.hold();
    let client = next.client();
    seek(&client, ihandle, 0);
    assert_eq!(client.try_call("read", &arguments, 1).status, CALL_AGAIN);
    let state = next.vof().state().unwrap();
    disk.release();
    let last = restored(&disk, &state).unwrap();
    assert_eq!(last.client().one("read", &arguments), LEN);
    assert!(last.client().peek(BUFFER, LEN as usize) == expected[..LEN as usize]);
    // Whatever a state says is done, a call does not say more than it was asked for.
    let mut bad = state;
    let slot = bad.vof.instances.slots.last_mut().unwrap().instance.as_mut().unwrap();
    let text = serde_json::to_string(slot.state.as_ref().unwrap()).unwrap();
    let text = text.replace("\"done\":0", "\"done\":4294967295");
    slot.state = Some(serde_json::from_str(&text).unwrap());
    let last = restored(&disk, &bad).unwrap();
    assert_eq!(last.client().one("read", &arguments), LEN);
    assert!(last.client().peek(BUFFER, 1) != [1] && !text.contains("\"done\":0"));
}
