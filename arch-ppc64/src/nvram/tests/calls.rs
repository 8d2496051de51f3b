//! The RTAS calls, as a guest makes them: by an argument buffer in its memory (LoPAPR §7.3.1).

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::hypercall::{Hypercall, HypercallBus, Next, Status, token};
use crate::platform::Device;
use crate::rtas::{Rtas, token_of};
use crate::vcpu::CpuIndex;

const RAM_BYTES: usize = 0x10_0000;
/// RAM again, behind a hole.
const HIGH: u32 = 0x20_0000;
const ARGUMENTS: GuestAddress = GuestAddress(0x1000);
const DATA: u32 = 0x8000;

const SUCCESS: i32 = 0;
const HARDWARE_ERROR: i32 = -1;
const OUT_OF_RANGE: i32 = -3;

struct Guest {
    ram: GuestMemoryMmap,
    bus: HypercallBus,
}

impl Guest {
    fn new(nvram: Arc<Nvram>) -> Self {
        let high = GuestAddress(HIGH.into());
        let ranges = [(GuestAddress(0), RAM_BYTES), (high, RAM_BYTES)];
        let rtas = Rtas::new(&[nvram as Arc<dyn Device>]).unwrap();
        Self {
            ram: GuestMemoryMmap::from_ranges(&ranges).unwrap(),
            bus: HypercallBus::new(vec![Arc::new(rtas)]).unwrap(),
        }
    }

    /// Makes a call; its status, and the other outputs.
    fn call(&self, name: &str, inputs: &[u32], outputs: usize) -> (i32, Vec<u32>) {
        let mut cells = vec![token_of(name).unwrap(), inputs.len() as u32, outputs as u32];
        cells.extend_from_slice(inputs);
        cells.resize(cells.len() + outputs, 0xdead_beef);
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.ram.write_slice(&bytes, ARGUMENTS).unwrap();
        let mut call = Hypercall::new(token::RTAS, &[ARGUMENTS.0]);
        assert_eq!(self.bus.dispatch(CpuIndex(0), &self.ram, &mut call), Next::Resume);
        assert_eq!(call.status(), Status::SUCCESS);
        let mut bytes = vec![0; bytes.len()];
        self.ram.read_slice(&mut bytes, ARGUMENTS).unwrap();
        let cells = bytes.chunks_exact(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap()));
        let mut results: Vec<u32> = cells.skip(3 + inputs.len()).collect();
        (results.remove(0) as i32, results)
    }

    /// Index, buffer, length: the status, and how many bytes were copied.
    fn copy(&self, name: &str, inputs: [u32; 3]) -> (i32, u32) {
        let (status, copied) = self.call(name, &inputs, 2);
        (status, copied[0])
    }

    fn store(&self, offset: u32, bytes: &[u8]) -> (i32, u32) {
        self.ram.write_slice(bytes, GuestAddress(DATA.into())).unwrap();
        self.copy("nvram-store", [offset, DATA, bytes.len() as u32])
    }

    fn fetch(&self, offset: u32, len: u32) -> Vec<u8> {
        assert_eq!(self.copy("nvram-fetch", [offset, DATA, len]), (SUCCESS, len));
        let mut bytes = vec![0; len as usize];
        self.ram.read_slice(&mut bytes, GuestAddress(DATA.into())).unwrap();
        bytes
    }
}

/// "Byte level operations with no boundary requirements" (§7.3.1).
#[test]
fn bytes_are_stored_and_fetched() {
    let place = Place::default();
    let guest = Guest::new(Arc::new(place.open()));
    assert_eq!(guest.fetch(0, 10), *b"\x70\xfc\x01\0common");
    for (offset, bytes) in [(0x1001, &b"odd"[..]), (0x2000, b""), (0xffff, b"!")] {
        assert_eq!(guest.store(offset, bytes), (SUCCESS, bytes.len() as u32));
        assert_eq!(guest.fetch(offset, bytes.len() as u32), bytes);
    }
    let all: Vec<u8> = (0..USUAL_BYTES).map(|at| (at * 31) as u8).collect();
    assert_eq!(guest.store(0, &all), (SUCCESS, USUAL_BYTES as u32));
    assert_eq!(guest.fetch(0, USUAL_BYTES as u32), all);
    assert_eq!(place.content(), all);
}

