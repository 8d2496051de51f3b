//! A network, as a client sees it (IEEE 1275-1994 §3.7): whole frames, no waiting, one station.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arch_ppc64::CpuIndex;
use vof_device::network::{NetworkDevice, NetworkError, NetworkPackage};
use vof_device::test_utils::{
    CALL_AGAIN, Client, TestMachine, WORKSPACE, WORKSPACE_BYTES, of_size, sample_tree,
};
use vof_device::{VofState, limits};

const NONE: u32 = u32::MAX;
const NOTHING_YET: u32 = -2_i32 as u32;
const RAM_BYTES: u64 = 16 << 20;
/// The node that the tests attach to.
const NODE: &str = "/vdevice/v-scsi@2000";
/// What GRUB opens networks with.
const GRUB_ARGUMENTS: &str = "speed=auto,duplex=auto,1.1.1.1,dummy,1.1.1.1,1.1.1.1,5,5,1.1.1.1,512";
const FRAME_BYTES_MAX: usize = 1514;

/// The host's end of a network.
#[derive(Default)]
struct Wire {
    came: Mutex<VecDeque<Vec<u8>>>,
    went: Mutex<Vec<Vec<u8>>>,
    error: Mutex<Option<NetworkError>>,
    is_full: Mutex<bool>,
    waits: Mutex<u32>,
}

impl Wire {
    fn check(&self) -> Result<(), NetworkError> {
        self.error.lock().unwrap().map_or(Ok(()), Err)
    }
}

impl NetworkDevice for Wire {
    fn mac_address(&self) -> [u8; 6] {
        [0x52, 0x54, 0, 1, 2, 3]
    }

    fn receive(&self, frame: &mut [u8]) -> Result<Option<usize>, NetworkError> {
        self.check()?;
        assert_eq!(frame.len(), self.max_frame_bytes());
        let came = self.came.lock().unwrap().pop_front();
        Ok(came.map(|came| {
            frame[..came.len()].copy_from_slice(&came);
            came.len()
        }))
    }

    fn send(&self, frame: &[u8]) -> Result<bool, NetworkError> {
        self.check()?;
        let has_room = !*self.is_full.lock().unwrap();
        if has_room {
            self.went.lock().unwrap().push(frame.to_vec());
        }
        Ok(has_room)
    }

    fn wait(&self, limit: Duration) {
        assert_eq!(limit, limits::EMPTY_READ_WAIT);
        *self.waits.lock().unwrap() += 1;
    }
}

fn machine(wire: &Arc<Wire>) -> TestMachine {
    let package = Arc::new(NetworkPackage::new(wire.clone()));
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, package))
}

fn restored(wire: &Arc<Wire>, state: &VofState) -> TestMachine {
    let package = Arc::new(NetworkPackage::new(wire.clone()));
    TestMachine::restored(
        sample_tree(),
        &of_size(RAM_BYTES),
        |builder| builder.package(NODE, package),
        state,
    )
    .unwrap()
}

fn open(client: &Client<'_>) -> u32 {
    let ihandle = client.one("open", &[format!("{NODE}:{GRUB_ARGUMENTS}").as_str().into()]);
    assert!(ihandle != 0 && ihandle != NONE);
    ihandle
}

fn read(client: &Client<'_>, ihandle: u32, len: u32) -> u32 {
    client.one("read", &[ihandle.into(), client.buffer().into(), len.into()])
}

fn write(client: &Client<'_>, ihandle: u32, frame: &[u8]) -> u32 {
    client.poke(client.buffer(), frame);
    client.one("write", &[ihandle.into(), client.buffer().into(), (frame.len() as u32).into()])
}

/// A frame of a number.
fn frame(number: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| number.wrapping_mul(31).wrapping_add(at as u8)).collect()
}

