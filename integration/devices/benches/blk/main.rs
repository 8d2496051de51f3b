//! What a request of a block device costs, beside the same transfer by a plain call of the host, in
//! one run: `cargo bench -p pseries-devices --features test-utils [FOLDER]`. The file is made in
//! the folder, which is one in memory if not said. Where the folder is on a disk, requests that wait
//! for it are measured as well: past the host's page cache, by a driver that has several under way,
//! beside as many threads of plain calls.

mod waiting;

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pseries_devices::blk::{Block, QUEUE_SIZE};
use pseries_devices::disk::{DiskOptions, FileDisk};
use pseries_devices::virtio::driver::{Buffer, CountedInterrupts, DriverQueue};
use pseries_devices::virtio::{Activation, ActiveQueue, QueueHandler, VirtioDevice, Worker};
use virtio_queue::{Queue, QueueT};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

type Memory = Arc<GuestMemoryMmap<AtomicBitmap>>;

const DISK_BYTES: u64 = 256 << 20;
const HEADERS: u64 = 0x1_0000;
const TABLES: u64 = 0x10_0000;
const DATA: u64 = 0x100_0000;
const MEMORY_BYTES: usize = 128 << 20;
/// Memory of a guest is in pages that do not follow each other.
const PAGE_BYTES: u32 = 4096;
const ROUNDS: usize = 9;

fn main() {
    let folder = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let folder = PathBuf::from(folder.unwrap_or_else(|| "/dev/shm".into()));
    let path = folder.join(format!("pseries-devices-bench-{}", std::process::id()));
    let file = File::create_new(&path).expect("a file");
    let zeros = vec![1; 1 << 20];
    for megabyte in 0..DISK_BYTES >> 20 {
        file.write_all_at(&zeros, megabyte << 20).expect("room");
    }
    let mut rig = Rig::new(&path);
    println!("{:28} {:>12} {:>12} {:>7}", "", "plain call", "request", "ratio");
    for (name, bytes, depth) in [
        ("4 KiB, one at a time", 4 << 10, 1),
        ("4 KiB, 32 at a time", 4 << 10, 32),
        ("64 KiB, 8 at a time", 64 << 10, 8),
        ("1 MiB, 4 at a time", 1 << 20, 4),
    ] {
        for is_write in [false, true] {
            let count = ((256 << 20) / (bytes as usize + (16 << 10))).max(64) / depth * depth;
            let (mut plain, mut requests) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                plain.push(rig.plain(bytes, count, is_write));
                requests.push(rig.requests(bytes, count, depth, is_write));
            }
            let (plain, request) = (median(plain) / count as u32, median(requests) / count as u32);
            let ratio = request.as_nanos() as f64 / plain.as_nanos() as f64;
            let name = format!("{name}, {}", if is_write { "write" } else { "read" });
            println!("{name:28} {plain:>12.2?} {request:>12.2?} {ratio:>7.2}");
        }
    }
    drop(rig);
    waiting::run(&path);
    std::fs::remove_file(&path).expect("its name is not needed any more");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

struct Rig {
    memory: Memory,
    driver: DriverQueue<Memory>,
    handler: Box<dyn QueueHandler>,
    file: File,
    place: u64,
}

impl Rig {
    fn new(path: &std::path::Path) -> Self {
        let file = File::options().read(true).write(true).open(path).expect("the file");
        let disk = FileDisk::open(path, &DiskOptions::new()).expect("a disk");
        let memory: Memory = Arc::new(
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).expect("memory"),
        );
        // No page of it is missing.
        for at in (0..MEMORY_BYTES as u64).step_by(4096) {
            memory.write_obj(1u8, GuestAddress(at)).expect("memory");
        }
        let driver = DriverQueue::new(memory.clone(), GuestAddress(0), QUEUE_SIZE);
        let interrupts = Arc::new(CountedInterrupts::default());
        let mut queue: Queue = driver.queue();
        queue.set_event_idx(true);
        assert!(queue.is_valid(&*memory));
        let doorbell = EventFd::new(0).expect("an eventfd");
        let queues = vec![ActiveQueue::new(0, queue, doorbell, interrupts.clone())];
        let mut device = Block::new(Arc::new(disk), 1);
        let features = VirtioDevice::<Memory>::features(&device);
        let activation = Activation::new(memory.clone(), features, queues, interrupts);
        let worker = device.activate(activation).expect("a queue").pop();
        let Some(Worker::Queue { handler, .. }) = worker else { unreachable!("one queue") };
        Self { memory, driver, handler, file, place: 1 }
    }

    /// A place on the disk, no two after each other close.
    fn next_place(&mut self, bytes: u32) -> u64 {
        self.place = self.place.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.place >> 20) % (DISK_BYTES / u64::from(bytes)) * u64::from(bytes)
    }

    fn plain(&mut self, bytes: u32, count: usize, is_write: bool) -> Duration {
        let mut data = vec![1; bytes as usize];
        let start = Instant::now();
        for _ in 0..count {
            let at = self.next_place(bytes);
            if is_write {
                self.file.write_all_at(&data, at).expect("written");
            } else {
                self.file.read_exact_at(&mut data, at).expect("read");
            }
            black_box(&mut data);
        }
        start.elapsed()
    }

    /// The time in the device; what the driver does is left out.
    fn requests(&mut self, bytes: u32, count: usize, depth: usize, is_write: bool) -> Duration {
        let mut time = Duration::ZERO;
        for _ in 0..count / depth {
            for slot in 0..depth as u64 {
                self.add(slot, bytes, is_write);
            }
            let start = Instant::now();
            while self.handler.handle() {}
            time += start.elapsed();
            let mut done = 0;
            while self.driver.next_used().is_some() {
                done += 1;
            }
            assert_eq!(done, depth);
        }
        time
    }

    fn add(&mut self, slot: u64, bytes: u32, is_write: bool) {
        let at = HEADERS + slot * 64;
        let mut header = [0; 16];
        header[0] = u8::from(is_write);
        header[8..].copy_from_slice(&(self.next_place(bytes) / 512).to_le_bytes());
        self.memory.write_obj(header, GuestAddress(at)).expect("memory");
        let mut buffers = vec![Buffer::readable(at, 16)];
        for page in 0..u64::from(bytes / PAGE_BYTES) {
            let data = DATA + slot * (2 << 20) + page * 2 * u64::from(PAGE_BYTES);
            buffers.push(if is_write {
                Buffer::readable(data, PAGE_BYTES)
            } else {
                Buffer::writable(data, PAGE_BYTES)
            });
        }
        buffers.push(Buffer::writable(at + 32, 1));
        self.driver.add_indirect(GuestAddress(TABLES + slot * 0x2000), &buffers);
    }
}
