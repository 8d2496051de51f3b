//! Requests that wait for the disk, several at the same time.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_ppc64::pci::PciWindows;
use pseries_devices::blk::Block;
use pseries_devices::disk::{DiskOptions, FileDisk};
use pseries_devices::pci::Bus;
use pseries_devices::virtio::VirtioPci;
use pseries_devices::virtio::driver::Buffer;
use pseries_devices::virtio::mock::MockController;
use pseries_devices::virtio::pci_driver::Driver;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const BYTES: u32 = 4096;
const TIME: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;
const HEADERS: u64 = 0x1_0000;
const DATA: u64 = 0x10_0000;
const MEMORY_BYTES: usize = 8 << 20;

/// Prints how many requests a second there are at each depth.
pub(crate) fn run(path: &Path) {
    let disk = match FileDisk::open(path, &DiskOptions::new().direct(true)) {
        Ok(disk) => Arc::new(disk),
        Err(error) => return println!("nothing waits for the disk here: {error:?}"),
    };
    println!("{:28} {:>12} {:>12} {:>7}", "past the page cache, a second", "plain", "requests", "");
    for depth in [1, 4, 16] {
        let (mut plain, mut requests) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(by_threads(path, depth));
            requests.push(by_driver(disk.clone(), depth));
        }
        let (plain, requests) = (median(plain), median(requests));
        let name = format!("4 KiB read, {depth} at a time");
        println!("{name:28} {plain:>12.0} {requests:>12.0} {:>7.2}", requests / plain);
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Places on the disk, in no order.
struct Places(u64);

impl Places {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 20) % (super::DISK_BYTES / u64::from(BYTES)) * u64::from(BYTES)
    }
}

/// How far a request may be behind the newest: descriptors are used again in turn.
const BEHIND_MAX: u32 = 200;

/// A buffer for direct I/O.
#[repr(align(4096))]
struct Aligned([u8; BYTES as usize]);

fn by_threads(path: &Path, depth: usize) -> f64 {
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(path).expect("a file");
    let begin = Instant::now();
    let counts: usize = std::thread::scope(|scope| {
        let thread = |number| {
            let file = &file;
            move || {
                let (mut places, mut buffer) = (Places(number), Aligned([0; BYTES as usize]));
                let mut count = 0;
                while begin.elapsed() < TIME {
                    file.read_exact_at(&mut buffer.0, places.next()).expect("read");
                    count += 1;
                }
                count
            }
        };
        let threads: Vec<_> = (0..depth).map(|number| scope.spawn(thread(number as u64))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a count")).sum()
    });
    counts as f64 / begin.elapsed().as_secs_f64()
}

fn by_driver(disk: Arc<FileDisk>, depth: usize) -> f64 {
    let ranges = [(GuestAddress(0), MEMORY_BYTES)];
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).expect("memory"));
    let bus = Bus::new(PciWindows::new());
    let wires = Arc::new(MockController::default()).connection(bus.next_free().expect("a place"));
    let function = VirtioPci::new("disk0", Box::new(Block::new(disk, 1)), memory.clone(), wires);
    let at = bus.add(None, Arc::new(function.expect("a function"))).expect("a place");
    let driver = Driver::probe(&bus, at);
    driver.negotiate(u64::MAX).expect("features");
    let mut queue = driver.queue(memory.clone(), 0, 256, GuestAddress(0x1000));
    driver.driver_ok();

    let mut places = Places(1);
    // The slots and numbers of requests that are under way, and the slots that are free.
    let (mut under_way, mut free) = (BTreeMap::new(), (0..depth as u64).collect::<Vec<_>>());
    let (begin, mut count, mut added) = (Instant::now(), 0, 0);
    while begin.elapsed() < TIME || !under_way.is_empty() {
        let oldest = under_way.values().map(|&(_, number)| number).min().unwrap_or(added);
        let is_room = !free.is_empty() && added - oldest < BEHIND_MAX;
        if is_room && begin.elapsed() < TIME {
            for slot in free.drain(..) {
                let at = HEADERS + slot * 64;
                let mut header = [0; 16];
                header[8..].copy_from_slice(&(places.next() / 512).to_le_bytes());
                memory.write_obj(header, GuestAddress(at)).expect("memory");
                let buffers = [
                    Buffer::readable(at, 16),
                    Buffer::writable(DATA + slot * 2 * u64::from(BYTES), BYTES),
                    Buffer::writable(at + 32, 1),
                ];
                let table = GuestAddress(HEADERS + 0x8000 + slot * 64);
                under_way.insert(u32::from(queue.add_indirect(table, &buffers)), (slot, added));
                added += 1;
            }
            driver.notify(0);
        }
        while let Some((head, _)) = queue.next_used() {
            free.push(under_way.remove(&head).expect("a request of ours").0);
            count += 1;
        }
        std::thread::yield_now();
    }
    driver.reset();
    f64::from(count) / begin.elapsed().as_secs_f64()
}