#[test]
fn frames_come_and_go_whole() {
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let client = machine.client();
    let network = open(&client);
    assert_eq!(read(&client, network, 2000), NOTHING_YET);
    let frames = [frame(1, 60), frame(2, FRAME_BYTES_MAX), frame(3, 14)];
    wire.came.lock().unwrap().extend(frames.clone());
    for frame in &frames {
        let len = frame.len() as u32;
        assert_eq!(read(&client, network, 2000), len);
        assert_eq!(client.peek(client.buffer(), frame.len()), *frame);
    }
    assert_eq!(read(&client, network, 2000), NOTHING_YET);
    for frame in &frames {
        assert_eq!(write(&client, network, frame), frame.len() as u32);
    }
    assert_eq!(*wire.went.lock().unwrap(), frames);
    // By call-method, too; and what a network does not have.
    let test = |name: &str| client.one("test-method", &[client.phandle(NODE).into(), name.into()]);
    assert_eq!(["open", "close", "read", "write"].map(test), [0; 4]);
    assert_eq!(["seek", "block-size"].map(test), [NONE; 2]);
    assert_eq!(test("load"), if cfg!(feature = "netboot") { 0 } else { NONE });
    assert_eq!(client.one("seek", &[network.into(), 0.into(), 0.into()]), NONE);
    client.call("close", &[network.into()], 0);
    assert_eq!(read(&client, network, 2000), NONE);
}

#[test]
fn what_is_no_frame_is_not_sent() {
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let client = machine.client();
    let network = open(&client);
    for bytes in [0, 13, FRAME_BYTES_MAX + 1] {
        assert_eq!(write(&client, network, &frame(1, bytes)), NONE, "{bytes}");
    }
    // More than packages transfer at once, and where there is no RAM.
    for (at, len) in [(0, u32::MAX), (0, 8 << 20), (RAM_BYTES as u32 - 20, 60), (u32::MAX, 60)] {
        assert_eq!(client.one("write", &[network.into(), at.into(), len.into()]), NONE);
    }
    assert!(wire.went.lock().unwrap().is_empty());
}

/// Of a frame that is longer than the buffer, the rest is lost; where there is no RAM, none is.
#[test]
fn buffers_may_be_of_any_length() {
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let client = machine.client();
    let network = open(&client);
    wire.came.lock().unwrap().extend([frame(1, 100), frame(2, 100), frame(3, 100)]);
    client.poke(client.buffer(), &[0xaa; 100]);
    assert_eq!(read(&client, network, 40), 40);
    assert_eq!(client.peek(client.buffer(), 40), frame(1, 100)[..40]);
    assert_eq!(client.peek(client.buffer() + 40, 60), [0xaa; 60]);
    let nowhere = [network.into(), (RAM_BYTES as u32 - 20).into(), 2000.into()];
    assert_eq!(client.one("read", &nowhere), NONE);
    assert_eq!(read(&client, network, 2000), 100);
    assert_eq!(client.peek(client.buffer(), 100), frame(2, 100));
    assert_eq!(read(&client, network, 0), 0);
    assert_eq!(read(&client, network, 2000), NOTHING_YET);
}

/// A client that polls sleeps between two polls, and hears of a frame at once.
#[test]
fn who_asks_again_and_again_sleeps() {
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let client = machine.client();
    let network = open(&client);
    for _ in 0..100 {
        assert_eq!(read(&client, network, 2000), NOTHING_YET);
    }
    assert_eq!(*wire.waits.lock().unwrap(), 100 - 32);
    wire.came.lock().unwrap().push_back(frame(1, 60));
    assert_eq!(read(&client, network, 2000), 60);
    assert_eq!(read(&client, network, 2000), NOTHING_YET);
    assert_eq!(*wire.waits.lock().unwrap(), 100 - 32);
}