/// −3: "Parameter out of range". Nothing changes then.
#[test]
fn what_is_out_of_range_is_refused() {
    let place = Place::default();
    let guest = Guest::new(Arc::new(place.open()));
    let before = place.content();
    let size = USUAL_BYTES as u32;
    for name in ["nvram-fetch", "nvram-store"] {
        for inputs in [
            [size, DATA, 1],
            [size - 1, DATA, 2],
            [0, DATA, size + 1],
            [u32::MAX, DATA, 1],
            [1, DATA, u32::MAX],
            [u32::MAX, DATA, u32::MAX],
            // Buffers that are not RAM, or not all of it: at the end, and across a hole.
            [0, 0x10_0000, 1],
            [0, 0xf_ffff, 2],
            [0, HIGH - 1, 2],
            [0, u32::MAX, 1],
            [0, u32::MAX - 8, 9],
        ] {
            assert_eq!(guest.copy(name, inputs), (OUT_OF_RANGE, 0), "{name} {inputs:x?}");
        }
        // As many bytes as there are, from the first one on; none, from the last one on.
        assert_eq!(guest.copy(name, [size, DATA, 0]), (SUCCESS, 0));
        assert_eq!(guest.copy(name, [0, HIGH, 1]), (SUCCESS, 1));
        for (inputs, outputs) in [(2, 2), (4, 2), (3, 1), (3, 3), (0, 1)] {
            let (status, others) = guest.call(name, &vec![0; inputs], outputs);
            assert_eq!((status, others), (OUT_OF_RANGE, vec![0; outputs - 1]));
        }
    }
    assert_eq!(place.content()[1..], before[1..]);
}

/// −1: "Hardware Error", for as long as nothing can be kept.
#[test]
fn a_full_disk_is_a_hardware_error() {
    let place = Place::default();
    let guest = Guest::new(Arc::new(place.open()));
    place.kept().is_full = true;
    let before = guest.fetch(0, USUAL_BYTES as u32);
    for _ in 0..2 {
        assert_eq!(guest.store(0x1000, b"new"), (HARDWARE_ERROR, 0));
    }
    assert_eq!(guest.fetch(0, USUAL_BYTES as u32), before);
    place.kept().is_full = false;
    assert_eq!(guest.store(0x1000, b"new"), (SUCCESS, 3));
    assert_eq!(guest.fetch(0x1000, 3), b"new");
}

/// Whatever a guest stores is the guest's, until the machine starts again.
#[test]
fn a_guest_may_destroy_its_partitions() {
    let place = Place::default();
    let nvram = Arc::new(place.open());
    let guest = Guest::new(nvram.clone());
    nvram.set_variable("boot-device", "disk").unwrap();
    nvram.reset();
    assert_eq!(nvram.variable("boot-device").as_deref(), Some("disk"));

    assert_eq!(guest.store(0, &[0xa5; 64]), (SUCCESS, 64));
    let destroyed = nvram.to_bytes();
    let damage = Damage::Checksum { at: 0, found: 0xa5, expected: 0xb4 };
    assert_eq!(nvram.partitions(), Err(damage));
    assert_eq!(nvram.variable("boot-device"), None);
    assert_eq!(nvram.variables(), []);
    let error = nvram.set_variable("boot-device", "net").unwrap_err();
    assert!(matches!(error, VariableError::Damaged(found) if found == damage));

    // Where there is no other place for it, it stays.
    place.kept().is_full = true;
    nvram.reset();
    assert_eq!(nvram.to_bytes(), destroyed);
    place.kept().is_full = false;
    nvram.reset();
    assert_eq!(nvram.to_bytes(), partitions::fresh(USUAL_BYTES));
    assert_eq!(place.content(), nvram.to_bytes());
    assert_eq!(place.kept().aside, [destroyed]);
}