/// The call comes again, so that its CPU can be stopped; at last, the frame is lost.
#[test]
fn a_host_that_takes_nothing_is_waited_for_in_pieces() {
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let client = machine.client();
    let network = open(&client);
    *wire.is_full.lock().unwrap() = true;
    client.poke(client.buffer(), &frame(1, 60));
    let arguments = [network.into(), client.buffer().into(), 60.into()];
    let mut tries = 0;
    let outcome = loop {
        let outcome = client.try_call("write", &arguments, 1);
        if outcome.status != CALL_AGAIN {
            break outcome;
        }
        tries += 1;
    };
    assert_eq!(outcome.results, [NONE]);
    assert_eq!(tries, limits::MAX_FRAME_WAIT.as_millis() / limits::MAX_CALL_WAIT.as_millis());
    // The next one begins anew.
    assert_eq!(client.try_call("write", &arguments, 1).status, CALL_AGAIN);
    *wire.is_full.lock().unwrap() = false;
    assert_eq!(client.try_call("write", &arguments, 1).results, [60]);
    assert_eq!(*wire.went.lock().unwrap(), [frame(1, 60)]);
}

#[test]
fn without_a_network_all_fails_until_it_is_back() {
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let client = machine.client();
    let network = open(&client);
    wire.came.lock().unwrap().push_back(frame(1, 60));
    for error in [NetworkError::Down, NetworkError::Taken] {
        *wire.error.lock().unwrap() = Some(error);
        assert_eq!(read(&client, network, 2000), NONE, "{error}");
        assert_eq!(write(&client, network, &frame(1, 60)), NONE, "{error}");
    }
    *wire.error.lock().unwrap() = None;
    assert_eq!(read(&client, network, 2000), 60);
    assert_eq!(write(&client, network, &frame(1, 60)), 60);
}

/// "All instances are the same station", and CPUs that read at once get each frame once.
#[test]
fn instances_share_the_device() {
    const FRAMES: u8 = 200;
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let ihandles = [open(&machine.client()), open(&machine.client())];
    assert_ne!(ihandles[0], ihandles[1]);
    wire.came.lock().unwrap().extend((0..FRAMES).map(|number| frame(number, 60)));
    let mut got: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|cpu| {
                let machine = &machine;
                scope.spawn(move || {
                    let bytes = WORKSPACE_BYTES / 8;
                    let workspace = WORKSPACE + bytes * cpu;
                    let client = Client::new(&machine.bus, &machine.ram, workspace, bytes);
                    let client = client.on_cpu(CpuIndex(cpu));
                    let mut got = Vec::new();
                    while read(&client, ihandles[cpu as usize % 2], 100) == 60 {
                        got.push(client.peek(client.buffer(), 60));
                    }
                    got
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    got.sort_unstable();
    let mut all: Vec<_> = (0..FRAMES).map(|number| frame(number, 60)).collect();
    all.sort_unstable();
    assert_eq!(got, all);
}

/// An open network is one after a restore, too, with the same ihandle.
#[test]
fn it_stays_open_over_save_and_restore() {
    let wire = Arc::new(Wire::default());
    let machine = machine(&wire);
    let network = open(&machine.client());
    let state = machine.vof().state().unwrap();
    let text = serde_json::to_string(&state).unwrap();
    let state: VofState = serde_json::from_str(&text).unwrap();
    let other = Arc::new(Wire::default());
    let machine = restored(&other, &state);
    let client = machine.client();
    assert_eq!(client.path("instance-to-path", network), format!("{NODE}:{GRUB_ARGUMENTS}"));
    other.came.lock().unwrap().push_back(frame(9, 64));
    assert_eq!(read(&client, network, 2000), 64);
    assert_eq!(write(&client, network, &frame(9, 64)), 64);
    assert_eq!(other.went.lock().unwrap().len(), 1);
}

/// ( addr -- len ), and the CPU can be stopped at any time.
#[cfg(feature = "netboot")]
mod load {
    use vof_device::network::netboot::mock::{FILE, Manners, MockNetwork};
    use vof_device::{Package, Throw};

    use super::*;

    const AT: u32 = 0x40_0000;

    fn machine(manners: Manners) -> TestMachine {
        let package: Arc<dyn Package> =
            Arc::new(NetworkPackage::new(Arc::new(MockNetwork::new(manners))));
        TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, package))
    }

    fn file(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at ^ at >> 8) as u8).collect()
    }

    /// What comes of it, and how often the call was made in vain.
    fn load(client: &Client<'_>, arguments: &str, at: u32) -> ([u32; 2], u32) {
        let ihandle = client.one("open", &[format!("{NODE}:{arguments}").as_str().into()]);
        let call = ["load".into(), ihandle.into(), at.into()];
        let mut tries = 0;
        loop {
            let outcome = client.try_call("call-method", &call, 2);
            if outcome.status != CALL_AGAIN {
                client.call("close", &[ihandle.into()], 0);
                return (outcome.results.try_into().unwrap(), tries);
            }
            tries += 1;
        }
    }

    #[test]
    fn a_file_is_put_into_memory() {
        let machine = machine(Manners::good(file(100_000)));
        let client = machine.client();
        for arguments in ["", "dhcp", "10.0.2.2,boot\\program", "\\boot\\program"] {
            client.poke(AT, &[0xaa; 100_001]);
            let (results, tries) = load(&client, arguments, AT);
            assert_eq!(results, [0, 100_000], "{arguments}");
            assert!(tries > 10);
            assert!(client.peek(AT, 100_000) == file(100_000) && FILE == "boot/program");
            assert_eq!(client.peek(AT + 100_000, 1), [0xaa]);
        }
    }

    #[test]
    fn what_cannot_be_is_thrown() {
        let machine = machine(Manners::good(file(100_000)));
        let client = machine.client();
        let aborted = Throw::ABORT.0 as u32;
        assert_eq!(load(&client, "10.0.2.2,other", AT).0[0], aborted);
        let nowhere = Throw::INVALID_ADDRESS.0 as u32;
        for at in [RAM_BYTES as u32 - 99_999, RAM_BYTES as u32, u32::MAX - 50_000, u32::MAX] {
            assert_eq!(load(&client, "", at).0[0], nowhere, "{at:#x}");
        }
        let ihandle = open(&client);
        let outcome = client.call("call-method", &["load".into(), ihandle.into()], 2);
        assert_eq!(outcome.results[0], Throw::STACK_UNDERFLOW.0 as u32);
    }

    /// "A device loads one file at a time: the last that was asked for."
    #[test]
    fn who_begins_takes_the_place() {
        let machine = machine(Manners::good(file(20_000)));
        let client = machine.client();
        let [one, other] = [(); 2].map(|()| client.one("open", &[NODE.into()]));
        let try_load = |ihandle: u32| {
            let call = ["load".into(), ihandle.into(), AT.into()];
            client.try_call("call-method", &call, 2)
        };
        assert_eq!(try_load(one).status, CALL_AGAIN);
        assert_eq!(try_load(other).status, CALL_AGAIN);
        // It is told, and does not take the place in its turn.
        assert_eq!(try_load(one).results[0], Throw::ABORT.0 as u32);
        for ihandle in [other, one] {
            let mut outcome = try_load(ihandle);
            while outcome.status == CALL_AGAIN {
                outcome = try_load(ihandle);
            }
            assert_eq!(outcome.results, [0, 20_000]);
        }
    }

    /// Two CPUs that go on and on come to an end, both of them.
    #[test]
    fn two_that_load_in_turn_come_to_an_end() {
        let machine = machine(Manners::good(file(20_000)));
        let client = machine.client();
        let handles = [(); 2].map(|()| client.one("open", &[NODE.into()]));
        let mut results = [None, None];
        for _ in 0..100_000 {
            for (ihandle, result) in handles.into_iter().zip(&mut results) {
                if result.is_none() {
                    let call = ["load".into(), ihandle.into(), AT.into()];
                    let outcome = client.try_call("call-method", &call, 2);
                    *result = (outcome.status != CALL_AGAIN).then(|| outcome.results[0]);
                }
            }
        }
        assert_eq!(results, [Some(Throw::ABORT.0 as u32), Some(0)]);
    }
}
